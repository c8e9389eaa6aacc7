"""BERT's encoder as one function over a dictionary of parameters.

Parameter names and shapes are Hugging Face's (Devlin et al. 2018): post-norm, exact GELU. There is
no dropout, so that a pass is a function of its inputs.

Biases of keys do not learn: one shifts all scores of a query alike, which the softmax does not see,
so its gradient is zero but for rounding, and AdamW would make steps of usual size of the rounding,
other ones on every machine.
"""

import math

import torch
from torch.nn import functional

import trainer_tensors as tensors

LAYER_NORM_EPSILON = 1e-12
PADDING = 0
LENGTH_MULTIPLE = 8
# Large enough that a masked score has weight 0 after the softmax, small enough for fp32.
MASKED = -1e9


def parameter_shapes(config: dict, root: str) -> dict[str, tuple[int, ...]]:
    """The encoder's parameters, by name; the twin of `bertParameters` in families/bert.ts."""
    hidden, intermediate = config["hidden"], config["intermediate"]
    shapes: dict[str, tuple[int, ...]] = {
        f"{root}embeddings.word_embeddings.weight": (config["vocabulary"], hidden),
        f"{root}embeddings.position_embeddings.weight": (config["maxLength"], hidden),
        f"{root}embeddings.token_type_embeddings.weight": (2, hidden),
    }

    def linear(prefix: str, outputs: int, inputs: int) -> None:
        shapes[f"{prefix}.weight"] = (outputs, inputs)
        shapes[f"{prefix}.bias"] = (outputs,)

    def layer_norm(prefix: str) -> None:
        shapes[f"{prefix}.weight"] = (hidden,)
        shapes[f"{prefix}.bias"] = (hidden,)

    layer_norm(f"{root}embeddings.LayerNorm")
    for layer in range(config["layers"]):
        prefix = f"{root}encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            linear(f"{prefix}.attention.self.{part}", hidden, hidden)
        linear(f"{prefix}.attention.output.dense", hidden, hidden)
        layer_norm(f"{prefix}.attention.output.LayerNorm")
        linear(f"{prefix}.intermediate.dense", intermediate, hidden)
        linear(f"{prefix}.output.dense", hidden, intermediate)
        layer_norm(f"{prefix}.output.LayerNorm")
    return shapes


def check_tokens(path: str, tokens: torch.Tensor, config: dict) -> None:
    """Refuses rows of tokens that are not the model's."""
    if tokens.dim() != 2 or tokens.shape[1] > config["maxLength"]:
        raise tensors.BadInput(f"{path}: rows are longer than the model's maxLength")
    if int(tokens.min()) < 0 or int(tokens.max()) >= config["vocabulary"]:
        raise tensors.BadInput(f"{path}: tokens are out of range")
    if int(tokens[:, 0].min()) == PADDING:
        raise tensors.BadInput(f"{path}: a row is empty")


def trim(tokens: torch.Tensor) -> torch.Tensor:
    """Cuts columns that hold only padding, to a multiple of 8; int64 for the embedding."""
    used = int((tokens != PADDING).any(dim=0).nonzero()[-1]) + 1
    used = min(-(-used // LENGTH_MULTIPLE) * LENGTH_MULTIPLE, tokens.shape[1])
    return tokens[:, :used].long()


def encode(
    config: dict, weights: dict[str, torch.Tensor], tokens: torch.Tensor, root: str
) -> torch.Tensor:
    """Hidden states [rows, length, hidden] of token ids [rows, length], int64, padded at the end."""
    rows, length = tokens.shape
    heads = config["heads"]
    width = config["hidden"] // heads

    def linear(prefix: str, x: torch.Tensor, learns_bias: bool = True) -> torch.Tensor:
        bias = weights[f"{prefix}.bias"]
        if not learns_bias:
            bias = bias.detach()
        return functional.linear(x, weights[f"{prefix}.weight"], bias)

    def layer_norm(prefix: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, LAYER_NORM_EPSILON)

    def split_heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(rows, length, heads, width).transpose(1, 2)

    embeddings = f"{root}embeddings"
    x = functional.embedding(tokens, weights[f"{embeddings}.word_embeddings.weight"])
    x = x + weights[f"{embeddings}.position_embeddings.weight"][:length]
    x = x + weights[f"{embeddings}.token_type_embeddings.weight"][0]
    x = layer_norm(f"{embeddings}.LayerNorm", x)
    mask = torch.where(tokens == PADDING, MASKED, 0.0)[:, None, None, :]
    for layer in range(config["layers"]):
        prefix = f"{root}encoder.layer.{layer}"
        query, key, value = (
            split_heads(linear(f"{prefix}.attention.self.{part}", x, part != "key"))
            for part in ("query", "key", "value")
        )
        scores = torch.matmul(query, key.transpose(2, 3)) / math.sqrt(width) + mask
        context = torch.matmul(torch.softmax(scores, dim=-1), value)
        context = context.transpose(1, 2).reshape(rows, length, heads * width)
        attended = linear(f"{prefix}.attention.output.dense", context)
        x = layer_norm(f"{prefix}.attention.output.LayerNorm", attended + x)
        inner = functional.gelu(linear(f"{prefix}.intermediate.dense", x))
        x = layer_norm(f"{prefix}.output.LayerNorm", linear(f"{prefix}.output.dense", inner) + x)
    return x
