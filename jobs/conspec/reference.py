"""The plain twins of the compiled worlds, written to be read and tested against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray

from .placements import N_APPLES, N_KEY_CELLS, Layout, drawn, given
from .worlds import (
    DEFAULT_SIZE,
    MAX_STEPS,
    Cell,
    check_rules,
    delayed_world,
    full_rewards,
    grid_world,
)

__all__ = ["SingleEnv"]

Step = tuple[NDArray[np.uint8], float, bool, bool]

EAST_SOUTH_WEST_NORTH: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
NORTH_SOUTH_WEST_EAST: tuple[Cell, ...] = ((-1, 0), (1, 0), (0, -1), (0, 1))
OPEN, CLOSED, LOCKED = 0, 1, 2
NO_EVENT, KEY_TAKEN, DOOR_OPENED, GREEN_REACHED, GOAL_PAID = range(5)


class Grid:
    """One episode of a grid world; see `worlds` for the geometry."""

    actions = 7

    def __init__(
        self, world: str, ruleset: str, reward_mode: str, max_steps: int, size: int, rewards: Mapping[str, float] | None
    ) -> None:
        self._world = grid_world(world, size)
        self._is_reference = ruleset == "reference"
        self._mode = reward_mode
        self._max_steps = max_steps
        self._rewards = full_rewards(rewards)

    def reset(self, layout: Layout | None) -> None:
        """Put everything back to its place."""
        if layout is not None:
            raise ValueError("layout: nothing in family grid is placed at random")
        world = self._world
        self._keys = {cell: colour for colour, cell in world.keys.items()}
        self._doors = {cell: [colour, LOCKED] for colour, cell in world.doors.items()}
        self.x, self.y, self.dir = 1, world.size - 2, 0
        self.carrying = self.event = NO_EVENT
        self.success = self.terminated = self.truncated = False
        self._steps, self._owed = 0, 0.0
        self._keys_paid: set[int] = set()
        self._doors_paid: set[int] = set()
        self._green_paid = False

    @property
    def open_doors(self) -> frozenset[int]:
        """Colours of the doors that stand open."""
        return frozenset(colour for colour, state in self._doors.values() if state == OPEN)

    @property
    def goal(self) -> int:
        """Colour of the goal under the agent, 0 where there is none."""
        here = (self.x, self.y)
        if here == self._world.final_goal:
            return self._world.final_colour
        return 1 if here == self._world.green_goal else 0

    def _is_wall(self, cell: Cell) -> bool:
        x, y = cell
        last = self._world.size - 1
        return cell not in self._doors and (x <= 0 or y <= 0 or x >= last or y >= last or x in self._world.walls)

    def _is_goal(self, cell: Cell) -> bool:
        return cell in (self._world.green_goal, self._world.final_goal)

    def _is_passable(self, cell: Cell) -> bool:
        if cell in self._doors:
            return self._doors[cell][1] == OPEN
        return cell not in self._keys and not self._is_wall(cell)

    def act(self, action: int) -> float:
        """Carry out one action; return the reward paid now."""
        self._steps += 1
        self.event = NO_EVENT
        dx, dy = EAST_SOUTH_WEST_NORTH[self.dir]
        front = (self.x + dx, self.y + dy)
        reward = 0.0
        if action == 0:
            self.dir = (self.dir + 3) % 4
        elif action == 1:
            self.dir = (self.dir + 1) % 4
        elif action == 2 and self._is_passable(front):
            self.x, self.y = front
            reward = self._arrive(front)
        elif action == 3 and front in self._keys and not self.carrying:
            self.carrying = self._keys.pop(front)
            self.event = KEY_TAKEN
            if self._is_reference or self.carrying not in self._keys_paid:
                reward = self._rewards["key"]
            self._keys_paid.add(self.carrying)
        elif action == 4 and self.carrying and self._is_passable(front) and not self._is_goal(front):
            if front not in self._doors:
                self._keys[front] = self.carrying
                self.carrying = 0
        elif action == 5 and front in self._doors:
            reward = self._toggle(front)
        self.truncated = self._steps >= self._max_steps
        if self._mode == "sparse":
            return reward if self.event == GOAL_PAID else 0.0
        if self._mode == "delayed":
            self._owed += reward
            return self._owed if self.terminated or self.truncated else 0.0
        return reward

    def _arrive(self, cell: Cell) -> float:
        if cell == self._world.green_goal:
            self.terminated = self._is_reference
            if not self._green_paid:
                self._green_paid = True
                self.event = GREEN_REACHED
                return self._rewards["green_goal"]
        elif cell == self._world.final_goal:
            both = self._world.name != "double" or len(self._doors_paid) == 2
            if both or self._is_reference:
                self.event = GOAL_PAID
                self.success = self.terminated = True
                return self._rewards["goal"]
        return 0.0

    def _toggle(self, cell: Cell) -> float:
        colour, state = self._doors[cell]
        if state == OPEN:
            self._doors[cell][1] = CLOSED
            return 0.0
        if state == LOCKED and self.carrying != colour:
            return 0.0
        self._doors[cell][1] = OPEN
        self.event = DOOR_OPENED
        is_paid = self._is_reference or colour not in self._doors_paid
        self._doors_paid.add(colour)
        return self._rewards["door"] if is_paid else 0.0

    def view(self) -> NDArray[np.uint8]:
        """What the agent sees, u1[49], index 7 i + j."""
        fx, fy = EAST_SOUTH_WEST_NORTH[self.dir]
        rx, ry = -fy, fx
        codes = np.zeros((7, 7), np.uint8)
        seen = np.zeros((7, 7), np.bool_)
        seen[3, 6] = True
        cells = {
            (i, j): (self.x + (6 - j) * fx + (i - 3) * rx, self.y + (6 - j) * fy + (i - 3) * ry)
            for i in range(7)
            for j in range(7)
        }
        for j in range(6, -1, -1):
            for i, side in [(i, 1) for i in range(6)] + [(i, -1) for i in range(6, 0, -1)]:
                if seen[i, j] and self._is_see_through(cells[i, j]):
                    seen[i + side, j] = True
                    if j > 0:
                        seen[i + side, j - 1] = seen[i, j - 1] = True
        for (i, j), cell in cells.items():
            codes[i, j] = self._code(cell) if seen[i, j] else 0
        codes[3, 6] = 11 + self.carrying if self.carrying else 1
        return codes.ravel()

    def _is_see_through(self, cell: Cell) -> bool:
        if cell in self._doors:
            return self._doors[cell][1] == OPEN
        return not self._is_wall(cell)

    def _code(self, cell: Cell) -> int:
        if cell in self._doors:
            colour, state = self._doors[cell]
            return 3 * colour + state
        if cell in self._keys:
            return 11 + self._keys[cell]
        if cell == self._world.final_goal:
            return 15 if self._world.final_colour == 1 else 16
        if cell == self._world.green_goal:
            return 15
        return 2 if self._is_wall(cell) else 1


class Delayed:
    """One episode of a delayed world; see `worlds` for the boards."""

    actions = 4

    def __init__(self, world: str, seed: int | SeedSequence) -> None:
        self._phases = delayed_world(world)
        self._generator = Generator(PCG64(seed))

    def reset(self, layout: Layout | None) -> None:
        """Place keys and apples, and start the first phase."""
        if layout is None:
            self._placed = drawn(self._phases, 1, self._generator)[0]
        else:
            self._placed = given(self._phases, [layout], 1)[0]
        self.success = self.terminated = self.truncated = False
        self._held = False
        self._enter(0)

    def _enter(self, phase: int) -> None:
        board = self._phases[phase]
        self.phase, self._frame = phase, 0
        self._player = board.start
        self._door_is_open = self._held
        if board.kind == "room":
            self._held = False
        self._key: Cell | None = None
        if board.key_cells:
            self._key = divmod(int(self._placed[phase // 2]), 5)
        first = N_KEY_CELLS + N_APPLES * (phase // 2)
        apples = self._placed[first : first + N_APPLES] if board.kind == "distractor" else ()
        self._eaten: dict[Cell, int | None] = {divmod(int(cell), 5): None for cell in apples}

    def act(self, action: int) -> float:
        """Carry out one action; return the reward."""
        board = self._phases[self.phase]
        dr, dc = NORTH_SOUTH_WEST_EAST[action]
        r, c = self._player[0] + dr, self._player[1] + dc
        is_free = 0 <= r < 5 and 0 <= c < 5 and (r, c) not in board.walls
        if is_free and ((r, c) != board.door or self._door_is_open):
            self._player = (r, c)
        self._frame += 1
        for cell, eaten in self._eaten.items():
            if eaten is None:
                self._eaten[cell] = self._frame if cell == self._player else None
            elif self._frame > eaten + 20:
                self._eaten[cell] = None
        if self._key == self._player:
            self._key, self._held = None, True
        reward = 0.0
        if board.kind == "reward" and self._player == board.door and self._held:
            self._held, self.success, reward = False, True, 1.0
        if self._frame == board.duration:
            if self.phase + 1 < len(self._phases):
                self._enter(self.phase + 1)
            else:
                self.truncated = True
        return reward

    def view(self) -> NDArray[np.uint8]:
        """The board, u1[25]."""
        board = self._phases[self.phase]
        codes = np.zeros((5, 5), np.uint8)
        for cell in board.walls:
            codes[cell] = 1
        for cell, eaten in self._eaten.items():
            if eaten is None:
                codes[cell] = 8
        if board.door is not None:
            codes[board.door] = 7
        if self._key is not None:
            codes[self._key] = 3 + self.phase // 2
        if self._player != board.door:
            codes[self._player] = 2
        return codes.ravel()


class SingleEnv:
    """One lane of a world, without compiled code: the twin of `make_env(..., num_envs=1)`.

    After `reset` and `step` it has the attributes of a `VectorEnv` as scalars: `x`, `y`, `dir`, `carrying`, `event`
    in family `grid`, `phase` in family `delayed`, `success` in both. In family `grid` also `open_doors`, the
    colours of the doors that stand open, and `goal`, the colour of the goal under the agent or 0.

    Raises:
        ValueError: an option that is not allowed, named with what is.
    """

    def __init__(
        self,
        world: str,
        *,
        family: str = "grid",
        ruleset: str = "standard",
        reward_mode: str = "shaped",
        max_steps: int = MAX_STEPS,
        size: int = DEFAULT_SIZE,
        rewards: Mapping[str, float] | None = None,
        seed: int | SeedSequence = 0,
    ) -> None:
        check_rules(world, family, ruleset, reward_mode, max_steps)
        self._episode: Any = (
            Grid(world, ruleset, reward_mode, max_steps, size, rewards) if family == "grid" else Delayed(world, seed)
        )
        self._is_reset = False

    def reset(self, layout: Layout | None = None) -> NDArray[np.uint8]:
        """Start an episode; return what is seen, u1[D]."""
        self._episode.reset(layout)
        self._is_reset = True
        seen: NDArray[np.uint8] = self._episode.view()
        return seen

    def step(self, action: int) -> Step:
        """Act; return (codes u1[D], reward, terminated, truncated). An ended lane stays as it is, whatever the action.

        Raises:
            RuntimeError: `reset` was never called.
            ValueError: the world has no such action.
        """
        if not self._is_reset:
            raise RuntimeError("step() before reset()")
        episode, reward = self._episode, 0.0
        if not (episode.terminated or episode.truncated):
            if not 0 <= action < episode.actions:
                raise ValueError(f"action {action}; allowed 0 to {episode.actions - 1}")
            reward = episode.act(int(action))
        return episode.view(), reward, episode.terminated, episode.truncated

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the episode.

        Raises:
            AttributeError: the family has no such attribute.
        """
        if name in ("x", "y", "dir", "carrying", "event", "phase", "success", "open_doors", "goal"):
            return getattr(self._episode, name)
        raise AttributeError(f"SingleEnv has no attribute {name!r}")
