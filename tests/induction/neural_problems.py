"""Problems and sources of values that the tests of fitted values share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from quintet.jobs.induction import Params, Solution, StateGraph, World, build, solve
from quintet.jobs.induction.neural import Fitted, NeuralConfig, fit

from .golden_files import golden, golden_params, golden_world

TINY = NeuralConfig(rows=64, beam=64, steps=6, batch=16, rollouts=10, hidden=(8, 8))
"""A training that costs next to nothing and learns next to nothing."""

TABLES = golden("tables_tiny")["tables"]
COLUMNS = ("Vm", "Ve", "Vr", "Xh", "Qr", "pi_r", "m_h", "pi_h")


def label(case: dict[str, Any]) -> str:
    """Name of a golden case in a test's title."""
    return f"{case['world']['name']}-{case['horizon']}"


def solved(world: World, params: Params, horizon: int) -> tuple[StateGraph, Solution]:
    """The exact answer."""
    graph = build(world, horizon)
    return graph, solve(graph, params, keep_policies="all")


def golden_problem(case: dict[str, Any]) -> tuple[World, Params, int]:
    """World, parameters and horizon of a golden case."""
    world = World.from_dict(case["world"]) if isinstance(case["world"], dict) else golden_world(case["world"])
    return world, golden_params(case), int(case["horizon"])


class ExactValues(Fitted):
    """The exact tables behind `values`."""

    def __init__(self, graph: StateGraph, exact: Solution) -> None:
        super().__init__(graph.world, exact.params, graph.max_steps, TINY, 0, {})
        self.graph, self.exact = graph, exact

    def values(self, states: Sequence[Any]) -> Any:
        t = states[0][0]
        rows = [self.graph.row(state) for state in states]
        return self.exact.Vm[t][rows], self.exact.Ve[t][rows], self.exact.Vr[t][rows]


SMALL = NeuralConfig(rows=256, beam=512, steps=20, batch=64, rollouts=50, hidden=(32, 32))
"""A training that takes half a second."""


def small_fit(horizon: int = 5, seed: int = 0, **arguments: Any) -> Fitted:
    """A training on the freeing world of `SMALL`."""
    return fit(golden_world("asymmetric_freeing_11x6"), Params(), horizon, SMALL, seed=seed, **arguments)


def same_tensors(one: Fitted, other: Fitted) -> bool:
    """Whether two trainings have the same bits."""
    mine, theirs = one.tensors(), other.tensors()
    return mine.keys() == theirs.keys() and all(np.array_equal(array, theirs[name]) for name, array in mine.items())
