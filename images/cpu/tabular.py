"""Classifiers of rows of numbers: dense layers with rectifiers between them.

The twin of `src/training/families/tabular.ts`. Parameter names are those of a `torch.nn.Module`
with a `ModuleList` called `layers` and a `classifier`.
"""

import torch
from torch.nn import functional

import evaluation
import trainer_tensors as tensors


def parameter_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every parameter of a model, by name."""
    inputs, hidden = config["features"], config["hidden"]
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(config["layers"]):
        shapes[f"layers.{layer}.weight"] = (hidden, inputs if layer == 0 else hidden)
        shapes[f"layers.{layer}.bias"] = (hidden,)
    shapes["classifier.weight"] = (config["classes"], hidden)
    shapes["classifier.bias"] = (config["classes"],)
    return dict(sorted(shapes.items()))


def read_data(path: str, config: dict) -> dict[str, torch.Tensor]:
    """Features float32 [rows, features], scaled, and labels int32 [rows]."""
    found = tensors.read_rows(path, {"features", "labels"})
    features = found["features"]
    if features.dtype != torch.float32 or features.shape[1:] != (config["features"],):
        raise tensors.BadInput(f"{path}: the rows do not have the model's features")
    if not bool(torch.isfinite(features).all()):
        raise tensors.BadInput(f"{path}: a feature is not finite")
    evaluation.check_labels(path, found["labels"], config)
    return found


def classify(config: dict, weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Logits [rows, classes] of features [rows, features]."""
    for layer in range(config["layers"]):
        weight, bias = weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"]
        x = functional.relu(functional.linear(x, weight, bias))
    return functional.linear(x, weights["classifier.weight"], weights["classifier.bias"])


def loss(
    config: dict, weights: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, int]:
    """The mean loss of a batch, and its rows."""
    logits = classify(config, weights, batch["features"])
    return functional.cross_entropy(logits, batch["labels"].long()), len(logits)


def score(
    config: dict,
    weights: dict[str, torch.Tensor],
    data: dict[str, torch.Tensor],
    batch_size: int,
    step: evaluation.Step,
) -> dict:
    """Counts over an evaluation set."""
    return evaluation.score_classes(
        lambda rows: classify(config, weights, data["features"][rows]),
        data["labels"],
        config["classes"],
        batch_size,
        step,
    )
