"""What fitted values and ensembles of them have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..packing import State
from ..params import Params
from ..solution import AT_ROOT
from ..world import World
from .configurations import Keys, keys_of, root_key, states_of
from .stepping import Expansion, Levels, Steps


class ValueFunction(ABC):
    """Estimates of V^m, V^e and V_r at every level, and the exact step on them that is the mode's answer.

    A subclass (or an object) with `values` of its own is asked through these, with lists of states.

    Attributes:
        world, params, max_steps: the problem.
        seed: seed of the training.
    """

    world: World
    params: Params
    max_steps: int
    seed: int

    @abstractmethod
    def estimated(self, t: int, keys: Keys) -> Levels:
        """Return V^m, V^e f8 [n, H, G] and V_r f8 [n] of configurations at level t in 1..T-1."""

    def key_values(self, t: int, keys: Keys) -> Levels:
        """Return the values of configurations at level t in 1..T-1, from `values` where that was replaced."""
        if getattr(self.values, "__func__", None) is not ValueFunction.values:
            return self.values(states_of(self.world, t, keys))
        return self.estimated(t, keys)

    def values(self, states: Sequence[State]) -> Levels:
        """Return the bare estimates of states of one t in 1..T-1, reachable or not; at t = T the exact terminal values.

        Returns:
            V^m, V^e f8 [N, H, G], 0 where the goal is attained or out of reach in time, and V_r f8 [N].

        Raises:
            ValueError: states of several levels, of t = 0 (the root is expanded, never fitted), or not of this world.
        """
        t, keys = keys_of(self.world, states)
        if not 1 <= t <= self.max_steps:
            raise ValueError(f"level {t} is out of range; values are estimated at levels 1 to {self.max_steps}")
        if t < self.max_steps:
            return self.estimated(t, keys)
        shape = (len(keys), len(self.world.humans), len(self.world.goals))
        return np.zeros(shape), np.zeros(shape), np.full(len(keys), self.params.terminal_Vr)

    def expand(self, states: Sequence[State]) -> Expansion:
        """Return values and policies of states of one t < T, reachable or not, by one exact step on the estimates.

        Raises:
            PowerlessError: a human has no power in one of them and `power_floor` is 0.
            ValueError: states of several levels, of t >= T, or not of this world.
        """
        return expand_states(self, states)

    @cached_property
    def root_by_horizon(self) -> dict[str, NDArray[np.float64]]:
        """Arrays of the root whose item k - 1 is with k steps to go, as a `Solution`'s: one training, all horizons."""
        return root_by_horizon(Steps(self))


def expand_states(source: ValueFunction, states: Sequence[State]) -> Expansion:
    """Return `expand` of any source of values."""
    t, keys = keys_of(source.world, states)
    return Steps(source).expand(t, keys)


def root_by_horizon(steps: Steps) -> dict[str, NDArray[np.float64]]:
    """Return the arrays of the root whose item k - 1 is with k steps to go."""
    root = root_key(steps.world)
    found = [steps.expand(steps.max_steps - k, root) for k in range(1, steps.max_steps + 1)]
    return {name: np.stack([getattr(values, name)[0] for values in found]) for name in AT_ROOT}
