"""A small study for tests: a few configs on the same clients, as rows of units and as the folded result."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quintet.jobs.complementarity import PairBatch, Params, simulate_pairs
from quintet.jobs.complementarity.accumulators import unit_payload
from quintet.jobs.complementarity.aggregate import Aggregate
from quintet.jobs.complementarity.layout import Layout

MAX_SESSIONS = (120, 90, 120, 60)
PARAMETERS = (
    {"threshold": 0.85, "bond_alpha": 8.0, "bond_offset": 0.6, "baseline_accuracy": 0.7},
    {"threshold": 0.80, "bond_alpha": 12.0, "bond_offset": 0.55, "baseline_accuracy": 0.5},
    {"threshold": 0.90, "bond_alpha": 5.0, "bond_offset": 0.65, "baseline_accuracy": 0.85},
    {"threshold": 0.82, "bond_alpha": 10.0, "bond_offset": 0.7, "baseline_accuracy": 0.35},
)
N_BINS = 50
WINDOW_SIZE = 10


def configs() -> list[dict[str, Any]]:
    """The sample's configs, as a selection lists them."""
    return [
        {
            "config_idx": k,
            "trial_number": 7 * k,
            "advantage": 0.05 * k - 0.05,
            "params": params,
            "max_sessions": sessions,
        }
        for k, (params, sessions) in enumerate(zip(PARAMETERS, MAX_SESSIONS, strict=True))
    ]


@cache
def batch_of(config_idx: int, first_seed: int, n_seeds: int, window_size: int = WINDOW_SIZE) -> PairBatch:
    """Simulated pairs of one unit."""
    config = configs()[config_idx]
    params = Params(**config["params"], max_sessions=config["max_sessions"], window_size=window_size)
    return simulate_pairs(params, range(first_seed, first_seed + n_seeds), trajectories=True)


def rows_of(
    n_seeds: int, block: int, metrics: Sequence[str] = ("distance_enacted",), window_size: int = WINDOW_SIZE
) -> dict[str, NDArray[Any]]:
    """Rows of all units, seed blocks outermost, stacked as a merge finds them."""
    layout = Layout(N_BINS, window_size, max(MAX_SESSIONS), block, tuple(metrics))
    units = []
    for first in range(0, n_seeds, block):
        for config in configs():
            batch = batch_of(config["config_idx"], first, min(block, n_seeds - first), window_size)
            numbers = {key: config[key] for key in ("config_idx", "trial_number")}
            units.append(unit_payload(batch, layout, **numbers))
    return {name: np.concatenate([unit[name] for unit in units]) for name in units[0]}


@cache
def aggregate(n_seeds: int = 150, block: int = 60) -> Aggregate:
    """The folded sample."""
    return Aggregate.from_rows(rows_of(n_seeds, block), configs(), N_BINS, WINDOW_SIZE)
