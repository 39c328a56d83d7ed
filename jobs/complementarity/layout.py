"""Layout of a unit's sums: which time axes and metrics, how many positions, which common denominators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .tracker import MAIN_METRIC, METRICS, SATISFACTION

AxisName = Literal["session", "normalized", "fork"]
AXES: tuple[AxisName, ...] = ("session", "normalized", "fork")
N_CATEGORIES = 4
FORK_OFFSETS = np.arange(-20, 61)
"""Positions of the fork axis in sessions; 0 is the first session with a non-complementary answer."""

LARGEST_SUM = 2**63 - 1


@dataclass(frozen=True)
class Layout:
    """Which sums the units of a run hold, and how they are scaled.

    Attributes:
        n_bins: bins of the normalised axis.
        window_size: sessions in the tracker's window.
        axis_length: X, the largest max_sessions of the run's configs.
        seeds_per_unit: largest number of seeds in a unit.
        metrics: names out of `METRICS` and `SATISFACTION`; `distance_enacted` is always among them.
    """

    n_bins: int
    window_size: int
    axis_length: int
    seeds_per_unit: int
    metrics: tuple[str, ...] = (MAIN_METRIC,)

    def __post_init__(self) -> None:
        """Refuse an unknown metric or one named twice, and a layout without the main one."""
        unknown = [name for name in self.metrics if name not in (*METRICS, *SATISFACTION)]
        if unknown:
            raise ValueError(f"metrics: {unknown[0]!r} is none of {', '.join((*METRICS, *SATISFACTION))}")
        if MAIN_METRIC not in self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics: {', '.join(self.metrics)!r} must name {MAIN_METRIC} and nothing twice")

    @property
    def common_denominator(self) -> int:
        """lcm(1..window_size)."""
        return math.lcm(*range(1, self.window_size + 1))

    def curves(self) -> tuple[tuple[AxisName, str], ...]:
        """All (axis, metric) pairs that are accumulated; the fork axis carries the main metric alone."""
        return tuple((axis, name) for axis in AXES for name in self.metrics if axis != "fork" or name == MAIN_METRIC)

    def length(self, axis: AxisName) -> int:
        """Number of positions on an axis."""
        return {"session": self.axis_length, "normalized": self.n_bins, "fork": len(FORK_OFFSETS)}[axis]

    def denominators(self, axis: AxisName, name: str) -> list[int]:
        """Denominator of the integer sums at every position of an axis, before `Metric.factor`."""
        if axis == "session" and METRICS[name].whole_window:
            return [min(session, self.window_size) for session in range(1, self.axis_length + 1)]
        scale = self.common_denominator * (self.n_bins if axis == "normalized" else 1)
        return [scale] * self.length(axis)

    def exact(self, axis: AxisName, name: str) -> bool:
        """Whether values of this curve are quotients whose integer sums are sure to fit 63 bits within a unit."""
        if name in SATISFACTION:
            return False
        if axis == "session" and METRICS[name].whole_window:
            largest = METRICS[name].largest * self.window_size
        else:
            largest = METRICS[name].largest * self.denominators(axis, name)[0]
        return largest**2 * self.seeds_per_unit <= LARGEST_SUM


@dataclass(frozen=True)
class RowDataset:
    """One array of a unit's payload: `shape` without the leading axis of units, or a ragged run."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    ragged: bool = False


_UNIT_ROWS = (
    RowDataset("rows/units/config_idx", "<i4"),
    RowDataset("rows/units/trial_number", "<i4"),
    RowDataset("rows/units/seed_start", "<u4"),
    RowDataset("rows/units/n_seeds", "<u4"),
    RowDataset("rows/units/max_sessions", "<i4"),
    RowDataset("rows/summary/categories", "<i8", (N_CATEGORIES,)),
    RowDataset("rows/summary/dropouts", "<i8", (2,)),
    RowDataset("rows/summary/sessions", "<i8", (2,)),
    RowDataset("rows/summary/never_forked", "<i8"),
)
_OUTCOME_ROWS = (
    RowDataset("rows/outcome/category", "|u1", ragged=True),
    RowDataset("rows/outcome/v2_sessions", "<u2", ragged=True),
    RowDataset("rows/outcome/baseline_sessions", "<u2", ragged=True),
    RowDataset("rows/outcome/fork_session", "<u2", ragged=True),
    RowDataset("rows/outcome/flags", "|u1", ragged=True),
    RowDataset("rows/outcome/v2_final_rs", "<f4", ragged=True),
    RowDataset("rows/outcome/baseline_final_rs", "<f4", ragged=True),
    RowDataset("rows/outcome/v2_final_bond", "<f4", ragged=True),
)


def row_datasets(layout: Layout, trajectories: Sequence[str]) -> tuple[RowDataset, ...]:
    """Every dataset of `unit_payload`, ragged ones without their `<name>_length`.

    Args:
        layout: the run's layout.
        trajectories: which packed trajectories are kept, out of "v2" and "baseline".
    """
    kept = tuple(RowDataset(f"rows/traj/{name}", "|u1", ragged=True) for name in trajectories)
    sums = []
    for axis, name in layout.curves():
        shape = (N_CATEGORIES, layout.length(axis))
        if layout.exact(axis, name):
            sums += [RowDataset(f"rows/{axis}/{name}/{part}", "<i8", shape) for part in ("count", "sum", "sumsq")]
        else:
            sums += [
                RowDataset(f"rows/float/{axis}/{name}/{part}", dtype, shape)
                for part, dtype in (("count", "<i8"), ("mean", "<f8"), ("m2", "<f8"))
            ]
    return _UNIT_ROWS + _OUTCOME_ROWS + kept + tuple(sums)


def row_starts(sessions: NDArray[Any]) -> NDArray[np.uint64]:
    """Offsets u8[n+1] of the runs in a packed trajectory array, from their numbers of sessions [n]."""
    return np.concatenate(([0], np.cumsum(sessions, dtype=np.uint64))).astype(np.uint64)
