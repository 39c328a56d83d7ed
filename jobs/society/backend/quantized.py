"""Dynamic int8 on a CPU: weights with one scale for each output, activations with one for each row.

Products of integers are summed exactly and a row's scale depends on that row alone, so that results stay independent of
a batch's composition. The down projection stays in float32: quantizing it costs a 135M model most of its fluency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .engine import LlamaEngine

if TYPE_CHECKING:
    import torch

LEVELS = 127.0


class Int8Weight:
    """A weight [outputs, inputs] as int8 with the scale of each output."""

    def __init__(self, weight: torch.Tensor) -> None:
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / LEVELS
        self.scale = scale
        self.values = (weight / scale[:, None]).round().clamp(-LEVELS, LEVELS).char().t().contiguous()

    @property
    def nbytes(self) -> int:
        """Bytes of values and scales."""
        return int(self.values.numel() + 4 * self.scale.numel())

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Return x times the transpose of the weight, f4[rows, outputs]."""
        import torch

        scale = x.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / LEVELS
        values = (x / scale).round().char()
        product: torch.Tensor = torch._int_mm(values, self.values)
        return product.float() * scale * self.scale


def quantize_engine(engine: LlamaEngine) -> None:
    """Replace the weights of an engine on a CPU by int8, block by block.

    Raises:
        ValueError: the engine runs elsewhere, or not in float32.
    """
    if engine.device.type != "cpu" or str(engine.dtype) != "torch.float32":
        raise ValueError(f"use_quantization: int8dyn needs float32 on a CPU; found {engine.dtype} on {engine.device}")
    weights = engine.weights
    for block in weights.blocks:
        block.qkv, block.out, block.gate_up = Int8Weight(block.qkv), Int8Weight(block.out), Int8Weight(block.gate_up)
    weights.head = Int8Weight(weights.head)


def footprint(engine: Any) -> int:
    """Return the bytes of an engine's weights, the embedding counted once."""
    weights = engine.weights
    total = weights.embedding.nbytes + weights.norm.nbytes
    for block in weights.blocks:
        total += sum(part.nbytes for part in vars(block).values())
    return int(total + (0 if weights.head is weights.embedding else weights.head.nbytes))
