"""Exact tables of a finished solve, its own run's or another's, as values that the fitted ones are compared with."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.graph import StateGraph
from .build_phase import built_graph
from .index import text_of, unit_of, unit_rows
from .neural_planning import exact_context, matching
from .worlds import Case, cases

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...jobs.induction.neural.stepping import Levels
    from ..context import Context


class ExactTables:
    """The exact answer to one problem.

    Args:
        context: the phase that asks.
        case: the problem.

    Attributes:
        error: why there is no solution; empty where there is one.
        world, params, max_steps: the problem, as a source of values has them.
    """

    def __init__(self, context: Context, case: Case) -> None:
        if "exact_run" in context.phase.inputs:
            self._context = exact_context(context.inputs["exact_run"])
            number = matching(case, cases(self._context.config))
            assert number is not None, "planning has found it there"
        else:
            self._context, number = context, case.number
        self._case = cases(self._context.config)[number]
        self.world, self.params, self.max_steps = case.world, case.params, case.max_steps
        self._level: tuple[int, Levels] | None = None
        with self._context.result("solve") as file:
            self.error = text_of(file, "rows/error", number)
            self._first = unit_of(file, "rows/root_by_horizon/first", number)

    @property
    def first(self) -> NDArray[np.float64]:
        """Who is freed first from the root, f8 [T, H + 2]."""
        return self._first[:, : len(self.world.humans) + 2]

    @cached_property
    def graph(self) -> StateGraph:
        """The states."""
        return built_graph(self._context, self.world, self._case.world_number, self.max_steps, True)

    @cached_property
    def _order(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        keys = self.graph.keys[:, 0]
        order = np.argsort(keys, kind="stable")
        return keys[order], order

    def _read(self, t: int) -> Levels:
        found: list[Any] = []
        humans, goals = len(self.world.humans), len(self.world.goals)
        own = range(self._case.number, self._case.number + 1)
        for name in ("Vm", "Ve", "Vr"):
            (rows,) = unit_rows(self._context, "solve", f"rows/level/{t:04d}/{name}", own)
            array = rows[:]
            found.append(array if array.ndim == 1 else np.ascontiguousarray(array[:, :humans, :goals]))
        return found[0], found[1], found[2]

    def key_values(self, t: int, keys: NDArray[np.uint64]) -> Levels:
        """Return V^m, V^e f8 [n, H, G] and V_r f8 [n] of configurations that level t < T has."""
        if self._level is None or self._level[0] != t:
            self._level = t, self._read(t)
        ordered, order = self._order
        rows = order[np.searchsorted(ordered, keys)]
        Vm, Ve, Vr = self._level[1]
        return Vm[rows], Ve[rows], Vr[rows]

    def values(self, states: list[Any]) -> Levels:
        """Return the same of states of one t < T."""
        packing = self.world.packing
        keys = np.array([packing.key(packing.vector(state))[0] for state in states], np.uint64)
        return self.key_values(int(states[0][0]), keys)
