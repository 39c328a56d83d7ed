"""A fingerprint of the compiled simulator: what it makes of a few fixed configs, as one digest.

Every node that takes part in a study must compute the same bits; the fingerprint is compared with `EXPECTED` before
a shard starts, and partials with another one are not merged.
"""

from __future__ import annotations

import hashlib

import numpy as np

from .params import Params
from .simulation import simulate_pairs

SEEDS = range(8)

FIELDS = (
    "baseline_accuracy",
    "threshold",
    "bond_alpha",
    "bond_offset",
    "recency_weighting_factor",
    "max_sessions",
    "perception_window",
    "seeding_benefit_scaling",
    "skip_seeding_accuracy_threshold",
    "quick_seed_actions_threshold",
    "abort_consecutive_failures_threshold",
)
CONFIGS = (
    (0.4477, 0.9755, 13.4426, 0.5122, 2.0, 300, 17, 1.4928, 0.8924, 2, 4),
    (0.35, 0.85, 11.505, 0.626, 2.941, 110, 20, 1.927, 0.895, 2, 7),
    (0.408, 0.949, 4.518, 0.534, 4.851, 100, 14, 1.57, 0.856, 5, 7),
    (0.641, 0.932, 8.301, 0.639, 2.582, 160, 20, 0.482, 0.948, 4, 8),
    (0.734, 0.913, 13.848, 0.81, 3.001, 100, 8, 1.028, 0.793, 2, 4),
    (0.772, 0.889, 4.825, 0.629, 1.789, 220, 10, 1.95, 0.806, 1, 5),
)
"""The configs P0..P5: the reference implementation's defaults, and five draws from its search space."""

OUTCOMES = ("category", "v2_sessions", "baseline_sessions", "fork_session", "v2_dropout", "baseline_dropout")
REALS = ("initial_rs", "v2_final_rs", "baseline_final_rs", "v2_final_bond", "baseline_final_bond")

EXPECTED = "e56d1fe1cf6c61a768026368ec575a84833f6cf91fe97d567a4d0cb78fed2079"
"""The fingerprint of a kernel that computes what the golden runs say."""


def kernel_fingerprint() -> str:
    """Sha256, in hexadecimal, over outcomes and trajectories of `CONFIGS` on `SEEDS`, both therapists.

    Integers enter as little-endian 16-bit numbers, reals as little-endian doubles, trajectories as packed bytes.
    """
    digest = hashlib.sha256()
    for row in CONFIGS:
        params = Params(**dict(zip(FIELDS, row, strict=True)))  # type: ignore[arg-type]
        batch = simulate_pairs(params, SEEDS, trajectories=True)
        for name in OUTCOMES:
            digest.update(getattr(batch, name).astype("<u2").tobytes())
        for name in REALS:
            digest.update(getattr(batch, name).astype("<f8").tobytes())
        for trajectories in (batch.v2, batch.baseline):
            if trajectories is not None:
                digest.update(np.ascontiguousarray(trajectories.packed, np.uint8).tobytes())
    return digest.hexdigest()
