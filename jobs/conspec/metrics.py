"""What a trial reports: final metrics and Welford triples of blocks of episodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAST = 100
SOLVED = 0.9
N_BLOCKS = 50
OPTIMIZED = ("mean_reward", "success_rate", "max_reward", "auc_reward", "auc_success", "episodes_to_90")
"""Metrics that a search may optimise."""

METRICS = (
    "mean_reward",
    "success_rate",
    "max_reward",
    "total_episodes",
    "positive_reward_rate",
    "mean_length_100",
    "auc_reward",
    "auc_success",
    "episodes_to_90",
    "mean_intrinsic_100",
    "active_prototypes",
    "env_steps",
)
"""Final metrics that equal trials share."""

COST = ("cpu_seconds", "wall_seconds", "peak_rss_mb", "attempts")
"""Metrics that differ between equal trials."""


def episodes_to_90(success: NDArray[np.bool_]) -> int:
    """Return the smallest number of episodes after which 90 of the last 100 succeeded; one more than all if never."""
    total = np.concatenate([[0], np.cumsum(success, dtype=np.int64)])
    trailing = total[LAST:] - total[:-LAST] if len(success) >= LAST else np.zeros(0, np.int64)
    reached = np.flatnonzero(trailing >= SOLVED * LAST)
    return int(reached[0]) + LAST if len(reached) else len(success) + 1


def final_metrics(
    returns: NDArray[np.float64],
    success: NDArray[np.bool_],
    lengths: NDArray[np.int64],
    intrinsic: NDArray[np.float64],
    active_prototypes: int,
) -> dict[str, float]:
    """Return the metrics of a trial from its training episodes; returns are extrinsic and undiscounted.

    Without an episode every mean is NaN.
    """
    last = slice(-LAST, None)
    if not len(returns):
        nothing = dict.fromkeys(METRICS, math.nan)
        return {**nothing, "total_episodes": 0, "env_steps": 0, "active_prototypes": active_prototypes}
    return {
        "mean_reward": float(returns[last].mean()),
        "success_rate": float(success[last].mean()),
        "max_reward": float(returns.max()),
        "total_episodes": len(returns),
        "positive_reward_rate": float((returns[last] > 0).mean()),
        "mean_length_100": float(lengths[last].mean()),
        "auc_reward": float(returns.mean()),
        "auc_success": float(success.mean()),
        "episodes_to_90": episodes_to_90(success),
        "mean_intrinsic_100": float(intrinsic[last].mean()),
        "active_prototypes": active_prototypes,
        "env_steps": int(lengths.sum()),
    }


def block_welford(columns: Mapping[str, NDArray[Any]], n_blocks: int = N_BLOCKS) -> dict[str, NDArray[Any]]:
    """Return count i8, mean, m2, min and max f8 [n_blocks] of each column, keys `<column>_<statistic>`.

    Block b is episodes floor(b E / n) .. floor((b + 1) E / n) - 1; an empty block has count, mean and m2 0 and the
    others NaN.
    """
    blocks: dict[str, NDArray[Any]] = {}
    for name, values in columns.items():
        bounds = np.arange(n_blocks + 1) * len(values) // n_blocks
        parts = [values[low:high].astype(np.float64) for low, high in pairwise(bounds)]
        blocks[f"{name}_count"] = np.diff(bounds)
        blocks[f"{name}_mean"] = np.array([part.mean() if len(part) else 0.0 for part in parts])
        blocks[f"{name}_m2"] = np.array([((part - part.mean()) ** 2).sum() if len(part) else 0.0 for part in parts])
        blocks[f"{name}_min"] = np.array([part.min() if len(part) else np.nan for part in parts])
        blocks[f"{name}_max"] = np.array([part.max() if len(part) else np.nan for part in parts])
    return blocks
