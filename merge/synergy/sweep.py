"""A sweep in memory: its units' results, what was planned, and the statistics of its conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ...jobs.synergy.comparisons import comparisons, learned_intervals
from ...jobs.synergy.conditions import condition_key
from ...jobs.synergy.prior import synergy_prior
from ...jobs.synergy.statistics import moments
from ...jobs.synergy.summary import aggregate
from ...shard.errors import Exit, QuintetError
from ...shard.synergy.rows import main_metrics, names_of, results_of

if TYPE_CHECKING:
    from ...jobs.synergy.config import Config
    from ...jobs.synergy.result import UnitResult
    from ...shard.context import Context

MAIN_FIGURE_METRICS = (
    "best_val_loss",
    "predictability/synergy_acc",
    "predictability/synergy_norm_ce",
    "val_loss_unscaled",
    "predictability/unique_r2",
    "predictability/redundant_r2",
)
"""Metrics with figures of their own; the config may add more."""

RELATIVE_TOLERANCE = 1e-10
NOTHING = "No results to analyze"


@dataclass(frozen=True)
class Sweep:
    """The results of a sweep as far as they are there, units in canonical order."""

    config: Config
    results: tuple[UnitResult, ...]

    @classmethod
    def of(cls, context: Context) -> Sweep:
        """Read the result of `train`."""
        with context.result("train") as file:
            return cls(context.config, tuple(results_of(context.config, file)))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """Flat records of all units, as in `results.json` but without history."""
        return [result.record(checkpoint_path=self.checkpoint_path(result)) for result in self.results]

    @cached_property
    def aggregated(self) -> dict[str, Any]:
        """The aggregated results by condition."""
        return aggregate(self.records)

    @cached_property
    def prior(self) -> dict[str, Any]:
        """The synergy-prior tables."""
        return synergy_prior(self.records)

    @cached_property
    def learned(self) -> list[dict[str, Any]]:
        """Share of runs that learned, by condition, with Wilson intervals."""
        return learned_intervals(self.records)

    @cached_property
    def comparisons(self) -> list[dict[str, Any]]:
        """Comparisons between conditions for every metric with figures."""
        return [row for metric in self.metrics for row in comparisons(self.records, metric)]

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Metrics with figures: the main ones that were measured, and those that the config names."""
        known = {name for entry in self.aggregated.values() for name in entry["aggregated_metrics"]}
        asked = (*MAIN_FIGURE_METRICS, *self.config.report.plot_metrics)
        return tuple(name for name in dict.fromkeys(asked) if name in known)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Units completed, failed and pending."""
        found = Counter(result.status for result in self.results)
        return {
            "completed": found["done"],
            "failed": found["failed"],
            "pending": max(0, self.planned - len(self.results)),
        }

    @property
    def planned(self) -> int:
        """Number of units of the whole sweep."""
        sweep = self.config.sweep
        return len(sweep.dims) * len(sweep.synergy_scales) * sweep.runs_per_condition

    @property
    def dims(self) -> tuple[int, ...]:
        """Workspace dimensions of the sweep, ascending."""
        return tuple(self.config.sweep.dims)

    @property
    def scales(self) -> tuple[float, ...]:
        """Synergy scales of the sweep, ascending."""
        return tuple(self.config.sweep.synergy_scales)

    @cached_property
    def success(self) -> np.ndarray:
        """Share of planned runs that are done, f8[scale, dim]."""
        done = Counter(
            (result.unit.synergy_scale, result.unit.workspace_dim) for result in self.results if result.status == "done"
        )
        runs = self.config.sweep.runs_per_condition
        return np.array([[done[scale, dim] / runs for dim in self.dims] for scale in self.scales])

    def summary(self, dim: int, scale: float, metric: str) -> Mapping[str, Any] | None:
        """Return the summary of a metric in one condition; None where it has none."""
        entry = self.aggregated.get(condition_key(dim, scale))
        return None if entry is None else entry["aggregated_metrics"].get(metric)

    def checkpoint_path(self, result: UnitResult) -> str | None:
        """Return where the report puts a unit's model, relative to its tables; None where it puts none there."""
        report, kept = self.config.report, self.config.run.save_models
        if not report.export_models or kept == "none" or result.status != "done":
            return None
        return f"individual_results/{result.condition_id}/model.npz"


def folded(context: Context, file: h5py.File) -> dict[str, np.ndarray]:
    """Return the names of metrics and curves, once the rows agree with the moments that elements published.

    Raises:
        QuintetError: exit 3 where there is no unit yet, 65 where rows and moments differ.
    """
    config, names = context.config, names_of(context.config)
    if not len(file["rows/units/status"]):
        raise QuintetError(Exit.INCOMPLETE, NOTHING)
    check_moments(config, file)
    return {
        "rows/metrics/names": np.array([name.encode() for name in names.metrics]),
        "rows/curves/names": np.array([name.encode() for name in names.curves]),
    }


def check_moments(config: Config, file: Mapping[str, Any]) -> None:
    """Hold means and M2 of the rows against the root of the canonical tree: exit 65 where they differ."""
    if "stats" not in file:
        return
    root, runs = file["stats"][()][0], config.sweep.runs_per_condition
    names = names_of(config).metrics
    condition = file["rows/units/unit_index"][()] // runs
    done = file["rows/units/status"][()] == 1
    values = file["rows/metrics/values"][()]
    for triple, metric in zip(root, main_metrics(config), strict=True):
        column = values[:, names.index(metric)]
        for cell in range(triple.shape[1]):
            found = moments(column[done & (condition == cell)])
            if not agree(found, triple[:, cell]):
                raise QuintetError(
                    Exit.INPUT,
                    f"train: rows and moments of {metric} differ in condition {cell}: {found['n']} values with mean "
                    f"{found['mean']!r}, published {triple[0, cell]:g} with mean {triple[1, cell]!r}; bin/verify RUN",
                )


def agree(found: Mapping[str, Any], triple: np.ndarray) -> bool:
    """Whether moments agree to rounding."""
    n, mean, m2 = triple
    if found["n"] != n:
        return False
    size = max(abs(mean), abs(found["mean"]))
    near = abs(found["mean"] - mean) <= RELATIVE_TOLERANCE * size
    return near and abs(found["m2"] - m2) <= RELATIVE_TOLERANCE * (max(m2, found["m2"]) + 1e-6 * n * size * size)
