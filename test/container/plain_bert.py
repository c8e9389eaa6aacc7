"""Loads a result folder as anybody would: plain PyTorch, Hugging Face's names, nothing of ours.

Reads /in/config.json, /in/model.safetensors and an evaluation shard; writes how many rows it gets
right and the sum of the losses. Independent of the trainer on purpose.
"""

import json

import torch
from torch import nn


def load(path: str) -> dict[str, torch.Tensor]:
    with open(path, "rb") as file:
        content = bytearray(file.read())
    length = int.from_bytes(content[:8], "little")
    kinds = {"F32": torch.float32, "I16": torch.int16, "I32": torch.int32}
    found = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            piece = content[8 + length + begin : 8 + length + end]
            found[name] = torch.frombuffer(piece, dtype=kinds[entry["dtype"]]).view(entry["shape"])
    return found


class Embeddings(nn.Module):
    def __init__(self, c: dict) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.position_embeddings = nn.Embedding(c["max_position_embeddings"], c["hidden_size"])
        self.token_type_embeddings = nn.Embedding(c["type_vocab_size"], c["hidden_size"])
        self.LayerNorm = nn.LayerNorm(c["hidden_size"], eps=c["layer_norm_eps"])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1])
        kinds = torch.zeros_like(ids)
        x = self.word_embeddings(ids) + self.position_embeddings(places)
        return self.LayerNorm(x + self.token_type_embeddings(kinds))


class SelfAttention(nn.Module):
    def __init__(self, c: dict) -> None:
        super().__init__()
        self.heads = c["num_attention_heads"]
        for name in ("query", "key", "value"):
            setattr(self, name, nn.Linear(c["hidden_size"], c["hidden_size"]))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        def split(y: torch.Tensor) -> torch.Tensor:
            return y.unflatten(2, (self.heads, -1)).transpose(1, 2)

        mixed = nn.functional.scaled_dot_product_attention(
            split(self.query(x)), split(self.key(x)), split(self.value(x)), mask[:, None, None]
        )
        return mixed.transpose(1, 2).flatten(2)


class Output(nn.Module):
    def __init__(self, inputs: int, c: dict) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, c["hidden_size"])
        self.LayerNorm = nn.LayerNorm(c["hidden_size"], eps=c["layer_norm_eps"])

    def forward(self, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dense(x) + before)


class Layer(nn.Module):
    def __init__(self, c: dict) -> None:
        super().__init__()
        self.attention = nn.Module()
        self.attention.self = SelfAttention(c)
        self.attention.output = Output(c["hidden_size"], c)
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(c["hidden_size"], c["intermediate_size"])
        self.output = Output(c["intermediate_size"], c)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.attention.output(self.attention.self(x, mask), x)
        return self.output(nn.functional.gelu(self.intermediate.dense(x)), x)


class Classifier(nn.Module):
    def __init__(self, c: dict) -> None:
        super().__init__()
        self.bert = nn.Module()
        self.bert.embeddings = Embeddings(c)
        self.bert.encoder = nn.Module()
        self.bert.encoder.layer = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.bert.pooler = nn.Module()
        self.bert.pooler.dense = nn.Linear(c["hidden_size"], c["hidden_size"])
        self.classifier = nn.Linear(c["hidden_size"], len(c["id2label"]))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.bert.embeddings(ids)
        for layer in self.bert.encoder.layer:
            x = layer(x, ids != 0)
        return self.classifier(torch.tanh(self.bert.pooler.dense(x[:, 0])))


with open("/in/config.json", encoding="utf-8") as file:
    config = json.load(file)
model = Classifier(config).eval()
model.load_state_dict(load("/in/model.safetensors"), strict=True)
rows = load("/in/data.safetensors")
truth = rows["labels"].long()
with torch.no_grad():
    logits = model(rows["tokens"].long())
loss = nn.functional.cross_entropy(logits.double(), truth, reduction="sum")
with open("/out/metrics.json", "w", encoding="utf-8") as file:
    json.dump({"correct": int((logits.argmax(1) == truth).sum()), "loss": float(loss)}, file)
