"""What is measured of one fitted value function, a piece at a time: errors against truth, residuals, spot checks, play.

Each check is a generator that yields between its pieces and puts arrays into `found`, by dataset name below `/rows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.derived import deactivation, freed_first
from ...jobs.induction.graph import StateGraph
from ...jobs.induction.neural import (
    Ensemble,
    accumulate,
    errors,
    fresh_states,
    residuals,
    spot_truth,
)
from ...jobs.induction.neural.configurations import root_key
from ...jobs.induction.neural.distance import Bound
from ...jobs.induction.neural.played import played_attainment, played_returns, standard_error
from ...jobs.induction.neural.stepping import ROW_CHUNK, Source, Steps
from ...jobs.induction.neural.tabulation import Tabulation
from ...jobs.induction.neural.value_function import ValueFunction
from ...jobs.induction.samples import has_devices
from ...jobs.induction.solution import Solution
from .neural_table import BINS, MAX_SPOT_STATES, QUANTITIES, SPOT_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...jobs.induction.neural.run_settings import NeuralRun
    from ...jobs.induction.packing import State
    from .exact_tables import ExactTables

Arrays = dict[str, "NDArray[Any]"]
Pieces = Iterator[None]
RANGE_MARGIN = 0.02
POLICIES = "robot"


def tabulated(source: Source, graph: StateGraph, into: list[Solution]) -> Pieces:
    """Tabulate, a level at a time."""
    table = Tabulation(source, graph, POLICIES)
    while table.advance():
        yield
    into.append(table.solution())


def played_goals(fitted: ValueFunction, per_human: int) -> list[tuple[int, int]]:
    """Return pairs (human, goal): for each human some goals within reach from the root, evenly spread."""
    reach = Bound(fitted.world, fitted.params, fitted.max_steps).at(0, root_key(fitted.world))[0] > 0.0
    pairs = []
    for human, is_near in enumerate(reach):
        goals = np.flatnonzero(is_near)
        if len(goals) and per_human:
            places = np.linspace(0, len(goals) - 1, min(per_human, len(goals))).round().astype(int)
            pairs += [(human, int(goal)) for goal in goals[np.unique(places)]]
    return pairs


class Checks:
    """The checks of one fitted value function.

    Args:
        fitted: a training, or an ensemble.
        settings: how much is checked.
        max_states: of a spot check; None: two million.
        exact: the exact answer where there is one.
    """

    def __init__(
        self, fitted: ValueFunction, settings: NeuralRun, max_states: int | None, exact: ExactTables | None
    ) -> None:
        self.fitted, self.settings, self.exact = fitted, settings, exact
        self._max_states = max_states or MAX_SPOT_STATES

    @cached_property
    def _fresh(self) -> list[list[State]]:
        return fresh_states(self.fitted, self.settings.check_rows)

    @property
    def stages(self) -> tuple[Any, ...]:
        """The checks, in order; each takes the mapping that it puts its arrays into."""
        always = (self.residuals, self.spots, self.root, self.returns, self.goals)
        return always if self.exact is None else (self.truth, *always)

    def truth(self, found: Arrays) -> Pieces:
        """Errors of every state of every level; who is freed first; calibration; spread of an ensemble."""
        exact = self.exact
        assert exact is not None
        graph, both = exact.graph, list[Solution]()
        yield from tabulated(exact, graph, both)
        yield from tabulated(self.fitted, graph, both)
        true, table = both
        found |= {f"levels/{name}": column for name, column in errors(table, true, graph).items()}
        found["levels/n_states"] = np.array(graph.level_sizes[:-1], np.int64)
        found["root_by_horizon/first"] = freed_first(graph, table)
        if has_devices(graph.world):
            found["root_by_horizon/disabled"] = deactivation(graph, table)
        yield
        self._calibrate(table, true, graph, found)
        yield
        if isinstance(self.fitted, Ensemble):
            yield from self._spread(self.fitted, table, true, graph, found)

    def _calibrate(self, table: Solution, true: Solution, graph: StateGraph, found: Arrays) -> None:
        bound = Bound(graph.world, table.params, graph.max_steps)
        exact_log = [np.log(-level) for level in true.Vr]
        low, high = min(map(np.min, exact_log)), max(map(np.max, exact_log))
        margin = RANGE_MARGIN * max(high - low, 1e-9)
        ends = (float(low - margin), float(high + margin))
        Ve, log_Vr = np.zeros((BINS, BINS), np.int64), np.zeros((BINS, BINS), np.int64)
        for t in range(graph.max_steps):
            is_possible = bound.at(t, graph.keys[: graph.level_sizes[t], 0]) > 0.0
            Ve += histogram(true.Ve[t][is_possible], table.Ve[t][is_possible], (0.0, 1.0))
            log_Vr += histogram(exact_log[t], np.log(-table.Vr[t]), ends)
        found |= {"calibration/Ve": Ve, "calibration/log_Vr": log_Vr, "calibration/log_Vr_range": np.array(ends)}

    def _spread(self, ensemble: Ensemble, table: Solution, true: Solution, graph: StateGraph, found: Arrays) -> Pieces:
        columns = {
            f"{kind}_{name}": [np.nan] for kind in ("spread_all", "within", "correlation") for name in QUANTITIES
        }
        for t in range(1, graph.max_steps):
            spread = level_spread(ensemble, t, graph.keys[: graph.level_sizes[t], 0])
            error = {
                "Vm": np.abs(table.Vm[t] - true.Vm[t]).mean(axis=(1, 2)),
                "Ve": np.abs(table.Ve[t] - true.Ve[t]).mean(axis=(1, 2)),
                "log_Vr": np.abs(np.log(-table.Vr[t]) - np.log(-true.Vr[t])),
            }
            for name in QUANTITIES:
                columns[f"spread_all_{name}"].append(float(spread[name].mean()))
                columns[f"within_{name}"].append(float((error[name] <= 2.0 * spread[name]).mean()))
                columns[f"correlation_{name}"].append(correlation(error[name], spread[name]))
            yield
        found |= {f"levels/{name}": np.array(column) for name, column in columns.items()}

    def residuals(self, found: Arrays) -> Pieces:
        """Residuals at fresh states of each level, what they add up to, and the spread of an ensemble there."""
        rows: dict[int, dict[str, float]] = {}
        spread: dict[str, list[float]] = {name: [np.nan] for name in QUANTITIES}
        for t in range(1, self.fitted.max_steps):
            rows[t] = residuals(self.fitted, self._fresh[t])
            if isinstance(self.fitted, Ensemble):
                at = self.fitted.spread(self._fresh[t])
                for name in QUANTITIES:
                    spread[name].append(float(at[name].mean()))
            yield
        total = accumulate(rows, self.fitted.params.gamma_h)
        for name in QUANTITIES:
            found[f"levels/residual_{name}"] = np.array([np.nan, *(rows[t][name] for t in sorted(rows))])
            found[f"levels/accumulated_{name}"] = np.concatenate([[np.nan], total[name]])
            if isinstance(self.fitted, Ensemble):
                found[f"levels/spread_{name}"] = np.array(spread[name])

    def spots(self, found: Arrays) -> Pieces:
        """Errors at fresh states against exact solves rooted there."""
        steps: list[int] = []
        parts: dict[str, list[Any]] = {name: [] for name in (*SPOT_COLUMNS, "n_states")}
        for k, n in self.settings.spots(self.fitted.max_steps):
            for state in self._fresh[self.fitted.max_steps - k][:n]:
                row = spot_truth(self.fitted, [state], self._max_states)
                steps.append(k)
                for name, column in parts.items():
                    column.append(row[name][0])
                yield
        found["spot/k"] = np.array(steps, np.int32)
        found["spot/n_states"] = np.array(parts.pop("n_states"), np.int64)
        found |= {f"spot/{name}": np.array(column, np.float64) for name, column in parts.items()}

    def root(self, found: Arrays) -> Pieces:
        """The root for every horizon."""
        found |= {f"root_by_horizon/{name}": array for name, array in self.fitted.root_by_horizon.items()}
        yield

    def returns(self, found: Arrays) -> Pieces:
        """Episodes from the root, beside its fitted value."""
        n, steps = self.settings.check_rollouts, Steps(self.fitted)
        returns, first = played_returns(steps, n, self.fitted.seed)
        found["rollout/V_r"] = np.array([float(steps.expand(0, root_key(steps.world), keeps_pi_h=False).Vr[0])])
        found["rollout/return_mean"] = np.array([float(returns.mean())])
        found["rollout/return_se"] = np.array([standard_error(returns)])
        found["rollout/p_first"] = np.bincount(first, minlength=len(steps.world.humans) + 2)[None] / n
        yield

    def goals(self, found: Arrays) -> Pieces:
        """Values of some goals at the root, beside what the human attains who follows them."""
        n, steps = self.settings.check_rollouts, Steps(self.fitted)
        root = steps.expand(0, root_key(steps.world), keeps_pi_h=False)
        rows: dict[str, list[float]] = {name: [] for name in ("human", "goal", "fitted", "mean", "se")}
        for index, (human, goal) in enumerate(played_goals(self.fitted, self.settings.check_goals), start=1):
            sample = played_attainment(steps, n, self.fitted.seed, index, (human, goal))
            row = (human, goal, float(root.Ve[0, human, goal]), float(sample.mean()), standard_error(sample))
            for column, value in zip(rows.values(), row, strict=True):
                column.append(value)
            yield
        for name, column in rows.items():
            found[f"goals/{name}"] = np.array(column, np.int32 if name in ("human", "goal") else np.float64)


def histogram(exact: NDArray[np.float64], fitted: NDArray[np.float64], ends: tuple[float, float]) -> NDArray[np.int64]:
    """Return counts [BINS exact, BINS fitted] between two ends; what lies beyond counts in the outermost bins."""
    low, high = ends
    place = [
        np.clip(((values - low) / (high - low) * BINS).astype(np.int64), 0, BINS - 1) for values in (exact, fitted)
    ]
    return np.bincount(place[0] * BINS + place[1], minlength=BINS * BINS).reshape(BINS, BINS).astype(np.int64)


def level_spread(ensemble: Ensemble, t: int, keys: NDArray[np.uint64]) -> dict[str, NDArray[np.float64]]:
    """Return the members' standard deviations at configurations, means over humans and goals, f8 [n] each."""
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in QUANTITIES}
    for first in range(0, len(keys), ROW_CHUNK):
        found = [member.key_values(t, keys[first : first + ROW_CHUNK]) for member in ensemble.members]
        for name, k in (("Vm", 0), ("Ve", 1)):
            parts[name].append(np.std([values[k] for values in found], axis=0, ddof=1).mean(axis=(1, 2)))
        parts["log_Vr"].append(np.std([np.log(-values[2]) for values in found], axis=0, ddof=1))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the correlation of two columns; nan where one does not vary."""
    if len(a) < 3 or a.std() < 1e-300 or b.std() < 1e-300:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
