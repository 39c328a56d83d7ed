"""Welford statistics of many partials, combined along the canonical tree in stacks of nodes.

`shard.tree.Reducer` combines two nodes at a time.  Here the nodes of some hundred neighbouring partials are stacked
and all pairs of one level are combined by one call.  The pairs are those of the tree, and elementwise float64
operations do not depend on how arrays are stacked, so that the root has the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..shard import tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..shard.phases import Stats

    Triples = NDArray[np.float64]
    Indices = NDArray[np.int64]

NODES_PER_STACK = 256
STACK_BYTES = 16 << 20


def combined(left: Triples, right: Triples) -> Triples:
    """Combine two stacks of nodes, with the bits of `shard.tree.combine`, in one array of scratch.

    Where no operand is empty the selection of the identity is left out; that is most of its cost.
    """
    if not (left[..., 0, :].all() and right[..., 0, :].all()):
        return tree.combine(left, right)
    result = np.empty_like(left)
    count, mean, m2 = (result[..., k, :] for k in range(3))
    np.add(left[..., 0, :], right[..., 0, :], out=count)
    difference = right[..., 1, :] - left[..., 1, :]
    weight = right[..., 0, :] / count
    np.multiply(difference, weight, out=mean)
    np.add(left[..., 1, :], mean, out=mean)
    np.multiply(difference, difference, out=difference)
    np.multiply(left[..., 0, :], weight, out=weight)
    np.multiply(difference, weight, out=difference)
    np.add(left[..., 2, :], right[..., 2, :], out=m2)
    np.add(m2, difference, out=m2)
    return result


def ascending_nodes(levels: Indices, indices: Indices, stack: Triples) -> Iterator[tuple[int, int, Triples]]:
    """Combine all pairs of siblings, level by level, and yield what is left, from left to right.

    Args:
        levels: level of each node, int64 `[node]`.
        indices: index of each node, int64 `[node]`, nodes side by side from left to right.
        stack: the triples, float64 `[node, metric, 3, cell]`.
    """
    left_over: list[tuple[int, int, Triples]] = []
    carried_indices, carried = indices[:0], stack[:0]
    level, top = int(levels.min()), int(levels.max())
    while level <= top or len(carried_indices):
        here = np.flatnonzero(levels == level)
        at, nodes = carried_indices, carried
        if len(here) == len(stack):
            at, nodes = indices, stack
        elif len(here):
            at = np.concatenate([carried_indices, indices[here]])
            order = np.argsort(at)
            at, nodes = at[order], np.concatenate([carried, stack[here]])[order]
        first = np.flatnonzero((at[:-1] % 2 == 0) & (at[1:] == at[:-1] + 1))
        alone = np.ones(len(at), dtype=bool)
        alone[first] = alone[first + 1] = False
        left_over += [(level, int(at[k]), nodes[k].copy()) for k in np.flatnonzero(alone)]
        carried_indices = at[first] >> 1
        if len(first) and first[-1] - first[0] == 2 * (len(first) - 1):
            begin, end = first[0], first[-1] + 2
            carried = combined(nodes[begin:end:2], nodes[begin + 1 : end : 2])
        else:
            carried = combined(nodes[first], nodes[first + 1]) if len(first) else stack[:0]
        level += 1
    yield from sorted(left_over, key=lambda node: node[1] << node[0])


class Moments:
    """Takes the nodes of partials from left to right; holds one stack and O(log blocks) pending nodes."""

    def __init__(self, stats: Stats, first_block: int = 0) -> None:
        """Make room for one stack of nodes of `metrics x 3 x cells`; the first partial begins at `first_block`."""
        self.shape = (len(stats.metrics), 3, stats.cells)
        self.node_bytes = 8 * len(stats.metrics) * 3 * stats.cells
        size = max(2, min(NODES_PER_STACK, STACK_BYTES // max(self.node_bytes, 1)))
        self._stack = np.empty((size, *self.shape))
        self._levels = np.empty(size, dtype=np.int64)
        self._indices = np.empty(size, dtype=np.int64)
        self._filled = 0
        self._tree = tree.Reducer()
        self._tree.next_block = self.next_block = first_block

    def take(self, lo: int, hi: int, triples: Triples) -> None:
        """Append the maximal aligned nodes of blocks [lo, hi), float64 `[node, metric, 3, cell]`.

        Raises:
            ValueError: the blocks do not begin where the last ones ended, the number of nodes is another than blocks
                [lo, hi) have, or a count or M2 is negative or NaN.
        """
        if lo != self.next_block:
            raise ValueError(f"blocks {lo}:{hi} do not begin at block {self.next_block}")
        cover = tree.cover(lo, hi)
        if triples.shape != (len(cover), *self.shape):
            raise ValueError(f"/stats has shape {triples.shape}, blocks {lo}:{hi} have {(len(cover), *self.shape)}")
        self.next_block = hi
        for (level, index), node in zip(cover, triples, strict=True):
            self._levels[self._filled] = level
            self._indices[self._filled] = index
            self._stack[self._filled] = node
            self._filled += 1
            if self._filled == len(self._stack):
                self._combine()

    def skip(self, lo: int, hi: int) -> None:
        """Stand for blocks that are missing: the identity of the tree."""
        self.take(lo, hi, np.zeros((len(tree.cover(lo, hi)), *self.shape)))

    def nodes(self) -> list[tuple[int, int, Triples]]:
        """Return the maximal aligned nodes of what was taken, each (level, index, float64 `[metric, 3, cell]`)."""
        self._combine()
        return list(self._tree.nodes())

    def root(self, blocks: int) -> Triples:
        """Return the root over `blocks` leaves, float64 `[metric, 3, cell]`.

        Raises:
            ValueError: the nodes do not reach up to `blocks`.
        """
        self._combine()
        if self.next_block != blocks:
            raise ValueError(f"the nodes cover blocks 0:{self.next_block}, the phase has {blocks}")
        root = self._tree.root(blocks)
        return np.zeros(self.shape) if root is None else root

    def _combine(self) -> None:
        """Empty the stack into the tree."""
        if not self._filled:
            return
        stack = self._stack[: self._filled]
        count, m2 = stack[:, :, 0], stack[:, :, 2]
        if not ((count >= 0).all() and ((m2 >= 0) | (count == 0)).all()):
            raise ValueError(f"a count or M2 before block {self.next_block} is negative or NaN")
        for level, index, node in ascending_nodes(self._levels[: self._filled], self._indices[: self._filled], stack):
            self._tree.add(level, index, node)
        self._filled = 0
