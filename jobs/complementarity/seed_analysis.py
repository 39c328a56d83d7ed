"""Which clients the strategic therapist helps: overlap over configs, and traits of their matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .client import utility_matrix
from .octants import COMPLEMENT, COMPLEMENTARITY_DISTANCE
from .simulation import CATEGORIES
from .trajectories import Trajectories

OVERLAP_SHARES = (0.50, 0.80, 0.90, 1.00)
STUCK_SHARE = 0.80
FAR_DISTANCE = 2


def seed_overlap(category: NDArray[np.uint8]) -> dict[str, Any]:
    """Do the same clients gain from the strategic therapist in many configs?

    Args:
        category: u1[n_configs, n_seeds].

    Returns:
        `configs_per_seed` i8[n_seeds]: configs in which the seed is a V2 advantage; `in_any`: share of seeds
        that are one somewhere; `in_at_least`: share of seeds by share of configs (0.5, 0.8, 0.9, 1);
        `largest`: largest share of configs of one seed; `variance_ratio`: variance of `configs_per_seed` over
            that expected if
        configs chose their seeds independently (1: no overlap beyond chance).
    """
    advantage = category == 0
    n_configs = len(category)
    per_seed = advantage.sum(axis=0, dtype=np.int64)
    rates = advantage.mean(axis=1)
    expected = float((rates * (1 - rates)).sum())
    return {
        "configs_per_seed": per_seed,
        "in_any": float((per_seed > 0).mean()),
        "in_at_least": {share: float((per_seed >= share * n_configs).mean()) for share in OVERLAP_SHARES},
        "largest": float(per_seed.max(initial=0) / n_configs),
        "variance_ratio": float(per_seed.var() / expected) if expected > 0 else float("nan"),
    }


def matrix_features(seeds: NDArray[np.uint32]) -> pd.DataFrame:
    """How good an answer the complement is in each client's drawn utility matrix.

    The regret of octant c is the largest utility in its row minus that of the complementary answer.

    Args:
        seeds: u4[n].

    Returns:
        Per seed `seed`, `total_regret` and `largest_regret` over the eight octants, and
        `octants_with_better_answer`: octants whose best answer is not the complement.
    """
    u = np.array([utility_matrix(int(seed), None) for seed in seeds]).reshape(-1, 8, 8)
    regret = u.max(axis=2) - u[:, np.arange(8), COMPLEMENT]
    return pd.DataFrame(
        {
            "seed": seeds,
            "total_regret": regret.sum(axis=1),
            "largest_regret": regret.max(axis=1),
            "octants_with_better_answer": (regret > 0).sum(axis=1),
        }
    )


def behaviour_features(runs: Trajectories) -> pd.DataFrame:
    """What client and therapist did in each run.

    Returns:
        Per run `stuck` (the client showed one octant in more than 80 % of the sessions),
        `non_complementary_share` of the therapist's answers, and `far_share`: the share of those at a
        distance above 2 (NaN where none).
    """
    start = runs.row_start.astype(np.int64)
    length = np.diff(start)
    run = np.repeat(np.arange(len(runs)), length)
    client = runs.flat_client()
    distance = COMPLEMENTARITY_DISTANCE[client, runs.flat_enacted()]
    shown = np.zeros((len(runs), 8), np.int64)
    np.add.at(shown, (run, client), 1)
    other = np.bincount(run, weights=distance > 0, minlength=len(runs))
    far = np.bincount(run, weights=distance > FAR_DISTANCE, minlength=len(runs))
    with np.errstate(invalid="ignore", divide="ignore"):
        return pd.DataFrame(
            {
                "stuck": shown.max(axis=1) > STUCK_SHARE * length,
                "non_complementary_share": other / length,
                "far_share": np.where(other > 0, far / other, np.nan),
            }
        )


def category_contrasts(features: pd.DataFrame, category: NDArray[np.uint8]) -> pd.DataFrame:
    """Do clients of the four categories differ in a feature?

    Args:
        features: one row per pair; the column `seed` is left out.
        category: u1[n].

    Returns:
        Per feature the mean in every category, Kruskal and Wallis' H and p over all categories present, and
        Mann and Whitney's U and p between V2 and baseline advantage (NaN where a group is empty or nothing
        varies).
    """
    records = []
    for name in features.columns.drop("seed", errors="ignore"):
        values = features[name].to_numpy(dtype=float)
        groups = [values[(category == k) & np.isfinite(values)] for k in range(len(CATEGORIES))]
        present = [group for group in groups if len(group)]
        varies = len(present) > 0 and np.ptp(np.concatenate(present)) > 0
        h = h_p = u = u_p = float("nan")
        if varies and len(present) > 1:
            h, h_p = stats.kruskal(*present)
        if varies and len(groups[0]) and len(groups[1]):
            u, u_p = stats.mannwhitneyu(groups[0], groups[1])
        means = {
            f"mean_{category_name}": float(group.mean()) if len(group) else float("nan")
            for category_name, group in zip(CATEGORIES, groups, strict=True)
        }
        records.append(
            {
                "feature": name,
                **means,
                "kruskal_h": float(h),
                "kruskal_p": float(h_p),
                "mann_whitney_u": float(u),
                "mann_whitney_p": float(u_p),
            }
        )
    return pd.DataFrame(records)
