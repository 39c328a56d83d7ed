"""The result of a study in memory: outcomes by condition and replicate, and their Welford moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...jobs.society.comparison import Interval, t_interval
from ...jobs.society.conditions import Condition, conditions
from ...jobs.society.measures import METRICS
from ...jobs.society.outcomes import OUTCOMES
from ...jobs.society.summaries import BAND_METRICS, BANDS
from ...shard import tree

if TYPE_CHECKING:
    from ...jobs.society.config import RunConfig

Values = NDArray[np.float64]


def moments(values: Values) -> Values:
    """Return f8[..., 3], the Welford triples (n, mean, M2) over replicates, the first axis, along the canonical tree.

    NaN counts for nothing.
    """
    replicates, shape = len(values), values.shape[1:]
    flat = values.reshape(replicates, -1)
    there = np.isfinite(flat)
    reducer = tree.Reducer()
    for replicate in range(replicates):
        n = there[replicate].astype(float)
        leaf = np.stack([n, np.where(there[replicate], flat[replicate], 0.0), np.zeros_like(n)])
        reducer.add(0, replicate, leaf)
    root = reducer.root(replicates)
    assert root is not None
    return np.moveaxis(root, 0, -1).reshape(*shape, 3)


@dataclass(frozen=True)
class Result:
    """What simulate gave; what is missing, failed or undefined is NaN (or 0 actions).

    Attributes:
        config: of the study.
        known: its conditions, in order.
        values: f8[replicates, conditions, outcomes].
        ticks: f8[replicates, conditions, ticks, metrics], short runs filled up with NaN.
        bands: f8[replicates, conditions, bands, metrics], means over ticks.
        counts: i8[replicates, conditions, kinds, 2], actions by kind and outcome.
        status: i8[replicates, conditions]; -1 missing, 0 whole, 1 failed.
        reasons: why units failed, by unit number.
        timing: f8[units present, costs].
        coefficients: f4[residents, 5] and their coefficients, of the first unit of a steered condition.
        coefficient_of: that condition's id.
    """

    config: RunConfig
    known: list[Condition]
    values: Values
    ticks: Values
    bands: Values
    counts: NDArray[np.int64]
    status: NDArray[np.int64]
    reasons: dict[int, str]
    timing: Values
    coefficients: NDArray[np.float32]
    coefficient_of: str

    @cached_property
    def outcome_moments(self) -> Values:
        """f8[conditions, outcomes, 3]."""
        return moments(self.values)

    @cached_property
    def tick_moments(self) -> Values:
        """f8[conditions, ticks, metrics, 3]."""
        return moments(self.ticks)

    @cached_property
    def band_moments(self) -> Values:
        """f8[conditions, bands, metrics, 3]."""
        return moments(self.bands)

    def column(self, outcome: str) -> Values:
        """Return f8[replicates, conditions] of an outcome."""
        return self.values[:, :, OUTCOMES.index(outcome)]

    def interval(self, condition: int, outcome: str) -> Interval:
        """Return the interval of an outcome in a condition."""
        return t_interval(*self.outcome_moments[condition, OUTCOMES.index(outcome)])

    def where(self, chosen: Callable[[Condition], bool]) -> list[int]:
        """Return the indices of conditions."""
        return [index for index, one in enumerate(self.known) if chosen(one)]

    def index(self, condition_id: str) -> int | None:
        """Return the index of a condition; None where there is none of that id."""
        return next((index for index, one in enumerate(self.known) if one.id == condition_id), None)

    def series(self, trait: str, arm: str, override: str = "") -> list[int]:
        """Return the conditions of a trait and arm in rising order of their doses."""
        found = self.where(lambda one: (one.trait, one.arm, one.override) == (trait, arm, override))
        return sorted(found, key=lambda index: self.known[index].dose or 0.0)

    @cached_property
    def dosed_arms(self) -> list[tuple[str, str]]:
        """Arms that have doses, with their overrides, in order."""
        return list(dict.fromkeys((one.arm, one.override) for one in self.known if one.dose is not None))

    @cached_property
    def dosed_traits(self) -> list[str]:
        """Traits that have doses, in order."""
        return list(dict.fromkeys(one.trait for one in self.known if one.dose is not None))

    @property
    def units(self) -> int:
        """How many units the study has."""
        return self.status.size

    @property
    def present(self) -> int:
        """How many of them are there and whole."""
        return int((self.status == 0).sum())

    @cached_property
    def blank(self) -> bool:
        """Whether nothing is there."""
        return self.present == 0


def ragged(file: Any, name: str, row: int) -> NDArray[Any]:
    """Return the rows of one unit of a ragged dataset; `row` counts the units that are present."""
    begin, end = file[f"{name}_offsets"][row : row + 2].tolist()
    return np.asarray(file[name][begin:end])


def result_from(file: Any, config: RunConfig) -> Result:
    """Read the result of simulate from the payload of `merged/simulate.h5`, or of one that is being made."""
    known = conditions(config)
    shape = (config.study.replicates, len(known))
    condition, replicate = file["rows/units/condition"][()], file["rows/units/replicate"][()]
    lengths = np.diff(file["rows/ticks/metrics_offsets"][()])
    longest = int(lengths.max()) if len(lengths) else 0
    values = np.full((*shape, len(OUTCOMES)), np.nan)
    ticks = np.full((*shape, longest, len(METRICS)), np.nan)
    bands = np.full((*shape, len(BANDS), len(BAND_METRICS)), np.nan)
    counts = np.zeros((*shape, *file["rows/action_counts"].shape[1:]), np.int64)
    status = np.full(shape, -1, np.int64)
    codes, scalars, tables = (file[f"rows/{name}"][()] for name in ("units/status", "scalars", "action_counts"))
    metrics, every_band = file["rows/ticks/metrics"][()], file["rows/bands"][()]
    tick_at, band_at = (file[f"rows/{name}_offsets"][()].tolist() for name in ("ticks/metrics", "bands"))
    reasons = {}
    for row, place in enumerate(zip(replicate.tolist(), condition.tolist(), strict=True)):
        status[place] = codes[row]
        if codes[row]:
            reasons[place[0] * len(known) + place[1]] = ragged(file, "rows/units/reason", row).tobytes().decode()
            continue
        values[place], counts[place] = scalars[row], tables[row]
        ticks[place][: lengths[row]] = metrics[tick_at[row] : tick_at[row + 1]]
        bands[place] = mean_over_ticks(every_band[band_at[row] : band_at[row + 1]])
    shown = next((row for row, index in enumerate(condition.tolist()) if known[index].arm != "disabled"), None)
    shown = 0 if shown is None and len(condition) else shown
    coefficients = np.zeros((0, 5), np.float32)
    if shown is not None:
        coefficients = ragged(file, "rows/residents/coef", shown)
    return Result(
        config,
        known,
        values,
        ticks,
        bands,
        counts,
        status,
        reasons,
        np.asarray(file["meta/timing"][()]) if "meta/timing" in file else np.zeros((0, 0)),
        coefficients,
        known[int(condition[shown])].id if shown is not None else "",
    )


def mean_over_ticks(series: Values) -> Values:
    """Return f8[bands, metrics], the mean over the ticks where a number is defined; NaN where it never is."""
    there = np.isfinite(series)
    n = there.sum(axis=0)
    total = np.where(there, series, 0.0).sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
