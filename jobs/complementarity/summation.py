"""Sums in the order in which numpy adds contiguous doubles, and the recency weights that they normalise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .params import MEMORY_SIZE


def pairwise_sum(values: Sequence[float]) -> float:
    """Sum of at most 128 doubles as `numpy.sum` adds them.

    Fewer than eight are added left to right; otherwise eight running sums r_0..r_7 go over blocks of eight, are
    combined as ((r_0 + r_1) + (r_2 + r_3)) + ((r_4 + r_5) + (r_6 + r_7)), and what is left over is added at the end.
    """
    n = len(values)
    if n < 8:
        total = 0.0
        for value in values:
            total += value
        return total
    r = list(values[:8])
    whole = n - n % 8
    for start in range(8, whole, 8):
        for k in range(8):
            r[k] += values[start + k]
    total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
    for value in values[whole:]:
        total += value
    return total


def recency_weights(recency_weighting_factor: float) -> list[float]:
    """Weights of the 50 memories, oldest first: proportional to 1 + (factor - 1) sqrt(i / 49), with sum 1."""
    raw = [1.0 + (recency_weighting_factor - 1.0) * math.sqrt(i / 49) for i in range(MEMORY_SIZE)]
    total = pairwise_sum(raw)
    return [weight / total for weight in raw]
