"""The tree of prompt beginnings: keys and values of the system text, of each resident, of each question."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from .engine import Prefix

PREFIX_LEAST = 16
"""Shorter beginnings are not worth a pass of their own."""
TOKENS_KEPT = 6144


class Prefixes:
    """Beginnings that were computed, the least recently used dropped beyond 6144 tokens in all."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._known: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._tokens = 0

    def get(self, ids: tuple[int, ...], parent: Prefix | None = None) -> Prefix:
        """Return a beginning, computed behind its parent where it is not known."""
        known = self._known.get(ids)
        if known is None:
            batch = self._engine.open([parent], len(ids))
            start = len(parent.ids) if parent else 0
            self._engine.forward(batch, [list(ids[start:])], [0])
            known = self._known[ids] = self._engine.prefix_of(batch, 0, ids, parent)
            self._tokens += known.own_tokens
            while self._tokens > TOKENS_KEPT and len(self._known) > 1:
                self._tokens -= self._known.popitem(last=False)[1].own_tokens
        self._known.move_to_end(ids)
        return known

    def clear(self) -> None:
        """Forget them all."""
        self._known.clear()
        self._tokens = 0


def common_prefix(sequences: Iterable[Sequence[int]]) -> int:
    """Return the length of the common beginning of sequences."""
    rows = list(sequences)
    low, high = min(rows, key=list), max(rows, key=list)
    length = 0
    for a, b in zip(low, high, strict=False):
        if a != b:
            break
        length += 1
    return length
