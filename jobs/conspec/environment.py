"""Vectorised worlds: lanes that step together in compiled code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import ArrayLike, NDArray

from . import delayed_kernel as dk
from . import grid_kernel as gk
from .placements import N_PLACEMENTS, Layout, drawn, given
from .worlds import (
    DEFAULT_SIZE,
    MAX_STEPS,
    REWARD_MODES,
    GridWorld,
    check_count,
    check_rules,
    delayed_world,
    full_rewards,
    grid_world,
)

WHOLE = np.dtype(np.int64)
Step = tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]


class GridTables(NamedTuple):
    """A grid world as the kernel reads it."""

    facts: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    views: NDArray[np.uint8]
    rewards: NDArray[np.float64]


def grid_tables(
    world: GridWorld, ruleset: str, reward_mode: str, max_steps: int, rewards: Mapping[str, float]
) -> GridTables:
    """Return the tables of a grid world under one set of rules."""
    facts = np.zeros(gk.N_FACTS, np.int64)
    facts[[gk.SIZE, gk.MAX_STEPS, gk.N_DOORS]] = world.size, max_steps, len(world.doors)
    for door, (colour, (x, y)) in enumerate(world.doors.items()):
        facts[gk.DOOR_CELL + door], facts[gk.DOOR_COLOUR + door] = y * world.size + x, colour
    for colour in (1, 2, 3):
        cell = world.keys.get(colour)
        facts[gk.KEY_CELL + colour - 1] = -1 if cell is None else cell[1] * world.size + cell[0]
    facts[gk.REFERENCE] = ruleset == "reference"
    facts[gk.NEEDS_BOTH] = ruleset == "standard" and world.name == "double"
    facts[gk.MODE] = REWARD_MODES.index(reward_mode)
    kinds, views = _board(world.name, world.size)
    return GridTables(facts, kinds, views, np.array([rewards[key] for key in ("key", "door", "green_goal", "goal")]))


@lru_cache(maxsize=8)
def _board(name: str, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return what each cell is made of, u1[size * size], and every view, u1[36 * size * size, 49]."""
    world = grid_world(name, size)
    kinds = np.zeros((size, size), np.uint8)
    kinds[0] = kinds[-1] = kinds[:, 0] = kinds[:, -1] = gk.WALL
    for column in world.walls:
        kinds[1:-1, column] = gk.WALL
    facts = np.zeros(gk.N_FACTS, np.int64)
    facts[gk.SIZE] = size
    for door, (colour, (x, y)) in enumerate(world.doors.items()):
        kinds[y, x] = gk.FIRST_DOOR + door
        facts[gk.DOOR_COLOUR + door] = colour
    if world.green_goal is not None:
        kinds[world.green_goal[1], world.green_goal[0]] = gk.GREEN_GOAL
    kinds[world.final_goal[1], world.final_goal[0]] = gk.FINAL_GOAL
    final = gk.GREEN_GOAL_CODE if world.final_colour == 1 else gk.PURPLE_GOAL_CODE
    views = np.empty((36 * size * size, gk.VIEW), np.uint8)
    gk.fill_views(facts, kinds.ravel(), np.array([gk.GREEN_GOAL_CODE, final], np.uint8), views)
    return kinds.ravel(), views


def phase_table(name: str) -> NDArray[np.int64]:
    """Return a delayed world as the kernel reads it, i8[phases, 29]."""
    phases = delayed_world(name)
    table = np.zeros((len(phases), dk.N_PHASE_COLUMNS), np.int64)
    kinds = {"explore": dk.EXPLORE, "distractor": dk.DISTRACTOR, "room": dk.ROOM, "reward": dk.REWARD}
    for row, phase in zip(table, phases, strict=True):
        row[dk.DURATION], row[dk.KIND] = phase.duration, kinds[phase.kind]
        row[dk.START] = 5 * phase.start[0] + phase.start[1]
        row[dk.DOOR] = -1 if phase.door is None else 5 * phase.door[0] + phase.door[1]
        for r, c in phase.walls:
            row[dk.BOARD + 5 * r + c] = dk.WALL
        if phase.door is not None:
            row[dk.BOARD + row[dk.DOOR]] = dk.DOOR_CODE
    return table


