"""The study's result in memory: sums per config and over all configs, ready for statistics and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import FORK_OFFSETS, AxisName, Layout
from .moments import (
    GROUPS,
    Band,
    ExactMoments,
    Moments,
    WelfordMoments,
    empty_welford,
    summed,
    tree_combined,
)
from .tracker import MAIN_METRIC, METRICS

UNITS_AT_ONCE = 32
LARGEST_DISTANCE = 4


@dataclass(frozen=True)
class Aggregate:
    """Outcomes of n configs and their folded trajectories.

    Attributes:
        configs: n mappings with `config_idx`, `trial_number`, `advantage` (as stored by the search), `params`
            and `max_sessions`, in the order of `config_idx`.
        n_seeds: i8[n], seeds that were simulated (0 where all of a config's units are missing).
        categories: i8[n, 4], pairs per category.
        dropouts: i8[n, 2], dropouts of the strategic and the baseline therapist.
        sessions: i8[n, 2], total sessions of the two.
        never_forked: i8[n], pairs in which the strategic therapist stayed complementary.
        moments: by (axis, metric), over all configs.
        config_count: i4[n, 4, X] (i8 where sums could pass 31 bits), values of the main metric per config and session.
        config_sum: the same type and shape, their sums times min(session, window_size).
        layout: bins, window and metrics of the run.
    """

    configs: tuple[Mapping[str, Any], ...]
    n_seeds: NDArray[np.int64]
    categories: NDArray[np.int64]
    dropouts: NDArray[np.int64]
    sessions: NDArray[np.int64]
    never_forked: NDArray[np.int64]
    moments: Mapping[tuple[AxisName, str], Moments]
    config_count: NDArray[np.signedinteger[Any]]
    config_sum: NDArray[np.signedinteger[Any]]
    layout: Layout

    def __len__(self) -> int:
        """Number of configs."""
        return len(self.configs)

    @property
    def used(self) -> NDArray[np.bool_]:
        """bool[n], configs of which at least one seed was simulated."""
        return self.n_seeds > 0

    @property
    def stored_advantage(self) -> NDArray[np.float64]:
        """float64[n], advantage that the search stored."""
        return np.array([config["advantage"] for config in self.configs], dtype=np.float64)

    @property
    def measured_advantage(self) -> NDArray[np.float64]:
        """float64[n], success rate of the strategic therapist minus the baseline's; NaN without seeds."""
        with np.errstate(invalid="ignore"):
            return (self.categories[:, 0] - self.categories[:, 1]) / np.where(self.used, self.n_seeds, np.nan)

    @property
    def max_sessions(self) -> NDArray[np.int64]:
        """i8[n], horizon of every config."""
        return np.array([config["max_sessions"] for config in self.configs], dtype=np.int64)

    @property
    def totals(self) -> NDArray[np.int64]:
        """i8[4], pairs per category over all configs."""
        return self.categories.sum(axis=0)

    @property
    def seeds_per_config(self) -> int:
        """Largest number of seeds that a config was simulated with."""
        return int(self.n_seeds.max(initial=0))

    def band(self, axis: AxisName, group: str, metric: str = MAIN_METRIC) -> Band:
        """Return count, mean and std per position of an axis for a group of `GROUPS`."""
        return self.moments[axis, metric].band(GROUPS[group])

    def positions(self, axis: AxisName) -> NDArray[np.float64]:
        """x of an axis: session numbers from 1, percent of therapy from 0, or sessions around the fork."""
        if axis == "session":
            return np.arange(1.0, self.layout.axis_length + 1)
        if axis == "normalized":
            return 100.0 * np.arange(self.layout.n_bins) / self.layout.n_bins
        return FORK_OFFSETS.astype(np.float64)

    def config_sums(
        self, categories: Sequence[int], configs: NDArray[np.int64], sessions: slice = slice(None)
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return `config_count` and `config_sum` of some configs and sessions over some categories, each i8[k, T]."""
        both = (self.config_count[configs, :, sessions], self.config_sum[configs, :, sessions])
        count, total = (part[:, list(categories)].sum(axis=1, dtype=np.int64) for part in both)
        return count, total

    def config_means(self, categories: Sequence[int], configs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mean of the main metric per session for some categories of some configs, float64[k, X], or NaN."""
        count, total = self.config_sums(categories, configs)
        scale = count * np.array(self.layout.denominators("session", MAIN_METRIC))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count > 0, total / scale, np.nan)

    @classmethod
    def from_rows(
        cls,
        rows: Mapping[str, Any],
        configs: Sequence[Mapping[str, Any]],
        n_bins: int,
        window_size: int,
        metrics: Sequence[str] = (MAIN_METRIC,),
    ) -> Aggregate:
        """Fold the units' rows, in their order.

        Args:
            rows: arrays (or anything that is sliced like one) by dataset name, as `layout.row_datasets`
                declares them, one row a unit; per-seed outcomes and trajectories are not looked at.
            configs: the selected configs, `config_idx` = position.
            n_bins: bins of the normalised axis.
            window_size: sessions in the tracker's window.
            metrics: names of the accumulated metrics.

        Raises:
            KeyError: a dataset is absent.
        """
        n = len(configs)
        at = np.asarray(rows["rows/units/config_idx"][:], dtype=np.int64)
        units = len(at)
        count_name = f"rows/session/{MAIN_METRIC}/count"
        axis_length = rows[count_name].shape[-1]
        largest = int(np.asarray(rows["rows/units/n_seeds"][:]).max(initial=1))
        layout = Layout(n_bins, window_size, axis_length, largest, tuple(metrics))
        n_seeds = _per_config(at, rows["rows/units/n_seeds"][:], (n,))
        bound = LARGEST_DISTANCE * window_size * int(n_seeds.max(initial=0))
        kind = np.int32 if bound <= np.iinfo(np.int32).max else np.int64
        config_count = np.zeros((n, 4, axis_length), kind)
        config_sum = np.zeros((n, 4, axis_length), kind)
        for chunk in _chunks(units):
            np.add.at(config_count, at[chunk], rows[count_name][chunk].astype(kind))
            np.add.at(config_sum, at[chunk], rows[f"rows/session/{MAIN_METRIC}/sum"][chunk].astype(kind))
        return cls(
            configs=tuple(configs),
            n_seeds=n_seeds,
            categories=_per_config(at, rows["rows/summary/categories"][:], (n, 4)),
            dropouts=_per_config(at, rows["rows/summary/dropouts"][:], (n, 2)),
            sessions=_per_config(at, rows["rows/summary/sessions"][:], (n, 2)),
            never_forked=_per_config(at, rows["rows/summary/never_forked"][:], (n,)),
            moments={(axis, name): _folded(rows, units, axis, name, layout) for axis, name in layout.curves()},
            config_count=config_count,
            config_sum=config_sum,
            layout=layout,
        )


def _chunks(units: int) -> Iterator[slice]:
    for first in range(0, units, UNITS_AT_ONCE):
        yield slice(first, min(first + UNITS_AT_ONCE, units))


def _per_config(at: NDArray[np.int64], values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.int64]:
    totals = np.zeros(shape, np.int64)
    np.add.at(totals, at, np.asarray(values, dtype=np.int64))
    return totals


def _folded(rows: Mapping[str, Any], units: int, axis: AxisName, name: str, layout: Layout) -> Moments:
    shape = (4, layout.length(axis))
    if f"rows/{axis}/{name}/sum" in rows:
        parts = {}
        for part in ("count", "sum", "sumsq"):
            data = rows[f"rows/{axis}/{name}/{part}"]
            parts[part] = summed((data[chunk] for chunk in _chunks(units)), shape)
        return ExactMoments(
            parts["count"].astype(np.int64),
            parts["sum"],
            parts["sumsq"],
            tuple(layout.denominators(axis, name)),
            METRICS[name].factor,
        )
    data = [rows[f"rows/float/{axis}/{name}/{part}"] for part in ("count", "mean", "m2")]
    leaves = (
        WelfordMoments(*leaf) for chunk in _chunks(units) for leaf in zip(*(part[chunk] for part in data), strict=True)
    )
    return tree_combined(leaves, empty_welford(shape))
