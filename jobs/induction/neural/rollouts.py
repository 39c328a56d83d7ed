"""Episodes of the exact study, played with fitted values: the same draws, one exact step for every state."""

from __future__ import annotations

import numpy as np

from .. import expansion
from ..episodes import Rollout, drawn, walked
from ..levels import Values
from .configurations import Keys, root_key
from .stepping import Steps
from .value_function import ValueFunction


class FittedWalk:
    """A walk over configurations that nobody has enumerated."""

    def __init__(self, fitted: ValueFunction) -> None:
        self._steps = Steps(fitted)
        self._key = root_key(fitted.world)

    def values(self, t: int) -> Values:
        """Return values and policies of the state."""
        return self._steps.expand(t, self._key)

    def move(self, profile: int, uniform: float) -> Keys:
        """Go on; return the successor's key."""
        found = expansion.expand(self._steps.world.packing, self._key[:, None])
        rows, place = found.rows, int(found.rows.succ[0, profile])
        if place < 0:
            k = -1 - place - rows.first
            low, high = (int(rows.exc_ptr[k + end] - rows.exc_ptr[0]) for end in (0, 1))
            place = int(rows.exc_succ[low + drawn(uniform, rows.exc_prob[low:high])])
        self._key = np.ascontiguousarray(found.keys[place])
        return self._key


def fitted_rollouts(
    fitted: ValueFunction,
    n: int = 20,
    *,
    seed: int = 42,
    others_marginal: bool = False,
    human_always_toggles: bool = False,
) -> list[Rollout]:
    """Play n episodes from the root with the fitted policies; with exact values, those of the exact study's `rollouts`.

    Args and errors as for `rollout` of the exact study.
    """
    return [
        walked(
            FittedWalk(fitted),
            fitted.world,
            fitted.params,
            fitted.max_steps,
            index,
            seed=seed,
            others_marginal=others_marginal,
            human_always_toggles=human_always_toggles,
        )
        for index in range(n)
    ]
