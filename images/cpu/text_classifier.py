"""Text classifiers: a BERT encoder, a pooled first token, and a linear head.

Parameter names and shapes are those of Hugging Face's `BertForSequenceClassification`; the twin of
`src/training/families/text-classifier.ts`.
"""

import torch
from torch.nn import functional

import bert
import evaluation
import trainer_tensors as tensors


def parameter_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every parameter of a model, by name."""
    hidden = config["hidden"]
    shapes = bert.parameter_shapes(config, "bert.")
    shapes["bert.pooler.dense.weight"] = (hidden, hidden)
    shapes["bert.pooler.dense.bias"] = (hidden,)
    shapes["classifier.weight"] = (config["classes"], hidden)
    shapes["classifier.bias"] = (config["classes"],)
    return dict(sorted(shapes.items()))


def read_data(path: str, config: dict) -> dict[str, torch.Tensor]:
    """Token ids int16 [rows, maxLength] and labels int32 [rows], checked against the model."""
    found = tensors.read_rows(path, {"labels", "tokens"})
    bert.check_tokens(path, found["tokens"], config)
    evaluation.check_labels(path, found["labels"], config)
    return found


def classify(config: dict, weights: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Logits [rows, classes] of token ids [rows, length], int64, padded with 0 at the end."""
    first = bert.encode(config, weights, tokens, "bert.")[:, 0]
    pooled = functional.linear(
        first, weights["bert.pooler.dense.weight"], weights["bert.pooler.dense.bias"]
    )
    pooled = torch.tanh(pooled)
    return functional.linear(pooled, weights["classifier.weight"], weights["classifier.bias"])


def loss(
    config: dict, weights: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, int]:
    """The mean loss of a batch, and the tokens in it."""
    tokens = batch["tokens"]
    logits = classify(config, weights, bert.trim(tokens))
    count = int((tokens != bert.PADDING).sum())
    return functional.cross_entropy(logits, batch["labels"].long()), count


def score(
    config: dict,
    weights: dict[str, torch.Tensor],
    data: dict[str, torch.Tensor],
    batch_size: int,
    step: evaluation.Step,
) -> dict:
    """Counts over an evaluation set."""
    return evaluation.score_classes(
        lambda rows: classify(config, weights, bert.trim(data["tokens"][rows])),
        data["labels"],
        config["classes"],
        batch_size,
        step,
    )
