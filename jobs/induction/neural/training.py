"""Fitted backward induction: level after level, from the horizon to the root.

    for pass p = 1 ... P:  for t = T-1 ... 1:
        rows of level t (beam, visited, perturbed) -> one exact step on F_{t+1} -> targets -> fit F_t

F_t starts from F_{t+1} in the first pass, from F_t of the pass before in later ones: values are stationary in the steps
to go, so the start is nearly right. The first levels, which teach the geometry that all others inherit, get more steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..levels import Values
from ..params import Params
from ..world import World
from .configurations import Keys, horizon_of
from .fitted import CURVE, Fitted, level_tensors, read_level
from .level_fit import LevelFit
from .network import DivergedError, LevelNetwork, Parameters, fresh, shapes
from .play import episodes
from .rows import beam_keys, perturbed
from .settings import NeuralConfig
from .stepping import Expansion, Steps, has_power, power_guarded
from .streams import MINIBATCH, PERTURBATION, ROLLOUT, ROWS, WEIGHTS, stream

FIRST_MIX = (0.75, 0.0, 0.25)
MOST_STEPS_AT = 4
"""Levels with fewer steps to go than this get more optimiser steps in the first pass: `steps` * 4 / k."""
STEPS_AT_ONCE = 50
DEFAULTS = NeuralConfig()
NOISE, NOISE_WEIGHTS = (0.0, 0.1, 0.3), (0.5, 0.3, 0.2)

Pool = dict[int, tuple[Keys, NDArray[np.int64]]]
"""By level: configurations that were visited, sorted, and how often."""


def chosen(n: int, wanted: int, weights: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most `wanted` of n places without replacement, sorted."""
    if n <= wanted:
        return np.arange(n)
    arrival = generator.standard_exponential(n) / weights
    return np.sort(np.argsort(arrival, kind="stable")[:wanted])


