"""The tasks of a training job, as functions of the files in IN that write files to OUT.

Importing this module loads torch and switches off every source of unlike bits.
"""

import hashlib
import importlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

import torch

import lora
import trainer_codecs as codecs
import trainer_tensors as tensors
from evaluation import NotFinite

IN, OUT = os.environ.get("CTD_IN", "/in"), os.environ.get("CTD_OUT", "/out")
PROGRESS_EVERY_S = 0.5
# Parameters that the optimiser works on at a time.
PIECE = 2**22
# Modules by the family that a task's model names; each has parameter_shapes, read_data, loss, score.
FAMILIES = {
    "text-classifier": "text_classifier",
    "causal-lm": "causal_lm",
    "sentence-embedding": "sentence_embedding",
    "word-embedding": "word_embedding",
    "image-classifier": "image_classifier",
    "tabular": "tabular",
}

Tensors = dict[str, torch.Tensor]

torch.set_num_threads(1)
torch.set_num_interop_threads(1)
torch.use_deterministic_algorithms(True)
torch.backends.mkldnn.enabled = False


def family_of(config: dict) -> ModuleType:
    """The module of a model's family."""
    family = config["family"]
    if family not in FAMILIES:
        raise tensors.BadInput(f"task.json: unknown family {family!r}")
    return importlib.import_module(FAMILIES[family])


class Progress:
    """Appends JSON lines to CTD_PROGRESS: the first and last step, and two a second between."""

    def __init__(self, total: int) -> None:
        path = os.environ.get("CTD_PROGRESS")
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.total = total
        self.tokens = 0
        self.started = self.reported = time.monotonic()
        self.latest: dict = {}
        self.write({"ev": "start", "total": total})

    def step(self, step: int, tokens: int, loss: float | None = None) -> None:
        self.tokens += tokens
        now = time.monotonic()
        if 1 < step < self.total and now - self.reported < PROGRESS_EVERY_S:
            return
        self.reported = now
        speed = round(self.tokens / max(now - self.started, 1e-6))
        line = {"ev": "progress", "step": step, "total": self.total, "tokPerS": speed}
        self.latest = line if loss is None else line | {"loss": round(loss, 4)}
        self.write(self.latest)

    def done(self) -> None:
        """The last line again, with the seconds that all steps took together."""
        seconds = round(time.monotonic() - self.started, 3)
        self.write(self.latest | {"ev": "done", "seconds": seconds})

    def write(self, line: dict) -> None:
        if self.file:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()


def row_order(seed: str, epoch: int, rows: int) -> list[int]:
    """The order of a shard's rows in one epoch: by SHA-256 of domain, seed, epoch and row."""
    prefix = hashlib.sha256(f"ctd/batch-order/1\n{seed}\n{epoch}\n".encode())

    def key(row: int) -> bytes:
        digest = prefix.copy()
        digest.update(b"%d" % row)
        return digest.digest()

    return sorted(range(rows), key=key)


def batches(seed: str, rows: int, size: int, start: int) -> Iterator[list[int]]:
    """Endless batches from the stream of all epochs' orders, from batch `start` on."""
    position = start * size
    epoch, order = -1, []
    while True:
        batch = []
        for place in range(position, position + size):
            if place // rows != epoch:
                epoch = place // rows
                order = row_order(seed, epoch, rows)
            batch.append(order[place % rows])
        position += size
        yield batch


