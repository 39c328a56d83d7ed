"""One trial: a long unit that learns iteration by iteration and can stop and go on after any of them.

An iteration collects one episode in each of N lanes under mu = (1 - eps) pi + eps / A, then, in this order:
success labels and memories, the intrinsic reward of the batch, the contrastive steps, and PPO. Without ConSpec the
first three are skipped; everything else, random streams included, is unchanged.

The random streams of a trial are SeedSequence([*seed_words, k]) with k = 1 first weights, 2 placements, 3 actions,
4 permutations of chunks, 5 draws of ConSpec, 6 evaluation (7 is left to exports of finished policies).
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray

from .conspec import ConSpec
from .environment import make_env
from .evaluation import COLUMNS, Evaluation
from .metrics import LAST, block_welford, final_metrics
from .mixture import epsilon
from .network import Sizes, initial_weights
from .policy import Policy
from .sampler import Sampler
from .settings import settings_of
from .worlds import DEFAULT_SIZE, DELAYED_EVENTS, GRID_EVENTS, MAX_STEPS, check_count, check_rules

WEIGHTS, PLACEMENTS, ACTIONS, PERMUTATIONS, DRAWS, EVALUATION, EXPORT = range(1, 8)
EVAL_FREQUENCY = 500
EPISODE_COLUMNS = (
    ("reward", "f8"), ("intrinsic", "f8"), ("length", "i8"), ("success", "?"), ("epsilon", "f8"), ("events", "u2"),
)  # fmt: skip
EPISODE_TYPES = {"reward": "f4", "intrinsic": "f4", "length": "u2", "success": "u1", "epsilon": "f4", "events": "u2"}
POLICY_COLUMNS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm")
CONSPEC_COLUMNS = ("conspec_loss", "diversity", "success_score", "failure_score")
UPDATE_COLUMNS = ("episode", *POLICY_COLUMNS, *CONSPEC_COLUMNS, "active", "n_success", "n_failure")

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TrialResult:
    """What a trial gives; dicts of arrays, one row per episode, per iteration, per evaluation.

    `metrics` are the final ones. `prototypes` holds `vectors` f4[P, hid], `activated_episode` i4[P] (-1 never) and
    `event_counts` i8[P, kinds + 1]; `welford` the triples of 50 blocks of episodes; `weights` the parameter vectors
    `policy` and `conspec`. `failure` says why a trial diverged, and is None where it did not.
    """

    metrics: dict[str, float]
    episodes: Columns
    updates: Columns
    evaluations: Columns
    prototypes: Columns
    welford: Columns
    weights: Columns
    failure: str | None = None


class Trial:
    """A trial in progress. Equal arguments give equal bits, wherever it was stopped and restored in between."""

    def __init__(
        self,
        params: Mapping[str, Any],
        seed_words: Sequence[int],
        *,
        world: str,
        episodes: int = 5000,
        family: str = "grid",
        ruleset: str = "standard",
        reward_mode: str = "shaped",
        agent: Mapping[str, Any] | None = None,
        max_steps: int = MAX_STEPS,
        size: int = DEFAULT_SIZE,
        rewards: Mapping[str, float] | None = None,
        eval_frequency: int = EVAL_FREQUENCY,
    ) -> None:
        """Prepare a trial; nothing is learnt yet.

        Raises:
            ValueError: an argument that is not allowed, named with what is.
        """
        check_rules(world, family, ruleset, reward_mode, max_steps)
        check_count("episodes", episodes)
        check_count("eval_frequency", eval_frequency)
        self.settings = settings_of(params, agent, family)
        self.total, self.done = int(episodes), 0
        self._eval_frequency = int(eval_frequency)
        self._words = [int(word) for word in seed_words]
        settings = self.settings
        lanes = min(settings.num_envs, self.total)

        def env(n_lanes: int) -> Any:
            return make_env(
                world, family=family, ruleset=ruleset, reward_mode=reward_mode, num_envs=n_lanes, max_steps=max_steps,
                size=size, rewards=rewards,
            )  # fmt: skip

        playing = env(lanes)
        self.sizes = Sizes(
            playing.n_cells,
            playing.n_codes,
            settings.hidden_dim,
            settings.lstm_hidden_size,
            playing.n_actions,
            settings.num_prototypes,
        )
        self._kinds = len(GRID_EVENTS if family == "grid" else DELAYED_EVENTS)
        self._streams = {k: Generator(PCG64(self._seed(k))) for k in range(PLACEMENTS, EVALUATION + 1)}
        self._sampler = Sampler(playing, self.sizes, settings.chunk_len)
        chance = self._streams[EVALUATION]
        self._evaluation = Evaluation(env(20), self.sizes, settings.chunk_len, chance, family)
        policy, conspec = self._first_weights()
        self._policy, self._conspec = Policy(self.sizes, settings, policy), ConSpec(self.sizes, settings, conspec)
        self._episodes: Columns = {name: np.zeros(self.total, kind) for name, kind in EPISODE_COLUMNS}
        self._updates: list[dict[str, Any]] = []
        self._evaluations: list[dict[str, float]] = []
        self._peaks = np.zeros((LAST, settings.num_prototypes, self._kinds + 1), np.int64)
        self._cpu = self._wall = 0.0
        self.failure: str | None = None

    def _seed(self, stream: int) -> SeedSequence:
        return SeedSequence([*self._words, stream])

    def _first_weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        generator = torch.Generator()
        generator.manual_seed(int(self._seed(WEIGHTS).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        weights = initial_weights(self.sizes, generator)
        torch.set_num_threads(threads)
        return weights

    def advance(self) -> bool:
        """Learn from one batch of episodes; return whether there is more to do."""
        if self.failure is not None or self.done >= self.total:
            return False
        cpu, wall = time.process_time(), time.monotonic()
        try:
            self._iterate()
        except FloatingPointError as error:
            self.failure = str(error)
        self._cpu += time.process_time() - cpu
        self._wall += time.monotonic() - wall
        return self.failure is None and self.done < self.total

    def _iterate(self) -> None:
        settings, streams = self.settings, self._streams
        before = self.done
        numbers = np.arange(before, min(before + settings.num_envs, self.total))
        eps = epsilon(numbers, decay=settings.epsilon_decay, start=settings.epsilon_start, minimum=settings.epsilon_min)
        played = self._sampler.play(self._policy.theta, eps, streams[PLACEMENTS], streams[ACTIONS])
        after = before + len(numbers)
        learnt: dict[str, Any] = dict.fromkeys(CONSPEC_COLUMNS[:2], np.nan)
        learnt |= dict.fromkeys(CONSPEC_COLUMNS[2:], np.full(settings.num_prototypes, np.nan))
        paid = np.zeros(played.record.rewards.shape)
        peaks = np.zeros((len(numbers), *self._peaks.shape[1:]), np.int64)
        if settings.conspec:
            self._conspec.remember(played)
            paid, peaks = self._conspec.reward(played, self._kinds)
            n_success, n_failure = len(self._conspec.memory.successes), len(self._conspec.memory.failures)
            learnt = self._conspec.learn(streams[DRAWS], after)
        else:
            n_success = n_failure = 0
        losses = self._policy.update(played, paid, eps, streams[PERMUTATIONS])
        rows = slice(before, after)
        columns = (played.returns, paid.sum(0), played.record.lengths, played.success, eps, played.milestones)
        for (name, _), column in zip(EPISODE_COLUMNS, columns, strict=True):
            self._episodes[name][rows] = column
        self._peaks[numbers % LAST] = peaks
        active = self._conspec.active.copy()
        counts = {"episode": after, "active": active, "n_success": n_success, "n_failure": n_failure}
        self._updates.append({**counts, **losses, **learnt})
        self.done = after
        if after // self._eval_frequency > before // self._eval_frequency or after == self.total:
            self._evaluations.append(self._evaluation.evaluate(self._policy.theta, after))

    def tracked(self, episode: int) -> dict[str, float]:
        """Return what a tracker logs after `episode` finished episodes (1 .. done)."""
        last, columns = slice(max(0, episode - LAST), episode), self._episodes
        return {
            "episode": episode,
            "reward": float(columns["reward"][episode - 1]),
            "mean_reward_100": float(columns["reward"][last].mean()),
            "success_rate": float(columns["success"][last].mean()),
            "epsilon": float(columns["epsilon"][episode - 1]),
            "intrinsic_reward": float(columns["intrinsic"][episode - 1]),
        }

    def state(self) -> dict[str, Any]:
        """Return arrays and JSON values from which an equal trial goes on to the same bits."""
        return {
            "done": self.done,
            "failure": self.failure,
            "seconds": [self._cpu, self._wall],
            "streams": {str(k): words_of(stream) for k, stream in self._streams.items()},
            "peaks": self._peaks.copy(),
            **{f"episodes_{name}": values[: self.done].copy() for name, values in self._episodes.items()},
            **{f"updates_{name}": values for name, values in self._update_columns().items()},
            **{f"evaluations_{name}": values for name, values in self._evaluation_columns().items()},
            **self._policy.state(),
            **self._conspec.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state that an equal trial gave."""
        self.done, self.failure = int(state["done"]), state["failure"]
        self._cpu, self._wall = state["seconds"]
        for k, stream in self._streams.items():
            stream.bit_generator.state = numbers_of(state["streams"][str(k)])
        self._peaks = np.array(state["peaks"], np.int64)
        for name, values in self._episodes.items():
            values[: self.done] = state[f"episodes_{name}"]
        n_updates = len(state["updates_episode"])
        self._updates = [{name: state[f"updates_{name}"][u] for name in UPDATE_COLUMNS} for u in range(n_updates)]
        n_evaluations = len(state["evaluations_episode"])
        self._evaluations = [{name: state[f"evaluations_{name}"][v] for name in COLUMNS} for v in range(n_evaluations)]
        self._policy.restore(state)
        self._conspec.restore(state)

    def _update_columns(self) -> Columns:
        wide = {"success_score": "f4", "failure_score": "f4", "active": "u1"}
        kinds = {"episode": "i4", "n_success": "i4", "n_failure": "i4", **wide}
        columns = {}
        for name in UPDATE_COLUMNS:
            shape = (len(self._updates), self.settings.num_prototypes) if name in wide else (len(self._updates),)
            rows = [row[name] for row in self._updates]
            columns[name] = np.array(rows, np.float64).astype(kinds.get(name, "f4")).reshape(shape)
        return columns

    def _evaluation_columns(self) -> Columns:
        return {
            name: np.array([row[name] for row in self._evaluations], "i4" if name == "episode" else "f8")
            for name in COLUMNS
        }

    def result(self) -> TrialResult:
        """Return what was learnt so far: everything, once `advance` has returned False."""
        columns = {name: values[: self.done] for name, values in self._episodes.items()}
        metrics = final_metrics(
            columns["reward"],
            columns["success"],
            columns["length"],
            columns["intrinsic"],
            int(self._conspec.active.sum()),
        )
        cost = {"cpu_seconds": self._cpu, "wall_seconds": self._wall, "peak_rss_mb": peak_rss_mb(), "attempts": 1}
        prototypes = {
            "vectors": self._conspec.vectors,
            "activated_episode": self._conspec.activated_episode.copy(),
            "event_counts": self._peaks.sum(0),
        }
        return TrialResult(
            metrics={**metrics, **cost},
            episodes={name: values.astype(EPISODE_TYPES[name]) for name, values in columns.items()},
            updates=self._update_columns(),
            evaluations=self._evaluation_columns(),
            prototypes=prototypes,
            welford=block_welford({name: columns[name] for name in ("reward", "success", "length")}),
            weights={"policy": self._policy.theta.copy(), "conspec": self._conspec.theta.copy()},
            failure=self.failure,
        )


