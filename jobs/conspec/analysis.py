"""Statistics of finished trials per world: means, the best trial, and what each parameter has to do with the metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .worlds import WORLDS, check_choice

DIRECTIONS = ("maximize", "minimize")
HISTOGRAM_BINS = 20

Record = Mapping[str, Any]


def analyse(
    results: Iterable[Record], *, metric: str = "mean_reward", direction: str = "maximize"
) -> dict[str, dict[str, Any]]:
    """Return the statistics of each world in `results`, the records of a result file in any order.

    Per world: `trials`, mean and sample standard deviation (None for one trial) of mean reward and success rate,
    the best trial by `metric` and `direction` (ties: lowest number), Pearson's r and Spearman's rho (average ranks)
    of every numeric parameter with mean reward (None where either side is constant), `importance_order` by
    decreasing |r|, and a histogram of mean reward in 20 bins. Worlds stand in their canonical order. Of several records
    of one trial the last counts.

    Raises:
        ValueError: an unknown direction, or a record without a field, named by its position.
    """
    check_choice("direction", direction, DIRECTIONS)
    worlds: dict[str, dict[int, Record]] = {}
    for position, record in enumerate(results):
        _check(record, position, metric)
        worlds.setdefault(str(record["environment"]), {})[int(record["trial"])] = record
    known = [world for world in WORLDS if world in worlds]
    order = [*known, *sorted(worlds.keys() - set(known))]
    return {world: _statistics(worlds[world], metric, direction) for world in order}


def _check(record: Record, position: int, metric: str) -> None:
    for field in ("environment", "trial", "hyperparameters", "results"):
        if field not in record:
            raise ValueError(f"record {position}: {field}: missing")
    for field in dict.fromkeys(("mean_reward", "success_rate", "max_reward", metric)):
        if field not in record["results"]:
            raise ValueError(f"record {position}: results.{field}: missing")


def _statistics(trials: Mapping[int, Record], metric: str, direction: str) -> dict[str, Any]:
    rows = [trials[number] for number in sorted(trials)]

    def column(name: str) -> NDArray[np.float64]:
        return np.array([float(row["results"][name]) for row in rows])

    rewards, successes, target = column("mean_reward"), column("success_rate"), column(metric)
    best = rows[best_of(target, direction)]
    names = list(dict.fromkeys(name for row in rows for name in row["hyperparameters"]))
    pearson: dict[str, float | None] = {}
    spearman: dict[str, float | None] = {}
    for name in names:
        values = [row["hyperparameters"].get(name) for row in rows]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            numbers = np.array(values, np.float64)
            pearson[name] = correlation(numbers, rewards)
            ranks = average_ranks(numbers), average_ranks(rewards)
            spearman[name] = None if pearson[name] is None else correlation(*ranks)
    counts, edges = histogram(rewards)
    return {
        "trials": len(rows),
        "mean_reward_mean": float(rewards.mean()),
        "mean_reward_std": sample_std(rewards),
        "best_reward": float(best["results"]["mean_reward"]),
        "success_mean": float(successes.mean()),
        "success_std": sample_std(successes),
        "best_trial": int(best["trial"]),
        "best_hyperparameters": dict(best["hyperparameters"]),
        "best_success_rate": float(best["results"]["success_rate"]),
        "best_max_reward": float(best["results"]["max_reward"]),
        "pearson": pearson,
        "spearman": spearman,
        "importance_order": importance_order(pearson),
        "histogram20": {"counts": counts.tolist(), "edges": edges.tolist()},
    }


def histogram(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return counts and edges of 20 bins over the finite values, widened by 0.5 each way where 20 do not fit."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    if (np.diff(np.linspace(low, high, HISTOGRAM_BINS + 1)) <= 0).any():
        low, high = low - 0.5, high + 0.5
    return np.histogram(finite, HISTOGRAM_BINS, (low, high))


def best_of(values: NDArray[np.float64], direction: str) -> int:
    """Return the index of the best value, the first among equals; NaN is never best while there is a number."""
    worst = -math.inf if direction == "maximize" else math.inf
    numbers = np.where(np.isnan(values), worst, values)
    return int(numbers.argmax() if direction == "maximize" else numbers.argmin())


def sample_std(values: NDArray[np.float64]) -> float | None:
    """Return the sample standard deviation (n - 1); None for one value."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Return Pearson's r; None where a side is constant, or where there are fewer than two numbers."""
    if len(x) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    if (x == x[0]).all() or (y == y[0]).all():
        return None
    dx, dy = x - x.mean(), y - y.mean()
    spread = math.sqrt(float(dx @ dx)) * math.sqrt(float(dy @ dy))
    return min(1.0, max(-1.0, float(dx @ dy) / spread)) if spread > 0 else None


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 1; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: NDArray[np.float64] = last - (counts - 1) / 2
    return mean_rank[group]


def importance_order(pearson: Mapping[str, float | None]) -> list[str]:
    """Return the names with a defined r by decreasing |r|, equal ones in their own order."""
    defined = {name: abs(r) for name, r in pearson.items() if r is not None}
    return sorted(defined, key=lambda name: -defined[name])
