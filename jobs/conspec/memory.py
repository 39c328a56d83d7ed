"""Memories of ConSpec: successful and failed episodes as sequences of numbers of distinct observations.

Episodes are stored once; the buffers of successes and failures and the lists that were frozen for a prototype hold
their numbers. A buffer holds at most `capacity` frames: its oldest episodes leave while it has more and more than one
episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .table_kernel import add_all, index_again

Ids = NDArray[np.int64]


class Observations:
    """A table of distinct observations that grows: rows of codes, their hashes, and buckets to find them."""

    def __init__(self, n_cells: int, capacity: int = 1024) -> None:
        self.count = np.zeros(1, np.int64)
        self._allocate(capacity, n_cells)

    def _allocate(self, capacity: int, n_cells: int) -> None:
        self.rows = np.zeros((capacity, n_cells), np.uint8)
        self.hashes = np.zeros(capacity, np.uint64)
        self.buckets = np.full(1 << (2 * capacity).bit_length(), -1, np.int32)  # a power of two, at most half full

    def clear(self) -> None:
        """Forget all rows."""
        self.buckets[:] = -1
        self.count[0] = 0

    def replace(self, rows: NDArray[np.uint8], room: int = 0) -> None:
        """Hold exactly `rows`, which differ from each other, with room for at least `room` more."""
        capacity = len(self.rows)
        while capacity < len(rows) + room:
            capacity *= 2
        if capacity != len(self.rows):
            self._allocate(capacity, rows.shape[1])
        self.rows[: len(rows)] = rows
        self.count[0] = len(rows)
        index_again(self.rows, self.hashes, self.buckets, len(rows))

    def numbers(self, codes: NDArray[np.uint8]) -> Ids:
        """Return the row of each observation, adding the new ones."""
        used = int(self.count[0])
        if used + len(codes) > len(self.rows):
            self.replace(self.rows[:used].copy(), len(codes))
        found = np.empty(len(codes), np.int64)
        add_all(codes, self.rows, self.hashes, self.buckets, self.count, found)
        return found


class Memory:
    """Buffers of successes and failures, and frozen copies of them."""

    def __init__(self, n_cells: int, capacity: int) -> None:
        self.capacity = capacity
        self.observations = Observations(n_cells)
        self.episodes: dict[int, Ids] = {}
        self.successes: list[int] = []
        self.failures: list[int] = []
        self.frozen: dict[int, tuple[list[int], list[int]]] = {}
        self._next = 0

    def insert(self, frames: Ids, success: bool) -> None:
        """Add one episode, given as rows of `observations`."""
        buffer = self.successes if success else self.failures
        self.episodes[self._next] = frames
        buffer.append(self._next)
        self._next += 1
        held = sum(len(self.episodes[number]) for number in buffer)
        while held > self.capacity and len(buffer) > 1:
            held -= len(self.episodes[buffer.pop(0)])

    def freeze(self, prototype: int) -> None:
        """Keep a copy of both buffers for a prototype."""
        self.frozen[prototype] = (list(self.successes), list(self.failures))

    def forget(self) -> None:
        """Drop episodes and observations that no list holds any more; the others keep their order."""
        lists = [self.successes, self.failures, *(part for pair in self.frozen.values() for part in pair)]
        held = sorted({number for part in lists for number in part})
        self.episodes = {number: self.episodes[number] for number in held}
        used = int(self.observations.count[0])
        is_held = np.zeros(used, np.bool_)
        for frames in self.episodes.values():
            is_held[frames] = True
        if is_held.all():
            return
        place = np.cumsum(is_held) - 1
        self.episodes = {number: place[frames] for number, frames in self.episodes.items()}
        self.observations.replace(self.observations.rows[:used][is_held])

    def state(self) -> dict[str, Any]:
        """Return everything as arrays and JSON values."""
        frames = list(self.episodes.values())
        return {
            "memory_observations": self.observations.rows[: int(self.observations.count[0])].copy(),
            "memory_frames": np.concatenate([np.zeros(0, np.int64), *frames]).astype(np.int32),
            "memory_lengths": np.array([len(part) for part in frames], np.int32),
            "memory_numbers": np.array(list(self.episodes), np.int32),
            "memory_lists": {
                "successes": list(self.successes),
                "failures": list(self.failures),
                "frozen": [[prototype, *pair] for prototype, pair in self.frozen.items()],
                "next": self._next,
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state that `state` gave."""
        self.observations.replace(np.array(state["memory_observations"], np.uint8))
        bounds = np.cumsum(state["memory_lengths"])[:-1]
        parts = np.split(np.array(state["memory_frames"], np.int64), bounds) if len(state["memory_lengths"]) else []
        numbers = np.asarray(state["memory_numbers"]).tolist()
        self.episodes = dict(zip(numbers, parts, strict=True))
        lists = state["memory_lists"]
        self.successes, self.failures = list(lists["successes"]), list(lists["failures"])
        self.frozen = {int(p): (list(good), list(bad)) for p, good, bad in lists["frozen"]}
        self._next = int(lists["next"])
