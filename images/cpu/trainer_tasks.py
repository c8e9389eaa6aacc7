"""The tasks of a training job, as functions of the files in IN that write files to OUT.

Importing this module loads torch and switches off every source of unlike bits.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator

import torch

import bert
import trainer_tensors as tensors

IN, OUT = os.environ.get("CTD_IN", "/in"), os.environ.get("CTD_OUT", "/out")
PROGRESS_EVERY_S = 0.5
LENGTH_MULTIPLE = 8
NLL_SCALE = 2**20
# Parameters that the optimiser works on at a time.
PIECE = 2**22

torch.set_num_threads(1)
torch.set_num_interop_threads(1)
torch.use_deterministic_algorithms(True)
torch.backends.mkldnn.enabled = False


class NotFinite(Exception):
    """The loss is infinite or not a number; the program ends with exit code 11."""


class Progress:
    """Appends JSON lines to CTD_PROGRESS: the first and last step, and two a second between."""

    def __init__(self, total: int) -> None:
        path = os.environ.get("CTD_PROGRESS")
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.total = total
        self.tokens = 0
        self.started = self.reported = time.monotonic()
        self.write({"ev": "start", "total": total})

    def step(self, step: int, tokens: int, loss: float | None = None) -> None:
        self.tokens += tokens
        now = time.monotonic()
        if 1 < step < self.total and now - self.reported < PROGRESS_EVERY_S:
            return
        self.reported = now
        speed = round(self.tokens / max(now - self.started, 1e-6))
        line = {"ev": "progress", "step": step, "total": self.total, "tokPerS": speed}
        self.write(line if loss is None else line | {"loss": round(loss, 4)})

    def done(self) -> None:
        self.write({"ev": "done", "seconds": round(time.monotonic() - self.started, 3)})

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


def read_rows(path: str, config: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids int16 [rows, maxLength] and labels int32 [rows], checked against the model."""
    found = tensors.read_tensors(path)
    if set(found) != {"labels", "tokens"}:
        raise tensors.BadInput(f"{path}: expected the tensors labels and tokens")
    tokens, labels = found["tokens"], found["labels"]
    if tokens.dim() != 2 or labels.shape != tokens.shape[:1] or len(labels) == 0:
        raise tensors.BadInput(f"{path}: tokens {tuple(tokens.shape)} do not fit the labels")
    if tokens.shape[1] > config["maxLength"]:
        raise tensors.BadInput(f"{path}: rows are longer than the model's maxLength")
    for name, values, limit in (("tokens", tokens, "vocabulary"), ("labels", labels, "classes")):
        if int(values.min()) < 0 or int(values.max()) >= config[limit]:
            raise tensors.BadInput(f"{path}: {name} are out of range")
    if int(tokens[:, 0].min()) == bert.PADDING:
        raise tensors.BadInput(f"{path}: a row is empty")
    return tokens, labels


def read_weights(path: str, config: dict) -> dict[str, torch.Tensor]:
    """The parameters of the model, float32; nothing missing, nothing more."""
    found = tensors.read_tensors(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != bert.parameter_shapes(config):
        raise tensors.BadInput(f"{path}: the weights are not those of the model")
    if any(tensor.dtype != torch.float32 for tensor in found.values()):
        raise tensors.BadInput(f"{path}: the weights are not float32")
    return found


def trim(tokens: torch.Tensor) -> torch.Tensor:
    """Cuts columns that hold only padding, to a multiple of 8; int64 for the embedding."""
    used = int((tokens != bert.PADDING).any(dim=0).nonzero()[-1]) + 1
    used = min(-(-used // LENGTH_MULTIPLE) * LENGTH_MULTIPLE, tokens.shape[1])
    return tokens[:, :used].long()


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
    batch_of: Callable[[], tuple[torch.Tensor, torch.Tensor]],
) -> dict:
    """Runs the task's steps on batches of (tokens, labels).

    Returns the mean loss over the first and the last eighth of the steps, and what was seen.
    """
    steps, rates = task["steps"], task["learningRates"]
    if steps < 1 or len(rates) != steps:
        raise tensors.BadInput("task.json: there must be one learning rate for every step")
    optimiser = AdamW(parameters, task["optimizer"])
    progress = Progress(steps)
    losses: list[float] = []
    seen = 0
    for step, rate in enumerate(rates, start=1):
        tokens, labels = batch_of()
        parameters.gradients.zero_()
        logits = bert.classify(task["model"], parameters.named, trim(tokens))
        loss = torch.nn.functional.cross_entropy(logits, labels.long())
        loss.backward()
        with torch.no_grad():
            optimiser.step(rate)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise NotFinite(f"the loss of step {step} is {losses[-1]}")
        count = int((tokens != bert.PADDING).sum())
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


def train(task: dict) -> None:
    """H local steps; writes what the weights lost on the way (W_start - W_end), quantised."""
    weights = read_weights(f"{IN}/weights.safetensors", task["model"])
    parameters = FlatParameters(weights)
    tokens, labels = read_rows(f"{IN}/data.safetensors", task["model"])
    stream = batches(task["seed"], len(labels), task["batchSize"], task["startStep"])

    def batch_of() -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.tensor(next(stream))
        return tokens[rows], labels[rows]

    metrics = learn(task, parameters, batch_of)
    files = {}
    for name, start in weights.items():
        delta = start - parameters.named[name].detach()
        if not bool(torch.isfinite(delta).all()):
            raise NotFinite(f"the update of {name} is not finite")
        files[name], files[f"{name}::scale"] = tensors.quantise(delta)
    tensors.write_tensors(f"{OUT}/delta.safetensors", files)
    tensors.write_json(f"{OUT}/metrics.json", metrics)


def score(
    config: dict,
    weights: dict[str, torch.Tensor],
    rows: tuple[torch.Tensor, torch.Tensor],
    batch_size: int,
) -> dict:
    """Counts over an evaluation set: integers, so that sums over shards need no order."""
    tokens, labels = rows
    classes = config["classes"]
    confusion = torch.zeros(classes * classes, dtype=torch.int64)
    nll = 0
    progress = Progress(math.ceil(len(labels) / batch_size))
    with torch.no_grad():
        for step, start in enumerate(range(0, len(labels), batch_size), start=1):
            batch = trim(tokens[start : start + batch_size])
            truth = labels[start : start + batch_size].long()
            logits = bert.classify(config, weights, batch).double()
            losses = torch.nn.functional.cross_entropy(logits, truth, reduction="none")
            if not bool(torch.isfinite(losses).all()):
                raise NotFinite("the evaluation loss is not finite")
            nll += int((losses * NLL_SCALE).round().long().sum())
            pairs = truth * classes + logits.argmax(dim=1)
            confusion += torch.bincount(pairs, minlength=classes * classes)
            progress.step(step, batch.numel())
    progress.done()
    matrix = confusion.view(classes, classes)
    return {
        "confusion": matrix.tolist(),
        "correct": int(matrix.diagonal().sum()),
        "n": len(labels),
        "nllFixed": nll,
    }


def evaluate(task: dict) -> None:
    """Scores the weights on an evaluation shard."""
    weights = read_weights(f"{IN}/weights.safetensors", task["model"])
    rows = read_rows(f"{IN}/data.safetensors", task["model"])
    metrics = score(task["model"], weights, rows, task["batchSize"])
    tensors.write_json(f"{OUT}/metrics.json", metrics)