def read_weights(path: str, config: dict) -> dict[str, torch.Tensor]:
    """The parameters of the model, float32; nothing missing, nothing more."""
    found = tensors.read_tensors(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != family_of(config).parameter_shapes(config):
        raise tensors.BadInput(f"{path}: the weights are not those of the model")
    if any(tensor.dtype != torch.float32 for tensor in found.values()):
        raise tensors.BadInput(f"{path}: the weights are not float32")
    return found


def read_model(task: dict) -> tuple[Tensors, Callable[[Tensors], Tensors]]:
    """What is trained, and the function that makes all weights of the model of it."""
    path = f"{IN}/weights.safetensors"
    adapters = task.get("lora")
    if adapters is None:
        return read_weights(path, task["model"]), lambda trained: trained
    frozen = read_weights(f"{IN}/frozen.safetensors", task["model"])
    trained = lora.read_adapters(path, frozen, adapters)
    return trained, lambda now: lora.apply_adapters(frozen, now, adapters)


class FlatParameters:
    """All parameters in one buffer, so that an optimiser's step is a few long operations."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.values = torch.cat([tensor.reshape(-1) for tensor in weights.values()])
        self.gradients = torch.zeros_like(self.values)
        self.named: dict[str, torch.Tensor] = {}
        position = 0
        for name, tensor in weights.items():
            end = position + tensor.numel()
            leaf = self.values[position:end].view(tensor.shape).requires_grad_()
            leaf.grad = self.gradients[position:end].view(tensor.shape)
            self.named[name] = leaf
            position = end


class AdamW:
    """AdamW (Loshchilov and Hutter 2019) with gradient clipping, on flat buffers.

    Weight decay spares biases and layer norms, that is every parameter of one dimension. Own
    code, because torch's optimisers load the compiler on first use, which costs seconds. Works
    piece by piece, so that no temporary is as large as the model.
    """

    def __init__(self, parameters: FlatParameters, constants: dict) -> None:
        self.constants = constants
        self.named = parameters.named
        self.gradients = parameters.gradients.split(PIECE)
        moments = [torch.zeros_like(parameters.values).split(PIECE) for _ in range(2)]
        self.pieces = list(zip(parameters.values.split(PIECE), self.gradients, *moments))
        self.steps = 0

    def step(self, learning_rate: float) -> None:
        beta1, beta2 = self.constants["beta1"], self.constants["beta2"]
        squares = [float(piece.double().square_().sum()) for piece in self.gradients]
        norm = math.sqrt(math.fsum(squares))
        clip = min(1.0, self.constants["clipNorm"] / norm) if norm > 0 else 1.0
        self.steps += 1
        correction1, correction2 = 1 - beta1**self.steps, 1 - beta2**self.steps
        for parameter in self.named.values():
            if parameter.dim() > 1:
                parameter.mul_(1 - learning_rate * self.constants["weightDecay"])
        for values, gradients, first, second in self.pieces:
            gradients.mul_(clip)
            first.mul_(beta1).add_(gradients, alpha=1 - beta1)
            second.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
            divisor = (second / correction2).sqrt_().add_(self.constants["epsilon"])
            values.addcdiv_(first, divisor, value=-learning_rate / correction1)


def learn(
    task: dict,
    parameters: FlatParameters,
    batch_of: Callable[[], dict[str, torch.Tensor]],
    weights_of: Callable[[Tensors], Tensors] = lambda trained: trained,
) -> dict:
    """Runs the task's steps on batches of rows, with all weights made of what is trained.

    Returns the mean loss over the first and the last eighth of the steps, and what was seen.
    """
    steps, rates = task["steps"], task["learningRates"]
    if steps < 1 or len(rates) != steps:
        raise tensors.BadInput("task.json: there must be one learning rate for every step")
    config = task["model"]
    family = family_of(config)
    optimiser = AdamW(parameters, task["optimizer"])
    progress = Progress(steps)
    losses: list[float] = []
    seen = 0
    for step, rate in enumerate(rates, start=1):
        batch = batch_of()
        parameters.gradients.zero_()
        loss, count = family.loss(config, weights_of(parameters.named), batch)
        loss.backward()
        with torch.no_grad():
            optimiser.step(rate)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise NotFinite(f"the loss of step {step} is {losses[-1]}")
        seen += count
        progress.step(step, count, losses[-1])
    progress.done()
    ends = math.ceil(steps / 8)
    return {
        "lossStart": math.fsum(losses[:ends]) / ends,
        "lossEnd": math.fsum(losses[-ends:]) / ends,
        "steps": steps,
        "tokens": seen,
    }


def row_count(data: dict[str, torch.Tensor]) -> int:
    """Rows of a shard: every tensor of it has so many."""
    return len(next(iter(data.values())))


def take_rows(data: dict[str, torch.Tensor], rows: list[int]) -> dict[str, torch.Tensor]:
    """The chosen rows of every tensor of a shard."""
    chosen = torch.tensor(rows)
    return {name: tensor[chosen] for name, tensor in data.items()}


def train(task: dict) -> None:
    """Local steps, or one gradient; writes what the weights lost on the way, compressed.

    That is W_start - W_end, or with `gradient` what a synchronous optimiser takes its step by.
    """
    weights, weights_of = read_model(task)
    parameters = FlatParameters(weights)
    data = family_of(task["model"]).read_data(f"{IN}/data.safetensors", task["model"])
    stream = batches(task["seed"], row_count(data), task["batchSize"], task["startStep"])
    is_gradient = task.get("gradient", False)
    run = measure if is_gradient else learn
    metrics = run(task, parameters, lambda: take_rows(data, next(stream)), weights_of)
    update = (
        (name, leaf.grad if is_gradient else weights[name] - leaf.detach())
        for name, leaf in parameters.named.items()
    )
    write_update(update, task.get("compression", "int8"))
    tensors.write_json(f"{OUT}/metrics.json", metrics)


def measure(
    task: dict,
    parameters: FlatParameters,
    batch_of: Callable[[], dict[str, torch.Tensor]],
    weights_of: Callable[[Tensors], Tensors],
) -> dict:
    """The gradient of one batch, left in the parameters; returns what `learn` does."""
    if task["steps"] != 1:
        raise tensors.BadInput("task.json: a gradient is of one step")
    progress = Progress(1)
    parameters.gradients.zero_()
    config = task["model"]
    loss, count = family_of(config).loss(config, weights_of(parameters.named), batch_of())
    loss.backward()
    value = loss.item()
    if not math.isfinite(value):
        raise NotFinite(f"the loss of step 1 is {value}")
    progress.step(1, count, value)
    progress.done()
    return {"lossStart": value, "lossEnd": value, "steps": 1, "tokens": count}


def write_update(update: Iterable[tuple[str, torch.Tensor]], compression: str) -> None:
    """Writes `delta.safetensors`, and with topk the feedback for the shard's next round."""
    path = f"{IN}/feedback.safetensors"
    before = tensors.read_tensors(path) if os.path.exists(path) else None
    files: dict[str, torch.Tensor] = {}
    feedback: dict[str, torch.Tensor] = {}
    for name, tensor in update:
        if not bool(torch.isfinite(tensor).all()):
            raise NotFinite(f"the update of {name} is not finite")
        if compression == "topk":
            kept = None if before is None else codecs.decode_int8(before, name)
            sparse, left = codecs.encode_topk(name, tensor, kept)
            files |= sparse
            feedback |= codecs.encode(name, left, "int8")
        else:
            files |= codecs.encode(name, tensor, compression)
    tensors.write_tensors(f"{OUT}/delta.safetensors", files)
    if compression == "topk":
        tensors.write_tensors(f"{OUT}/feedback.safetensors", feedback)


def score(
    config: dict,
    weights: dict[str, torch.Tensor],
    data: dict[str, torch.Tensor],
    batch_size: int,
) -> dict:
    """The family's counts over an evaluation set: integers."""
    progress = Progress(row_count(data))
    done = 0

    def step(rows: int) -> None:
        nonlocal done
        done += rows
        progress.step(done, rows)

    counts = family_of(config).score(config, weights, data, batch_size, step)
    progress.done()
    return counts


def evaluate(task: dict) -> None:
    """Scores the weights on an evaluation shard."""
    config = task["model"]
    trained, weights_of = read_model(task)
    weights = weights_of(trained)
    data = family_of(config).read_data(f"{IN}/data.safetensors", config)
    tensors.write_json(f"{OUT}/metrics.json", score(config, weights, data, task["batchSize"]))
