"""Ragged octant trajectories of many runs, one byte per session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .octants import COMPLEMENTARITY_DISTANCE

OCTANT_MASK = np.uint8(7)
ENACTED_SHIFT = np.uint8(3)
UNDISTORTED_BIT = np.uint8(64)


def windowed_mean(values: NDArray[np.uint8], window_size: int) -> NDArray[np.float64]:
    """Mean of the last `window_size` values at every position, of fewer at the start; float64[len(values)]."""
    cumulative = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
    position = np.arange(1, len(values) + 1)
    length = np.minimum(position, window_size)
    return (cumulative[position] - cumulative[position - length]) / length


@dataclass(frozen=True)
class Trajectories:
    """Octants of n runs in `packed` (u1[sum of sessions]), run i at `row_start[i]:row_start[i + 1]`.

    Bits 0-2 of a byte are the client's octant, bits 3-5 the enacted one of the therapist, bit 6 tells that the
    client perceived it as enacted. Where bit 6 is 0 the perceived octant is the most frequent one of the last
    15 that were perceived, so it is recomputed from the initial memory, a function of `seeds` and `pattern`.
    """

    packed: NDArray[np.uint8]
    row_start: NDArray[np.uint64]
    seeds: NDArray[np.uint32]
    pattern: str

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.row_start) - 1

    def row(self, i: int) -> NDArray[np.uint8]:
        """Packed bytes of run `i`, u1[sessions].

        Raises:
            IndexError: there is no run `i`.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"run {i} of {len(self)}")
        i %= len(self)
        return self.packed[int(self.row_start[i]) : int(self.row_start[i + 1])]

    def client(self, i: int) -> NDArray[np.uint8]:
        """Client's octants of run `i`, u1[sessions]."""
        return self.row(i) & OCTANT_MASK

    def enacted(self, i: int) -> NDArray[np.uint8]:
        """Octants that the therapist of run `i` enacted, u1[sessions]."""
        return (self.row(i) >> ENACTED_SHIFT) & OCTANT_MASK

    def perceived(self, i: int) -> NDArray[np.uint8]:
        """Octants that the client of run `i` perceived, u1[sessions]."""
        row = self.row(i)
        return Trajectories(
            row, np.array([0, len(row)], np.uint64), self.seeds[i : i + 1 or None], self.pattern
        ).flat_perceived()

    def flat_client(self) -> NDArray[np.uint8]:
        """Client's octants of all runs one after another, u1[sum of sessions]."""
        return self.packed & OCTANT_MASK

    def flat_enacted(self) -> NDArray[np.uint8]:
        """Enacted octants of all runs one after another, u1[sum of sessions]."""
        return (self.packed >> ENACTED_SHIFT) & OCTANT_MASK

    def flat_perceived(self) -> NDArray[np.uint8]:
        """Perceived octants of all runs one after another, u1[sum of sessions]."""
        from .kernel import decode_perceived

        return decode_perceived(self.packed, self.row_start, self.seeds, self.pattern)

    def distance(self, i: int, window_size: int) -> NDArray[np.float64]:
        """Mean complementarity distance of the enacted octants in the tracker's window, float64[sessions]."""
        return windowed_mean(COMPLEMENTARITY_DISTANCE[self.client(i), self.enacted(i)], window_size)
