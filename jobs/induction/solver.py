"""Backward induction over a whole graph, a chunk of rows at a time, in memory or with levels in a store."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .graph import StateGraph
from .levels import (
    PowerlessError,
    Tables,
    Values,
    backward,
    empty_values,
    entering_tables,
    model_at,
    model_of,
    terminal_tables,
)
from .params import Params
from .solution import AT_ROOT, KEPT, Solution, StoredLevels, level_name
from .transitions import Store

StorageDtype = Literal["float64", "float32", "float16"]
KeepPolicies = Literal["none", "robot", "all"]
STORAGE_DTYPES = ("float64", "float32", "float16")
DEFAULT_ROW_CHUNK = 65536
ROUNDED = ("Vm", "Ve")


class Solver:
    """A solve that goes on step by step: `advance` computes one chunk of rows, `solution` gives the result at the end.

    Args:
        graph: the state graph.
        params: the theory.
        storage_dtype: dtype to which V^m and V^e are rounded level by level; arithmetic is f8.
        keep_policies: which policies are kept.
        row_chunk: rows per step and kernel call.
        threads: threads per kernel call.
        spill: store for levels and transitions; None keeps them in memory.

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(
        self,
        graph: StateGraph,
        params: Params,
        *,
        storage_dtype: StorageDtype = "float64",
        keep_policies: KeepPolicies = "robot",
        row_chunk: int = DEFAULT_ROW_CHUNK,
        threads: int = 1,
        spill: Store | None = None,
    ) -> None:
        if storage_dtype not in STORAGE_DTYPES:
            raise ValueError(f"storage_dtype is {storage_dtype!r}; allowed are {', '.join(STORAGE_DTYPES)}")
        if keep_policies not in KEPT:
            raise ValueError(f"keep_policies is {keep_policies!r}; allowed are {', '.join(KEPT)}")
        for name, number in (("row_chunk", row_chunk), ("threads", threads)):
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
                raise ValueError(f"{name} is {number!r}; allowed are whole numbers from 1 on")
        self.graph, self.params = graph, params
        self.horizon = graph.max_steps
        if storage_dtype == "float16":
            warnings.warn("float16 storage: values below 6e-8 vanish; expect errors up to 5e-3", stacklevel=3)
        self.dtype = np.dtype(storage_dtype)
        self.keep_policies = keep_policies
        self.row_chunk, self.threads = int(row_chunk), int(threads)
        self.store = spill
        self._model = model_of(graph.world, params)
        self._kept = KEPT[keep_policies]
        self._levels: dict[str, list[NDArray[Any] | None]] = {name: [None] * self.horizon for name in self._kept}
        self._root = {
            name: np.zeros((self.horizon, *array.shape[1:]))
            for name, array in zip(Values._fields, empty_values(self._model, 1, False), strict=True)
            if name in AT_ROOT
        }
        if spill is not None:
            graph.spill(spill)
        self._buffers: list[Tables | None] = [None, None]
        self._rows = empty_values(self._model, 1, "pi_h" in self._kept)
        self._begin(self.horizon)

    def _begin(self, following_level: int, following: Tables | None = None) -> None:
        """Make ready for the level before `following_level`, whose tables are given (or terminal)."""
        graph = self.graph
        self.level = following_level - 1
        if self.level < 0:
            return
        if following is None:
            cells = graph.human_cell[: graph.level_sizes[following_level]]
            following = terminal_tables(cells, graph.attained, self.params)
        self._following = following
        n = graph.level_sizes[self.level]
        self._row = 0
        self._pieces = graph.transitions.pieces(0, n, self.row_chunk)
        self._entering = self._buffer(n) if self.level > 0 else None
        for name in self._kept:
            if self.store is None:
                shape = getattr(self._scratch(1), name).shape[1:]
                self._levels[name][self.level] = np.empty((n, *shape), self._dtype_of(name))

    def _buffer(self, n: int) -> Tables:
        """Two sets of tables take turns: the level below reads the one while it fills the other."""
        tables = self._buffers[self.level % 2]
        if tables is None or len(tables.Vr) < n:
            width = self._model.n_humans * self._model.n_goals
            tables = Tables(np.empty((n, width)), np.empty((n, width)), np.empty(n))
            self._buffers[self.level % 2] = tables
        return Tables(*(table[:n] for table in tables))

    def _scratch(self, n: int) -> Values:
        """Arrays for n rows."""
        if len(self._rows.Vr) < n:
            self._rows = empty_values(self._model, n, "pi_h" in self._kept)
        return Values(*(array[:n] for array in self._rows))

    def _dtype_of(self, name: str) -> np.dtype[Any]:
        return self.dtype if name in ROUNDED else np.dtype(np.float64)

    def _targets(self, first: int, n: int) -> Values:
        """Where the kernel writes n rows: into kept levels in memory where they are f8, else into scratch arrays."""
        targets = self._scratch(n)._asdict()
        for name in self._kept:
            level = self._levels[name][self.level]
            if level is not None and level.dtype == np.float64:
                targets[name] = level[first : first + n]
        return Values(**targets)

    @property
    def is_done(self) -> bool:
        """Whether all levels are computed."""
        return self.level < 0

    def advance(self) -> bool:
        """Compute one chunk of rows; return whether more is to do.

        Raises:
            PowerlessError: a human has no power in a state; the message says which and what helps.
        """
        if self.is_done:
            return False
        graph = self.graph
        first, rows = next(self._pieces)
        if first == 0 and self.store is not None:
            for name in self._kept:  # what an interrupted solve has left of this level
                self.store.drop(level_name(self.level, name))
        n = len(rows.succ)
        cells = graph.human_cell[first : first + n]
        values = self._targets(first, n)
        try:
            backward(
                model_at(self._model, self.horizon - self.level),
                rows,
                self._following,
                cells,
                graph.attained,
                threads=self.threads,
                into=values,
            )
        except PowerlessError as error:
            raise self._powerless(first + error.args[1], error.args[2]) from None
        if first == 0:
            for name, array in self._root.items():
                array[self.horizon - self.level - 1] = getattr(values, name)[0]
        rounded = values._replace(
            Vm=values.Vm.astype(self.dtype, copy=False), Ve=values.Ve.astype(self.dtype, copy=False)
        )
        for name in self._kept:
            self._keep(name, first, getattr(rounded, name))
        if self._entering is not None:
            part = Tables(*(table[first : first + n] for table in self._entering))
            entering_tables(rounded.Vm, rounded.Ve, values.Vr, cells, graph.attained, self.params, part)
        self._row = first + n
        if self._row == graph.level_sizes[self.level]:
            self._begin(self.level, self._entering)
        return not self.is_done

    def reread(self) -> None:
        """Go on with the graph's transitions as they are held now; they may be moved in the middle of a level."""
        if not self.is_done:
            n = self.graph.level_sizes[self.level]
            self._pieces = self.graph.transitions.pieces(self._row, n, self.row_chunk)

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables of two levels in memory."""
        tables = [tables for tables in self._buffers if tables is not None]
        return sum(array.nbytes for two in tables for array in two)

    def _keep(self, name: str, first: int, array: NDArray[Any]) -> None:
        level = self._levels[name][self.level]
        if self.store is not None:
            self.store.append(level_name(self.level, name), array)
        elif level is not None and not np.shares_memory(level, array):
            level[first : first + len(array)] = array

    def _powerless(self, row: int, human: int) -> PowerlessError:
        graph = self.graph
        vector = graph.world.packing.vectors(graph.keys[row : row + 1])[0]
        state = graph.world.packing.state(self.level, vector)
        agent = state[1][graph.world.humans[human]]
        return PowerlessError(
            f"human {human} has power X_h = 0 in state {state}: no goal can be attained from its cell "
            f"({agent[0]},{agent[1]}); add a goal covering that cell, or set power_floor (--power-floor)"
        )

    def solution(self) -> Solution:
        """Return the result.

        Raises:
            ValueError: levels are still to be computed.
        """
        if not self.is_done:
            raise ValueError(f"the solve is not done: {self.level + 1} levels are still to be computed")
        sizes = self.graph.level_sizes[: self.horizon]
        levels: dict[str, Any] = dict(self._levels)
        if self.store is not None:
            levels = {name: StoredLevels(self.store, name, sizes) for name in self._kept}
        return Solution(self.params, self.keep_policies, levels, self.root_by_horizon)

    @property
    def root_by_horizon(self) -> dict[str, NDArray[np.float64]]:
        """Arrays of the root whose item k - 1 is with k steps to go."""
        return self._root

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what `restore` needs to go on behind the last complete level: arrays by name.

        Levels in a store are not among them; the store must still hold them.
        """
        state: dict[str, NDArray[Any]] = {"level": np.array(self.level, np.int64)}
        state |= {f"root/{name}": array for name, array in self._root.items()}
        for name, levels in self._levels.items():
            for t in range(self.level + 1, self.horizon):
                level = levels[t]
                if level is not None:
                    state[level_name(t, name)] = level
        if self.level >= 0 and self.level + 1 < self.horizon:
            state |= {f"following/{name}": array for name, array in self._following._asdict().items()}
        return state

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from a state; the level that had been begun is computed again."""
        level = int(state["level"])
        for name, array in self._root.items():
            array[:] = state[f"root/{name}"]
        for name, levels in self._levels.items():
            for t in range(level + 1, self.horizon):
                if level_name(t, name) in state:
                    levels[t] = np.array(state[level_name(t, name)])
        following = None
        if "following/Vr" in state:
            following = Tables(*(np.array(state[f"following/{name}"]) for name in Tables._fields))
        self._begin(level + 1, following)


def solve(
    graph: StateGraph,
    params: Params,
    *,
    storage_dtype: StorageDtype = "float64",
    keep_policies: KeepPolicies = "robot",
    row_chunk: int = DEFAULT_ROW_CHUNK,
    threads: int = 1,
    spill: Store | None = None,
) -> Solution:
    """Compute both phases for every state of a graph.

    Args:
        graph: the state graph.
        params: the theory.
        storage_dtype: "float64", "float32" or "float16", to which V^m and V^e are rounded; arithmetic is f8.
        keep_policies: "none", "robot" (Q_r, pi_r and the humans' marginals) or "all" (and pi_h for each goal).
        row_chunk: rows per kernel call.
        threads: threads per kernel call. The result's bits do not depend on row_chunk, threads or spill.
        spill: store that takes levels and transitions out of memory; None keeps them.

    Raises:
        PowerlessError: a human has no power in a state and `power_floor` is 0 (a ValueError of one line).
        ValueError: a setting out of range, or goal weights of another length than the world's goals.
    """
    solver = Solver(
        graph,
        params,
        storage_dtype=storage_dtype,
        keep_policies=keep_policies,
        row_chunk=row_chunk,
        threads=threads,
        spill=spill,
    )
    while solver.advance():
        pass
    return solver.solution()
