"""One exact step: values and policies of configurations from what their successors are worth.

    expand(c, t):  all profiles of c -> distinct successors c' with their probabilities
                   F_{t+1}(c') -> the exact solver's backward kernel
                   -> V^m, V^e, X_h, Q_r, pi_r, V_r, m_h, pi_h of (t, c)

At t + 1 = T the successors' values are the terminal ones, exactly. With exact values for F this is the exact solver.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import expansion
from ..graph import attained_goals
from ..kernel.backward import Model, Rows
from ..levels import (
    PowerlessError,
    Tables,
    Values,
    backward,
    empty_values,
    entering_tables,
    model_at,
    model_of,
    terminal_tables,
)
from ..packing import State
from ..params import Params
from ..world import World
from .configurations import Keys, human_cells, powerless, states_of

Expansion = Values
"""Values and policies of N states, f8: Vm, Ve [N, H, G], Vr [N], Xh [N, H], Qr, pi_r [N, R], m_h [N, H, A], pi_h
[N, H, G, A]."""

ROW_CHUNK = 4096
NO_POWER = 1e-300

Levels = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""V^m, V^e f8 [n, H, G] and V_r f8 [n]."""


class Source(Protocol):
    """What an exact step needs: the problem, and values of states of one t in 1..T-1."""

    world: World
    params: Params
    max_steps: int

    def values(self, states: list[State]) -> Levels:
        """Return V^m, V^e f8 [N, H, G] and V_r f8 [N]."""
        ...


class Steps:
    """Exact steps on a source's values.

    Args:
        source: the values.
        params: parameters of the theory to step with; None: the source's.
    """

    def __init__(self, source: Source, params: Params | None = None) -> None:
        self.source = source
        self.world, self.max_steps = source.world, source.max_steps
        self.params = params or source.params
        self.model: Model = model_of(self.world, self.params)
        self.attained = attained_goals(self.world)

    def entering(self, t: int, keys: Keys) -> Tables:
        """Return what entering configurations at level t is worth."""
        cells = human_cells(self.world, keys)
        if t == self.max_steps:
            return terminal_tables(cells, self.attained, self.params)
        at_keys = getattr(self.source, "key_values", None)
        if at_keys is None:
            Vm, Ve, Vr = self.source.values(states_of(self.world, t, keys))
        else:
            Vm, Ve, Vr = at_keys(t, keys)
        return entering_tables(Vm, Ve, np.asarray(Vr, np.float64), cells, self.attained, self.params)

    def backward(
        self, t: int, keys: Keys, rows: Rows, following: Tables, into: Values | None = None, *, keeps_pi_h: bool = True
    ) -> Values:
        """Return values of rows whose transitions and successors' values are at hand.

        Raises:
            PowerlessError: a human has no power in one of them; the message says which and what helps.
        """
        cells = human_cells(self.world, keys)
        try:
            model = model_at(self.model, self.max_steps - t)
            return backward(model, rows, following, cells, self.attained, keeps_pi_h=keeps_pi_h, into=into)
        except PowerlessError as error:
            raise powerless(self.world, t, keys[error.args[1]], error.args[2]) from None

    def expand(self, t: int, keys: Keys, *, keeps_pi_h: bool = True) -> Values:
        """Return values and policies of configurations at level t; chunks of rows, whose sizes change no bit.

        Raises:
            ValueError: t is not in 0..T-1.
            PowerlessError: a human has no power in one of them.
        """
        if not 0 <= t < self.max_steps:
            raise ValueError(f"level {t} is out of range; allowed are 0 to {self.max_steps - 1}")
        values = empty_values(self.model, len(keys), keeps_pi_h)
        for first in range(0, len(keys), ROW_CHUNK):
            part = slice(first, min(first + ROW_CHUNK, len(keys)))
            found = expansion.expand(self.world.packing, keys[part, None])
            following = self.entering(t + 1, found.keys[:, 0])
            into = Values(*(array[part] for array in values))
            self.backward(t, keys[part], found.rows, following, into)
        return values


def power_guarded(params: Params) -> Params:
    """Return parameters under which a human without power stops nothing: X_h is NO_POWER then."""
    return params if params.power_floor > 0.0 else params.model_copy(update={"power_floor": NO_POWER})


def has_power(values: Values, params: Params) -> NDArray[np.bool_]:
    """Which rows, expanded with `power_guarded(params)`, the exact study would not refuse; bool [n]."""
    if params.power_floor > 0.0:
        return np.ones(len(values.Vr), np.bool_)
    return np.all(values.Xh > NO_POWER, axis=1)
