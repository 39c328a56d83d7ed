"""Fitted values as a table: the exact study's class, so that all that reads a solution reads a fitted one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..graph import StateGraph
from ..levels import Tables, Values, empty_values
from ..solution import KEPT, Solution
from .stepping import ROW_CHUNK, Source, Steps
from .value_function import ValueFunction, root_by_horizon


def tabulate(fitted: ValueFunction, graph: StateGraph) -> Solution:
    """Return `expand` of every state of a graph, policies for each goal included.

    Args:
        fitted: fitted values, an ensemble, or any object with world, params, max_steps and values.
        graph: of the same world; its horizon is the fitted one or smaller (values depend on the steps to go only).

    Raises:
        ValueError: the graph is of another world or of a larger horizon.
        PowerlessError: a human has no power in a state and `power_floor` is 0.
    """
    source: Source = fitted
    if graph.world.source != source.world.source:
        raise ValueError(f"the graph is of world {graph.world.name!r}, the values of {source.world.name!r}")
    if graph.max_steps > source.max_steps:
        raise ValueError(f"the graph has horizon {graph.max_steps}; values were fitted up to {source.max_steps}")
    steps = Steps(source)
    ahead = source.max_steps - graph.max_steps
    levels: dict[str, list[NDArray[np.float64]]] = {name: [] for name in KEPT["all"]}
    for t in range(graph.max_steps):
        values = _level(steps, graph, t, t + ahead)
        for name in levels:
            levels[name].append(getattr(values, name))
    root = {name: array[: graph.max_steps] for name, array in root_by_horizon(steps).items()}
    return Solution(source.params, "all", dict(levels), root)


def _level(steps: Steps, graph: StateGraph, t: int, level: int) -> Values:
    keys = graph.keys[:, 0]
    following = _entering(steps, keys[: graph.level_sizes[t + 1]], level + 1)
    values = empty_values(steps.model, graph.level_sizes[t], True)
    for first, rows in graph.transitions.pieces(0, graph.level_sizes[t], ROW_CHUNK):
        part = slice(first, first + len(rows.succ))
        steps.backward(level, keys[part], rows, following, Values(*(array[part] for array in values)))
    return values


def _entering(steps: Steps, keys: NDArray[np.uint64], level: int) -> Tables:
    parts = [steps.entering(level, keys[first : first + ROW_CHUNK]) for first in range(0, len(keys), ROW_CHUNK)]
    return Tables(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
