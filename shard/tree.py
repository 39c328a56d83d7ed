"""The canonical tree: statistics whose bits do not depend on how the blocks were shared out.

Leaf i is the Welford triple (n, mean, M2) of block i.  Node (level l, index j) combines nodes (l-1, 2j) and
(l-1, 2j+1), left operand first:

    n = nA + nB;  d = meanB - meanA;  w = nB / n;  mean = meanA + d*w;  M2 = (M2A + M2B) + d*d*(nA*w)

(Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance").  A missing node is the identity:
combining with n = 0 returns the other operand bitwise unchanged.  Arrays are float64 `[..., 3, cell]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Triples = NDArray[np.float64]


def cover(lo: int, hi: int) -> list[tuple[int, int]]:
    """Return the maximal aligned nodes (level, index) of blocks [lo, hi), left to right."""
    nodes = []
    while lo < hi:
        level = (lo & -lo).bit_length() - 1 if lo else hi.bit_length()
        while lo + (1 << level) > hi:
            level -= 1
        nodes.append((level, lo >> level))
        lo += 1 << level
    return nodes


def levels(blocks: int) -> int:
    """Return the level of the root over `blocks` leaves."""
    return max(blocks - 1, 0).bit_length()


def combine(left: Triples, right: Triples) -> Triples:
    """Combine two nodes, triples on the second last axis."""
    count_left, mean_left, m2_left = (left[..., k, :] for k in range(3))
    count_right, mean_right, m2_right = (right[..., k, :] for k in range(3))
    count = count_left + count_right
    difference = mean_right - mean_left
    weight = count_right / np.where(count > 0, count, 1.0)
    mean = mean_left + difference * weight
    m2 = (m2_left + m2_right) + difference * difference * (count_left * weight)
    combined = np.stack([count, mean, m2], axis=-2)
    empty_left = (count_left == 0)[..., None, :]
    empty_right = (count_right == 0)[..., None, :]
    return np.where(empty_right, left, np.where(empty_left, right, combined))


class Reducer:
    """Takes nodes from left to right and holds O(log blocks) of them: the binary counter of the tree."""

    def __init__(self) -> None:
        """Start with no node."""
        self._pending: list[tuple[int, int, Triples]] = []
        self.next_block = 0

    def add(self, level: int, index: int, triples: Triples) -> None:
        """Append the node that begins where the last one ended; siblings are combined at once.

        Raises:
            ValueError: the node overlaps what is there or leaves a gap.
        """
        if index << level != self.next_block:
            raise ValueError(
                f"node (level {level}, index {index}) begins at block {index << level}, "
                f"expected block {self.next_block}"
            )
        self.next_block = (index + 1) << level
        while self._pending and index & 1 and self._pending[-1][:2] == (level, index - 1):
            triples = combine(self._pending.pop()[2], triples)
            level, index = level + 1, index >> 1
        self._pending.append((level, index, triples))

    def skip(self, blocks: int) -> None:
        """Leave out blocks that are missing: they are the identity of the tree."""
        self.next_block += blocks

    def nodes(self) -> Iterator[tuple[int, int, Triples]]:
        """Yield the maximal aligned nodes that stand so far, left to right."""
        yield from self._pending

    def root(self, blocks: int) -> Triples | None:
        """Return the root over `blocks` leaves, None when nothing was added."""
        by_node = {(level, index): triples for level, index, triples in self._pending}
        for level in range(levels(blocks)):
            parents = {index >> 1 for found, index in by_node if found == level}
            for parent in parents:
                left = by_node.pop((level, 2 * parent), None)
                right = by_node.pop((level, 2 * parent + 1), None)
                if left is None or right is None:
                    by_node[level + 1, parent] = left if right is None else right  # type: ignore[assignment]
                else:
                    by_node[level + 1, parent] = combine(left, right)
        return by_node.get((levels(blocks), 0))


def combined_extrema(left: Triples, right: Triples) -> Triples:
    """Return the least of [0] and the greatest of [1] of two arrays `[2, ...]`; NaN counts as no value, -0 as 0."""
    return np.stack([np.fmin(left[0], right[0]), np.fmax(left[1], right[1])]) + 0.0


def extrema(values: NDArray[np.float64]) -> Triples:
    """Return `[2, cell]`, the least and the greatest of samples `[sample, cell]`; NaN counts as no value."""
    ends = (np.fmin.reduce(values, axis=0, initial=np.inf), np.fmax.reduce(values, axis=0, initial=-np.inf))
    return np.stack(ends) + 0.0


def welford(values: NDArray[np.float64]) -> Triples:
    """Return the triples of samples `[sample, cell]`, two-pass: mean, then the sum of squared deviations."""
    count = len(values)
    if count == 0:
        return np.zeros((3, values.shape[1]))
    mean = values.sum(axis=0) / count
    deviation = values - mean
    return np.stack([np.full(values.shape[1], float(count)), mean, (deviation * deviation).sum(axis=0)])
