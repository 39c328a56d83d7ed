"""Configurations as packed keys of one word, u8 [n], and as the states that people read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..kernel.chain import reach_rows
from ..kernel.stepping import workspace
from ..levels import PowerlessError
from ..packing import AGENT_FIELDS, State
from ..world import World

Keys = NDArray[np.uint64]


def check_world(world: World) -> World:
    """Return the world.

    Raises:
        ValueError: its configurations do not fit into one word.
    """
    packing = world.packing
    if packing.n_words > 1:
        raise ValueError(
            f"world {world.name!r} needs wide keys: a configuration has {packing.bits} bits; "
            "fitted values take at most 63"
        )
    return world


def horizon_of(world: World, max_steps: int | None) -> int:
    """Return T, the world's unless given.

    Raises:
        ValueError: not a whole number from 1 on.
    """
    horizon = world.max_steps if max_steps is None else max_steps
    if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
        raise ValueError(f"max_steps is {horizon!r}; allowed are whole numbers from 1 on")
    return int(horizon)


def root_key(world: World) -> Keys:
    """Return the key of the initial configuration, u8 [1]."""
    return world.packing.key(world.packing.vector(world.initial_state))


def keys_of(world: World, states: Sequence[State]) -> tuple[int, Keys]:
    """Return the level and the keys of states.

    Raises:
        ValueError: no states, states of several levels, or no states of this world.
    """
    levels = {int(state[0]) for state in states}
    if len(levels) != 1:
        found = "none" if not levels else f"levels {sorted(levels)}"
        raise ValueError(f"states of one level are needed; found {found}")
    packing = world.packing
    keys = np.empty(len(states), np.uint64)
    for row, state in enumerate(states):
        try:
            keys[row] = packing.key(packing.vector(state))[0]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{state!r} is not a state of world {world.name!r}: {error.args[0]}") from None
    return levels.pop(), keys


def states_of(world: World, t: int, keys: Keys) -> list[State]:
    """Return the states of level t with these keys."""
    packing = world.packing
    return [packing.state(t, vector) for vector in packing.vectors(keys[:, None])]


def human_cells(world: World, keys: Keys) -> NDArray[np.uint16]:
    """Where each human stands, u2 [n, H], as compact cell numbers."""
    columns = [world.packing.field(keys[:, None], AGENT_FIELDS * human) for human in world.humans]
    return np.stack(columns, axis=1).astype(np.uint16)


def freed_humans(world: World, keys: Keys) -> NDArray[np.bool_]:
    """Which humans can reach more cells than in the initial configuration, bool [n, H] (as `StateGraph.freed`)."""
    tables = world.packing.tables
    sizes = np.empty((1 + len(keys), len(world.humans)), np.int32)
    both = np.concatenate([root_key(world), keys])[:, None]
    reach_rows(tables, workspace(tables), both, np.array(world.humans, np.int64), sizes)
    freed: NDArray[np.bool_] = sizes[1:] > sizes[0]
    return freed


def powerless(world: World, t: int, key: np.uint64, human: int) -> PowerlessError:
    """Return the error of a human without power, which names human, level and configuration."""
    state = states_of(world, t, np.array([key], np.uint64))[0]
    x, y = state[1][world.humans[human]][:2]
    return PowerlessError(
        f"human {human} has power X_h = 0 in state {state}: no goal can be attained from its cell ({x},{y}); "
        "add a goal covering that cell, or set power_floor (--power-floor)"
    )
