"""Successors of configurations, level by level: new configurations get their numbers, in order of their keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .kernel.backward import Rows
from .kernel.expansion import expand_rows, insert_keys, renumber
from .kernel.stepping import workspace
from .packing import Packing

BLOCK_ROWS = 16384
FIRST_CAPACITY = 1024

Keys = NDArray[np.uint64]


def sort_order(keys: Keys) -> NDArray[np.int64]:
    """Order that sorts keys [n, w] lexicographically, word 0 first."""
    if keys.shape[1] == 1:
        return np.argsort(keys[:, 0], kind="stable")
    return np.lexsort(keys.T[::-1])


class Discovery:
    """Configurations met so far, each with its number; successors are found or get the next numbers.

    Args:
        packing: how the world's configurations are packed.
        known: keys u8 [n, w] of configurations that have the numbers 0 to n - 1.
    """

    def __init__(self, packing: Packing, known: Keys) -> None:
        self._tables = packing.tables
        self._work = workspace(packing.tables)
        self._n_keys = len(known)
        self._keys = np.empty((max(FIRST_CAPACITY, 2 * len(known)), packing.n_words), np.uint64)
        self._keys[: len(known)] = known
        self._rehash()

    @property
    def n_keys(self) -> int:
        """How many configurations have been met."""
        return self._n_keys

    @property
    def keys(self) -> Keys:
        """Keys of all configurations met, u8 [n, w], in order of their numbers."""
        return self._keys[: self._n_keys]

    def _rehash(self) -> None:
        self._slots = np.full(1 << (2 * len(self._keys) - 1).bit_length(), -1, np.int32)
        insert_keys(self._keys, self._n_keys, self._slots)

    def _grow(self) -> None:
        larger = np.empty((max(2 * len(self._keys), self._n_keys + FIRST_CAPACITY), self._keys.shape[1]), np.uint64)
        larger[: self._n_keys] = self._keys[: self._n_keys]
        self._keys = larger
        self._rehash()

    def expand(self, sources: Keys) -> Rows:
        """Return the transitions of configurations with keys u8 [n, w]; successors are entered as they are met."""
        tables = self._tables
        succ = np.empty((len(sources), tables.n_actions**tables.n_agents), np.int32)
        exc_ptr = np.zeros(1 + max(64, len(sources)), np.int64)
        exc_succ = np.empty(max(256, 4 * tables.most_outcomes, 2 * len(sources)), np.int32)
        exc_prob = np.empty(len(exc_succ))
        counts = np.array([self._n_keys, 0, 0], np.int64)
        done = 0
        while True:
            done += expand_rows(
                tables,
                self._work,
                sources[done:],
                self._keys,
                self._slots,
                counts,
                succ[done:],
                exc_ptr,
                exc_succ,
                exc_prob,
            )
            self._n_keys = int(counts[0])
            if done == len(sources):
                break
            if 2 * (self._n_keys + tables.most_outcomes) > min(2 * len(self._keys), len(self._slots)):
                self._grow()
                continue
            exc_ptr = np.concatenate([exc_ptr, np.zeros(len(exc_ptr), np.int64)])
            exc_succ = np.concatenate([exc_succ, np.empty(len(exc_succ), np.int32)])
            exc_prob = np.concatenate([exc_prob, np.empty(len(exc_prob))])
        n_exceptions, n_outcomes = int(counts[1]), int(counts[2])
        return Rows(
            succ,
            0,
            exc_ptr[: n_exceptions + 1].copy(),
            exc_succ[:n_outcomes].copy(),
            exc_prob[:n_outcomes].copy(),
        )

    def sort_from(self, first: int) -> NDArray[np.int32]:
        """Renumber the configurations from `first` on in order of their keys; return rank i4 of the old numbers."""
        new = self._keys[first : self._n_keys]
        order = sort_order(new)
        self._keys[first : self._n_keys] = new[order]
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        renumber(self._slots, first, rank)
        return rank


def renumber_rows(rows: Rows, first: int, rank: NDArray[np.int32]) -> None:
    """Apply `Discovery.sort_from` to transitions, in place."""
    renumber(rows.succ.reshape(-1), first, rank)
    renumber(rows.exc_succ, first, rank)


@dataclass(frozen=True)
class Expansion:
    """Transitions of some configurations on their own.

    Attributes:
        keys: the different successors, sorted, u8 [m, w].
        rows: transitions into places of `keys`.
    """

    keys: Keys
    rows: Rows


def expand(packing: Packing, sources: Keys) -> Expansion:
    """Return all successors of configurations with keys u8 [n, w] under all profiles.

    Nothing else of the graph is looked at: a task can expand its part of a level, and others can join the parts.
    """
    discovery = Discovery(packing, np.empty((0, packing.n_words), np.uint64))
    rows = discovery.expand(np.ascontiguousarray(sources, np.uint64))
    renumber_rows(rows, 0, discovery.sort_from(0))
    return Expansion(discovery.keys.copy(), rows)


def resolve(rows: Rows, numbers: NDArray[np.int32]) -> Rows:
    """Return transitions whose successors are numbers[place] instead of places, i4 [m]."""
    succ = rows.succ
    if len(numbers):
        succ = np.where(succ < 0, succ, numbers[np.maximum(succ, 0)]).astype(np.int32)
    return rows._replace(succ=succ, exc_succ=numbers[rows.exc_succ].astype(np.int32))
