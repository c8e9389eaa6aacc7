"""How an update is compressed; the same bits as `src/training/codec.ts`.

int8 and int4: blocks of 256 elements with one fp32 scale. topk: of every 4096 elements the 64
largest, int8 with one scale; what was left out is kept as feedback for the next round.
"""

import torch

import trainer_tensors as tensors

TOPK_CHUNK = 4096
TOPK_KEPT = 64
FEEDBACK_DECAY = 0.95

Tensors = dict[str, torch.Tensor]


def encode(name: str, update: torch.Tensor, compression: str) -> Tensors:
    """The tensors that a file holds of one parameter's update, any compression but topk."""
    if compression == "none":
        return {name: update}
    if compression == "int8":
        values, scales = tensors.quantise(update)
        return {name: values, f"{name}::scale": scales}
    if compression == "int4":
        packed, scales = quantise_int4(update)
        return {f"{name}::int4": packed, f"{name}::scale": scales}
    raise tensors.BadInput(f"task.json: unknown compression {compression!r}")


def quantise_int4(update: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values in [-7, 7], two a byte, low half first; int8 [n / 2], scales fp32 [n / 256]."""
    values, scales = tensors.quantise(update, most=7)
    flat = torch.nn.functional.pad(values.reshape(-1), (0, values.numel() % 2)).to(torch.int16)
    return ((flat[0::2] & 15) + 16 * flat[1::2]).to(torch.int8), scales


def encode_topk(
    name: str, update: torch.Tensor, feedback: torch.Tensor | None
) -> tuple[Tensors, torch.Tensor]:
    """Keeps the largest of `update + 0.95 feedback`; also returns what is left, in its shape."""
    rest = update.reshape(-1)
    if feedback is not None:
        rest = rest + FEEDBACK_DECAY * feedback.reshape(-1)
    whole = rest.numel() // TOPK_CHUNK * TOPK_CHUNK
    pieces = [rest[:whole].view(-1, TOPK_CHUNK), rest[whole:].view(1, -1)]
    kept = [_keep(piece) for piece in pieces if piece.numel() > 0]
    values, places, scales, left = (torch.cat(parts) for parts in zip(*kept))
    files = {f"{name}::topk": values, f"{name}::index": places, f"{name}::scale": scales}
    return files, left.view(update.shape)


def _keep(chunks: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of every row of fp32 [m, n] one in 64: int8 values, int16 places, scales, and the rest."""
    count = -(-chunks.shape[1] // TOPK_KEPT)
    # A stable order: among equals the first is kept, which `torch.topk` does not promise.
    order = chunks.abs().sort(dim=1, descending=True, stable=True).indices
    places = order[:, :count].sort(dim=1).values
    kept = chunks.gather(1, places)
    scales = kept.abs().amax(dim=1) / 127
    divisors = torch.where(scales == 0, torch.ones_like(scales), scales)
    scaled = torch.where(scales[:, None] == 0, 0.0, kept / divisors[:, None])
    values = scaled.round().clamp(-127, 127)
    left = chunks.scatter(1, places, kept - values * scales[:, None])
    return (
        values.to(torch.int8).view(-1),
        places.to(torch.int16).view(-1),
        scales,
        left.view(-1),
    )


def decode_int8(found: Tensors, name: str) -> torch.Tensor:
    """What `quantise` made of a tensor, fp32 in its shape."""
    values, scales = found[name], found[f"{name}::scale"]
    flat = values.reshape(-1).to(torch.float32)
    padded = torch.nn.functional.pad(flat, (0, -flat.numel() % tensors.QUANTISATION_BLOCK))
    blocks = padded.view(-1, tensors.QUANTISATION_BLOCK) * scales[:, None]
    return blocks.view(-1)[: flat.numel()].view(values.shape)
