"""One plain training loop on the rows of all shards: what the rounds are measured against.

The same first weights, the same number of optimiser steps and rows a step, no rounds, no
averaging, no quantisation; AdamW keeps its moments over the whole run.
"""

import glob
import json

import torch

import trainer_tasks as tasks
import trainer_tensors as tensors


def run_reference(task: dict) -> None:
    """Trains on `/in/train-*.safetensors`, scores `/in/eval-*.safetensors`, prints the counts."""
    config = task["model"]
    weights = tasks.read_weights(f"{tasks.IN}/weights.safetensors", config)
    parameters = tasks.FlatParameters(weights)
    data = read_all("train", config)
    stream = tasks.batches(task["seed"], tasks.row_count(data), task["batchSize"], 0)
    metrics = tasks.learn(task, parameters, lambda: tasks.take_rows(data, next(stream)))
    metrics |= tasks.score(config, parameters.named, read_all("eval", config), 64)
    if "correct" in metrics:
        metrics["accuracy"] = metrics["correct"] / metrics["n"]
    tensors.write_json(f"{tasks.OUT}/metrics.json", metrics)
    print(json.dumps({name: count for name, count in metrics.items() if name != "confusion"}))


def read_all(prefix: str, config: dict) -> dict[str, torch.Tensor]:
    """The rows of all shards, in the order of their names."""
    paths = sorted(glob.glob(f"{tasks.IN}/{prefix}-*.safetensors"))
    if not paths:
        raise tensors.BadInput(f"no {prefix}-*.safetensors in {tasks.IN}")
    shards = [tasks.family_of(config).read_data(path, config) for path in paths]
    return {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
