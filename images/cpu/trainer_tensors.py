"""Tensors in files: the safetensors format, canonical, without third-party code.

The same bytes as `src/training/safetensors.ts` writes: tensors by falling rank of dtype, then by
name; the header without white space, padded with spaces to a multiple of 8.
"""

import json
import os

import torch

HEADER_LIMIT_BYTES = 4 * 1024 * 1024
QUANTISATION_BLOCK = 256
DTYPES = {"U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "F32": torch.float32}
RANKS = {name: rank for rank, name in enumerate(DTYPES)}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class BadInput(Exception):
    """An input that no retry can mend; the program ends with exit code 10."""


def read_tensors(path: str) -> dict[str, torch.Tensor]:
    """Reads a whole file; the tensors share one buffer."""
    try:
        buffer = bytearray(os.path.getsize(path))
        with open(path, "rb") as file:
            file.readinto(buffer)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    length = int.from_bytes(buffer[:8], "little")
    if len(buffer) < 8 or length > min(HEADER_LIMIT_BYTES, len(buffer) - 8):
        raise BadInput(f"{path}: no safetensors header")
    try:
        header = json.loads(buffer[8 : 8 + length])
        entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
        return {name: _view(buffer, 8 + length, entry) for name, entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise BadInput(f"{path}: malformed header: {error}") from error


def read_rows(path: str, names: set[str]) -> dict[str, torch.Tensor]:
    """Reads tensors that hold one entry a row: all named ones, no others, equally many rows."""
    found = read_tensors(path)
    if set(found) != names:
        raise BadInput(f"{path}: expected the tensors {' and '.join(sorted(names))}")
    counts = {tensor.shape[0] if tensor.dim() > 0 else 0 for tensor in found.values()}
    if len(counts) != 1 or 0 in counts:
        raise BadInput(f"{path}: there are no rows, or not equally many of each tensor")
    return found


def _view(buffer: bytearray, start: int, entry: dict) -> torch.Tensor:
    dtype = DTYPES[entry["dtype"]]
    begin, end = entry["data_offsets"]
    count = 1
    for extent in entry["shape"]:
        count *= extent
    if begin < 0 or end - begin != count * dtype.itemsize or start + end > len(buffer):
        raise ValueError("offsets and shape disagree")
    if count == 0:
        return torch.empty(entry["shape"], dtype=dtype)
    flat = torch.frombuffer(buffer, dtype=dtype, count=count, offset=start + begin)
    return flat.reshape(entry["shape"])


def write_tensors(path: str, tensors: dict[str, torch.Tensor]) -> None:
    """Writes a file in one go under a temporary name, then renames it."""
    order = sorted(tensors, key=lambda name: (-RANKS[NAMES[tensors[name].dtype]], name))
    end = 0
    header = {}
    for name in order:
        begin, end = end, end + tensors[name].numel() * tensors[name].element_size()
        header[name] = {
            "dtype": NAMES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = temporary_name(path)
    with open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(memoryview(tensors[name].contiguous().view(-1).view(torch.uint8).numpy()))
    os.replace(temporary, path)


def write_json(path: str, value: object) -> None:
    """Writes canonical JSON: sorted keys, no white space, one line."""
    temporary = temporary_name(path)
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True, separators=(",", ":"), allow_nan=False)
        file.write("\n")
    os.replace(temporary, path)


def temporary_name(path: str) -> str:
    """`/out/x` becomes `/out/.tmp-x`; what bears such a name at the end is no output."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".tmp-{name}")


def quantise(tensor: torch.Tensor, most: int = 127) -> tuple[torch.Tensor, torch.Tensor]:
    """Block-wise int8: the values in the tensor's shape, and one fp32 scale per 256 elements.

    scale = max|x| / most, value = x / scale rounded half to even, all in fp32; the same bits as
    `src/training/quantise.ts`.
    """
    flat = tensor.reshape(-1)
    padding = -flat.numel() % QUANTISATION_BLOCK
    blocks = torch.nn.functional.pad(flat, (0, padding)).view(-1, QUANTISATION_BLOCK)
    scales = blocks.abs().amax(dim=1) / most
    divisors = torch.where(scales == 0, torch.ones_like(scales), scales)
    scaled = torch.where(scales[:, None] == 0, 0.0, blocks / divisors[:, None])
    values = scaled.round().clamp(-most, most).to(torch.int8)
    return values.view(-1)[: flat.numel()].view(tensor.shape), scales
