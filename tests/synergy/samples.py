"""Golden files and small data sets of the synergy tests."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from quintet.jobs.synergy import Config, Dataset, Split

FOLDER = Path(__file__).parent.parent / "golden" / "synergy"
NOT_FINITE = {"__nan__": math.nan, "__inf__": math.inf, "__-inf__": -math.inf}


def golden(name: str) -> Any:
    """Content of one golden file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """A golden value with its marked floats as floats."""
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def split_of(entry: dict[str, Any]) -> Split:
    """A split of a golden file."""
    return Split(np.array(entry["attr"], "f4"), np.array(entry["v"], "f4"), np.array(entry["y"], "u1"))


def assert_close(found: Any, expected: Any, rel: float, absolute: float = 1e-12) -> None:
    """Every number of `expected` within the tolerance, everything else equal; `found` may hold more keys."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert key in found
            assert_close(found[key], value, rel, absolute)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, rel, absolute)
    elif expected is None or isinstance(expected, (bool, str)):
        assert found == expected
    else:
        assert math.isclose(found, expected, rel_tol=rel, abs_tol=absolute), (found, expected)


def synthetic(rows: int, seed: int, n_v: int = 13, n_bins: int = 8) -> Split:
    """Rows of the study's shapes whose target follows from u and the last column of v."""
    generator = np.random.default_rng(seed)
    attr = generator.random((rows, 11), np.float32)
    v = generator.standard_normal((rows, n_v), np.float32)
    size = generator.integers(0, 8, rows)
    v[:, -1] = size / 7
    bins = (np.floor(attr[:, 10] * n_bins).astype(np.int64) + size) % n_bins
    return Split(attr, v, bins.astype(np.uint8))


def small_config(**sections: Any) -> Config:
    """A small network, two epochs, with sections changed."""
    values: dict[str, Any] = {
        "model": {"hidden_dim": 24, "n_layers": 1},
        "training": {"epochs": 2, **sections.pop("training", {})},
    }
    return Config(**{**values, **sections})


def small_dataset(seed: int = 0, test: bool = True) -> Dataset:
    """A data set of a few batches."""
    return Dataset(synthetic(150, seed), synthetic(70, seed + 1), synthetic(40, seed + 2) if test else None)
