"""The worlds: names, geometry and rewards of both families, without the compiler.

Family `grid`: boards of size x size cells (x, y) from the top left corner, nothing in them is random. Family
`delayed`: the multi-key-to-door games of Sun et al. (2023), boards of 5 x 5 cells (r, c), phases of fixed length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

FAMILIES = ("grid", "delayed")
RULESETS = ("standard", "reference")
REWARD_MODES = ("shaped", "sparse", "delayed")
WORLDS = ("single", "double", "triple", "quad")
GRID_WORLDS = WORLDS[:3]
COLOURS = ("green", "blue", "purple")
REWARDS = {"key": 0.5, "door": 0.5, "green_goal": 0.7, "goal": 1.0}
DEFAULT_SIZE, SMALLEST_SIZE, LARGEST_SIZE = 10, 8, 20
MAX_STEPS = 400
GRID_ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")
DELAYED_ACTIONS = ("north", "south", "west", "east")

GRID_EVENTS = (
    *(f"{colour} key" for colour in COLOURS),
    *(f"{colour} door" for colour in COLOURS),
    "green goal",
    "final goal",
)
"""Kinds of events of a grid world; kind i is bit i of an episode's `events`."""

DELAYED_EVENTS = ("key of phase 0", "key of phase 2", "key of phase 4", "key of phase 6", "reward")
"""Kinds of events of a delayed world; a key's kind is its bit of an episode's `events`, the reward is bit 7."""

Cell = tuple[int, int]


@dataclass(frozen=True)
class GridWorld:
    """A grid world; keys and doors by colour number (1 green, 2 blue, 3 purple), cells as (x, y)."""

    name: str
    size: int
    walls: tuple[int, ...]
    keys: Mapping[int, Cell]
    doors: Mapping[int, Cell]
    green_goal: Cell | None
    final_goal: Cell

    @property
    def final_colour(self) -> int:
        """Colour number of the final goal: purple where another goal is green."""
        return 1 if self.green_goal is None else 3


@dataclass(frozen=True)
class Phase:
    """A phase of a delayed world: its board, and where its key may lie; cells as (r, c)."""

    kind: str
    duration: int
    walls: frozenset[Cell]
    start: Cell
    door: Cell | None
    key_cells: tuple[Cell, ...]


def grid_world(name: str, size: int = DEFAULT_SIZE) -> GridWorld:
    """Return the geometry of a grid world.

    Raises:
        ValueError: a world or a size that the family does not have.
    """
    check_world(name, "grid")
    check_size(name, size)
    size = int(size)
    h, last = size // 2, size - 2
    if name == "single":
        return GridWorld(name, size, (h,), {2: (2, h)}, {2: (h, h)}, None, (last, last))
    if name == "double":
        keys, doors = {2: (2, h - 1), 1: (2, h + 1)}, {2: (h, h - 1), 1: (h, h + 1)}
        return GridWorld(name, size, (h,), keys, doors, None, (last, last))
    keys = {2: (1, h - 1), 1: (1, h + 1), 3: (5, h + 1)}
    return GridWorld(name, size, (3, 6), keys, {1: (3, h), 3: (6, h)}, (4, last), (last, last))


def check_size(name: str, size: Any) -> None:
    """Check the side length of a grid world.

    Raises:
        ValueError: odd, below 8 or above 20, or not 10 for `triple`, whose columns are absolute.
    """
    if not is_whole(size) or size % 2 or not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise ValueError(f"size {size!r}; allowed even numbers {SMALLEST_SIZE} to {LARGEST_SIZE}")
    if name == "triple" and size != DEFAULT_SIZE:
        raise ValueError(f"size {size}: triple needs size {DEFAULT_SIZE}")


def check_world(name: str, family: str) -> None:
    """Check that a family has a world.

    Raises:
        ValueError: unknown family or world.
    """
    check_choice("family", family, FAMILIES)
    if name == "quad" and family == "grid":
        raise ValueError("world 'quad' exists only in family delayed")
    check_choice("world", name, WORLDS if family == "delayed" else GRID_WORLDS)


