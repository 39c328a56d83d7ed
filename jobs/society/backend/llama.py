"""Reading Llama-type weights from safetensors into the engine, fused, one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .engine import Architecture, Block, Weights

if TYPE_CHECKING:
    import torch

SUPPORTED = ("llama", "mistral")


def architecture_of(folder: Path) -> Architecture | None:
    """Return the architecture of a model folder, or nothing where the engine cannot run it."""
    values: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return architecture_from(values) if list(folder.glob("*.safetensors")) else None


def architecture_from(values: dict[str, Any]) -> Architecture | None:
    """Return the architecture that a config describes, or nothing where the engine cannot run it."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    plain = (
        values.get("model_type") in SUPPORTED
        and values.get("hidden_act", "silu") == "silu"
        and not values.get("attention_bias")
        and not values.get("mlp_bias")
        and not values.get("sliding_window")
        and not values.get("quantization_config")
        and rope.get("rope_type", rope.get("type", "default")) == "default"
        and rope.get("partial_rotary_factor", 1.0) == 1.0
    )
    if not plain:
        return None
    heads, hidden = values["num_attention_heads"], values["hidden_size"]
    return Architecture(
        blocks=values["num_hidden_layers"],
        hidden=hidden,
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_size=values.get("head_dim") or hidden // heads,
        mlp=values["intermediate_size"],
        vocabulary=values["vocab_size"],
        epsilon=values.get("rms_norm_eps", 1e-6),
        theta=float(rope.get("rope_theta", values.get("rope_theta", 10000.0))),
        max_position=values.get("max_position_embeddings", 2048),
    )


def read_weights(folder: Path, architecture: Architecture, dtype: torch.dtype, device: str) -> Weights:
    """Return the fused weights of a folder of safetensors.

    Raises:
        KeyError: a weight is missing.
    """
    homes = {name: entry for path in sorted(folder.glob("*.safetensors")) for name, entry in directory(path)}

    def tensor(name: str) -> torch.Tensor:
        if name not in homes:
            raise KeyError(f"{folder}: the weight {name} is missing")
        return _tensor(*homes[name]).to(device=device, dtype=dtype)

    tied = "lm_head.weight" not in homes
    return fused(tensor, architecture, tied)


def directory(path: Path) -> list[tuple[str, tuple[Path, dict[str, Any], int]]]:
    """Return the tensors of a safetensors file: name, and where each lies."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return [(name, (path, entry, 8 + size)) for name, entry in header.items() if name != "__metadata__"]


def _tensor(path: Path, entry: dict[str, Any], base: int) -> torch.Tensor:
    """Read one tensor. Reading, unlike mapping, does not keep the whole file in memory beside the fused weights."""
    import torch

    start, end = entry["data_offsets"]
    data = bytearray(end - start)
    with path.open("rb") as file:
        file.seek(base + start)
        if file.readinto(data) != end - start:
            raise ValueError(f"{path}: shorter than its header says")
    dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
    if entry["dtype"] not in dtypes:
        raise ValueError(f"{path}: dtype {entry['dtype']} is not supported")
    return torch.frombuffer(data, dtype=dtypes[entry["dtype"]]).view(entry["shape"])


def fused(tensor: Callable[[str], torch.Tensor], architecture: Architecture, tied: bool) -> Weights:
    """Return the engine's weights from named tensors."""
    import torch

    blocks = []
    for index in range(architecture.blocks):
        part = f"model.layers.{index}."
        qkv = torch.cat([tensor(f"{part}self_attn.{name}_proj.weight") for name in "qkv"])
        gate_up = torch.cat([tensor(f"{part}mlp.{name}_proj.weight") for name in ("gate", "up")])
        blocks.append(
            Block(
                tensor(f"{part}input_layernorm.weight"),
                qkv,
                tensor(f"{part}self_attn.o_proj.weight"),
                tensor(f"{part}post_attention_layernorm.weight"),
                gate_up,
                tensor(f"{part}mlp.down_proj.weight"),
            )
        )
    embedding = tensor("model.embed_tokens.weight")
    head = embedding if tied else tensor("lm_head.weight")
    return Weights(architecture, embedding, blocks, tensor("model.norm.weight"), head)
