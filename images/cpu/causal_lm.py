"""Language models: GPT-2 as one function over a dictionary of parameters.

Parameter names and shapes are those of Hugging Face's `GPT2LMHeadModel` (Radford et al. 2019):
pre-norm, GELU by tanh, the head is the word embedding. There is no dropout. The twin of
`src/training/families/causal-lm.ts`.
"""

import math

import torch
from torch.nn import functional

import evaluation
import trainer_tensors as tensors

LAYER_NORM_EPSILON = 1e-5


def parameter_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every parameter of a model, by name; matrices are inputs by outputs, as GPT-2 has them."""
    hidden, intermediate = config["hidden"], config["intermediate"]
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (config["vocabulary"], hidden),
        "transformer.wpe.weight": (config["maxLength"], hidden),
    }

    def linear(prefix: str, inputs: int, outputs: int) -> None:
        shapes[f"{prefix}.weight"] = (inputs, outputs)
        shapes[f"{prefix}.bias"] = (outputs,)

    def layer_norm(prefix: str) -> None:
        shapes[f"{prefix}.weight"] = (hidden,)
        shapes[f"{prefix}.bias"] = (hidden,)

    layer_norm("transformer.ln_f")
    for layer in range(config["layers"]):
        prefix = f"transformer.h.{layer}"
        layer_norm(f"{prefix}.ln_1")
        linear(f"{prefix}.attn.c_attn", hidden, 3 * hidden)
        linear(f"{prefix}.attn.c_proj", hidden, hidden)
        layer_norm(f"{prefix}.ln_2")
        linear(f"{prefix}.mlp.c_fc", hidden, intermediate)
        linear(f"{prefix}.mlp.c_proj", intermediate, hidden)
    return dict(sorted(shapes.items()))


def read_data(path: str, config: dict) -> dict[str, torch.Tensor]:
    """Token ids, int16 or int32 [rows, maxLength + 1]: what to predict, and one token before."""
    found = tensors.read_rows(path, {"tokens"})
    tokens = found["tokens"]
    if tokens.dim() != 2 or not 2 <= tokens.shape[1] <= config["maxLength"] + 1:
        raise tensors.BadInput(f"{path}: rows do not fit the model's maxLength")
    if int(tokens.min()) < 0 or int(tokens.max()) >= config["vocabulary"]:
        raise tensors.BadInput(f"{path}: tokens are out of range")
    return found


# Keys and values [rows, heads, length, width] of the tokens that a layer has seen, by layer.
Cache = dict[int, tuple[torch.Tensor, torch.Tensor]]


def predict(
    config: dict,
    weights: dict[str, torch.Tensor],
    tokens: torch.Tensor,
    cache: Cache | None = None,
) -> torch.Tensor:
    """Logits [rows, length, vocabulary] of the next token, from token ids int64 [rows, length].

    With a cache the tokens follow those that it was filled with, and are added to it.
    """
    rows, length = tokens.shape
    before = cache[0][0].shape[2] if cache else 0
    heads = config["heads"]
    width = config["hidden"] // heads

    def linear(prefix: str, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(x, weights[f"{prefix}.weight"]) + weights[f"{prefix}.bias"]

    def attention_states(prefix: str, x: torch.Tensor) -> torch.Tensor:
        query, key, value = weights[f"{prefix}.bias"].split(config["hidden"])
        # Biases of keys do not learn: see bert.py.
        bias = torch.cat([query, key.detach(), value])
        return torch.matmul(x, weights[f"{prefix}.weight"]) + bias

    def layer_norm(prefix: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, LAYER_NORM_EPSILON)

    def split_heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(rows, length, heads, width).transpose(1, 2)

    words = weights["transformer.wte.weight"]
    places = weights["transformer.wpe.weight"][before : before + length]
    x = functional.embedding(tokens, words) + places
    future = torch.ones(length, before + length, dtype=torch.bool, device=tokens.device)
    future = future.triu(before + 1)
    for layer in range(config["layers"]):
        prefix = f"transformer.h.{layer}"
        states = attention_states(f"{prefix}.attn.c_attn", layer_norm(f"{prefix}.ln_1", x))
        query, key, value = (split_heads(part) for part in states.split(config["hidden"], dim=2))
        if cache is not None:
            if before > 0:
                key, value = (torch.cat(pair, dim=2) for pair in zip(cache[layer], (key, value)))
            cache[layer] = key, value
        scores = torch.matmul(query, key.transpose(2, 3)) / math.sqrt(width)
        weighed = torch.softmax(scores.masked_fill(future, -math.inf), dim=-1)
        context = torch.matmul(weighed, value).transpose(1, 2).reshape(rows, length, -1)
        x = x + linear(f"{prefix}.attn.c_proj", context)
        inner = linear(f"{prefix}.mlp.c_fc", layer_norm(f"{prefix}.ln_2", x))
        x = x + linear(f"{prefix}.mlp.c_proj", functional.gelu(inner, approximate="tanh"))
    return functional.linear(layer_norm("transformer.ln_f", x), words)


def loss(
    config: dict, weights: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, int]:
    """The mean loss of a token, and how many were predicted."""
    tokens = batch["tokens"].long()
    logits = predict(config, weights, tokens[:, :-1]).flatten(0, 1)
    truth = tokens[:, 1:].flatten()
    return functional.cross_entropy(logits, truth), truth.numel()


def score(
    config: dict,
    weights: dict[str, torch.Tensor],
    data: dict[str, torch.Tensor],
    batch_size: int,
    step: evaluation.Step,
) -> dict:
    """Counts over an evaluation set: tokens, how many were likeliest, and their loss."""
    counts = {"correct": 0, "n": 0, "nllFixed": 0}
    with torch.no_grad():
        for tokens in data["tokens"].split(batch_size):
            tokens = tokens.long()
            logits = predict(config, weights, tokens[:, :-1]).flatten(0, 1).double()
            truth = tokens[:, 1:].flatten()
            losses = functional.cross_entropy(logits, truth, reduction="none")
            counts["correct"] += int((logits.argmax(dim=1) == truth).sum())
            counts["n"] += truth.numel()
            counts["nllFixed"] += evaluation.fixed_point_sum(losses)
            step(len(tokens))
    return counts
