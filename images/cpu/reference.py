"""One plain training loop on the rows of all shards: what the rounds are measured against.

The same first weights, the same number of optimiser steps and rows a step, no rounds, no
averaging, no quantisation; AdamW keeps its moments over the whole run.
"""

import glob

import torch

import trainer_tasks as tasks
import trainer_tensors as tensors


def run_reference(task: dict) -> None:
    """Trains on `/in/train-*.safetensors`, scores `/in/eval-*.safetensors`, prints the accuracy."""
    config = task["model"]
    weights = tasks.read_weights(f"{tasks.IN}/weights.safetensors", config)
    parameters = tasks.FlatParameters(weights)
    tokens, labels = read_all("train", config)
    stream = tasks.batches(task["seed"], len(labels), task["batchSize"], 0)

    def batch_of() -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.tensor(next(stream))
        return tokens[rows], labels[rows]

    metrics = tasks.learn(task, parameters, batch_of)
    metrics |= tasks.score(config, parameters.named, read_all("eval", config), 64)
    metrics["accuracy"] = metrics["correct"] / metrics["n"]
    tensors.write_json(f"{tasks.OUT}/metrics.json", metrics)
    print(f"accuracy {metrics['accuracy']:.4f} ({metrics['correct']} of {metrics['n']})")


def read_all(prefix: str, config: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows of all shards, in the order of their names."""
    paths = sorted(glob.glob(f"{tasks.IN}/{prefix}-*.safetensors"))
    if not paths:
        raise tensors.BadInput(f"no {prefix}-*.safetensors in {tasks.IN}")
    shards = [tasks.read_rows(path, config) for path in paths]
    return torch.cat([shard[0] for shard in shards]), torch.cat([shard[1] for shard in shards])
