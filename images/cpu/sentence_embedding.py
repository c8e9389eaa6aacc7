"""Sentence vectors: the mean of a BERT encoder's states, learnt from pairs that belong together.

Parameter names and shapes are those of Hugging Face's `BertModel` without pooler; the twin of
`src/training/families/sentence-embedding.ts`.
"""

import torch
from torch.nn import functional

import bert
import evaluation
import trainer_tensors as tensors

# Cosines are divided by it before the softmax (as the sentence-transformers library: a scale of 20).
TEMPERATURE = 0.05
# Pairs among which the right partner is sought; the same number stands in sentence-embedding.ts.
CANDIDATES = 1000


def parameter_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every parameter of a model, by name."""
    return dict(sorted(bert.parameter_shapes(config, "").items()))


def read_data(path: str, config: dict) -> dict[str, torch.Tensor]:
    """Token ids int16 [rows, maxLength] of the two texts of every pair."""
    found = tensors.read_rows(path, {"anchors", "positives"})
    for tokens in found.values():
        bert.check_tokens(path, tokens, config)
    return found


def embed(config: dict, weights: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Vectors of length 1 [rows, hidden] of token ids [rows, length], int64, padded at the end."""
    states = bert.encode(config, weights, tokens, "")
    is_token = (tokens != bert.PADDING).unsqueeze(2).to(states.dtype)
    mean = (states * is_token).sum(dim=1) / is_token.sum(dim=1)
    return functional.normalize(mean, dim=1)


def loss(
    config: dict, weights: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, int]:
    """InfoNCE within the batch, in both directions (van den Oord et al. 2018), and the tokens."""
    anchors, positives = (
        embed(config, weights, bert.trim(batch[name])) for name in ("anchors", "positives")
    )
    scores = anchors @ positives.T / TEMPERATURE
    truth = torch.arange(len(scores), device=scores.device)
    both = functional.cross_entropy(scores, truth) + functional.cross_entropy(scores.T, truth)
    tokens = sum(int((part != bert.PADDING).sum()) for part in batch.values())
    return both / 2, tokens


def score(
    config: dict,
    weights: dict[str, torch.Tensor],
    data: dict[str, torch.Tensor],
    batch_size: int,
    step: evaluation.Step,
) -> dict:
    """At which rank every anchor finds its partner among those of its block of rows."""
    ranks = evaluation.Ranks()
    rows = len(data["anchors"])
    with torch.no_grad():
        for start in range(0, rows, CANDIDATES):
            block = slice(start, min(start + CANDIDATES, rows))

            def vectors(name: str) -> torch.Tensor:
                parts = data[name][block].split(batch_size)
                return torch.cat([embed(config, weights, bert.trim(part)) for part in parts])

            scores = vectors("anchors").double() @ vectors("positives").double().T / TEMPERATURE
            truth = torch.arange(len(scores), device=scores.device)
            own = scores.diagonal().unsqueeze(1)
            # Ties count against the model: one that gives every text one vector finds nothing.
            found = (scores >= own).sum(dim=1)
            ranks.add(found, functional.cross_entropy(scores, truth, reduction="none"))
            step(len(scores))
    return ranks.counts
