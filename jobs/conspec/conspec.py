"""ConSpec as a learner: memories, contrastive steps, activation of prototypes, intrinsic reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .contrast_kernel import contrast, intrinsic, number_rows, score
from .intrinsic import INTRINSIC_MODES
from .matrix_kernel import adam
from .memory import Memory
from .network import Sizes, aligned
from .sampler import Played
from .settings import Settings

NEEDED = 2  # episodes of each kind before the first contrastive step


class ConSpec:
    """Weights of encoder, projections and prototypes, their optimiser, memories and activation."""

    def __init__(self, sizes: Sizes, settings: Settings, theta: NDArray[np.float32]) -> None:
        self.sizes, self.settings, self.theta = sizes, settings, theta
        self.memory = Memory(sizes.n_cells, settings.memory_size)
        self.steps = 0
        self.active = np.zeros(sizes.num_prototypes, np.bool_)
        self.hits = np.zeros(sizes.num_prototypes, np.int64)
        self.activated_episode = np.full(sizes.num_prototypes, -1, np.int32)
        self._m, self._v, self._grad = (aligned(len(theta)) for _ in range(3))
        self._scratch: NDArray[np.float32] = aligned(0)

    def remember(self, played: Played) -> None:
        """Insert a batch of episodes into the memories, in lane order."""
        rows = self.memory.observations.numbers(played.codes)
        for lane, length in enumerate(played.record.lengths):
            self.memory.insert(rows[played.record.slots[:length, lane]], bool(played.success[lane]))

    def reward(self, played: Played, n_kinds: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the intrinsic reward of a batch, f8[T, N], and what its peaks are near, i8[N, P, n_kinds + 1]."""
        settings, record = self.settings, played.record
        paid = np.zeros(record.rewards.shape)
        peaks = np.zeros((len(record.lengths), len(self.active), n_kinds + 1), np.int64)
        if self.active.any():
            scores = np.zeros((len(played.codes), len(self.active)), np.float32)
            self._make_room(3 * len(played.codes) * self.sizes.hidden_dim + 64)
            score(self.theta, self.sizes.conspec, played.codes, self.active, self._scratch, scores)
            mode = INTRINSIC_MODES.index(settings.intrinsic_mode)
            numbers = (mode, settings.intrinsic_reward_scale, settings.score_threshold, settings.window, settings.gamma)
            steering = np.array(numbers, np.float64)
            intrinsic(scores, record.slots, record.lengths, self.active, steering, record.events, paid, peaks)
        return paid, peaks

    def learn(self, generator: Generator, episodes_done: int) -> dict[str, Any]:
        """Take the contrastive steps of one iteration; return what is reported, NaN where there was no step.

        Raises:
            FloatingPointError: a loss or a gradient is not finite.
        """
        nothing = np.full(self.sizes.num_prototypes, np.nan)
        report: dict[str, Any] = {
            "conspec_loss": np.nan, "diversity": np.nan, "success_score": nothing, "failure_score": nothing,
        }  # fmt: skip
        memory = self.memory
        if min(len(memory.successes), len(memory.failures)) >= NEEDED:
            losses = []
            for _ in range(self.settings.conspec_updates):
                loss, orth, out = self._step(generator)
                losses.append((loss, orth))
                report["success_score"], report["failure_score"] = out[:, 1], out[:, 2]
                self._activate(out, episodes_done)
            report["conspec_loss"], report["diversity"] = np.mean(losses, axis=0).tolist()
        memory.forget()
        return report

    def draw(self, lists: tuple[Sequence[int], Sequence[int]], generator: Generator) -> tuple[list[int], int, int]:
        """Draw half a batch of each kind without replacement.

        Returns episode numbers, successes first, and how many there are of each kind.
        """
        half = self.settings.batch_size // 2
        drawn: list[int] = []
        counts = []
        for numbers in lists:
            chosen = generator.permutation(len(numbers))[: min(half, len(numbers))]
            drawn += [numbers[index] for index in chosen]
            counts.append(len(chosen))
        return drawn, counts[0], counts[1]

    def _step(self, generator: Generator) -> tuple[float, float, NDArray[np.float64]]:
        memory, settings = self.memory, self.settings
        n_prototypes = self.sizes.num_prototypes
        batches = [self.draw((memory.successes, memory.failures), generator)]
        batch_of = np.zeros(n_prototypes, np.int64)
        for prototype, lists in sorted(memory.frozen.items()):
            batch_of[prototype] = len(batches)
            batches.append(self.draw(lists, generator))
        with_diversity = len(memory.frozen) < n_prototypes
        if not with_diversity:
            batches, batch_of = batches[1:], batch_of - 1
        table, first = np.zeros((len(batches), 3), np.int64), 0
        for row, (numbers, n_success, n_failure) in zip(table, batches, strict=True):
            row[:] = first, n_success, n_failure
            first += len(numbers)
        frames = [memory.episodes[number] for numbers, _, _ in batches for number in numbers]
        offsets = np.zeros(len(frames) + 1, np.int64)
        np.cumsum([len(part) for part in frames], out=offsets[1:])
        ids = np.concatenate(frames)
        known = int(memory.observations.count[0])
        distinct, seen = np.empty(known, np.int64), np.empty(len(ids), np.int64)
        count = number_rows(ids, np.empty(known, np.int64), distinct, seen)
        codes = memory.observations.rows[distinct[:count]]
        hid = self.sizes.hidden_dim
        self._make_room((2 * n_prototypes + 7) * (count * hid + 16) + hid * hid + 64)
        coefs = np.array([settings.softmax_sharpness, settings.diversity_weight], np.float32)
        out = np.zeros((n_prototypes, 3))
        loss, orth = contrast(
            self.theta, self._grad, self.sizes.conspec, codes, seen, offsets, table, batch_of, with_diversity, coefs,
            self._scratch, out,
        )  # fmt: skip
        self.steps += 1
        rate = settings.conspec_learning_rate
        norm = adam(self.theta, self._grad, self._m, self._v, self.steps, rate, settings.adam_eps, 0.0)
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise FloatingPointError(f"ConSpec's loss is not finite at contrastive step {self.steps}")
        return loss, orth, out

    def _activate(self, out: NDArray[np.float64], episodes_done: int) -> None:
        settings = self.settings
        success, failure = out[:, 1], out[:, 2]
        meets = (success - failure > settings.criterion_margin) & (success > settings.score_threshold)
        self.hits = np.where(meets, self.hits + 1, 0)
        for prototype in np.flatnonzero((self.hits > settings.criterion_patience) & ~self.active):
            self.active[prototype] = True
            self.activated_episode[prototype] = episodes_done
            if settings.freeze_memory:
                self.memory.freeze(int(prototype))

    def _make_room(self, needed: int) -> None:
        if needed > len(self._scratch):
            self._scratch = aligned(needed)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The prototype vectors, f4[P, hid]."""
        n_prototypes, hid = self.sizes.num_prototypes, self.sizes.hidden_dim
        return self.theta[-n_prototypes * hid :].reshape(n_prototypes, hid).copy()

    def state(self) -> dict[str, Any]:
        """Return everything as arrays and JSON values."""
        return {
            "conspec_weights": self.theta.copy(),
            "conspec_m": self._m.copy(),
            "conspec_v": self._v.copy(),
            "conspec_steps": self.steps,
            "conspec_active": self.active.copy(),
            "conspec_hits": self.hits.copy(),
            "conspec_activated_episode": self.activated_episode.copy(),
            **self.memory.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state that `state` gave."""
        self.theta[:], self._m[:], self._v[:] = state["conspec_weights"], state["conspec_m"], state["conspec_v"]
        self.steps = int(state["conspec_steps"])
        self.active = np.array(state["conspec_active"], np.bool_)
        self.hits = np.array(state["conspec_hits"], np.int64)
        self.activated_episode = np.array(state["conspec_activated_episode"], np.int32)
        self.memory.restore(state)
