"""Low-rank adapters (Hu et al. 2021): of a frozen matrix W is used W + alpha / rank * B A.

Names are those of Hugging Face's PEFT. The twin of `src/training/lora.ts`, which also says which
matrices have adapters. Works with every family, for the family is handed whole matrices.
"""

import torch

import trainer_tensors as tensors

PREFIX = "base_model.model."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"

Tensors = dict[str, torch.Tensor]


def read_adapters(path: str, frozen: Tensors, lora: dict) -> Tensors:
    """What is trained, float32: the factors of every adapter, and parameters of the model whole."""
    found = tensors.read_tensors(path)
    for name, tensor in found.items():
        module = name.removesuffix(DOWN).removesuffix(UP)
        if not name.startswith(PREFIX) or tensor.dtype != torch.float32:
            raise tensors.BadInput(f"{path}: {name} is no adapter")
        if module == name:
            expected = shape_of(path, frozen, name)
        else:
            if module + DOWN not in found or module + UP not in found:
                raise tensors.BadInput(f"{path}: {module} has one factor only")
            shape = shape_of(path, frozen, f"{module}.weight")
            outputs, inputs = reversed(shape) if lora["transposed"] else shape
            rank = lora["rank"]
            expected = (rank, inputs) if name.endswith(DOWN) else (outputs, rank)
        if tuple(tensor.shape) != expected:
            raise tensors.BadInput(f"{path}: the shape of {name} does not fit the model")
    return found


def shape_of(path: str, frozen: Tensors, name: str) -> tuple[int, ...]:
    """The shape of the model's parameter that a name means."""
    parameter = frozen.get(name.removeprefix(PREFIX))
    if parameter is None:
        raise tensors.BadInput(f"{path}: the model has no {name.removeprefix(PREFIX)}")
    return tuple(parameter.shape)


def apply_adapters(frozen: Tensors, trained: Tensors, lora: dict) -> Tensors:
    """All weights of the model; gradients flow to what is trained alone."""
    weights = dict(frozen)
    scale = lora["alpha"] / lora["rank"]
    for name, tensor in trained.items():
        if name.endswith(DOWN):
            module = name.removesuffix(DOWN)
            product = torch.matmul(trained[module + UP], tensor) * scale
            place = f"{module.removeprefix(PREFIX)}.weight"
            weights[place] = frozen[place] + (product.T if lora["transposed"] else product)
        elif not name.endswith(UP):
            weights[name.removeprefix(PREFIX)] = tensor
    return weights