def words_of(generator: Generator) -> dict[str, Any]:
    """Return a generator's state as JSON values; its 128-bit integers as text."""
    state = generator.bit_generator.state
    return {**state, "state": {key: str(value) for key, value in state["state"].items()}}


def numbers_of(words: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state that `words_of` wrote down."""
    return {**words, "state": {key: int(value) for key, value in words["state"].items()}}


def peak_rss_mb() -> float:
    """Return the largest resident size of this process so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def train(
    params: Mapping[str, Any],
    seed_words: Sequence[int],
    *,
    world: str,
    episodes: int = 5000,
    family: str = "grid",
    ruleset: str = "standard",
    reward_mode: str = "shaped",
    agent: Mapping[str, Any] | None = None,
) -> TrialResult:
    """Train one trial to its end.

    Args:
        params: Any of the nine searched hyper-parameters; the others take their defaults.
        seed_words: (seed, index of the world, number of the trial).
        world: `single`, `double`, `triple`, in family `delayed` also `quad`.
        episodes: Number of training episodes.
        family: `grid` or `delayed`.
        ruleset: `standard` or `reference`, in family `grid`.
        reward_mode: `shaped`, `sparse` or `delayed`, in family `grid`.
        agent: Overrides of the agent's fixed parameters.

    Raises:
        ValueError: an argument that is not allowed, named with what is.
    """
    trial = Trial(
        params,
        seed_words,
        world=world,
        episodes=episodes,
        family=family,
        ruleset=ruleset,
        reward_mode=reward_mode,
        agent=agent,
    )
    while trial.advance():
        pass
    return trial.result()