def check_choice(key: str, value: object, allowed: tuple[str, ...]) -> None:
    """Check one named option.

    Raises:
        ValueError: `value` is not among `allowed`.
    """
    if value not in allowed:
        raise ValueError(f"{key}: {value!r} is not one of {', '.join(allowed)}")


def is_whole(value: Any) -> bool:
    """Whether a value is a finite number without a fraction."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(value == value // 1)


def check_count(key: str, value: Any, least: int = 1) -> None:
    """Check a number that counts something.

    Raises:
        ValueError: `value` is no whole number, or below `least`.
    """
    if not is_whole(value) or value < least:
        raise ValueError(f"{key}: {value!r}; allowed whole numbers from {least}")


def check_rules(world: str, family: str, ruleset: str, reward_mode: str, max_steps: int) -> None:
    """Check what a world is made from.

    Raises:
        ValueError: an option that is not allowed, named with what is.
    """
    check_world(world, family)
    check_choice("ruleset", ruleset, RULESETS)
    check_choice("reward_mode", reward_mode, REWARD_MODES)
    if family == "delayed" and reward_mode != "shaped":
        raise ValueError(f"reward_mode {reward_mode!r} has no meaning in family delayed")
    check_count("max_steps", max_steps)


def full_rewards(rewards: Mapping[str, float] | None) -> dict[str, float]:
    """Return the reward table with some entries replaced.

    Raises:
        ValueError: an unknown entry, a negative or a non-finite reward.
    """
    for key, value in (rewards or {}).items():
        if key not in REWARDS:
            raise ValueError(f"rewards.{key}: no such reward; known: {', '.join(REWARDS)}")
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
            raise ValueError(f"rewards.{key}: {value!r}; allowed finite numbers from 0")
    return {**REWARDS, **{key: float(value) for key, value in (rewards or {}).items()}}


def board(text: str) -> frozenset[Cell]:
    """Return the walls ('#') of a board written as five rows."""
    return frozenset((r, c) for r, row in enumerate(text.split()) for c, mark in enumerate(row) if mark == "#")


_EXPLORE = board("##### #...# #..## #...# #####")
_ROOM_A = board(".#### ....# .#..# .#..# .####")
_ROOM_B = board("##### ...#. ...#. ##... ##.#.")
_ROOM_C = board("##### .#.#. .#.#. ...#. ##...")
_REWARD_2 = board(".#### .#.## .#.## ...## #####")
_REWARD = board(".#### .#.## ...## .#.## #####")
_ROOMS = (
    Phase("room", 15, _ROOM_A, (1, 3), (1, 1), ((0, 0), (1, 0), (2, 0))),
    Phase("room", 15, _ROOM_B, (3, 2), (3, 3), ((2, 4), (3, 4), (4, 4))),
    Phase("room", 15, _ROOM_C, (2, 0), (3, 1), ((3, 2),)),
)
_DISTRACTOR = Phase("distractor", 45, frozenset(), (3, 3), None, ())


def delayed_world(name: str) -> tuple[Phase, ...]:
    """Return the phases of a delayed world in order.

    Raises:
        ValueError: unknown world.
    """
    check_world(name, "delayed")
    n_keys = WORLDS.index(name) + 1
    phases = [Phase("explore", 10, _EXPLORE, (3, 2), None, ((1, 2),))]
    for room in _ROOMS[: n_keys - 1]:
        phases += [_DISTRACTOR, room]
    two = n_keys == 2
    reward = Phase("reward", 10, _REWARD_2 if two else _REWARD, (1, 2), (3, 1) if two else (2, 1), ())
    return (*phases, _DISTRACTOR, reward)


def episode_length(name: str) -> int:
    """Return the fixed number of steps of a delayed world."""
    return sum(phase.duration for phase in delayed_world(name))


def maximal_return(name: str, family: str = "grid") -> float:
    """Return the largest return of an episode under ruleset `standard` and the default rewards."""
    return 1.0 if family == "delayed" else {"single": 2.0, "double": 3.0, "triple": 4.2}[name]
