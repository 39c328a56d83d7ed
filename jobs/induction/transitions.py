"""Transitions of a graph's configurations, in memory or in a store, handed out in pieces of consecutive rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .kernel.backward import Rows

SUCC, EXC_PTR, EXC_SUCC, EXC_PROB = "trans/succ", "trans/exc_ptr", "trans/exc_succ", "trans/exc_prob"


class Store(Protocol):
    """Named arrays outside of memory that grow at the end; names are paths such as `level/0003/Vm`.

    An array's dtype and the shape of its rows are those of what is appended first.
    """

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Add rows at the end of an array, which is made if it is not there."""
        ...

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows start to stop - 1 of an array."""
        ...

    def length(self, name: str) -> int:
        """Return the number of rows of an array; 0 if it is not there."""
        ...

    def drop(self, name: str) -> None:
        """Forget an array; nothing happens if it is not there."""
        ...


class Transitions(Protocol):
    """What a graph knows of the transitions of its rows, which are those of depth < T."""

    def pieces(self, start: int, stop: int, size: int) -> Iterator[tuple[int, Rows]]:
        """Yield (first row, transitions) of rows start to stop - 1, at most `size` at a time."""
        ...


class TransitionBlocks:
    """Transitions in memory, one block of rows after the other; each block numbers its exceptions from 0."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, Rows]] = []

    @property
    def n_rows(self) -> int:
        """Number of rows so far."""
        return self.blocks[-1][0] + len(self.blocks[-1][1].succ) if self.blocks else 0

    def append(self, rows: Rows) -> None:
        """Add a block of rows at the end."""
        if len(rows.succ):
            self.blocks.append((self.n_rows, rows))

    def pieces(self, start: int, stop: int, size: int) -> Iterator[tuple[int, Rows]]:
        """Yield (first row, transitions) of rows start to stop - 1, at most `size` at a time."""
        for first, rows in self.blocks:
            for low in range(max(start, first), min(stop, first + len(rows.succ)), size):
                high = min(low + size, stop, first + len(rows.succ))
                yield low, rows._replace(succ=rows.succ[low - first : high - first])


class StoredTransitions:
    """Transitions that are read when they are needed; exceptions are numbered through all rows.

    Args:
        read: (name, start, stop) -> rows start to stop - 1 of `trans/succ`, `trans/exc_ptr`, ...
    """

    def __init__(self, read: Callable[[str, int, int], NDArray[Any]]) -> None:
        self._read = read

    def pieces(self, start: int, stop: int, size: int) -> Iterator[tuple[int, Rows]]:
        """Yield (first row, transitions) of rows start to stop - 1, at most `size` at a time."""
        for low in range(start, stop, size):
            high = min(low + size, stop)
            yield low, self._rows(low, high)

    def _rows(self, low: int, high: int) -> Rows:
        succ = np.ascontiguousarray(self._read(SUCC, low, high), np.int32)
        exceptions = -1 - succ[succ < 0]
        if len(exceptions) == 0:
            return Rows(succ, 0, np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0))
        first, last = int(exceptions[0]), int(exceptions[-1])
        ptr = np.ascontiguousarray(self._read(EXC_PTR, first, last + 2), np.int64)
        outcomes = [self._read(name, int(ptr[0]), int(ptr[-1])) for name in (EXC_SUCC, EXC_PROB)]
        return Rows(
            succ,
            first,
            ptr,
            np.ascontiguousarray(outcomes[0], np.int32),
            np.ascontiguousarray(outcomes[1], np.float64),
        )


class TransitionAppender:
    """Writes blocks of rows to a store one after the other, numbering their exceptions through."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._n_exceptions = 0
        self._n_outcomes = 0
        for name in (SUCC, EXC_PTR, EXC_SUCC, EXC_PROB):
            store.drop(name)
        store.append(EXC_PTR, np.zeros(1, np.int64))

    def append(self, rows: Rows) -> None:
        """Add a block whose exceptions are numbered from `rows.first`."""
        succ = np.where(rows.succ < 0, rows.succ + rows.first - self._n_exceptions, rows.succ).astype(np.int32)
        ptr = rows.exc_ptr - rows.exc_ptr[0] + self._n_outcomes
        self._store.append(SUCC, succ)
        if len(ptr) > 1:
            self._store.append(EXC_PTR, ptr[1:])
            self._store.append(EXC_SUCC, rows.exc_succ)
            self._store.append(EXC_PROB, rows.exc_prob)
        self._n_exceptions += len(ptr) - 1
        self._n_outcomes = int(ptr[-1])
