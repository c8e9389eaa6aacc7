"""Word vectors: skip-gram with negative sampling (Mikolov et al. 2013).

The twin of `src/training/families/word-embedding.ts`. A model is two `torch.nn.Embedding`s,
`embeddings` for words and `contexts` for words as contexts of others.

Negative samples are the words at the same places of the next rows: rows come in an order drawn
from the seed, so these are draws from the text that need no generator.
"""

import torch
from torch.nn import functional

import evaluation
import trainer_tensors as tensors

UNKNOWN = 0
# Distance at which a word is still a context; these numbers stand in word-embedding.ts, too.
WINDOW = 4
NEGATIVES = 5
RIVALS = 15


def parameter_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every parameter of a model, by name."""
    shape = (config["vocabulary"], config["hidden"])
    return {"contexts.weight": shape, "embeddings.weight": shape}


def read_data(path: str, config: dict) -> dict[str, torch.Tensor]:
    """Numbers of words int16 [rows, maxLength], 0 where a word is unknown."""
    found = tensors.read_rows(path, {"words"})
    words = found["words"]
    if words.dim() != 2 or words.shape[1] > config["maxLength"]:
        raise tensors.BadInput(f"{path}: rows are longer than the model's maxLength")
    if int(words.min()) < 0 or int(words.max()) >= config["vocabulary"]:
        raise tensors.BadInput(f"{path}: words are out of range")
    return found


def neighbours(words: torch.Tensor) -> torch.Tensor:
    """Which place [rows, centre, context] is a known word near another."""
    places = torch.arange(words.shape[1], device=words.device)
    distance = (places[:, None] - places[None, :]).abs()
    known = words != UNKNOWN
    return ((distance > 0) & (distance <= WINDOW)) & known[:, :, None] & known[:, None, :]


def is_rival(words: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Whether a word at the same place of another row is known and another word; [rows, 1, place]."""
    return ((others != UNKNOWN) & (others != words))[:, None, :]


def loss(
    config: dict, weights: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, int]:
    """The mean loss of a pair with its negatives, and the words."""
    words = batch["words"].long()
    centres = functional.embedding(words, weights["embeddings.weight"])
    contexts = functional.embedding(words, weights["contexts.weight"])
    pairs = neighbours(words)
    count = pairs.sum().clamp(min=1)
    products = centres @ contexts.transpose(1, 2)
    total = (functional.softplus(-products) * pairs).sum()
    for shift in range(1, min(NEGATIVES, len(words) - 1) + 1):
        others = words.roll(-shift, dims=0)
        products = centres @ contexts.roll(-shift, dims=0).transpose(1, 2)
        total = total + (functional.softplus(products) * (pairs & is_rival(words, others))).sum()
    return total / count, int((words != UNKNOWN).sum())


def score(
    config: dict,
    weights: dict[str, torch.Tensor],
    data: dict[str, torch.Tensor],
    batch_size: int,
    step: evaluation.Step,
) -> dict:
    """At which rank the true context of every word comes among words at its place elsewhere."""
    ranks = evaluation.Ranks()
    words = data["words"].long()
    rows = len(words)
    with torch.no_grad():
        for start in range(0, rows, batch_size):
            chosen = torch.arange(start, min(start + batch_size, rows), device=words.device)
            batch = words[chosen]
            centres = functional.embedding(batch, weights["embeddings.weight"]).double()
            pairs = neighbours(batch)

            def products(of: torch.Tensor) -> torch.Tensor:
                contexts = functional.embedding(of, weights["contexts.weight"]).double()
                return (centres @ contexts.transpose(1, 2))[pairs]

            scores = [products(batch)]
            for shift in range(1, min(RIVALS, rows - 1) + 1):
                others = words[(chosen + shift) % rows]
                allowed = is_rival(batch, others).expand_as(pairs)[pairs]
                scores.append(products(others).masked_fill(~allowed, -torch.inf))
            candidates = torch.stack(scores, dim=1)
            # Ties count against the model: one that gives every word one vector finds nothing.
            found = (candidates >= candidates[:, :1]).sum(dim=1)
            ranks.add(found, -functional.log_softmax(candidates, dim=1)[:, 0])
            step(len(batch))
    return ranks.counts
