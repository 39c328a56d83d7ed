"""Eight-bit HLS to RGB, as the reference data set's colour library computes it, bit for bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .data import Bytes

SECTORS = np.array([[1, 3, 0], [1, 0, 2], [3, 0, 1], [0, 2, 1], [0, 1, 3], [2, 1, 0]])
"""Which of (p2, p1, falling, rising) blue, green and red are, by sector of the hue circle."""


def hls_to_rgb(hls: ArrayLike) -> Bytes:
    """Return u1[n,3] R, G, B of u1[n,3] H (0..180), L, S; all arithmetic in float32.

    Raises:
        ValueError: there are not three columns.
    """
    one = np.float32(1.0)
    columns = np.asarray(hls, np.float32)
    if columns.shape[-1:] != (3,):
        raise ValueError(f"hls: shape {columns.shape}; it must be [n, 3]")
    h, lightness, s = columns.reshape(-1, 3).T
    lightness, s = lightness * np.float32(1.0 / 255.0), s * np.float32(1.0 / 255.0)
    p2 = np.where(lightness <= np.float32(0.5), lightness * (one + s), lightness + s - lightness * s)
    p1 = np.float32(2.0) * lightness - p2
    h = h * np.float32(6.0 / 180.0)
    floor = np.floor(h)
    f = h - floor
    table = np.stack([p2, p1, p1 + (p2 - p1) * (one - f), p1 + (p2 - p1) * f], axis=1)
    blue_green_red = np.take_along_axis(table, SECTORS[floor.astype(np.int64) % 6], axis=1)
    scaled = np.rint(np.float32(255.0) * blue_green_red)
    return np.ascontiguousarray(np.clip(scaled, 0, 255).astype(np.uint8)[:, ::-1])
