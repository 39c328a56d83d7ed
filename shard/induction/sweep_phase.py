"""The phase sweep: parameter sets on one world, a block of them at a time."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.config import THEORY
from ...jobs.induction.levels import PowerlessError
from ...jobs.induction.params import Params
from ...jobs.induction.samples import (
    DRAWN,
    Sample,
    grid_parameters,
    has_devices,
    sample_row,
    sobol_parameters,
    sweep_parameters,
    sweep_sample,
)
from ..phases import Once, Task
from ..tree import extrema, welford
from .build_phase import built_graph
from .index import as_bytes
from .table import map_cells, strata_of
from .worlds import thawed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...jobs.induction.config import Config
    from ...jobs.induction.graph import StateGraph
    from ..context import Context


def parameters_of(config: Config, units: range) -> dict[str, NDArray[Any]]:
    """Return the parameters of some units of a sweep as columns."""
    sweep = config.sweep
    assert sweep is not None
    if sweep.sampler == "legacy":
        return sweep_parameters([sweep.base_seed + unit for unit in units], sweep.prior)
    if sweep.sampler == "sobol":
        return sobol_parameters(units, sweep.base_seed, sweep.prior)
    grid = {name: [float(value) for value in values] for name, values in (config.grid or {}).items()}
    columns = grid_parameters(grid, sweep.base_seed, config.worlds[0].max_steps, sweep.beta_r)
    for name in DRAWN:
        if name not in grid:
            columns[name] = np.full(len(columns["seed"]), float(getattr(config, name)))
    return {name: column[units.start : units.stop] for name, column in columns.items()}


def fixed_theory(config: Config) -> dict[str, Any]:
    """Return the keys of the theory that a sweep does not draw, as the config gives them."""
    drawn = (*DRAWN, "beta_r", "rho_h", "rho_r")
    return {name: getattr(config, name) for name in THEORY if name not in drawn and getattr(config, name) is not None}


def map_values(config: Config, sample: Sample, max_steps: int) -> NDArray[np.float64]:
    """Return the array metrics of a sample in the order of `map_cells`, f8 [cell]; NaN beyond its horizon."""
    shapes = map_cells(config)
    parts = [sample.root_by_horizon[name][-1].ravel() for name in ("Vm", "Ve")]
    for name, table in (("pi_r", sample.root_by_horizon["pi_r"]), ("p_first", sample.first)):
        wide = np.full(shapes[name], np.nan)
        wide[:max_steps] = table
        parts.append(wide.ravel())
    return np.concatenate(parts)


def cell_statistics(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Welford triples of samples [sample, cell] with NaN for none, f8 [3, cell]."""
    known = np.isfinite(values)
    triples = np.zeros((3, values.shape[1]))
    for pattern in np.unique(known, axis=1).T:
        cells = np.flatnonzero((known == pattern[:, None]).all(axis=0))
        triples[:, cells] = welford(values[pattern][:, cells])
    return triples


def first_column(p_first: NDArray[np.float64]) -> int:
    """Return which outcome is the most probable: a column of p_first, or the number of columns for a tie."""
    most = np.flatnonzero(p_first == p_first.max())
    return int(most[0]) if len(most) == 1 else len(p_first)


class SweepWork:
    """Solves parameter sets; one graph in memory serves all of them."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context
        self._config: Config = context.config

    @cached_property
    def _graph(self) -> StateGraph:
        frozen = self._config.worlds[0]
        graph = built_graph(self._context, thawed(frozen), 0, frozen.max_steps, True)
        _ = graph.human_cell, graph.freed
        return graph

    def block(self, units: range) -> Task:
        """Return the task of some parameter sets."""
        return Once(self._solve, units)

    def _solve(self, units: range) -> dict[str, Any]:
        config, world = self._config, thawed(self._config.worlds[0])
        parameters, fixed = parameters_of(config, units), fixed_theory(config)
        strata, rows, maps, seconds, errors = strata_of(config), [], [], [], []
        for k in range(len(units)):
            theory = fixed | {name: float(parameters[name][k]) for name in (*DRAWN, "beta_r")}
            max_steps, started, error = int(parameters["max_steps"][k]), time.process_time(), ""
            try:
                sample = sweep_sample(self._graph, Params(**theory), max_steps)
            except PowerlessError as failure:
                error = str(failure.args[0])
                rows.append(self._failed(max_steps))
                maps.append(np.full(sum(a * b for a, b in map_cells(config).values()), np.nan))
            else:
                rows.append(sample_row(world, self._graph, max_steps, sample))
                maps.append(map_values(config, sample, max_steps))
            seconds.append(time.process_time() - started)
            errors.append(error)
        steps = np.asarray(parameters["max_steps"])
        values, good = np.array(maps), np.array([not error for error in errors])
        counts = np.zeros((len(strata), len(world.humans) + 3), np.int64)
        for row, horizon in zip(np.flatnonzero(good), steps[good], strict=True):
            counts[strata.index(int(horizon)), first_column(rows[row]["p_first"])] += 1
        groups = [values, *(values[steps == horizon] for horizon in strata)]
        texts = [as_bytes(error) for error in errors]
        return {
            "rows/index": np.arange(units.start, units.stop),
            **{f"rows/{name}": parameters[name] for name in parameters},
            "rows/max_steps": steps.astype("i4"),
            **{f"rows/{name}": np.array([row[name] for row in rows]) for name in rows[0]},
            "rows/status": (~good).astype("i1"),
            "rows/error": np.concatenate(texts),
            "rows/error_length": [len(text) for text in texts],
            "counts/first": counts,
            "extrema/maps": np.stack([extrema(group) for group in groups], axis=1),
            "stats": np.stack([cell_statistics(group) for group in groups]),
            "meta/computation_time": seconds,
        }

    def _failed(self, max_steps: int) -> dict[str, Any]:
        """Return the row of a parameter set that has no solution."""
        world, sizes = thawed(self._config.worlds[0]), self._graph.level_sizes[: max_steps + 1]
        humans, robots = len(world.humans), world.n_robot_profiles
        widths = {"pi_r": robots, "Q_r": robots, "X_h": humans, "W_h": humans, "p_first": humans + 2}
        row: dict[str, Any] = dict.fromkeys(("p_left", "V_r", "U_r"), np.nan)
        row |= {name: np.full(width, np.nan) for name, width in widths.items()}
        row |= {"n_states_nonterminal": sum(sizes[:-1]), "n_states": sum(sizes)}
        return row | {"p_disabled": np.full(2, np.nan)} if has_devices(world) else row
