"""The network of one level: summed embeddings, layers of rectified units, and how its outputs are read.

Torch multiplies the matrices; the embedding sum is compiled here, because few of the table's rows take part.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .features import Features, Seen
from .kernel.sums import embedding_gradients, embedding_sums, scenery_sums

Parameters = list[NDArray[np.float32]]
"""Embedding table f4 [V, h0], then weight [out, in] and bias [out] of each layer."""

BLOCK = 256
"""Configurations that are evaluated together, always so many: a row's bits must not depend on its company."""
LAST_SCALE = 0.3


class DivergedError(ArithmeticError):
    """The loss of a level is no finite number."""


class Standard(NamedTuple):
    """Mean and standard deviation of log(-V_r) over a level's training rows; exact f4 numbers."""

    mu: float
    sigma: float


class LevelNetwork(NamedTuple):
    """What is fitted at one level."""

    parameters: Parameters
    standard: Standard


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread and deterministic algorithms only, as long as the context lasts."""
    threads, is_strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(is_strict)


def machine() -> dict[str, str]:
    """Return what the bits of a training depend on beside its arguments: torch's version and the CPU's capability."""
    return {"torch": torch.__version__, "cpu_capability": torch.backends.cpu.get_cpu_capability()}


def shapes(features: Features, hidden: tuple[int, ...], n_outputs: int) -> list[tuple[int, ...]]:
    """Return the shapes of a network's parameters."""
    widths = [*hidden, n_outputs]
    found: list[tuple[int, ...]] = [(features.n_rows, hidden[0])]
    for inner, outer in itertools.pairwise(widths):
        found += [(outer, inner), (outer,)]
    return found


def fresh(features: Features, hidden: tuple[int, ...], n_outputs: int, generator: np.random.Generator) -> Parameters:
    """Draw the parameters that the first level of the first pass starts from."""
    world = features.world
    spread = features.scale / math.sqrt(world.n_agents + len(world.mobiles))
    table, *layers = shapes(features, hidden, n_outputs)
    drawn = [(generator.standard_normal(table, np.float32) * spread[:, None]).astype(np.float32)]
    for weight, bias in zip(layers[::2], layers[1::2], strict=True):
        limit = 1.0 / math.sqrt(weight[1])
        scale = LAST_SCALE if weight is layers[-2] else 1.0
        drawn += [(scale * generator.uniform(-limit, limit, shape)).astype(np.float32) for shape in (weight, bias)]
    return drawn


class _EmbeddingSum(torch.autograd.Function):
    """Sums of embeddings, with gradients for the table."""

    @staticmethod
    def forward(ctx: Any, weights: torch.Tensor, features: Features, seen: Seen, sums: NDArray[np.float32]) -> Any:
        table = weights.detach().numpy()
        scenery_sums(table, features.scenery_ptr, features.scenery_row, sums)
        out = np.empty((len(seen.used), table.shape[1]), np.float32)
        embedding_sums(table, sums, *seen, out)
        ctx.features, ctx.seen, ctx.sums, ctx.shape = features, seen, sums, table.shape
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        features = ctx.features
        weights = np.empty(ctx.shape, np.float32)
        gradient = gradients[0].contiguous().numpy()
        embedding_gradients(gradient, *ctx.seen, features.scenery_ptr, features.scenery_row, ctx.sums, weights)
        return torch.from_numpy(weights), None, None, None


def empty_sums(features: Features, width: int) -> NDArray[np.float32]:
    """Return scratch rows for the scenery of every place."""
    return np.empty((len(features.scenery_ptr) - 1, width), np.float32)


def layers(hidden: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    """Return the outputs [n, 2 HG + 1] behind summed embeddings [n, h0]; parameters without the table."""
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        hidden = functional.linear(torch.relu(hidden), weight, bias)
    return hidden


def trained_outputs(
    features: Features, parameters: list[torch.Tensor], seen: Seen, sums: NDArray[np.float32]
) -> torch.Tensor:
    """Return the outputs [n, 2 HG + 1] of configurations, with gradients."""
    hidden: Any = _EmbeddingSum.apply(parameters[0], features, seen, sums)  # type: ignore[no-untyped-call]
    return layers(hidden, parameters[1:])


class Evaluator:
    """A network that is asked for many configurations; its scenery is summed once."""

    def __init__(self, features: Features, parameters: Parameters) -> None:
        self._features = features
        self._table = parameters[0]
        self._layers = [torch.from_numpy(array) for array in parameters[1:]]
        self._sums = empty_sums(features, self._table.shape[1])
        scenery_sums(self._table, features.scenery_ptr, features.scenery_row, self._sums)

    def outputs(self, seen: Seen) -> NDArray[np.float32]:
        """Return the outputs f4 [n, 2 HG + 1]; a row's bits do not depend on the others."""
        n = len(seen.used)
        hidden = np.zeros((-(-n // BLOCK) * BLOCK, self._table.shape[1]), np.float32)
        embedding_sums(self._table, self._sums, *seen, hidden[:n])
        found = np.empty((len(hidden), len(self._layers[-1])), np.float32)
        with torch.no_grad(), one_thread():
            for first in range(0, len(hidden), BLOCK):
                block = torch.from_numpy(hidden[first : first + BLOCK])
                found[first : first + BLOCK] = layers(block, self._layers).numpy()
        return found[:n]
