"""Exact sums of a unit (one config, one block of seeds): what a merge needs, small and additive.

Per category of a pair and position on a time axis the unit keeps (count, sum, sum of squares) of a tracker
metric. All values are quotients with known common denominators, so the sums are integers and their total over
units does not depend on how the work was divided:

    session axis      s = 1..X          S_s, with denominator min(s, window_size); warm and cold: value * L
    normalised axis   g_b = b/n_bins    value * D, D = n_bins * L
    fork axis         -20..+60          value * L, by sessions from the first non-complementary answer

with L = lcm(1..window_size) and S_s the window's sum of distances (or of matches, for a rate).

Position b of the normalised axis exists for a run of L sessions with horizon M iff g_b <= (L-1)/M in float64.
Where (largest value * D)^2 * seeds does not fit 63 bits, and for satisfaction and bond, which are no such quotients,
(count, mean, M2) after Welford (1962) are kept instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .accumulator_kernel import NO_ORIGIN, add_by_welford, add_exactly, add_values_by_welford
from .layout import FORK_OFFSETS, N_CATEGORIES, AxisName, Layout, RowDataset, row_datasets
from .params import Params
from .satisfaction import flat_satisfaction
from .simulation import PairBatch
from .tracker import METRICS, SATISFACTION, Metric
from .trajectories import Trajectories


@dataclass(frozen=True)
class Axis:
    """Positions of a time axis as the kernel reads them: `at`, `part` i8[X], `limit` i8[horizon+1]."""

    name: AxisName
    at: NDArray[np.int64]
    part: NDArray[np.int64]
    steps: int
    limit: NDArray[np.int64]


def session_axis(length: int, horizon: int) -> Axis:
    """Axis of session numbers 1..`length`, for runs of at most `horizon` sessions."""
    zeros = np.zeros(length, np.int64)
    return Axis("session", np.arange(length), zeros, 1, np.minimum(np.arange(horizon + 1), length))


def normalized_axis(n_bins: int, horizon: int) -> Axis:
    """Axis of `n_bins` equal parts of therapy, for runs of at most `horizon` sessions."""
    bins = np.arange(n_bins, dtype=np.int64)
    grid = bins * (1 / n_bins)
    share = (np.arange(horizon + 1) - 1) / horizon
    limit = np.searchsorted(grid, share, side="right").astype(np.int64)
    return Axis("normalized", bins * horizon // n_bins, bins * horizon % n_bins, n_bins, limit)


def fork_axis(horizon: int) -> Axis:
    """Axis of sessions around the first non-complementary answer."""
    zeros = np.zeros(len(FORK_OFFSETS), np.int64)
    limit = np.full(horizon + 1, len(FORK_OFFSETS), np.int64)
    return Axis("fork", FORK_OFFSETS.astype(np.int64), zeros, 1, limit)


def accumulate(
    layout: Layout,
    trajectories: Trajectories,
    category: NDArray[np.uint8],
    fork_session: NDArray[np.uint16],
    params: Params,
) -> dict[str, NDArray[Any]]:
    """Sums of the strategic therapist's runs, per category and position of each time axis.

    Args:
        layout: which sums.
        trajectories: n packed runs.
        category: u1[n], 0..3.
        fork_session: u2[n], first non-complementary session, 0 for never.
        params: the config that the runs were simulated with.

    Returns:
        By dataset name (`rows/<axis>/<metric>/count|sum|sumsq` or, where integers would not fit,
        `rows/float/<axis>/<metric>/count|mean|m2`) arrays [4, positions], as `row_datasets` declares them.

    Raises:
        ValueError: the unit has more seeds than the layout allows for, or a horizon beyond its axis.
    """
    horizon = params.max_sessions
    if len(category) > layout.seeds_per_unit or horizon > layout.axis_length:
        raise ValueError(
            f"a unit of {len(category)} seeds and {horizon} sessions does not fit a layout of "
            f"{layout.seeds_per_unit} seeds and {layout.axis_length} sessions"
        )
    axes = {
        "session": session_axis(layout.axis_length, horizon),
        "normalized": normalized_axis(layout.n_bins, horizon),
        "fork": fork_axis(horizon),
    }
    fork = np.where(fork_session > 0, fork_session.astype(np.int64) - 1, NO_ORIGIN)
    origins = {"session": np.zeros(len(category), np.int64), "fork": fork}
    origins["normalized"] = origins["session"]
    answers = {"enacted": (trajectories.packed, 3)}
    if any(METRICS[name].perspective == "perceived" for name in layout.metrics if name in METRICS):
        answers["perceived"] = (trajectories.flat_perceived(), 0)
    percentiles: dict[str, NDArray[np.float64]] = {}
    if not set(SATISFACTION).isdisjoint(layout.metrics):
        percentiles = dict(zip(SATISFACTION, flat_satisfaction(params, trajectories), strict=True))
    row_start = trajectories.row_start.astype(np.int64)
    sums: dict[str, NDArray[Any]] = {}
    for axis_name, name in layout.curves():
        axis = axes[axis_name]
        shape = (N_CATEGORIES, layout.length(axis_name))
        places = (axis.at, axis.part, axis.steps, axis.limit)
        count = np.zeros(shape, np.int64)
        if name in percentiles:
            mean, m2 = np.zeros(shape), np.zeros(shape)
            add_values_by_welford(percentiles[name], row_start, category, *places, count, mean, m2)
            moments = {"count": count, "mean": mean, "m2": m2}
            sums |= {f"rows/float/{axis_name}/{name}/{part}": array for part, array in moments.items()}
            continue
        metric = METRICS[name]
        octants, shift = answers[metric.perspective]
        member = np.isin(np.arange(8), metric.clients).astype(np.uint8)
        runs = (trajectories.packed, octants, shift, row_start, category, origins[axis_name])
        if layout.exact(axis_name, name):
            over = _multipliers(layout, axis_name, metric)
            total, square = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
            add_exactly(*runs, metric.values, member, layout.window_size, over, *places, count, total, square)
            parts = {"count": count, "sum": total, "sumsq": square}
            sums |= {f"rows/{axis_name}/{name}/{part}": array for part, array in parts.items()}
        else:
            factor = float(metric.factor)
            mean, m2 = np.zeros(shape), np.zeros(shape)
            add_by_welford(*runs, metric.values, member, layout.window_size, factor, *places, count, mean, m2)
            moments = {"count": count, "mean": mean, "m2": m2}
            sums |= {f"rows/float/{axis_name}/{name}/{part}": array for part, array in moments.items()}
    return sums


def _multipliers(layout: Layout, axis: AxisName, metric: Metric) -> NDArray[np.int64]:
    """Return what a numerator is multiplied with, by its denominator 0..window_size."""
    over = np.ones(layout.window_size + 1, np.int64)
    if axis != "session" or not metric.whole_window:
        over[1:] = [layout.common_denominator // number for number in range(1, layout.window_size + 1)]
    return over


def unit_payload(
    batch: PairBatch,
    layout: Layout,
    *,
    config_idx: int,
    trial_number: int,
    trajectories: Sequence[str] = ("v2",),
) -> dict[str, NDArray[Any]]:
    """Everything that is kept of one unit, by dataset name, as `row_datasets` declares it.

    Args:
        batch: the unit's pairs, simulated with trajectories, in ascending order of consecutive seeds.
        layout: the run's layout.
        config_idx: position of the config in the selection.
        trial_number: the config's trial in the search.
        trajectories: which packed trajectories are kept, out of "v2" and "baseline".

    Returns:
        Arrays with a leading axis of one unit; a ragged one is the unit's flat run, beside its
        `<name>_length` i8[1].  Packed trajectories are cut by `row_starts` of the outcome's sessions.

    Raises:
        ValueError: the batch holds no trajectories, or does not fit the layout.
    """
    if batch.v2 is None or batch.baseline is None:
        raise ValueError("unit_payload: the batch holds no trajectories; simulate with trajectories=True")
    horizon = batch.params.max_sessions
    packed = {"v2": batch.v2.packed, "baseline": batch.baseline.packed}
    flags = (
        batch.v2_success.astype(np.uint8)
        | batch.baseline_success.astype(np.uint8) << 1
        | batch.v2_dropout.astype(np.uint8) << 2
        | batch.baseline_dropout.astype(np.uint8) << 3
    )
    units: dict[str, Any] = {
        "rows/units/config_idx": config_idx,
        "rows/units/trial_number": trial_number,
        "rows/units/seed_start": batch.seeds[0],
        "rows/units/n_seeds": len(batch),
        "rows/units/max_sessions": horizon,
        "rows/summary/categories": np.bincount(batch.category, minlength=N_CATEGORIES),
        "rows/summary/dropouts": [batch.v2_dropout.sum(), batch.baseline_dropout.sum()],
        "rows/summary/sessions": [
            batch.v2_sessions.sum(dtype=np.int64),
            batch.baseline_sessions.sum(dtype=np.int64),
        ],
        "rows/summary/never_forked": np.count_nonzero(batch.fork_session == 0),
    }
    runs: dict[str, Any] = {
        "rows/outcome/category": batch.category,
        "rows/outcome/v2_sessions": batch.v2_sessions,
        "rows/outcome/baseline_sessions": batch.baseline_sessions,
        "rows/outcome/fork_session": batch.fork_session,
        "rows/outcome/flags": flags,
        "rows/outcome/v2_final_rs": batch.v2_final_rs,
        "rows/outcome/baseline_final_rs": batch.baseline_final_rs,
        "rows/outcome/v2_final_bond": batch.v2_final_bond,
    }
    runs |= {f"rows/traj/{name}": packed[name] for name in trajectories}
    units |= accumulate(layout, batch.v2, batch.category, batch.fork_session, batch.params)
    return _typed(units, runs, row_datasets(layout, trajectories))


def _typed(
    units: Mapping[str, Any], runs: Mapping[str, Any], declared: Sequence[RowDataset]
) -> dict[str, NDArray[Any]]:
    payload: dict[str, NDArray[Any]] = {}
    for dataset in declared:
        if dataset.ragged:
            payload[dataset.name] = np.ascontiguousarray(runs[dataset.name], dtype=dataset.dtype)
            payload[f"{dataset.name}_length"] = np.array([len(payload[dataset.name])], dtype="<i8")
        else:
            payload[dataset.name] = np.asarray(units[dataset.name], dtype=dataset.dtype).reshape(1, *dataset.shape)
    return payload
