"""The synergy target: the sum, modulo the number of bins, of a size that is only seen and a number that is only told.

    T = (bin(size) + bin(u)) mod n_bins,   bin(z) = floor(n_bins z) on right-open bins, 1.0 in the last

With size uniform on eight values and u uniform on [0, 1] neither tells anything about T, both together all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .data import Bytes, Doubles, Floats


@dataclass(frozen=True)
class Target:
    """Normalised size f8[n], bins u1[n] of size, u and target, and the target on [0, 1] f4[n]."""

    size_normalized: Doubles
    size_bin: Bytes
    u_bin: Bytes
    xor_bin: Bytes
    xor_target_normalized: Floats


def bins_of(z: Doubles, n_bins: int) -> NDArray[np.int64]:
    """Return the bin of each number on [0, 1]."""
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    return np.clip(np.digitize(z, edges) - 1, 0, n_bins - 1)


def xor_target(
    size: ArrayLike,
    u: ArrayLike,
    *,
    n_bins: int = 8,
    size_range: Literal["fixed", "split"] = "fixed",
    min_scale: float = 7,
    max_scale: float = 14,
) -> Target:
    """Return the target of sizes [n] (pixels) and u [n] (on [0, 1]), binned in double precision as given.

    `size_range` "fixed" normalises by min_scale and max_scale, "split" by the smallest and largest size given (0.5
    where all are equal).

    Raises:
        ValueError: n_bins is not 2..64, the range is empty, sizes and u differ in length, or u is outside [0, 1].
    """
    if not 2 <= n_bins <= 64:
        raise ValueError(f"n_bins: {n_bins}; it must be from 2 to 64")
    sizes, us = np.asarray(size, np.float64), np.asarray(u, np.float64)
    if sizes.shape != us.shape or sizes.ndim != 1:
        raise ValueError(f"size {sizes.shape} and u {us.shape} must be vectors of one length")
    if not np.isfinite(sizes).all():
        raise ValueError("size: it must be finite")
    if not ((us >= 0.0) & (us <= 1.0)).all():
        raise ValueError("u: it must be on [0, 1]")
    if size_range == "split":
        low, high = (sizes.min(), sizes.max()) if len(sizes) else (0.0, 1.0)
    elif size_range == "fixed":
        low, high = float(min_scale), float(max_scale)
        if low >= high:
            raise ValueError(f"min_scale {min_scale} must be below max_scale {max_scale}")
    else:
        raise ValueError(f"size_range: {size_range!r}; it must be fixed or split")
    normalized = (sizes - low) / (high - low) if high > low else np.full_like(sizes, 0.5)
    size_bin, u_bin = bins_of(normalized, n_bins), bins_of(us, n_bins)
    xor_bin = ((size_bin + u_bin) % n_bins).astype(np.uint8)
    return Target(
        normalized,
        size_bin.astype(np.uint8),
        u_bin.astype(np.uint8),
        xor_bin,
        xor_bin.astype(np.float32) / np.float32(n_bins - 1),
    )
