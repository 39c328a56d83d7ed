"""The synergy prior: what is kept when the workspace shrinks, synergy or what both inputs already share.

For each run and scale and X in {synergy, unique, redundant}: the retention X(d) / X(d_max), and the least-squares
slope of X on log2(d). The verdict of a scale is the paired t interval over runs of slope(synergy) -
slope(redundant): entirely below 0, synergy is lost more slowly than redundancy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .comparisons import values_of
from .statistics import paired, summarise

MEASURES = {
    "synergy": "predictability/synergy_norm_ce",
    "unique": "predictability/unique_r2",
    "redundant": "predictability/redundant_r2",
}
LEAST_BASE = 0.05
"""A retention is defined only where the largest workspace keeps at least this much."""

SUPPORTS = "synergy is lost more slowly than redundancy (supports the prior)"
CONTRADICTS = "contradicts"
UNDECIDED = "undecided"


def slope_of(by_dim: Mapping[int, float]) -> float | None:
    """Return the least-squares slope on log2(dim); None for fewer than two dims."""
    if len(by_dim) < 2:
        return None
    x, y = np.log2(np.array(list(by_dim), np.float64)), np.array(list(by_dim.values()))
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / (x * x).sum())


def synergy_prior(records: Iterable[Mapping[str, Any]], confidence: float = 0.95) -> dict[str, Any]:
    """Return the synergy-prior tables of a sweep's flat records.

    `retention`: rows of (synergy_scale, workspace_dim, measure) with the summary of the runs' retentions. `runs`: rows
    of (synergy_scale, run_id) with the three slopes and their difference. `verdicts`: rows of synergy_scale with n, the
    mean difference of slopes, its interval and the verdict.
    """
    kept = list(records)
    tables = {measure: values_of(kept, metric) for measure, metric in MEASURES.items()}
    conditions = sorted({key for table in tables.values() for key in table})
    scales, dims = sorted({scale for _, scale in conditions}), sorted({dim for dim, _ in conditions})
    retention, runs, verdicts = [], [], []
    for scale in scales:
        present = {measure: by_run(table, dims, scale) for measure, table in tables.items()}
        for dim in dims:
            for measure, found in present.items():
                values = [retained(curve, dim, dims[-1]) for curve in found.values()]
                retention.append(
                    {
                        "synergy_scale": scale,
                        "workspace_dim": dim,
                        "measure": measure,
                        **(summarise(values, confidence) or {"mean": None, "n": 0}),
                    }
                )
        differences = []
        for run in sorted(set().union(*(found for found in present.values()))):
            slopes = {measure: slope_of(found.get(run, {})) for measure, found in present.items()}
            both = slopes["synergy"] is not None and slopes["redundant"] is not None
            difference = slopes["synergy"] - slopes["redundant"] if both else None  # type: ignore[operator]
            runs.append(
                {
                    "synergy_scale": scale,
                    "run_id": run,
                    **{f"slope_{measure}": slope for measure, slope in slopes.items()},
                    "slope_difference": difference,
                }
            )
            if difference is not None:
                differences.append(difference)
        verdicts.append({"synergy_scale": scale, **verdict_of(differences, confidence)})
    return {"retention": retention, "runs": runs, "verdicts": verdicts}


def by_run(
    table: Mapping[tuple[int, float], Mapping[int, float]], dims: Iterable[int], scale: float
) -> dict[int, dict[int, float]]:
    """Return run -> dim -> value at one scale, dims ascending."""
    result: dict[int, dict[int, float]] = {}
    for dim in dims:
        for run, value in table.get((dim, scale), {}).items():
            result.setdefault(run, {})[dim] = value
    return result


def retained(curve: Mapping[int, float], dim: int, largest: int) -> float | None:
    """Return X(dim) / X(largest); None where either is missing or the base is too small."""
    if dim not in curve or curve.get(largest, 0.0) < LEAST_BASE:
        return None
    return curve[dim] / curve[largest]


def verdict_of(differences: list[float], confidence: float) -> dict[str, Any]:
    """Return the interval of slope differences and what it says."""
    n = len(differences)
    if n < 2:
        mean = differences[0] if differences else None
        return {"n": n, "mean_diff": mean, "ci_lower": None, "ci_upper": None, "verdict": UNDECIDED}
    interval = paired(np.array(differences), confidence)
    low, high = interval["ci_lower"], interval["ci_upper"]
    verdict = SUPPORTS if high < 0.0 else CONTRADICTS if low > 0.0 else UNDECIDED
    return {"n": n, "mean_diff": interval["mean_diff"], "ci_lower": low, "ci_upper": high, "verdict": verdict}
