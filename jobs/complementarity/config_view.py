"""One config looked at closely: mean trajectories of all metrics, satisfaction, bond, and outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .params import Params
from .satisfaction import satisfaction_percentiles
from .simulation import CATEGORIES, PairBatch, simulate_pairs
from .tracker import METRICS, SATISFACTION, metric_trajectory


@dataclass(frozen=True)
class ConfigView:
    """One config under one mechanism, memory pattern and strategic therapist.

    Attributes:
        mechanism: client's mechanism.
        pattern: initial memory pattern.
        therapist_version: "v1" or "v2".
        curves: by name (`METRICS`, `rs_percentile`, `bond_percentile`) the mean over the strategic runs that
            are still in therapy, float64[longest run]; NaN where no run has a value.
        seeds: one row per seed: `seed`, `category`, and for both therapists success, dropout and sessions.
    """

    mechanism: str
    pattern: str
    therapist_version: str
    curves: dict[str, NDArray[np.float64]]
    seeds: pd.DataFrame

    @property
    def label(self) -> str:
        """Mechanism, pattern and therapist in one line."""
        return f"{self.mechanism}, {self.pattern}, {self.therapist_version}"

    @property
    def success_rates(self) -> tuple[float, float]:
        """Success rates of the strategic therapist and the baseline."""
        return float(self.seeds["v2_success"].mean()), float(self.seeds["baseline_success"].mean())

    @property
    def breakdown(self) -> dict[str, int]:
        """Number of seeds per category."""
        counts = self.seeds["category"].value_counts()
        return {name: int(counts.get(name, 0)) for name in CATEGORIES}


def config_view(
    params: Params,
    seeds: Iterable[int],
    *,
    mechanism: str | None = None,
    pattern: str | None = None,
    therapist_version: str | None = None,
) -> ConfigView:
    """Simulate a config and average its trajectories; keywords that are left out come from `params`.

    Raises:
        ValueError: there is no seed.
    """
    batch = simulate_pairs(
        params,
        seeds,
        mechanism=mechanism,
        pattern=pattern,
        therapist_version=therapist_version,
        trajectories=True,
    )
    if len(batch) == 0:
        raise ValueError("config_view: no seed was given")
    return ConfigView(
        batch.params.mechanism,
        batch.params.pattern,
        batch.params.therapist_version,
        _mean_curves(batch),
        pd.DataFrame(
            {
                "seed": batch.seeds,
                "category": [CATEGORIES[k] for k in batch.category],
                "v2_success": batch.v2_success,
                "baseline_success": batch.baseline_success,
                "v2_dropout": batch.v2_dropout,
                "baseline_dropout": batch.baseline_dropout,
                "v2_sessions": batch.v2_sessions,
                "baseline_sessions": batch.baseline_sessions,
            }
        ),
    )


def _mean_curves(batch: PairBatch) -> dict[str, NDArray[np.float64]]:
    runs = batch.v2
    assert runs is not None
    longest = int(batch.v2_sessions.max())
    names = (*METRICS, *SATISFACTION)
    total = {name: np.zeros(longest) for name in names}
    count = {name: np.zeros(longest, np.int64) for name in names}
    perceived_flat = runs.flat_perceived()
    start = runs.row_start.astype(np.int64)
    for i in range(len(batch)):
        octants = {"enacted": runs.enacted(i), "perceived": perceived_flat[start[i] : start[i + 1]]}
        client = runs.client(i)
        values = {
            name: metric_trajectory(name, client, octants[METRICS[name].perspective], batch.params.window_size)
            for name in METRICS
        }
        percentiles = satisfaction_percentiles(batch.params, int(batch.seeds[i]), client, octants["perceived"])
        values |= dict(zip(SATISFACTION, percentiles, strict=True))
        for name, curve in values.items():
            present = np.isfinite(curve)
            total[name][: len(curve)][present] += curve[present]
            count[name][: len(curve)] += present
    return {
        name: np.divide(total[name], count[name], out=np.full(longest, np.nan), where=count[name] > 0) for name in names
    }
