"""Count, mean and standard deviation of folded sums: exact for integers, by Chan's formula elsewhere.

Integer sums with denominator d (population standard deviation), in exact arithmetic and rounded once:

    mean = sum / (n d),    std = sqrt((n sumsq - sum^2) / (n d)^2)

Welford leaves combine along the canonical tree over units (Chan, Golub and LeVeque, 1983):

    n = a + b,  delta = m_b - m_a,  m = m_a + delta b/n,  M2 = M2_a + M2_b + delta^2 a b/n
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

GROUPS: dict[str, tuple[int, ...]] = {
    "v2_adv": (0,),
    "baseline_adv": (1,),
    "remaining": (2, 3),
    "both_success": (2,),
    "both_fail": (3,),
}
"""Groups of categories by the name they have in the result files."""

HALF = 32


@dataclass(frozen=True)
class Band:
    """Count, mean and population standard deviation per position, cut after the last position with a value.

    `count` i8[T]; `mean`, `std` float64[T], NaN at inner positions without a value.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @property
    def sem(self) -> NDArray[np.float64]:
        """Standard error of the mean over simulations, std / sqrt(count); NaN without a value."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.std / np.sqrt(self.count)

    def __len__(self) -> int:
        """Number of positions."""
        return len(self.count)


@dataclass(frozen=True)
class ExactMoments:
    """Integer sums over all units; `count` i8[4, X], `total` and `square` Python integers [4, X].

    `denominators` holds one integer per position; `factor` scales the mean to the metric's unit.
    """

    count: NDArray[np.int64]
    total: NDArray[np.object_]
    square: NDArray[np.object_]
    denominators: tuple[int, ...]
    factor: int = 1

    def band(self, categories: Sequence[int]) -> Band:
        """Return the moments of some categories together."""
        chosen = list(categories)
        count = self.count[chosen].sum(axis=0)
        length = _trimmed(count)
        mean, std = np.full(length, np.nan), np.full(length, np.nan)
        total, square = self.total[chosen].sum(axis=0), self.square[chosen].sum(axis=0)
        for x in range(length):
            n, s, q = int(count[x]), int(total[x]), int(square[x])
            if n:
                scale = n * self.denominators[x]
                mean[x] = self.factor * s / scale
                std[x] = math.sqrt(self.factor**2 * (n * q - s * s) / scale**2)
        return Band(count[:length], mean, std)


@dataclass(frozen=True)
class WelfordMoments:
    """Welford's triple over all units, each [4, X]: `count` i8, `mean` and `m2` float64."""

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    def combined(self, other: WelfordMoments) -> WelfordMoments:
        """Return the moments of both, `self` first; an empty cell leaves the other's bits unchanged."""
        n = self.count + other.count
        delta = other.mean - self.mean
        share = other.count / np.maximum(n, 1)
        mean = self.mean + delta * share
        m2 = self.m2 + other.m2 + delta * delta * (self.count * share)
        left, right = other.count == 0, self.count == 0
        return WelfordMoments(
            n,
            np.where(left, self.mean, np.where(right, other.mean, mean)),
            np.where(left, self.m2, np.where(right, other.m2, m2)),
        )

    def band(self, categories: Sequence[int]) -> Band:
        """Return the moments of some categories together."""
        rows = [WelfordMoments(self.count[k], self.mean[k], self.m2[k]) for k in categories]
        joined = reduce(WelfordMoments.combined, rows)
        length = _trimmed(joined.count)
        count = joined.count[:length]
        empty = count == 0
        mean = np.where(empty, np.nan, joined.mean[:length])
        std = np.where(empty, np.nan, np.sqrt(joined.m2[:length] / np.maximum(count, 1)))
        return Band(count, mean, std)


Moments = ExactMoments | WelfordMoments


def _trimmed(count: NDArray[np.int64]) -> int:
    present = np.flatnonzero(count)
    return int(present[-1]) + 1 if len(present) else 0


def summed(chunks: Iterable[NDArray[np.int64]], shape: tuple[int, ...]) -> NDArray[np.object_]:
    """Sum non-negative i8 arrays over their leading axis and over all chunks, as Python integers of `shape`.

    The two halves of each number are summed apart, so no partial sum passes 63 bits.
    """
    high, low = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for chunk in chunks:
        high += (chunk >> HALF).sum(axis=0)
        low += (chunk & (2**HALF - 1)).sum(axis=0)
    return high.astype(object) * 2**HALF + low.astype(object)


def tree_combined(leaves: Iterable[WelfordMoments], empty: WelfordMoments) -> WelfordMoments:
    """Combine leaves along the canonical binary tree: node j of a level joins nodes 2j and 2j+1 below."""
    pending: list[tuple[int, WelfordMoments]] = []
    for leaf in leaves:
        level, node = 0, leaf
        while pending and pending[-1][0] == level:
            node = pending.pop()[1].combined(node)
            level += 1
        pending.append((level, node))
    root = empty
    for _, node in reversed(pending):
        root = node.combined(root)
    return root


def empty_welford(shape: tuple[int, ...]) -> WelfordMoments:
    """Return moments of no values at all, of one shape."""
    return WelfordMoments(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))
