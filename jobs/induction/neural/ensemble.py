"""Several trainings as one: the mean of their values, and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..packing import State
from .configurations import Keys
from .stepping import Levels
from .value_function import ValueFunction


class Ensemble(ValueFunction):
    """The mean of V^m, V^e and of log(-V_r) over members, used as one fitted value function.

    Args:
        members: trainings of one problem.

    Raises:
        ValueError: no members, or members of several problems.
    """

    def __init__(self, members: Sequence[ValueFunction]) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one member")
        first = members[0]
        for member in members[1:]:
            if (member.world.source, member.params, member.max_steps) != (
                first.world.source,
                first.params,
                first.max_steps,
            ):
                raise ValueError("the members of an ensemble must have one world, parameter set and horizon")
        self.members = tuple(members)
        self.world, self.params, self.max_steps, self.seed = first.world, first.params, first.max_steps, first.seed

    def estimated(self, t: int, keys: Keys) -> Levels:
        """Return the members' mean V^m, V^e f8 [n, H, G] and V_r = -exp(mean log(-V_r)) f8 [n]."""
        found = [member.key_values(t, keys) for member in self.members]
        Vm, Ve = (np.mean([values[k] for values in found], axis=0) for k in (0, 1))
        return Vm, Ve, -np.exp(np.mean([np.log(-values[2]) for values in found], axis=0))

    def spread(self, states: Sequence[State]) -> dict[str, NDArray[np.float64]]:
        """Return standard deviations (n - 1) of the members' `values`: Vm, Ve [N, H, G] and log_Vr [N].

        Raises:
            ValueError: one member only, or as `values`.
        """
        if len(self.members) < 2:
            raise ValueError("a spread needs at least two members")
        found = [member.values(states) for member in self.members]
        return {
            "Vm": np.std([values[0] for values in found], axis=0, ddof=1),
            "Ve": np.std([values[1] for values in found], axis=0, ddof=1),
            "log_Vr": np.std([np.log(-values[2]) for values in found], axis=0, ddof=1),
        }