class VectorEnv(ABC):
    """N lanes of one world. A lane that has ended stays as it is and is paid nothing."""

    num_envs: int
    world: str
    n_cells: int
    n_codes: int
    n_actions: int
    max_steps: int
    lanes: NDArray[np.int64]
    _is_reset = False

    @abstractmethod
    def reset(self, layout: Sequence[Layout] | None = None) -> NDArray[np.uint8]:
        """Start an episode in every lane; return what the lanes see, u1[N, D].

        Raises:
            ValueError: a layout that does not fit the world.
        """

    @abstractmethod
    def step(self, actions: ArrayLike) -> Step:
        """Act in every lane; `actions` int[N].

        Returns:
            codes u1[N, D], reward f8[N], terminated bool[N], truncated bool[N].

        Raises:
            RuntimeError: `reset` was never called.
            ValueError: not one whole number per lane, or one that is no action in a lane that has not ended.
        """

    def _checked(self, actions: ArrayLike) -> NDArray[np.int64]:
        if not self._is_reset:
            raise RuntimeError("step() before reset()")
        shape = (self.num_envs,)
        if type(actions) is np.ndarray and actions.dtype is WHOLE and actions.flags.carray and actions.shape == shape:
            return actions
        chosen = np.asarray(actions)
        if chosen.dtype.kind not in "iu":
            raise ValueError(f"actions of type {chosen.dtype}; whole numbers are needed")
        if chosen.shape != shape:
            raise ValueError(f"actions of shape {chosen.shape}; needed {shape}")
        return np.array(chosen, np.int64)  # owned, contiguous and writable: one compiled signature

    def _refuse(self, actions: NDArray[np.int64], lane: int) -> None:
        raise ValueError(f"action {actions[lane]} of lane {lane}; allowed 0 to {self.n_actions - 1}")

    def _column(self, column: int) -> NDArray[np.int64]:
        return self.lanes[:, column].copy()


class GridVectorEnv(VectorEnv):
    """Lanes of a grid world."""

    def __init__(self, world: GridWorld, num_envs: int, tables: GridTables) -> None:
        self.world, self.num_envs, self.tables = world.name, num_envs, tables
        self.n_cells, self.n_codes, self.n_actions = gk.VIEW, gk.N_CODES, gk.N_ACTIONS
        self.max_steps = int(tables.facts[gk.MAX_STEPS])
        self.lanes = np.zeros((num_envs, gk.N_COLUMNS), np.int64)
        self.owed = np.zeros(num_envs)

    def reset(self, layout: Sequence[Layout] | None = None) -> NDArray[np.uint8]:
        """Start an episode in every lane; return what the lanes see, u1[N, 49].

        Raises:
            ValueError: a layout is given; a grid world has nothing to place.
        """
        if layout is not None:
            raise ValueError("layout: nothing in family grid is placed at random")
        codes = np.empty((self.num_envs, gk.VIEW), np.uint8)
        gk.reset_lanes(self.tables.facts, self.tables.views, self.lanes, self.owed, codes)
        self._is_reset = True
        return codes

    def step(self, actions: ArrayLike) -> Step:
        """Act in every lane; `actions` int[N], see `VectorEnv.step`."""
        chosen, n = self._checked(actions), self.num_envs
        facts, kinds, views, rewards = self.tables
        codes, reward = np.empty((n, gk.VIEW), np.uint8), np.empty(n)
        ended, cut = np.empty(n, np.bool_), np.empty(n, np.bool_)
        wrong = gk.step_lanes(facts, kinds, views, rewards, self.lanes, self.owed, chosen, codes, reward, ended, cut)
        if wrong >= 0:
            self._refuse(chosen, wrong)
        return codes, reward, ended, cut

    @property
    def x(self) -> NDArray[np.int64]:
        """Column of each agent."""
        return self._column(gk.X)

    @property
    def y(self) -> NDArray[np.int64]:
        """Row of each agent."""
        return self._column(gk.Y)

    @property
    def dir(self) -> NDArray[np.int64]:
        """Direction of each agent: 0 east, 1 south, 2 west, 3 north."""
        return self._column(gk.DIR)

    @property
    def carrying(self) -> NDArray[np.int64]:
        """Colour of the key that is carried: 0 none, 1 green, 2 blue, 3 purple."""
        return self._column(gk.CARRYING)

    @property
    def event(self) -> NDArray[np.int64]:
        """What the last step did: 0 nothing, 1 key taken, 2 door opened, 3 green goal reached, 4 final goal."""
        return self._column(gk.EVENT)

    @property
    def success(self) -> NDArray[np.bool_]:
        """Whether the final goal was paid in this episode."""
        return self.lanes[:, gk.SUCCESS] != 0


