"""What flows through the study: splits, data sets, units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

BASE_SEED = 42


@dataclass(frozen=True)
class Split:
    """Rows of a data set, or a batch of them: attr f4[n,11], v f4[n,13] (or 12), xor_bin u1[n]."""

    attr: Floats
    v: Floats
    xor_bin: Bytes

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.attr)

    def first(self, rows: int | None) -> Split:
        """Return the first rows; all of them for None."""
        return self if rows is None else Split(self.attr[:rows], self.v[:rows], self.xor_bin[:rows])


@dataclass(frozen=True)
class Dataset:
    """Training, validation and (optional) test rows; the synergy target has `n_bins` classes."""

    train: Split
    val: Split
    test: Split | None = None
    n_bins: int = 8


@dataclass(frozen=True)
class Unit:
    """One training: workspace size, scale of the synergy loss, number of the run; seed None is 42 + run_id."""

    workspace_dim: int
    synergy_scale: float
    run_id: int = 0
    seed: int | None = None

    @property
    def resolved_seed(self) -> int:
        """The seed of initial weights and data order."""
        return BASE_SEED + self.run_id if self.seed is None else self.seed


def contiguous(split: Split) -> Split:
    """Return the split with the types and layout that backends take.

    Raises:
        ValueError: shapes do not fit, a value is not finite, or a target is no class.
    """
    attr = np.ascontiguousarray(split.attr, np.float32)
    v = np.ascontiguousarray(split.v, np.float32)
    given = np.asarray(split.xor_bin)
    bins = np.ascontiguousarray(given.astype(np.uint8))
    if attr.ndim != 2 or attr.shape[1] != 11:
        raise ValueError(f"attr: shape {attr.shape}; it must be [n, 11]")
    if v.ndim != 2 or len(v) != len(attr) or bins.shape != (len(attr),):
        raise ValueError(f"v {v.shape} and xor_bin {bins.shape} must have the {len(attr)} rows of attr")
    if len(attr) < 1:
        raise ValueError("a split must have at least one row")
    if not (np.isfinite(attr).all() and np.isfinite(v).all()):
        raise ValueError("attr and v must be finite")
    if not np.array_equal(bins, given):
        raise ValueError("xor_bin: it must be whole numbers from 0")
    return Split(attr, v, bins)


def check_classes(xor_bin: NDArray[Any], n_bins: int, name: str = "xor_bin") -> None:
    """Check that targets are among `n_bins` classes.

    Raises:
        ValueError: one is not.
    """
    if len(xor_bin) and not 0 <= np.min(xor_bin) <= np.max(xor_bin) < n_bins:
        raise ValueError(f"{name}: found {np.min(xor_bin)} to {np.max(xor_bin)}; allowed is 0 to {n_bins - 1}")
