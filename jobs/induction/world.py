"""A grid world: ground, agents, movable objects, goals, and who is human and who robot.

A state is (t, agents, mobiles, mutables): t steps done; per agent (x, y, direction, terminated, paused); the multiset
of movable objects (type, x, y), sorted; for each kill button ("killbutton", x, y, enabled) and pause switch
("pauseswitch", x, y, is_on, enabled) in reading order. x grows to the right, y downwards, directions 0 = +x, 1 = +y,
2 = -x, 3 = -y. Without t it is called a configuration. Joint actions ("profiles") are numbered sum_i a_i A^i.

Source: the world files and dynamics of the reference implementation mensch72/empo.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cells import (
    DISABLE_KILL,
    DISABLE_PAUSE,
    ENTERABLE,
    GROUND,
    HUMAN_COLOUR,
    KILL_BUTTON,
    LAVA,
    MOBILES,
    PAUSE_SWITCH,
    ROBOT_COLOUR,
)
from .goals import contains, parse_goal
from .packing import Packing, State
from .world_file import (
    ACTION_SETS,
    WorldError,
    canonical,
    check_keys,
    parse_action_class,
    parse_map,
    parse_max_steps,
    parse_orientations,
    parse_pushers,
    parse_stumble,
    read_world,
)

DEFAULT_MAX_STEPS = 100
LARGEST_N_PROFILES = 1 << 20
TRIVIAL: dict[str, Any] = {
    "name": "trivial",
    "map": ["We We We We We We", "We Ae Ro .. .. We", "We We Ay We We We", "We We We We We We"],
    "max_steps": 5,
    "possible_goals": ["1,1", "2,1", "3,1", "4,1", "2,2"],
}
"""What is solved where no world is named; with goal weights 1 each."""

Cell = tuple[int, int]


@dataclass(frozen=True, eq=False, repr=False)
class World:
    """A world as read from its file.

    Attributes:
        name: label in outputs.
        max_steps: horizon T.
        actions: "SmallActions" (still, left, right, forward) or "ObjectActions" (and pickup, drop, toggle).
        humans, robots: numbers of the agents, which are numbered in reading order of the map.
        goals: int [G, 4], x1, y1, x2, y2, inclusive, in file order.
        has_goal_list: whether the file lists goals (without a list, weights are 1 each).
        ground: kind of every cell, u1 [width, height].
        colours: colour letter of every agent.
        agents: (x, y, direction) of every agent at the start.
        mobiles: (type, x, y) at the start, sorted.
        pushers: colour letters of those who may push rocks.
        stumble: probability of stumbling on unsteady ground.
        metadata: as in the file.
        source: the file's content as canonical JSON.
    """

    name: str
    max_steps: int
    actions: str
    humans: tuple[int, ...]
    robots: tuple[int, ...]
    goals: NDArray[np.int64]
    has_goal_list: bool
    ground: NDArray[np.uint8]
    colours: str
    agents: tuple[tuple[int, int, int], ...]
    mobiles: tuple[tuple[str, int, int], ...]
    pushers: str
    stumble: float
    metadata: dict[str, Any]
    source: str

    @classmethod
    def from_yaml(
        cls,
        source: str | Path,
        *,
        human_agents: Sequence[int] | None = None,
        robot_agents: Sequence[int] | None = None,
        allow_unknown_keys: bool = False,
        coverage_check: bool = True,
    ) -> World:
        """Read a YAML or JSON file, or text (a str with a newline).

        Args:
            source: path or text.
            human_agents: numbers of the human agents instead of all yellow ones.
            robot_agents: numbers of the robots instead of all grey agents.
            allow_unknown_keys: warn of unknown keys instead of refusing them.
            coverage_check: refuse goals that leave a walkable cell uncovered.

        Raises:
            WorldError: a world that cannot be computed (a ValueError; one line that says why).
        """
        mapping, stem = read_world(source)
        return _world(mapping, stem, human_agents, robot_agents, allow_unknown_keys, coverage_check)

    @classmethod
    def from_dict(
        cls,
        mapping: Mapping[str, Any],
        *,
        human_agents: Sequence[int] | None = None,
        robot_agents: Sequence[int] | None = None,
        allow_unknown_keys: bool = False,
        coverage_check: bool = True,
    ) -> World:
        """Make a world of a mapping with the keys of a world file; arguments and errors as `from_yaml`."""
        if not isinstance(mapping, Mapping):
            raise WorldError(f"world: {type(mapping).__name__} is not a mapping with the key 'map'")
        return _world(mapping, None, human_agents, robot_agents, allow_unknown_keys, coverage_check)

    def __repr__(self) -> str:
        return f"World({self.name!r}, {self.width}x{self.height}, {self.n_agents} agents, max_steps={self.max_steps})"

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.ground.shape[0])

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.ground.shape[1])

    @property
    def n_agents(self) -> int:
        """Number of agents n."""
        return len(self.agents)

    @property
    def n_actions(self) -> int:
        """Number of actions A of each agent."""
        return ACTION_SETS[self.actions]

    @property
    def n_profiles(self) -> int:
        """Number of joint actions P = A^n."""
        return int(self.n_actions**self.n_agents)

    @property
    def n_robot_profiles(self) -> int:
        """Number of joint actions of the robots R (1 without robots)."""
        return int(self.n_actions ** len(self.robots))

    def cells(self, *kinds: int) -> list[Cell]:
        """Return the cells whose ground is of one of the kinds, in reading order."""
        return [(x, y) for y in range(self.height) for x in range(self.width) if self.ground[x, y] in kinds]

    @cached_property
    def packing(self) -> Packing:
        """How configurations of this world are packed into words."""
        return Packing(self)

    @property
    def initial_state(self) -> State:
        """The state in which every episode begins."""
        agents = tuple((x, y, direction, 0, 0) for x, y, direction in self.agents)
        mutables = tuple(
            ("killbutton", x, y, 1) if self.ground[x, y] == KILL_BUTTON else ("pauseswitch", x, y, 0, 1)
            for x, y in self.cells(KILL_BUTTON, PAUSE_SWITCH)
        )
        return 0, agents, self.mobiles, mutables

    def joint_action(self, profile: int) -> tuple[int, ...]:
        """Return every agent's action in a profile."""
        return tuple(profile // self.n_actions**i % self.n_actions for i in range(self.n_agents))

    def transitions(self, state: State, profile: int) -> list[tuple[float, State]]:
        """Return (probability, successor) under a joint action, by decreasing probability; no horizon is looked at.

        Raises:
            ValueError: no such profile, or no state of this world.
        """
        from .kernel.expansion import successors

        if not 0 <= profile < self.n_profiles:
            raise ValueError(f"profile {profile} is out of range; allowed are 0 to {self.n_profiles - 1}")
        packing = self.packing
        vectors, probabilities = successors(packing.tables, packing.vector(state), profile)
        return [
            (float(p), packing.state(state[0] + 1, vector)) for p, vector in zip(probabilities, vectors, strict=True)
        ]


def _roles(
    colours: str, human_agents: Sequence[int] | None, robot_agents: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    n = len(colours)
    for key, chosen in (("human_agents", human_agents), ("robot_agents", robot_agents)):
        for number in chosen or ():
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < n:
                raise WorldError(f"world: {key} holds {number!r}; the world has agents 0 to {n - 1}")
        if chosen is not None and len(set(chosen)) != len(chosen):
            raise WorldError(f"world: {key} {list(chosen)} names an agent twice")
    by_colour = {
        letter: [i for i, colour in enumerate(colours) if colour == letter] for letter in (HUMAN_COLOUR, ROBOT_COLOUR)
    }
    humans = list(human_agents) if human_agents is not None else by_colour[HUMAN_COLOUR]
    robots = list(robot_agents) if robot_agents is not None else by_colour[ROBOT_COLOUR]
    both = sorted(set(humans) & set(robots))
    if both and human_agents is not None and robot_agents is not None:
        raise WorldError(f"world: agents {both} are in human_agents and in robot_agents")
    if human_agents is None:
        humans = [i for i in humans if i not in both]
    elif robot_agents is None:
        robots = [i for i in robots if i not in both]
    if not humans:
        raise WorldError("world: no human; at least one yellow agent 'Ay' (or human_agents) is needed")
    neither = [f"{i} (colour {colours[i]!r})" for i in range(n) if i not in humans and i not in robots]
    if neither:
        raise WorldError(
            f"world: agent {', '.join(neither)} is neither human (yellow) nor robot (grey); "
            "name it in human_agents or robot_agents"
        )
    return tuple(int(i) for i in humans), tuple(int(i) for i in robots)


def _goals(value: Any) -> NDArray[np.int64]:
    if not isinstance(value, list | tuple):
        raise WorldError(f"world: key 'possible_goals' is {value!r}; a list of goals is needed")
    try:
        return np.array([parse_goal(goal) for goal in value], np.int64).reshape(-1, 4)
    except ValueError as error:
        raise WorldError(f"world: key 'possible_goals': {error}") from None
    except OverflowError:
        raise WorldError("world: key 'possible_goals': a number is too large") from None


def _default_goals(ground: NDArray[np.uint8], taken: Iterable[Cell]) -> NDArray[np.int64]:
    """One goal for each cell that can be entered and holds no rock or block, sorted by (x, y)."""
    occupied = set(taken)
    cells = [(int(x), int(y)) for x, y in np.argwhere(np.isin(ground, ENTERABLE)) if (x, y) not in occupied]
    return np.array([(x, y, x, y) for x, y in sorted(cells)], np.int64).reshape(-1, 4)


def _check_coverage(ground: NDArray[np.uint8], goals: NDArray[np.int64]) -> None:
    walkable = np.argwhere(np.isin(ground, [kind for kind in ENTERABLE if kind != LAVA]))
    missed = [(x, y) for y, x in sorted((int(y), int(x)) for x, y in walkable) if not contains(goals, x, y).any()]
    if missed:
        cells = ", ".join(f"({x},{y})" for x, y in missed)
        raise WorldError(f"goals do not cover walkable cells: {cells}")


def _world(
    mapping: Mapping[str, Any],
    stem: str | None,
    human_agents: Sequence[int] | None,
    robot_agents: Sequence[int] | None,
    allow_unknown_keys: bool,
    coverage_check: bool,
) -> World:
    if "map" not in mapping:
        raise WorldError("world: key 'map' is missing")
    check_keys(mapping, allow_unknown_keys)
    rows = parse_map(mapping["map"])
    metadata = mapping.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise WorldError(f"world: key 'metadata' is {metadata!r}; a mapping is needed")
    ground = np.array([[GROUND[code] for code in row] for row in rows], np.uint8).T.copy()
    cells = [(x, y, code) for y, row in enumerate(rows) for x, code in enumerate(row)]
    starts = [(x, y, code[1]) for x, y, code in cells if code[0] == "A"]
    mobiles = tuple(sorted((MOBILES[code], x, y) for x, y, code in cells if code in MOBILES))
    colours = "".join(colour for _, _, colour in starts)
    directions = parse_orientations(mapping.get("orientations", 0), len(starts))
    has_switches = bool(np.isin(ground, (PAUSE_SWITCH, DISABLE_KILL, DISABLE_PAUSE)).any())
    actions = parse_action_class(mapping.get("action_class"), has_switches)
    if (ground == KILL_BUTTON).any() and actions == "SmallActions":
        warnings.warn(
            "world: the map has a kill button, but SmallActions cannot toggle it; set action_class: ObjectActions",
            stacklevel=3,
        )
    pushers = parse_pushers(mapping.get("can_push_rocks", ROBOT_COLOUR))
    humans, robots = _roles(colours, human_agents, robot_agents)
    listed = mapping.get("possible_goals")
    has_goal_list = listed is not None and listed != []
    goals = _goals(listed) if has_goal_list else _default_goals(ground, ((x, y) for _, x, y in mobiles))
    if has_goal_list and coverage_check:
        _check_coverage(ground, goals)
    if not len(goals):
        raise WorldError("world: there is no goal, and no free cell that could be one")
    if ACTION_SETS[actions] ** len(starts) > LARGEST_N_PROFILES:
        raise WorldError(
            f"world: {len(starts)} agents with {ACTION_SETS[actions]} actions have more than "
            f"{LARGEST_N_PROFILES} joint actions"
        )
    name = str(mapping.get("name") or metadata.get("name") or stem or "world")
    world = World(
        name=name,
        max_steps=parse_max_steps(mapping.get("max_steps", DEFAULT_MAX_STEPS)),
        actions=actions,
        humans=humans,
        robots=robots,
        goals=goals,
        has_goal_list=has_goal_list,
        ground=ground,
        colours=colours,
        agents=tuple((x, y, direction) for (x, y, _), direction in zip(starts, directions, strict=True)),
        mobiles=mobiles,
        pushers=pushers,
        stumble=parse_stumble(mapping.get("stumble_probability", 0.5)),
        metadata=dict(metadata),
        source=canonical({**mapping, "name": name}, rows),
    )
    _ = world.packing
    return world


__all__ = ["TRIVIAL", "Cell", "State", "World", "WorldError"]