class Training:
    """A training that goes on step by step.

    Args:
        world, params, max_steps, config, seed: as for `fit`.

    Attributes:
        fitted: the values so far; complete when `is_done`.
        sweep, level: pass (from 1) and level that come next or are under way; level 0: all is done.
    """

    def __init__(
        self,
        world: World,
        params: Params,
        max_steps: int | None = None,
        config: NeuralConfig = DEFAULTS,
        *,
        seed: int = 0,
    ) -> None:
        self.config = config
        self.fitted = Fitted(world, params, horizon_of(world, max_steps), self.config, seed, {})
        self.world, self.params, self.max_steps, self.seed = world, params, self.fitted.max_steps, self.fitted.seed
        self._steps = Steps(self.fitted)
        self._guarded = Steps(self.fitted, power_guarded(params))
        self._curve: dict[str, list[float]] = {name: [] for name in CURVE}
        self._beam: list[Keys] | None = None
        self._pool: Pool = {}
        self._fit: LevelFit | None = None
        self._cpu = 0.0
        self.sweep, self.level = 1, self.max_steps - 1

    @property
    def is_done(self) -> bool:
        """Whether all levels of all passes are fitted."""
        return self.level == 0

    @property
    def n_outputs(self) -> int:
        """Outputs of a network: z of every V^m, every V^e, and of V_r."""
        return 2 * len(self.world.humans) * len(self.world.goals) + 1

    @property
    def pool_sizes(self) -> dict[int, int]:
        """How many different configurations were visited, by level."""
        return {t: len(keys) for t, (keys, _) in self._pool.items()}

    def advance(self) -> bool:
        """Prepare the rows of a level, or take 50 optimiser steps; return whether more is to do.

        Raises:
            DivergedError: a loss is no finite number; the message names pass, level and step.
            PowerlessError: a human has no power in a reachable state and `power_floor` is 0.
        """
        if self.is_done:
            return False
        started = time.process_time()
        if self._fit is None:
            self._fit = self._prepared()
        else:
            try:
                self._fit.advance(STEPS_AT_ONCE)
            except DivergedError as error:
                raise DivergedError(f"pass {self.sweep}: {error}") from None
        self._cpu += time.process_time() - started
        if self._fit.is_done:
            self._finish(self._fit)
        return not self.is_done

    def _finish(self, fit: LevelFit) -> None:
        self.fitted.networks[self.level] = fit.network()
        for name, value in zip(CURVE, (self.level, fit.n_rows, fit.loss, self._cpu), strict=True):
            self._curve[name].append(value)
        self.fitted.curve = self._columns()
        self._fit, self._cpu = None, 0.0
        self.level -= 1
        if self.level == 0 and self.sweep < self.config.passes:
            self.sweep, self.level = self.sweep + 1, self.max_steps - 1
            self._pool = {}

    def _columns(self) -> dict[str, NDArray[Any]]:
        kinds = dict(zip(CURVE, (np.int64, np.int64, np.float64, np.float64), strict=True))
        return {name: np.array(column, kinds[name]) for name, column in self._curve.items()}

    def _prepared(self) -> LevelFit:
        if self._beam is None:
            self._beam = self.candidates()
        if self.sweep > 1 and not self._pool:
            self._pool = self._visited()
        config, t = self.config, self.level
        keys, targets = self._rows(self._beam[t])
        n_steps = config.steps * max(1.0, MOST_STEPS_AT / (self.max_steps - t))
        return LevelFit(
            self.fitted.features,
            self.fitted.bound,
            t,
            keys,
            targets,
            self.start(),
            n_steps=max(1, round(n_steps if self.sweep == 1 else config.later_share * config.steps)),
            batch=config.batch,
            learning_rate=config.learning_rate,
            robot_weight=config.robot_weight,
            order=stream(self.seed, MINIBATCH, self.sweep, t),
        )

    def candidates(self) -> list[Keys]:
        """Return the reachable rows of levels 0..T-1 that a training has before it knows anything: the beam."""
        return list(beam_keys(self.world, self.max_steps - 1, self.config.beam, self.seed))

    def start(self) -> Parameters:
        """Return the parameters that the fit of the level starts from."""
        t = self.level
        if self.sweep > 1:
            return self.fitted.networks[t].parameters
        if t + 1 < self.max_steps:
            return self.fitted.networks[t + 1].parameters
        return self.fresh_start()

    def fresh_start(self) -> Parameters:
        """Return parameters drawn for the level."""
        draws = stream(self.seed, WEIGHTS, self.sweep, self.level)
        return fresh(self.fitted.features, self.config.hidden, self.n_outputs, draws)

    def _visited(self) -> Pool:
        """Play with the values of the pass before."""
        n = self.config.rollouts
        noise = stream(self.seed, ROLLOUT, self.sweep, self.max_steps).choice(NOISE, size=n, p=NOISE_WEIGHTS)
        moments = episodes(self._steps, n, lambda t: stream(self.seed, ROLLOUT, self.sweep, t), noise)
        found = {m.t: (m.met, np.bincount(m.row, minlength=len(m.met))) for m in moments}
        return {t: found[t] for t in range(1, self.max_steps)}

    def _rows(self, beam: Keys) -> tuple[Keys, Expansion]:
        """Training rows of the level with their exact one-step values."""
        t, n = self.level, self.config.rows
        shares = FIRST_MIX if self.sweep == 1 else self.config.mix
        draws = stream(self.seed, ROWS, self.sweep, t)
        keys = beam[chosen(len(beam), round(shares[0] * n), np.ones(len(beam)), draws)]
        if self.sweep > 1:
            met, visits = self._pool[t]
            keys = np.union1d(keys, met[chosen(len(met), round(shares[1] * n), np.sqrt(visits), draws)])
        made = perturbed(self.world, keys, round(shares[2] * n), stream(self.seed, PERTURBATION, self.sweep, t))
        made = np.setdiff1d(made, keys, assume_unique=True)
        reached = self._steps.expand(t, keys, keeps_pi_h=False)
        others = self._guarded.expand(t, made, keeps_pi_h=False)
        is_kept = has_power(others, self.params)
        targets = [np.concatenate([a, b[is_kept]]) for a, b in zip(reached[:-1], others[:-1], strict=True)]
        names = Values._fields[:-1]
        return np.concatenate([keys, made[is_kept]]), Values(
            **dict(zip(names, targets, strict=True)), pi_h=reached.pi_h
        )

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on behind the last finished (pass, level): arrays and numbers by name."""
        state: dict[str, Any] = {"pass": self.sweep, "next_level": self.level}
        state |= {f"curve/{name}": column for name, column in self._columns().items()}
        for t, network in self.fitted.networks.items():
            state |= {name: array.copy() for name, array in level_tensors(t, network).items()}
        for t, (keys, visits) in self._pool.items():
            state |= {f"pool/{t:04d}/key": keys, f"pool/{t:04d}/visits": visits}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; a level that had been begun is begun again.

        Raises:
            ValueError: a state of another problem or of other settings.
        """
        sweep, level = int(state["pass"]), int(state["next_level"])
        if not (1 <= sweep <= self.config.passes and 0 <= level < self.max_steps):
            raise ValueError(f"the state is of pass {sweep}, level {level}; this training has no such level")
        expected = shapes(self.fitted.features, self.config.hidden, self.n_outputs)
        levels = range(1 if sweep > 1 else level + 1, self.max_steps)
        networks: dict[int, LevelNetwork] = {
            t: read_level(t, state, self.config.hidden, expected) for t in reversed(levels)
        }
        self.fitted.networks.clear()
        self.fitted.networks.update(networks)
        self._curve = {name: list(np.asarray(state[f"curve/{name}"]).tolist()) for name in CURVE}
        self._pool = {
            t: (np.array(state[f"pool/{t:04d}/key"]), np.array(state[f"pool/{t:04d}/visits"]))
            for t in range(1, self.max_steps)
            if f"pool/{t:04d}/key" in state
        }
        self.sweep, self.level, self._fit, self._cpu = sweep, level, None, 0.0
        self.fitted.curve = self._columns()


def fit(
    world: World,
    params: Params,
    max_steps: int | None = None,
    config: NeuralConfig = DEFAULTS,
    *,
    seed: int = 0,
    resume: Mapping[str, Any] | None = None,
    on_level: Callable[[dict[str, Any]], None] | None = None,
) -> Fitted:
    """Fit the values of one problem.

    Args:
        world, params: the problem.
        max_steps: horizon T; None: the world's.
        config: settings.
        seed: of all random draws of this training.
        resume: what `on_level` was given in an earlier call with the same other arguments; the bits stay the same.
        on_level: called after every (pass, level) with a dict of arrays and numbers.

    Raises:
        ValueError: an argument out of range, or a world whose configurations do not fit into one word.
        PowerlessError: a human has no power in a reachable state and `power_floor` is 0.
        DivergedError: a loss is no finite number; the message names pass and level.
    """
    training = Training(world, params, max_steps, config, seed=seed)
    if resume is not None:
        training.restore(resume)
    while not training.is_done:
        place = training.sweep, training.level
        training.advance()
        if on_level is not None and (training.sweep, training.level) != place:
            on_level(training.state())
    return training.fitted
