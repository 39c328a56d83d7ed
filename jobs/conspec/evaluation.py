"""Evaluation of a policy without exploration: its likeliest actions, and its sampled ones."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .environment import VectorEnv
from .network import Sizes
from .sampler import Sampler

N_EPISODES = 20
COLUMNS = (
    "episode",
    "greedy_return",
    "greedy_success",
    "greedy_length",
    "mean_return",
    "success_rate",
    "mean_length",
)


class Evaluation:
    """Greedy episodes (one in family `grid`, where all are equal) and 20 sampled ones, from one generator."""

    def __init__(self, env: VectorEnv, sizes: Sizes, chunk_len: int, generator: Generator, family: str) -> None:
        self._sampler = Sampler(env, sizes, chunk_len)
        self._generator = generator
        self._n_greedy = 1 if family == "grid" else N_EPISODES

    def evaluate(self, theta: NDArray[np.float32], episode: int) -> dict[str, float]:
        """Return one row of `COLUMNS`; `episode` is the number of finished training episodes."""
        row: dict[str, float] = {"episode": episode}
        for names, n, chance in (
            (("greedy_return", "greedy_success", "greedy_length"), self._n_greedy, None),
            (("mean_return", "success_rate", "mean_length"), N_EPISODES, self._generator),
        ):
            played = self._sampler.play(theta, np.zeros(n), self._generator, chance)
            means = (played.returns.mean(), played.success.mean(), played.record.lengths.mean())
            row.update(zip(names, map(float, means), strict=True))
        return row
