"""The small random model: a Llama of four blocks over bytes, for tests of every path in less than a second."""

from __future__ import annotations

from typing import Any

from .engine import Architecture, LlamaEngine
from .llama import fused
from .runtime import torch_with

ARCHITECTURE = Architecture(
    blocks=4,
    hidden=32,
    heads=4,
    kv_heads=2,
    head_size=8,
    mlp=64,
    vocabulary=259,
    epsilon=1e-6,
    theta=10000.0,
    max_position=2048,
)
SCALE = 0.08


def tiny_weights(torch: Any) -> dict[str, Any]:
    """Return the random weights by their names in transformers; seed 0, drawn in a fixed order."""
    generator = torch.Generator().manual_seed(0)
    a = ARCHITECTURE
    queries, keys = a.heads * a.head_size, a.kv_heads * a.head_size

    def draw(*shape: int) -> Any:
        return SCALE * torch.randn(*shape, generator=generator)

    weights = {"model.embed_tokens.weight": draw(a.vocabulary, a.hidden)}
    for index in range(a.blocks):
        part = f"model.layers.{index}."
        weights |= {
            f"{part}input_layernorm.weight": torch.ones(a.hidden),
            f"{part}self_attn.q_proj.weight": draw(queries, a.hidden),
            f"{part}self_attn.k_proj.weight": draw(keys, a.hidden),
            f"{part}self_attn.v_proj.weight": draw(keys, a.hidden),
            f"{part}self_attn.o_proj.weight": draw(a.hidden, queries),
            f"{part}post_attention_layernorm.weight": torch.ones(a.hidden),
            f"{part}mlp.gate_proj.weight": draw(a.mlp, a.hidden),
            f"{part}mlp.up_proj.weight": draw(a.mlp, a.hidden),
            f"{part}mlp.down_proj.weight": draw(a.hidden, a.mlp),
        }
    weights["model.norm.weight"] = torch.ones(a.hidden)
    weights["lm_head.weight"] = draw(a.vocabulary, a.hidden)
    return weights


def tiny_engine(threads: int = 1) -> LlamaEngine:
    """Return the engine of the small random model."""
    torch = torch_with(threads)
    weights = tiny_weights(torch)
    return LlamaEngine(fused(weights.__getitem__, ARCHITECTURE, tied=False))
