"""The exact upper bound B of V^m and V^e, from distances that ignore agents and mobiles.

    d(c, h, g) = fewest steps from human h's cell and direction into goal g, turns counted
    B(c, t, h, g) = gamma_h^(d - 1) if 1 <= d <= T - t, else 0

Nobody is carried or pushed, so no human is in g before step d, and entering g at step k is worth gamma_h^(k - 1). On
unsteady ground a step may turn and walk at once; there a quarter turn before `forward` counts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..cells import ENTERABLE, UNSTEADY
from ..goals import contains
from ..packing import AGENT_FIELDS, State
from ..params import Params
from ..world import World
from .configurations import Keys, check_world, horizon_of, keys_of

STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
UNREACHABLE = 0
"""d of a goal that is attained already or never: B = 0 for both."""


def _moves(world: World) -> list[list[int]]:
    """Places (cell * 4 + direction) that one step leads to, for each place; cells are compact numbers."""
    positions = world.packing.positions()
    number = {cell: k for k, cell in enumerate(positions)}
    moves = []
    for k, (x, y) in enumerate(positions):
        turns = (-1, 0, 1) if world.ground[x, y] == UNSTEADY else (0,)
        for direction in range(4):
            reached = [4 * k + (direction + turn) % 4 for turn in (-1, 1)]
            for heading in ((direction + turn) % 4 for turn in turns):
                ahead = x + STEPS[heading][0], y + STEPS[heading][1]
                if ahead in number and world.ground[ahead] in ENTERABLE:
                    reached.append(4 * number[ahead] + heading)
            moves.append(reached)
    return moves


def distances(world: World) -> NDArray[np.int32]:
    """Return d, i4 [C, 4, G], by compact cell, direction and goal; 0 where the goal is attained or out of reach."""
    positions = world.packing.positions()
    moves = _moves(world)
    sources: list[list[int]] = [[] for _ in moves]
    for place, reached in enumerate(moves):
        for successor in reached:
            sources[successor].append(place)
    inside = np.array([contains(world.goals, x, y) for x, y in positions])
    d = np.full((len(moves), len(world.goals)), UNREACHABLE, np.int32)
    for g in range(len(world.goals)):
        is_met = np.repeat(inside[:, g], 4)
        front = np.flatnonzero(is_met).tolist()
        steps = 0
        while front:
            steps += 1
            beyond = []
            for place in front:
                for source in sources[place]:
                    if not is_met[source]:
                        is_met[source] = True
                        d[source, g] = steps
                        beyond.append(source)
            front = beyond
    return d.reshape(len(positions), 4, len(world.goals))


class Bound:
    """B of many configurations.

    Args:
        world, params: the problem.
        max_steps: horizon T.

    Attributes:
        by_place: i4 [C * 4, G], d by cell * 4 + direction.
        powers: f8 [T + 1], gamma_h^(d - 1) by d; item 0 is 0.
    """

    def __init__(self, world: World, params: Params, max_steps: int) -> None:
        self.world, self.max_steps = world, max_steps
        self.by_place = distances(world).reshape(-1, len(world.goals))
        self.powers = np.concatenate([[0.0], params.gamma_h ** np.arange(max_steps, dtype=np.float64)])

    def places(self, keys: Keys) -> NDArray[np.int32]:
        """Where each human stands and looks, i4 [n, H], as cell * 4 + direction."""
        packing = self.world.packing
        columns = [
            4 * packing.field(keys[:, None], AGENT_FIELDS * human)
            + packing.field(keys[:, None], AGENT_FIELDS * human + 1)
            for human in self.world.humans
        ]
        return np.stack(columns, axis=1).astype(np.int32)

    def at(self, t: int, keys: Keys) -> NDArray[np.float64]:
        """Return B of configurations at level t, f8 [n, H, G]."""
        d = self.by_place[self.places(keys)]
        return self.powers[np.where(d <= self.max_steps - t, d, 0)]


def bound(world: World, params: Params, states: Sequence[State], max_steps: int | None = None) -> NDArray[np.float64]:
    """Return the upper bound B of V^m and V^e in states of one level, f8 [N, H, G]; 0 where the goal is attained.

    Args:
        world, params: the problem.
        states: states of one t in 0..T, reachable or not.
        max_steps: horizon T; None: the world's.

    Raises:
        ValueError: states of several levels, beyond the horizon, or not of this world.
    """
    horizon = horizon_of(check_world(world), max_steps)
    t, keys = keys_of(world, states)
    if not 0 <= t <= horizon:
        raise ValueError(f"level {t} is out of range; allowed are 0 to {horizon}")
    return Bound(world, params, horizon).at(t, keys)
