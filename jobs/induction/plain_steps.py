"""One step of a world in plain Python, written to be read: the twin of the compiled transitions.

START: cells held at the beginning of the step by agents that are not terminated. An agent is active if it
is not terminated, not paused and does not stand still. Agents act one after the other in index order; a cell of START
cannot be entered, so nobody swaps or follows. Where several active agents contest one cell (the cell walked to, or
the one in which a pushed chain of mobiles ends), or a human toggles a button while robots act, the first to move is
drawn from the group; an agent that walks on unsteady ground goes straight with probability 1 - q, or turns left or
right first with q/2 each, and moves after the others.

Source: the reference implementation mensch72/empo; its rules are kept where they are odd: an agent un-paused within a
step acts in it only if nothing is contested, and turning while a kill button is toggled goes by index order.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from .cells import (
    DISABLE_KILL,
    DISABLE_PAUSE,
    ENTERABLE,
    HUMAN_COLOUR,
    KILL_BUTTON,
    LAVA,
    PAUSE_SWITCH,
    ROBOT_COLOUR,
    ROCK,
    UNSTEADY,
    WALL,
)
from .packing import State
from .world import Cell, World

STILL, LEFT, RIGHT, FORWARD, TOGGLE = 0, 1, 2, 3, 6
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


class _Board:
    """A configuration that agents act on."""

    def __init__(self, world: World, state: State) -> None:
        self.world = world
        self.agents = [list(agent) for agent in state[1]]
        self.mobiles = {(x, y): kind for kind, x, y in state[2]}
        self.mutables = [list(entry) for entry in state[3]]
        self.start = {(x, y) for x, y, _, terminated, _ in state[1] if not terminated}

    def kind(self, cell: Cell) -> int:
        x, y = cell
        inside = 0 <= x < self.world.width and 0 <= y < self.world.height
        return int(self.world.ground[x, y]) if inside else WALL

    def cell(self, i: int) -> Cell:
        return self.agents[i][0], self.agents[i][1]

    def front(self, i: int) -> Cell:
        dx, dy = STEPS[self.agents[i][2]]
        return self.agents[i][0] + dx, self.agents[i][1] + dy

    def holds_agent(self, cell: Cell) -> bool:
        return any(self.cell(i) == cell for i in range(len(self.agents)))

    def is_out(self, i: int) -> bool:
        return bool(self.agents[i][3] or self.agents[i][4])

    def mutable(self, cell: Cell) -> list[Any]:
        return next(entry for entry in self.mutables if (entry[1], entry[2]) == cell)

    def push_end(self, i: int, cell: Cell) -> Cell | None:
        dx, dy = STEPS[self.agents[i][2]]
        while cell in self.mobiles:
            if self.mobiles[cell] == ROCK and self.world.colours[i] not in self.world.pushers:
                return None
            cell = cell[0] + dx, cell[1] + dy
        is_free = self.kind(cell) in ENTERABLE and not self.holds_agent(cell) and cell not in self.start
        return cell if is_free else None

    def turn(self, i: int, quarters: int) -> None:
        self.agents[i][2] = (self.agents[i][2] + quarters) % 4

    def forward(self, i: int) -> None:
        target = self.front(i)
        if self.kind(target) not in ENTERABLE or target in self.start:
            return
        if target in self.mobiles:
            end = self.push_end(i, target)
            if end is None:
                return
            dx, dy = STEPS[self.agents[i][2]]
            while end != target:
                before = end[0] - dx, end[1] - dy
                self.mobiles[end] = self.mobiles.pop(before)
                end = before
        elif self.holds_agent(target):
            return
        self.agents[i][:2] = target
        if self.kind(target) == LAVA:
            self.agents[i][3] = 1

    def set_robots(self, flag: int, value: int) -> None:
        for j, colour in enumerate(self.world.colours):
            if colour == ROBOT_COLOUR:
                self.agents[j][flag] = value

    def toggle(self, i: int) -> None:
        cell, colour = self.front(i), self.world.colours[i]
        kind = self.kind(cell)
        if colour == HUMAN_COLOUR and kind in (KILL_BUTTON, PAUSE_SWITCH) and self.mutable(cell)[-1]:
            if kind == KILL_BUTTON:
                self.set_robots(3, 1)
            else:
                self.mutable(cell)[3] ^= 1
                self.set_robots(4, self.mutable(cell)[3])
        elif colour == ROBOT_COLOUR and kind in (DISABLE_KILL, DISABLE_PAUSE):
            name = "killbutton" if kind == DISABLE_KILL else "pauseswitch"
            for entry in self.mutables:
                if entry[0] == name:
                    entry[-1] ^= 1
                    if name == "pauseswitch" and not entry[-1] and entry[3]:
                        self.set_robots(4, 0)

    def execute(self, i: int, action: int) -> None:
        if self.is_out(i):
            return
        if action == LEFT:
            self.turn(i, -1)
        elif action == RIGHT:
            self.turn(i, 1)
        elif action == FORWARD:
            self.forward(i)
        elif action == TOGGLE:
            self.toggle(i)

    def stumble(self, turns: dict[int, int]) -> None:
        """Agents on unsteady ground turn by so many quarters and walk at the same time."""
        moving = [i for i in turns if not self.is_out(i)]
        contested = {}
        for i in moving:
            self.turn(i, turns[i])
        for i in moving:
            target = self.front(i)
            end = self.push_end(i, target) if target in self.mobiles else None
            contested[i] = target if end is None else end
        staying = {
            i
            for i in moving
            if self.holds_agent(contested[i])
            or (contested[i] in self.start and contested[i] != self.cell(i))
            or any(contested[j] == contested[i] for j in moving if j != i)
        }
        for i in moving:
            if i not in staying:
                self.forward(i)

    def state(self, t: int) -> State:
        mobiles = tuple(sorted((kind, x, y) for (x, y), kind in self.mobiles.items()))
        return t, tuple(map(tuple, self.agents)), mobiles, tuple(map(tuple, self.mutables))


def _groups(board: _Board, actions: tuple[int, ...], acting: list[int]) -> list[list[int]]:
    """Groups of agents that contest one thing, in order of first appearance."""
    groups: list[list[int]] = []
    resources: list[Cell | None] = []
    for i in acting:
        resource: Cell | None = None
        if actions[i] == FORWARD:
            resource = board.front(i)
            if resource in board.mobiles:
                resource = board.push_end(i, resource)
        if resource is not None and resource in resources:
            groups[resources.index(resource)].append(i)
        else:
            groups.append([i])
            resources.append(resource)
    colours = board.world.colours
    for i in acting:
        cell = board.front(i)
        if colours[i] != HUMAN_COLOUR or actions[i] != TOGGLE or board.kind(cell) not in (KILL_BUTTON, PAUSE_SWITCH):
            continue
        if not board.mutable(cell)[-1]:
            continue
        for j in acting:
            first, second = sorted(next(g for g, group in enumerate(groups) if k in group) for k in (i, j))
            if colours[j] == ROBOT_COLOUR and first != second:
                groups[first] += groups.pop(second)
    return groups


def transitions(world: World, state: State, profile: int) -> list[tuple[float, State]]:
    """Return (probability, successor) under a joint action, by decreasing probability; as `World.transitions`."""
    if not 0 <= profile < world.n_profiles:
        raise ValueError(f"profile {profile} is out of range; allowed are 0 to {world.n_profiles - 1}")
    actions = world.joint_action(profile)
    board = _Board(world, state)
    agents = range(world.n_agents)
    active = [i for i in agents if actions[i] != STILL and not board.is_out(i)]
    prone = [i for i in active if actions[i] == FORWARD and board.kind(board.cell(i)) == UNSTEADY]
    acting = [i for i in active if i not in prone]
    moving = [i for i in active if actions[i] not in (LEFT, RIGHT)]
    groups: list[list[int]] = []
    if prone or (len(active) > 1 and len(moving) > 1):
        groups = _groups(board, actions, acting)
    found: dict[State, float] = {}
    if not prone and all(len(group) == 1 for group in groups):
        for i in agents:
            board.execute(i, actions[i])
        return [(1.0, board.state(state[0] + 1))]
    q = world.stumble
    turns = [(0, 1.0 - q), (-1, q / 2), (1, q / 2)] if q > 0 else [(0, 1.0)]
    draws = [[(member, 1.0 / len(group)) for member in group] for group in groups] + [turns] * len(prone)
    for combination in itertools.product(*draws):
        probability = math.prod(p for _, p in combination)
        if probability == 0.0:
            continue
        board = _Board(world, state)
        first = [member for member, _ in combination[: len(groups)]]
        for i in first + [i for i in acting if i not in first]:
            board.execute(i, actions[i])
        board.stumble({i: turn for i, (turn, _) in zip(prone, combination[len(groups) :], strict=True)})
        successor = board.state(state[0] + 1)
        found[successor] = found.get(successor, 0.0) + probability
    return sorted(((p, successor) for successor, p in found.items()), key=lambda entry: -entry[0])
