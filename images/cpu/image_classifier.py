"""Image classifiers: a small convolutional network, or dense layers over all pixels.

The twin of `src/training/families/image-classifier.ts`. Parameter names are those of a
`torch.nn.Module` with the members `conv1`, `conv2`, `dense` and `classifier`.
"""

import torch
from torch.nn import functional

import evaluation
import trainer_tensors as tensors

KERNEL = 3
POOL = 2
PIXEL_MEAN = PIXEL_SCALE = 127.5


def parameter_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every parameter of a model, by name."""
    height, width, depth = config["height"], config["width"], config["channels"]
    shapes: dict[str, tuple[int, ...]] = {}
    for number, filters in enumerate(config["filters"], start=1):
        shapes[f"conv{number}.weight"] = (filters, depth, KERNEL, KERNEL)
        shapes[f"conv{number}.bias"] = (filters,)
        height, width, depth = height // POOL, width // POOL, filters
    shapes["dense.weight"] = (config["hidden"], height * width * depth)
    shapes["dense.bias"] = (config["hidden"],)
    shapes["classifier.weight"] = (config["classes"], config["hidden"])
    shapes["classifier.bias"] = (config["classes"],)
    return dict(sorted(shapes.items()))


def read_data(path: str, config: dict) -> dict[str, torch.Tensor]:
    """Pixels uint8 [rows, channels, height, width] and labels int32 [rows]."""
    found = tensors.read_rows(path, {"labels", "pixels"})
    shape = (config["channels"], config["height"], config["width"])
    if found["pixels"].dtype != torch.uint8 or found["pixels"].shape[1:] != shape:
        raise tensors.BadInput(f"{path}: the images are not of the model's size")
    evaluation.check_labels(path, found["labels"], config)
    return found


def classify(config: dict, weights: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """Logits [rows, classes] of images uint8 [rows, channels, height, width]."""
    x = (pixels.float() - PIXEL_MEAN) / PIXEL_SCALE
    for number in range(1, len(config["filters"]) + 1):
        weight, bias = weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]
        x = functional.relu(functional.conv2d(x, weight, bias, padding=KERNEL // 2))
        x = functional.max_pool2d(x, POOL)
    x = functional.linear(x.flatten(1), weights["dense.weight"], weights["dense.bias"])
    x = functional.relu(x)
    return functional.linear(x, weights["classifier.weight"], weights["classifier.bias"])


def loss(
    config: dict, weights: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, int]:
    """The mean loss of a batch, and its images."""
    logits = classify(config, weights, batch["pixels"])
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
        lambda rows: classify(config, weights, data["pixels"][rows]),
        data["labels"],
        config["classes"],
        batch_size,
        step,
    )