class DelayedVectorEnv(VectorEnv):
    """Lanes of a delayed world."""

    def __init__(self, world: str, num_envs: int, seed: int | SeedSequence) -> None:
        self.world, self.num_envs = world, num_envs
        self.phases, self.phase_table = delayed_world(world), phase_table(world)
        self.n_cells, self.n_codes, self.n_actions = dk.N_CELLS, dk.N_CODES, dk.N_ACTIONS
        self.max_steps = int(self.phase_table[:, dk.DURATION].sum())
        self.lanes = np.zeros((num_envs, dk.N_COLUMNS), np.int64)
        self.placements = np.zeros((num_envs, N_PLACEMENTS), np.int64)
        self.generator = Generator(PCG64(seed))

    def reset(self, layout: Sequence[Layout] | None = None) -> NDArray[np.uint8]:
        """Start an episode in every lane, with drawn or given placements; return what the lanes see, u1[N, 25].

        Raises:
            ValueError: a layout that does not fit the world.
        """
        if layout is None:
            self.placements = drawn(self.phases, self.num_envs, self.generator)
        else:
            self.placements = given(self.phases, layout, self.num_envs)
        codes = np.empty((self.num_envs, dk.N_CELLS), np.uint8)
        dk.reset_lanes(self.phase_table, self.placements, self.lanes, codes)
        self._is_reset = True
        return codes

    def step(self, actions: ArrayLike) -> Step:
        """Act in every lane; `actions` int[N], see `VectorEnv.step`."""
        chosen, n = self._checked(actions), self.num_envs
        codes, reward = np.empty((n, dk.N_CELLS), np.uint8), np.empty(n)
        cut = np.empty(n, np.bool_)
        wrong = dk.step_lanes(self.phase_table, self.placements, self.lanes, chosen, codes, reward, cut)
        if wrong >= 0:
            self._refuse(chosen, wrong)
        return codes, reward, np.zeros(n, np.bool_), cut

    @property
    def phase(self) -> NDArray[np.int64]:
        """Index of the phase that each lane is in."""
        return self._column(dk.PHASE)

    @property
    def success(self) -> NDArray[np.bool_]:
        """Whether the reward was obtained in this episode."""
        return self.lanes[:, dk.SUCCESS] != 0


def make_env(
    world: str,
    *,
    family: str = "grid",
    ruleset: str = "standard",
    reward_mode: str = "shaped",
    num_envs: int = 1,
    max_steps: int = MAX_STEPS,
    size: int = DEFAULT_SIZE,
    rewards: Mapping[str, float] | None = None,
    seed: int | SeedSequence = 0,
) -> VectorEnv:
    """Make a vectorised world of `num_envs` lanes.

    `ruleset`, `max_steps`, `size` and `rewards` (entries of `key`, `door`, `green_goal`, `goal`) act in family
    `grid` only; `seed` draws the placements of family `delayed`.

    Raises:
        ValueError: an option that is not allowed, named with what is.
    """
    check_rules(world, family, ruleset, reward_mode, max_steps)
    check_count("num_envs", num_envs)
    if family == "delayed":
        return DelayedVectorEnv(world, int(num_envs), seed)
    geometry = grid_world(world, size)
    tables = grid_tables(geometry, ruleset, reward_mode, int(max_steps), full_rewards(rewards))
    return GridVectorEnv(geometry, int(num_envs), tables)
