"""Fitted values as a table: the exact study's class, so that all that reads a solution reads a fitted one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..graph import StateGraph
from ..levels import Tables, Values, empty_values
from ..solution import KEPT, Solution
from .stepping import ROW_CHUNK, Source, Steps
from .value_function import ValueFunction, root_by_horizon


class Tabulation:
    """A table that grows level by level, from the last to the first.

    Args:
        source: fitted values, an ensemble, or any object with world, params, max_steps and values.
        graph: of the same world; its horizon is the fitted one or smaller (values depend on the steps to go only).
        keep_policies: which policies are kept.

    Raises:
        ValueError: the graph is of another world or of a larger horizon, or no such policies.
    """

    def __init__(self, source: Source, graph: StateGraph, keep_policies: str = "all") -> None:
        if keep_policies not in KEPT:
            raise ValueError(f"keep_policies is {keep_policies!r}; allowed are {', '.join(KEPT)}")
        if graph.world.source != source.world.source:
            raise ValueError(f"the graph is of world {graph.world.name!r}, the values of {source.world.name!r}")
        if graph.max_steps > source.max_steps:
            raise ValueError(f"the graph has horizon {graph.max_steps}; values were fitted up to {source.max_steps}")
        self._graph, self._steps, self._keep = graph, Steps(source), keep_policies
        self._levels: dict[str, list[NDArray[np.float64]]] = {name: [] for name in KEPT[keep_policies]}
        self.level = graph.max_steps - 1

    def advance(self) -> bool:
        """Compute a level; return whether more are to do.

        Raises:
            PowerlessError: a human has no power in a state and `power_floor` is 0.
        """
        if self.level < 0:
            return False
        graph = self._graph
        ahead = self._steps.max_steps - graph.max_steps
        values = _level(self._steps, graph, self.level, self.level + ahead, self._keep == "all")
        for name, levels in self._levels.items():
            levels.insert(0, getattr(values, name))
        self.level -= 1
        return self.level >= 0

    def solution(self) -> Solution:
        """Return the finished table."""
        root = {name: array[: self._graph.max_steps] for name, array in root_by_horizon(self._steps).items()}
        return Solution(self._steps.params, self._keep, dict(self._levels), root)


def tabulate(fitted: ValueFunction, graph: StateGraph, *, keep_policies: str = "all") -> Solution:
    """Return `expand` of every state of a graph, with policies, those for each goal included unless told otherwise.

    Args and errors as for `Tabulation`.
    """
    table = Tabulation(fitted, graph, keep_policies)
    while table.advance():
        pass
    return table.solution()


def _level(steps: Steps, graph: StateGraph, t: int, level: int, keeps_pi_h: bool) -> Values:
    keys = graph.keys[:, 0]
    following = _entering(steps, keys[: graph.level_sizes[t + 1]], level + 1)
    values = empty_values(steps.model, graph.level_sizes[t], keeps_pi_h)
    for first, rows in graph.transitions.pieces(0, graph.level_sizes[t], ROW_CHUNK):
        part = slice(first, first + len(rows.succ))
        steps.backward(level, keys[part], rows, following, Values(*(array[part] for array in values)))
    return values


def _entering(steps: Steps, keys: NDArray[np.uint64], level: int) -> Tables:
    parts = [steps.entering(level, keys[first : first + ROW_CHUNK]) for first in range(0, len(keys), ROW_CHUNK)]
    return Tables(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
