"""The learner: recurrent PPO (Schulman et al. 2017) on the epsilon mixture, by truncated back-propagation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .matrix_kernel import adam
from .network import Sizes, aligned
from .policy_kernel import CLIPPED, ENTROPY, KL, N_SUMS, PAD, POLICY_LOSS, VALUE_LOSS, Batch, minibatch
from .returns import ADVANTAGE_FLOOR
from .returns_kernel import fill_advantages
from .sampler import Played
from .settings import Settings


class Chunks(NamedTuple):
    """Pieces of episodes in episode-major order: lane, number within the lane, and length of each."""

    lanes: NDArray[np.int64]
    pieces: NDArray[np.int64]
    lengths: NDArray[np.int64]


def cut(lengths: NDArray[np.int64], chunk_len: int) -> Chunks:
    """Cut episodes into chunks of `chunk_len` steps, the last of each shorter."""
    counts = -(-lengths // chunk_len)
    lanes = np.repeat(np.arange(len(lengths)), counts)
    pieces = np.arange(len(lanes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Chunks(lanes, pieces, np.minimum(chunk_len, lengths[lanes] - pieces * chunk_len))


def minibatches(n_chunks: int, batch_size: int, generator: Generator) -> list[NDArray[np.int64]]:
    """Permute the chunks and split them into max(1, round(n_chunks / batch_size)) nearly equal parts."""
    return np.array_split(generator.permutation(n_chunks), max(1, round(n_chunks / batch_size)))


class Policy:
    """Weights of the policy and its optimiser."""

    def __init__(self, sizes: Sizes, settings: Settings, theta: NDArray[np.float32]) -> None:
        self.sizes, self.settings, self.theta = sizes, settings, theta
        self.steps = 0
        self._m, self._v, self._grad = (aligned(len(theta)) for _ in range(3))
        self._scratch: NDArray[np.float32] = aligned(0)

    def update(
        self, played: Played, intrinsic: NDArray[np.float64], eps: NDArray[np.float64], generator: Generator
    ) -> dict[str, float]:
        """Learn from one batch; return the means of the reported quantities over gradient steps.

        Raises:
            FloatingPointError: a loss or a gradient is not finite.
        """
        settings, record = self.settings, played.record
        rewards = record.rewards + intrinsic
        raw = np.empty_like(rewards)
        fill_advantages(rewards, record.values, record.lengths, settings.gamma, settings.lambda_of_gae, raw)
        valid = np.arange(len(raw))[:, None] < record.lengths
        used = raw[valid]
        scaled = (raw - used.mean()) / (used.std() + ADVANTAGE_FLOOR)
        batch = Batch(
            record.slots,
            record.actions,
            record.log_mix,
            scaled.astype(np.float32),
            (raw + record.values).astype(np.float32),
            eps.astype(np.float32),
            played.codes,
            record.h0,
            record.c0,
        )
        chunks = cut(record.lengths, settings.chunk_len)
        coefs = np.array([settings.clip, settings.value_coef, settings.entropy_weight], np.float32)
        reported = []
        for _ in range(settings.ppo_epochs):
            for chosen in minibatches(len(chunks.lanes), settings.batch_size, generator):
                reported.append(self._step(batch, chunks, chosen, coefs))
        means = np.mean(reported, axis=0)
        names = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm")
        return dict(zip(names, means.tolist(), strict=True))

    def _step(self, batch: Batch, chunks: Chunks, chosen: NDArray[np.int64], coefs: NDArray[np.float32]) -> list[float]:
        order = chosen[np.argsort(-chunks.lengths[chosen], kind="stable")]
        lanes, pieces, lengths = chunks.lanes[order], chunks.pieces[order], chunks.lengths[order]
        self._make_room(int(lengths.sum()), len(batch.codes), len(lanes))
        sums = np.zeros(N_SUMS)
        n_steps = minibatch(
            self.theta, self._grad, self.sizes.policy, batch, self._scratch, lanes, pieces, lengths,
            self.settings.chunk_len, coefs, sums,
        )  # fmt: skip
        self.steps += 1
        settings = self.settings
        norm = adam(
            self.theta, self._grad, self._m, self._v, self.steps, settings.learning_rate, settings.adam_eps,
            settings.max_grad_norm,
        )  # fmt: skip
        if not (np.isfinite(sums).all() and np.isfinite(norm)):
            raise FloatingPointError(f"the policy's loss is not finite at gradient step {self.steps}")
        sums /= n_steps
        return [sums[POLICY_LOSS], sums[VALUE_LOSS], sums[ENTROPY], sums[KL], sums[CLIPPED], norm]

    def _make_room(self, n_steps: int, n_codes: int, n_chunks: int) -> None:
        needed = scratch_size(self.sizes, n_steps, n_codes, n_chunks)
        if needed > len(self._scratch):
            self._scratch = aligned(needed)

    def state(self) -> dict[str, Any]:
        """Return weights and optimiser as arrays and JSON values."""
        return {
            "policy_weights": self.theta.copy(),
            "policy_m": self._m.copy(),
            "policy_v": self._v.copy(),
            "policy_steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state that `state` gave."""
        self.theta[:], self._m[:], self._v[:] = state["policy_weights"], state["policy_m"], state["policy_v"]
        self.steps = int(state["policy_steps"])


def scratch_size(sizes: Sizes, n_steps: int, n_codes: int, n_chunks: int) -> int:
    """Return how many numbers of working memory a minibatch of that many steps needs at most."""
    hid, width = sizes.hidden_dim, sizes.lstm_hidden_size
    distinct = min(n_codes, n_steps)
    rows = distinct * (4 * hid + 8 * width) + n_steps * (9 * width + PAD) + 3 * n_chunks * width
    return rows + 4 * width * (width + hid) + hid * hid + 3 * PAD * width + 40 * 16
