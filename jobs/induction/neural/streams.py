"""The streams of random numbers: one for each purpose, pass and level, so that a level depends on no earlier draw."""

from __future__ import annotations

import numpy as np

BEAM, ROWS, PERTURBATION, ROLLOUT, MINIBATCH, WEIGHTS, CHECK, PLAYED = range(8)


def stream(seed: int, purpose: int, sweep: int, level: int) -> np.random.Generator:
    """Return the generator of one purpose at one level of one pass (pass 0 where there is none)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose, sweep, level])))


def check_seed(seed: int) -> int:
    """Return the seed.

    Raises:
        ValueError: not a whole number from 0 on.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed is {seed!r}; allowed are whole numbers from 0 on")
    return int(seed)
