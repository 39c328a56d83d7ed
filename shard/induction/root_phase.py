"""The phase root: exact values of the initial state, for as many steps to go as its limit of states allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.graph import build
from ...jobs.induction.levels import PowerlessError
from ...jobs.induction.solution import AT_ROOT
from ...jobs.induction.solver import Solver
from ..attempts import peak_rss_mb
from ..phases import Task
from .build_phase import user_seconds
from .index import as_bytes, one_unit, padded
from .neural_table import root_steps
from .worlds import Case, cases

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..context import Context


class RootWork:
    """Solves problems from the root."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context

    def block(self, units: range) -> Task:
        """Return the task of one problem."""
        return RootTask(self._context, cases(self._context.config)[units.start])


class RootTask:
    """One problem, a chunk of rows at a time; begun afresh when it was stopped, for it takes seconds."""

    def __init__(self, context: Context, case: Case) -> None:
        """Keep the problem."""
        self._context, self._case = context, case
        self._solver: Solver | None = None
        self._error = ""
        self._n_states = 0
        self._seconds = 0.0

    def advance(self) -> bool:
        """Build the graph, or compute one chunk of rows."""
        if self._solver is None:
            build(self._case.world, 1)  # loads the kernels, whose time is not this problem's
            self._seconds = user_seconds()
            graph = build(self._case.world, root_steps(self._context.config, self._case))
            self._n_states = graph.n_states
            self._solver = Solver(graph, self._case.params, keep_policies="none")
            return True
        try:
            more = self._solver.advance()
        except PowerlessError as error:
            self._error, more = str(error.args[0]), False
        if not more:
            self._seconds = user_seconds() - self._seconds
        return more

    def state(self) -> None:
        """Return nothing."""
        return

    def restore(self, state: Mapping[str, Any]) -> None:
        """Refuse: nothing was ever saved."""
        raise ValueError("a root solve has no state")

    def result(self) -> dict[str, Any]:
        """Return the tables of the root; only its reason where the problem failed."""
        assert self._solver is not None
        root = {} if self._error else self._solver.solution().root_by_horizon
        arrays: dict[str, Any] = {"rows/error": as_bytes(self._error)}
        for dataset in self._context.phase.datasets:
            if dataset.name.startswith("rows/root_by_horizon/"):
                name = dataset.name.rsplit("/", 1)[-1]
                is_there = name in AT_ROOT and name in root
                arrays[dataset.name] = padded(root[name], dataset.shape) if is_there else np.empty((0, *dataset.shape))
        return {
            **one_unit(arrays),
            "rows/status": [int(bool(self._error))],
            "rows/n_states": [self._n_states],
            "meta/user_s": [self._seconds],
            "meta/rss_mb": [peak_rss_mb()],
        }
