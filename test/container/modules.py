"""Models of plain PyTorch that load our files strictly and must compute what our functions do."""

import json
import sys

sys.path.insert(0, "/opt/ctd")
import torch
from torch import nn
from torch.nn import functional

import causal_lm
import image_classifier
import sentence_embedding
import tabular
import trainer_tensors


def load(name: str) -> tuple[dict, dict[str, torch.Tensor]]:
    with open(f"/in/{name}.json", encoding="utf-8") as file:
        config = json.load(file)
    # Biases and norms begin at 0 and 1: moved, so that each of them matters.
    weights = trainer_tensors.read_tensors(f"/in/{name}.safetensors")
    generator = torch.Generator().manual_seed(1)
    for tensor in weights.values():
        tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.05)
    return config, weights


def encoder_layer(config: dict, activation, epsilon: float, norm_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(
        config["hidden"],
        config["heads"],
        config["intermediate"],
        dropout=0.0,
        activation=activation,
        layer_norm_eps=epsilon,
        batch_first=True,
        norm_first=norm_first,
    ).eval()


def same(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape, name
    difference = float((ours - theirs).abs().max())
    assert difference < 2e-4, f"{name}: differs by {difference}"


def check_gpt() -> None:
    config, weights = load("gpt-tiny")
    tokens = torch.randint(0, config["vocabulary"], (3, 16))
    gelu = lambda x: functional.gelu(x, approximate="tanh")  # noqa: E731
    x = weights["transformer.wte.weight"][tokens] + weights["transformer.wpe.weight"][:16]
    mask = nn.Transformer.generate_square_subsequent_mask(16)
    for number in range(config["layers"]):
        layer = encoder_layer(config, gelu, 1e-5, True)
        old = f"transformer.h.{number}"
        names = {
            "norm1": "ln_1",
            "norm2": "ln_2",
            "self_attn.out_proj": "attn.c_proj",
            "linear1": "mlp.c_fc",
            "linear2": "mlp.c_proj",
        }
        state = {
            "self_attn.in_proj_weight": weights[f"{old}.attn.c_attn.weight"].T,
            "self_attn.in_proj_bias": weights[f"{old}.attn.c_attn.bias"],
        }
        for new, name in names.items():
            state[f"{new}.weight"] = weights[f"{old}.{name}.weight"].t()
            state[f"{new}.bias"] = weights[f"{old}.{name}.bias"]
        layer.load_state_dict(state)
        x = layer(x, src_mask=mask)
    norm = nn.LayerNorm(config["hidden"], eps=1e-5)
    norm.load_state_dict(
        {part: weights[f"transformer.ln_f.{part}"] for part in ("weight", "bias")}
    )
    same("gpt", causal_lm.predict(config, weights, tokens), norm(x) @ weights["transformer.wte.weight"].T)


def check_bert() -> None:
    config, weights = load("embed-tiny")
    tokens = torch.randint(1, config["vocabulary"], (3, 16))
    tokens[1, 9:] = 0
    at = "embeddings"
    x = weights[f"{at}.word_embeddings.weight"][tokens]
    x = x + weights[f"{at}.position_embeddings.weight"][:16]
    x = x + weights[f"{at}.token_type_embeddings.weight"][0]
    norm = [weights[f"{at}.LayerNorm.{part}"] for part in ("weight", "bias")]
    x = functional.layer_norm(x, (config["hidden"],), *norm, 1e-12)
    for number in range(config["layers"]):
        layer = encoder_layer(config, functional.gelu, 1e-12, False)
        old = f"encoder.layer.{number}"
        names = {
            "norm1": "attention.output.LayerNorm",
            "norm2": "output.LayerNorm",
            "self_attn.out_proj": "attention.output.dense",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
        }
        state = {}
        for part in ("weight", "bias"):
            parts = [weights[f"{old}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            state[f"self_attn.in_proj_{part}"] = torch.cat(parts)
            for new, name in names.items():
                state[f"{new}.{part}"] = weights[f"{old}.{name}.{part}"]
        layer.load_state_dict(state)
        x = layer(x, src_key_padding_mask=tokens == 0)
    means = torch.stack([x[row][tokens[row] != 0].mean(dim=0) for row in range(3)])
    same("bert", sentence_embedding.embed(config, weights, tokens), functional.normalize(means))


class SmallCnn(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        first, second = config["filters"]
        self.conv1 = nn.Conv2d(config["channels"], first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        size = config["height"] // 4 * (config["width"] // 4) * second
        self.dense = nn.Linear(size, config["hidden"])
        self.classifier = nn.Linear(config["hidden"], config["classes"])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = (pixels.float() - 127.5) / 127.5
        for layer in (self.conv1, self.conv2):
            x = functional.max_pool2d(functional.relu(layer(x)), 2)
        return self.classifier(functional.relu(self.dense(x.flatten(1))))


class TabularMlp(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        widths = [config["features"], *[config["hidden"]] * config["layers"]]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.classifier = nn.Linear(config["hidden"], config["classes"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = functional.relu(layer(x))
        return self.classifier(x)


def check_modules() -> None:
    config, weights = load("cnn-small")
    module = SmallCnn(config)
    module.load_state_dict(weights)
    size = (2, config["channels"], config["height"], config["width"])
    pixels = torch.randint(0, 256, size, dtype=torch.uint8)
    same("cnn", image_classifier.classify(config, weights, pixels), module(pixels))
    config, weights = load("mlp")
    module = TabularMlp(config)
    module.load_state_dict(weights)
    features = torch.randn(5, config["features"])
    same("mlp", tabular.classify(config, weights, features), module(features))


torch.manual_seed(1)
torch.set_num_threads(1)
with torch.no_grad():
    check_gpt()
    check_bert()
    check_modules()
with open("/out/checked", "w", encoding="utf-8") as file:
    file.write("4")
