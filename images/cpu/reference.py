"""What the rounds are measured against: one process that trains on the rows of all shards.

The same first weights, no rounds, no averaging of weights, no quantisation; AdamW keeps its
moments over the whole run. Either a plain loop over all rows in one order, or with `synchronous`
what data-parallel workers compute: every step takes each shard's next batch, the very batches of
our rounds, and averages their gradients.
"""

import glob
import json
from collections.abc import Callable

import torch

import trainer_tasks as tasks
import trainer_tensors as tensors

Rows = dict[str, torch.Tensor]


def run_reference(task: dict) -> None:
    """Trains on `/in/train-*.safetensors`, scores `/in/eval-*.safetensors`, prints the counts."""
    config = task["model"]
    weights = tasks.read_weights(f"{tasks.IN}/weights.safetensors", config)
    parameters = tasks.FlatParameters(weights)
    shards = read_shards("train", config)
    batch_of = union_of(shards, task) if task.get("synchronous") else one_stream(shards, task)
    metrics = tasks.learn(task, parameters, batch_of)
    held = concatenate(read_shards("eval", config))
    metrics |= tasks.score(config, parameters.named, held, 64)
    if "correct" in metrics:
        metrics["accuracy"] = metrics["correct"] / metrics["n"]
    tensors.write_json(f"{tasks.OUT}/metrics.json", metrics)
    print(json.dumps({name: count for name, count in metrics.items() if name != "confusion"}))


def one_stream(shards: list[Rows], task: dict) -> Callable[[], Rows]:
    """Batches of the rows of all shards."""
    rows = concatenate(shards)
    stream = tasks.batches(task["seed"], tasks.row_count(rows), task["batchSize"], 0)
    return lambda: tasks.take_rows(rows, next(stream))


def union_of(shards: list[Rows], task: dict) -> Callable[[], Rows]:
    """The next batch of every shard, as one: the mean of equally large means is their mean."""
    size = task["batchSize"]
    streams = [
        tasks.batches(f"{task['seed']}/{shard}", tasks.row_count(rows), size, 0)
        for shard, rows in enumerate(shards)
    ]
    return lambda: concatenate(
        [tasks.take_rows(rows, next(stream)) for rows, stream in zip(shards, streams)]
    )


def concatenate(parts: list[Rows]) -> Rows:
    """All rows of the parts, in their order."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def read_shards(prefix: str, config: dict) -> list[Rows]:
    """The rows of each shard, in the order of their names."""
    paths = sorted(glob.glob(f"{tasks.IN}/{prefix}-*.safetensors"))
    if not paths:
        raise tensors.BadInput(f"no {prefix}-*.safetensors in {tasks.IN}")
    return [tasks.family_of(config).read_data(path, config) for path in paths]
