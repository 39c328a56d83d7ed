"""Generalised advantage estimation (Schulman et al. 2016) on episodes of different lengths."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .returns_kernel import fill_advantages

ADVANTAGE_FLOOR = 1e-5


class Advantages(NamedTuple):
    """Each f8[T, N], 0 past an episode's end; `returns` are the value targets."""

    advantages: NDArray[np.float64]
    returns: NDArray[np.float64]
    normalised: NDArray[np.float64]


def gae(
    rewards: ArrayLike, values: ArrayLike, lengths: ArrayLike, *, gamma: float, gae_lambda: float = 0.95
) -> Advantages:
    """Return advantages, value targets (advantage + value) and normalised advantages.

    With delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lambda A_{t+1}; the value after an episode's last
    step is 0. Normalised over all valid steps: (A - mean) / (population standard deviation + 1e-5).

    Args:
        rewards: f8[T, N], time by episode.
        values: f8[T, N], value before each step.
        lengths: int[N], steps of each episode.
        gamma: Discount.
        gae_lambda: Lambda of the exponential average.

    Raises:
        ValueError: shapes that do not belong together, or a length outside 0..T.
    """
    r, v, n_steps = np.asarray(rewards, np.float64), np.asarray(values, np.float64), np.asarray(lengths)
    if r.ndim != 2 or r.shape != v.shape or n_steps.shape != (r.shape[1],):
        raise ValueError(f"rewards {r.shape}, values {v.shape}, lengths {n_steps.shape}; needed [T, N], [T, N], [N]")
    if n_steps.size and (n_steps.min() < 0 or n_steps.max() > len(r)):
        raise ValueError(f"lengths {n_steps.tolist()}; allowed 0 to {len(r)}")
    valid = np.arange(len(r))[:, None] < n_steps
    advantages = np.zeros_like(r)
    fill_advantages(r, v, n_steps.astype(np.int64), float(gamma), float(gae_lambda), advantages)
    used = advantages[valid]
    normalised = np.zeros_like(r)
    if used.size:
        normalised[valid] = (used - used.mean()) / (used.std() + ADVANTAGE_FLOOR)
    return Advantages(advantages, np.where(valid, advantages + v, 0.0), normalised)
