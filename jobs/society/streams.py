"""Counter-based random numbers: a uniform number is a pure function of seed, stream, tick, resident and index.

The mixer is SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", section 5),
applied once per word of the counter. Nothing is drawn in sequence, so batch composition cannot change a number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ACTION, TOKENS, PROBES, TARGETS, MOCK_NOISE, BOOTSTRAP = 9, 10, 11, 12, 13, 14
"""Streams: choice of action, of tokens, of probe items, of targets, noise of the mock model, bootstrap draws."""

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_M1 = 0xBF58476D1CE4E5B9
_M2 = 0x94D049BB133111EB


def _mix(z: int) -> int:
    z = (z + _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * _M1) & _MASK
    z = ((z ^ (z >> 27)) * _M2) & _MASK
    return z ^ (z >> 31)


def uniform(seed: int, stream: int, tick: int, resident: int, k: int) -> float:
    """Return the number in [0, 1) that belongs to (seed, stream, tick, resident, k), with 53 random bits."""
    z = _mix(seed & _MASK)
    for word in (stream, tick, resident, k):
        z = _mix(z ^ (word & _MASK))
    return (z >> 11) * 2.0**-53


def _mix_array(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        z = z + np.uint64(_GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(_M1)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(_M2)
        return z ^ (z >> np.uint64(31))


def uniforms(seed: int, stream: int, tick: ArrayLike, resident: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    """Return `uniform` over arrays that broadcast with each other."""
    words = np.broadcast_arrays(*(np.asarray(word).astype(np.uint64) for word in (tick, resident, k)))
    z = np.full(words[0].shape, _mix(_mix(seed & _MASK) ^ stream), np.uint64)
    for word in words:
        z = _mix_array(z ^ word)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
