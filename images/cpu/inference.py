"""Work over rows with a model that is given: vectors of texts, and texts that go on from prompts.

Every row is worked on for itself. The twin of `src/training/map.ts`.
"""

import hashlib
import os

import torch

import bert
import causal_lm
import sentence_embedding
import trainer_tasks as tasks
import trainer_tensors as tensors
from evaluation import NotFinite

IN, OUT = os.environ.get("CTD_IN", "/in"), os.environ.get("CTD_OUT", "/out")
# Vectors are written as whole multiples of 1 / 16384; the same number stands in map.ts.
VECTOR_SCALE = 2**14


def embed(task: dict) -> None:
    """Writes `vectors`, int16 [rows, hidden]: what the model makes of each row, in fixed point."""
    config = task["model"]
    weights = tasks.read_weights(f"{IN}/weights.safetensors", config)
    path = f"{IN}/rows.safetensors"
    tokens = tensors.read_rows(path, {"tokens"})["tokens"]
    bert.check_tokens(path, tokens, config)
    progress = tasks.Progress(len(tokens))
    parts: list[torch.Tensor] = []
    done = 0
    with torch.no_grad():
        for batch in tokens.split(task["batchSize"]):
            vectors = sentence_embedding.embed(config, weights, bert.trim(batch))
            if not bool(torch.isfinite(vectors).all()):
                raise NotFinite(f"a vector from row {done} on is not finite")
            parts.append((vectors * VECTOR_SCALE).round().to(torch.int16))
            done += len(batch)
            progress.step(done, int((batch != bert.PADDING).sum()))
    progress.done()
    tensors.write_tensors(f"{OUT}/out.safetensors", {"vectors": torch.cat(parts)})
    tensors.write_json(f"{OUT}/metrics.json", {"rows": done})


def generate(task: dict) -> None:
    """Writes `tokens`, int32 [rows, maxTokens]: what follows each prompt, filled up with -1."""
    config = task["model"]
    weights = tasks.read_weights(f"{IN}/weights.safetensors", config)
    path = f"{IN}/rows.safetensors"
    prompts = tensors.read_rows(path, {"tokens"})["tokens"].long()
    lengths = check_prompts(path, prompts, config, task["maxTokens"])
    progress = tasks.Progress(len(prompts))
    written = torch.full((len(prompts), task["maxTokens"]), -1, dtype=torch.int32)
    done = count = 0
    with torch.no_grad():
        # Prompts of one length go together, so that no row needs padding.
        for length in sorted(set(lengths)):
            rows = [row for row, tokens in enumerate(lengths) if tokens == length]
            for start in range(0, len(rows), task["batchSize"]):
                batch = rows[start : start + task["batchSize"]]
                draws = [f"{task['seed']}\n{task['firstRow'] + row}" for row in batch]
                tokens = write_on(task, weights, prompts[batch, :length], draws)
                written[batch, : tokens.shape[1]] = tokens
                done += len(batch)
                made = int((tokens >= 0).sum())
                count += made
                progress.step(done, made)
    progress.done()
    tensors.write_tensors(f"{OUT}/out.safetensors", {"tokens": written})
    tensors.write_json(f"{OUT}/metrics.json", {"rows": done, "tokens": count})


def check_prompts(path: str, prompts: torch.Tensor, config: dict, max_tokens: int) -> list[int]:
    """The tokens of each prompt; refuses those that are empty, too long, or not the model's."""
    if prompts.dim() != 2 or int(prompts.max()) >= config["vocabulary"]:
        raise tensors.BadInput(f"{path}: tokens are out of range")
    is_token = prompts >= 0
    lengths = is_token.sum(dim=1)
    places = torch.arange(prompts.shape[1])
    if not bool((is_token == (places < lengths[:, None])).all()):
        raise tensors.BadInput(f"{path}: a prompt has a gap")
    if int(lengths.min()) < 1 or int(lengths.max()) + max_tokens > config["maxLength"]:
        raise tensors.BadInput(f"{path}: a prompt is empty or leaves no room")
    return lengths.tolist()


def write_on(
    task: dict, weights: dict[str, torch.Tensor], prompts: torch.Tensor, draws: list[str]
) -> torch.Tensor:
    """Up to maxTokens more tokens, int32 [rows, tokens], of prompts int64 [rows, length].

    A row ends with the end token, which is not part of what is written.
    """
    config, end = task["model"], task["endToken"]
    cache: causal_lm.Cache = {}
    columns: list[torch.Tensor] = []
    is_open = torch.ones(len(prompts), dtype=torch.bool)
    given = prompts
    for step in range(task["maxTokens"]):
        logits = causal_lm.predict(config, weights, given, cache)[:, -1].double()
        if not bool(torch.isfinite(logits).all()):
            raise NotFinite(f"the logits of step {step + 1} are not finite")
        chosen = choose(logits, task["temperature"], draws, step)
        is_open &= chosen != end
        if not bool(is_open.any()):
            break
        columns.append(torch.where(is_open, chosen, -1))
        given = chosen[:, None]
    if not columns:
        return torch.empty((len(prompts), 0), dtype=torch.int32)
    return torch.stack(columns, dim=1).to(torch.int32)


def choose(
    logits: torch.Tensor, temperature: float, draws: list[str], step: int
) -> torch.Tensor:
    """The next token of each row, int64: the likeliest, or one drawn by the softmax of logits / T.

    The draw of a row is the inverse of the distribution at a number in [0, 1) from SHA-256 of the
    job's seed, the row's number in the dataset and the step; it knows no other row.
    """
    if temperature == 0:
        return logits.argmax(dim=1)
    mass = torch.softmax(logits / temperature, dim=1).cumsum(dim=1)
    numbers = torch.tensor([uniform(draw, step) for draw in draws], dtype=torch.float64)
    # The last sum may be a little off 1; a number beyond it takes the last token of weight.
    drawn = torch.searchsorted(mass, (numbers * mass[:, -1])[:, None], right=True)[:, 0]
    return drawn.clamp(max=logits.shape[1] - 1)


def uniform(draw: str, step: int) -> float:
    """A number in [0, 1): 53 bits of a hash."""
    digest = hashlib.sha256(f"ctd/generate/1\n{draw}\n{step}".encode()).digest()
    return (int.from_bytes(digest[:8], "little") >> 11) / 2**53
