"""What evaluations have in common: integers, so that sums over shards need no order."""

from collections.abc import Callable

import torch
from torch.nn import functional

import trainer_tensors as tensors

# Losses and shares are summed as whole multiples of 2**-20.
FIXED_POINT = 2**20

# Told after every batch, with its rows.
Step = Callable[[int], None]


class NotFinite(Exception):
    """The loss is infinite or not a number; the program ends with exit code 11."""


def check_labels(path: str, labels: torch.Tensor, config: dict) -> None:
    """Refuses labels that are no classes of the model."""
    if labels.dim() != 1 or int(labels.min()) < 0 or int(labels.max()) >= config["classes"]:
        raise tensors.BadInput(f"{path}: labels are out of range")


def fixed_point_sum(losses: torch.Tensor) -> int:
    """The sum of losses, float64, each rounded to a multiple of 1 / FIXED_POINT."""
    if not bool(torch.isfinite(losses).all()):
        raise NotFinite("the evaluation loss is not finite")
    return int((losses * FIXED_POINT).round().long().sum())


def score_classes(
    logits_of: Callable[[slice], torch.Tensor],
    labels: torch.Tensor,
    classes: int,
    batch_size: int,
    step: Step,
) -> dict:
    """Counts of a classifier, from the logits [rows, classes] of stretches of rows."""
    confusion = torch.zeros(classes * classes, dtype=torch.int64)
    nll = 0
    with torch.no_grad():
        for start in range(0, len(labels), batch_size):
            truth = labels[start : start + batch_size].long()
            logits = logits_of(slice(start, start + batch_size)).double()
            nll += fixed_point_sum(functional.cross_entropy(logits, truth, reduction="none"))
            pairs = truth * classes + logits.argmax(dim=1)
            confusion += torch.bincount(pairs, minlength=classes * classes)
            step(len(truth))
    matrix = confusion.view(classes, classes)
    return {
        "confusion": matrix.tolist(),
        "correct": int(matrix.diagonal().sum()),
        "f1Fixed": len(labels) * _macro_f1(matrix),
        "n": len(labels),
        "nllFixed": nll,
    }


def _macro_f1(confusion: torch.Tensor) -> int:
    """The mean F1 of the classes in multiples of 1 / FIXED_POINT, each rounded down."""
    right = confusion.diagonal().tolist()
    meant, said = confusion.sum(dim=1).tolist(), confusion.sum(dim=0).tolist()
    parts = zip(right, meant, said)
    return sum(2 * r * FIXED_POINT // (m + s) for r, m, s in parts if r) // len(right)


class Ranks:
    """Counts of a retrieval: at which rank, from 1, the right candidate came."""

    def __init__(self) -> None:
        self.counts = {"n": 0, "nllFixed": 0, "recall1": 0, "recall5": 0, "reciprocalFixed": 0}

    def add(self, ranks: torch.Tensor, losses: torch.Tensor) -> None:
        """Takes ranks, int64, and losses, float64, of equally many questions."""
        self.counts["n"] += ranks.numel()
        self.counts["nllFixed"] += fixed_point_sum(losses)
        self.counts["recall1"] += int((ranks <= 1).sum())
        self.counts["recall5"] += int((ranks <= 5).sum())
        self.counts["reciprocalFixed"] += int((FIXED_POINT // ranks).sum())
