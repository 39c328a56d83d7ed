"""Compiled generalised advantage estimation."""

from __future__ import annotations

import numpy as np

from .compilation import compiled_entry


@compiled_entry
def fill_advantages(rewards, values, lengths, gamma, gae_lambda, out):  # type: ignore[no-untyped-def]
    """Fill advantages f8[T, N] of episodes of some lengths; 0 past the end. See `returns.gae`."""
    out[:] = 0
    for n in range(len(lengths)):
        following = next_value = 0.0
        for t in range(lengths[n] - 1, -1, -1):
            value = np.float64(values[t, n])
            following = rewards[t, n] + gamma * next_value - value + gamma * gae_lambda * following
            out[t, n] = following
            next_value = value
