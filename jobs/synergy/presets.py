"""The study's four usual sizes and its two networks, as config values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "data": {"n_train": 20_000, "n_val": 2_000, "n_test": 2_000},
        "training": {"epochs": 10},
        "sweep": {"dims": [8, 12], "synergy_scales": [0.1, 1.0], "runs_per_condition": 2},
    },
    "medium": {
        "sweep": {
            "dims": [8, 12, 16, 24, 32],
            "synergy_scales": [0.1, 1.0, 5.0, 10.0],
            "runs_per_condition": 3,
        },
    },
    "full": {
        "sweep": {
            "dims": [8, 12, 16, 24, 32, 48, 64],
            "synergy_scales": [0.1, 0.5, 1.0, 2.0, 5.0, 10.0],
            "runs_per_condition": 5,
        },
    },
    "comprehensive": {
        "sweep": {
            "dims": [2, 4, 8, 12, 16, 24, 32, 48, 64, 96],
            "synergy_scales": [0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0],
            "runs_per_condition": 10,
        },
    },
}
"""8, 60, 210 and 1,000 units."""

NETWORKS: dict[str, dict[str, Any]] = {
    "default": {},
    "small": {
        "data": {"n_train": 20_000, "n_val": 4_000, "n_test": 1_000},
        "model": {"hidden_dim": 64, "decoder_hidden_dim": 64, "n_layers": 2},
        "training": {"epochs": 25, "optimizer": {"lr": 2e-3}},
    },
}

QUICK: dict[str, Any] = {"sweep": {"dims": [8, 12]}, "training": {"epochs": 2}}
"""What the flag --quick sets."""


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values, later layers over earlier ones."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else merged(value) if isinstance(value, Mapping) else value
    return result
