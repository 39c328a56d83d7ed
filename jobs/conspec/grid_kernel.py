"""Compiled lanes of the grid worlds: transitions, rewards and egocentric views.

A lane is one row of integers (columns below) and one row of `owed`, the reward that reward mode `delayed` still
has to pay. A world is four tables: `facts` (integers, positions below), `kinds` (what a cell is made of), `views`
(every view without keys, see `fill_views`) and `rewards` (key, door, intermediate goal, final goal).
"""

from __future__ import annotations

import numpy as np

from .compilation import compiled_entry, inlined

# Columns of a lane.
X, Y, DIR, CARRYING, EVENT, SUCCESS, TERMINATED, TRUNCATED, STEPS, MILESTONES = range(10)
DOOR = 10  # two doors: state 0 open, 1 closed, 2 locked
KEY = 12  # cell of the key of colour 1, 2, 3, or -1
N_COLUMNS = 15

# Positions in `facts`.
SIZE, MAX_STEPS, N_DOORS, DOOR_CELL, DOOR_COLOUR, KEY_CELL, NEEDS_BOTH, REFERENCE, MODE, N_FACTS = (
    0, 1, 2, 3, 5, 7, 10, 11, 12, 13,
)  # fmt: skip
SHAPED, SPARSE, DELAYED = 0, 1, 2

# What a cell is made of; keys lie on floor.
FLOOR, WALL, FIRST_DOOR, SECOND_DOOR, GREEN_GOAL, FINAL_GOAL = range(6)

# Codes of a view cell. Doors and keys are followed by those of the next colours.
UNSEEN, EMPTY, WALL_CODE, DOOR_CODE, KEY_CODE, GREEN_GOAL_CODE, PURPLE_GOAL_CODE = 0, 1, 2, 3, 12, 15, 16
N_CODES = 17
VIEW, OWN_CELL = 49, 27  # the agent stands at (3, 6), index 7 * 3 + 6
FORWARD, PICKUP, DROP, TOGGLE, N_ACTIONS = 2, 3, 4, 5, 7
KEY_TAKEN, DOOR_OPENED, GREEN_REACHED, GOAL_PAID = 1, 2, 3, 4  # events
GREEN_BIT, GOAL_BIT = 6, 7  # milestones: bits 0-2 keys by colour, 3-5 doors by colour, then the goals

START_X, START_DIR = 1, 0


@inlined
def step_x(direction):  # type: ignore[no-untyped-def]
    """Unit vector of a direction, x part: 0 east, 1 south, 2 west, 3 north."""
    return 1 - direction if direction % 2 == 0 else 0


@inlined
def step_y(direction):  # type: ignore[no-untyped-def]
    """Unit vector of a direction, y part (south is positive)."""
    return 2 - direction if direction % 2 == 1 else 0


@compiled_entry
def fill_views(facts, kinds, goal_codes, views):  # type: ignore[no-untyped-def]
    """Write the view of every (door states, direction, cell) without keys, u1[9 * 4 * size * size, 49].

    The row is ((first door * 3 + second door) * 4 + direction) * size * size + cell.
    """
    size = facts[SIZE]
    codes = np.empty((7, 7), np.uint8)
    visible = np.empty((7, 7), np.bool_)
    clear = np.empty((7, 7), np.bool_)
    for doors in range(9):
        for direction in range(4):
            fx, fy = step_x(direction), step_y(direction)
            for cell in range(size * size):
                for i in range(7):
                    for j in range(7):
                        x = cell % size + (6 - j) * fx - (i - 3) * fy
                        y = cell // size + (6 - j) * fy + (i - 3) * fx
                        code, open_ = WALL_CODE, False
                        if 0 <= x < size and 0 <= y < size:
                            kind = kinds[y * size + x]
                            if kind == FLOOR:
                                code, open_ = EMPTY, True
                            elif FIRST_DOOR <= kind <= SECOND_DOOR:
                                state = doors // 3 if kind == FIRST_DOOR else doors % 3
                                code = DOOR_CODE + 3 * (facts[DOOR_COLOUR + kind - FIRST_DOOR] - 1) + state
                                open_ = state == 0
                            elif kind != WALL:
                                code, open_ = goal_codes[kind - GREEN_GOAL], True
                        codes[i, j], clear[i, j], visible[i, j] = code, open_, False
                visible[3, 6] = True
                for j in range(6, -1, -1):
                    for i in range(6):
                        if visible[i, j] and clear[i, j]:
                            visible[i + 1, j] = True
                            if j > 0:
                                visible[i + 1, j - 1] = visible[i, j - 1] = True
                    for i in range(6, 0, -1):
                        if visible[i, j] and clear[i, j]:
                            visible[i - 1, j] = True
                            if j > 0:
                                visible[i - 1, j - 1] = visible[i, j - 1] = True
                row = (doors * 4 + direction) * size * size + cell
                for i in range(7):
                    for j in range(7):
                        views[row, 7 * i + j] = codes[i, j] if visible[i, j] else UNSEEN


@inlined
def grid_reset(facts, lane):  # type: ignore[no-untyped-def]
    """Put a lane at the start of an episode."""
    lane[:] = 0
    lane[X], lane[Y], lane[DIR] = START_X, facts[SIZE] - 2, START_DIR
    lane[DOOR] = lane[DOOR + 1] = 2
    for colour in range(3):
        lane[KEY + colour] = facts[KEY_CELL + colour]


@inlined
def grid_view(facts, views, lane, codes):  # type: ignore[no-untyped-def]
    """Write what a lane sees, u1[49]."""
    size = facts[SIZE]
    direction, x, y = lane[DIR], lane[X], lane[Y]
    row = ((lane[DOOR] * 3 + lane[DOOR + 1]) * 4 + direction) * size * size + y * size + x
    for index in range(VIEW):
        codes[index] = views[row, index]
    fx, fy = step_x(direction), step_y(direction)
    for colour in range(3):
        key = lane[KEY + colour]
        if key >= 0:
            dx, dy = key % size - x, key // size - y
            ahead, aside = dx * fx + dy * fy, dy * fx - dx * fy
            if 0 <= ahead <= 6 and -3 <= aside <= 3:
                index = 7 * (3 + aside) + 6 - ahead
                if codes[index] == EMPTY:
                    codes[index] = KEY_CODE + colour
    carrying = lane[CARRYING]
    codes[OWN_CELL] = KEY_CODE + carrying - 1 if carrying > 0 else EMPTY


@inlined
def key_on(lane, cell):  # type: ignore[no-untyped-def]
    """Colour (1, 2, 3) of the key that lies on a cell, 0 if there is none."""
    for colour in range(3):
        if lane[KEY + colour] == cell:
            return colour + 1
    return 0


@inlined
def grid_transition(facts, kinds, rewards, lane, owed, action):  # type: ignore[no-untyped-def]
    """Move a lane that has not ended by one action; return the reward it is paid now."""
    size, reference = facts[SIZE], facts[REFERENCE] != 0
    lane[STEPS] += 1
    lane[EVENT] = 0
    reward = 0.0
    direction = lane[DIR]
    x, y = lane[X] + step_x(direction), lane[Y] + step_y(direction)
    front = y * size + x  # never outside: the agent stands inside the ring of walls
    kind = kinds[front]
    if action == 0:
        lane[DIR] = (direction + 3) % 4
    elif action == 1:
        lane[DIR] = (direction + 1) % 4
    elif action == FORWARD:
        is_door = FIRST_DOOR <= kind <= SECOND_DOOR
        if (kind == FLOOR and key_on(lane, front) == 0) or kind >= GREEN_GOAL or (
            is_door and lane[DOOR + kind - FIRST_DOOR] == 0
        ):  # fmt: skip
            lane[X], lane[Y] = x, y
            if kind == GREEN_GOAL:
                if not lane[MILESTONES] >> GREEN_BIT & 1:
                    lane[MILESTONES] |= 1 << GREEN_BIT
                    lane[EVENT] = GREEN_REACHED
                    reward = rewards[2]
                if reference:
                    lane[TERMINATED] = 1
            elif kind == FINAL_GOAL and (not facts[NEEDS_BOTH] or both_opened(facts, lane)):
                lane[MILESTONES] |= 1 << GOAL_BIT
                lane[EVENT] = GOAL_PAID
                lane[SUCCESS] = lane[TERMINATED] = 1
                reward = rewards[3]
    elif action == PICKUP:
        colour = key_on(lane, front)
        if colour > 0 and lane[CARRYING] == 0:
            lane[KEY + colour - 1] = -1
            lane[CARRYING] = colour
            lane[EVENT] = KEY_TAKEN
            if reference or not lane[MILESTONES] >> (colour - 1) & 1:
                reward = rewards[0]
            lane[MILESTONES] |= 1 << (colour - 1)
    elif action == DROP:
        if kind == FLOOR and lane[CARRYING] > 0 and key_on(lane, front) == 0:
            lane[KEY + lane[CARRYING] - 1] = front
            lane[CARRYING] = 0
    elif action == TOGGLE and (FIRST_DOOR <= kind <= SECOND_DOOR):
        door = kind - FIRST_DOOR
        colour, state = facts[DOOR_COLOUR + door], lane[DOOR + door]
        if state == 0:
            lane[DOOR + door] = 1
        elif state == 1 or lane[CARRYING] == colour:
            lane[DOOR + door] = 0
            lane[EVENT] = DOOR_OPENED
            if reference or not lane[MILESTONES] >> (colour + 2) & 1:
                reward = rewards[1]
            lane[MILESTONES] |= 1 << (colour + 2)
    if lane[STEPS] >= facts[MAX_STEPS]:
        lane[TRUNCATED] = 1
    if facts[MODE] == SPARSE and lane[EVENT] != GOAL_PAID:
        return 0.0
    if facts[MODE] == DELAYED:
        owed[0] += reward
        return owed[0] if lane[TERMINATED] or lane[TRUNCATED] else 0.0
    return reward


@inlined
def both_opened(facts, lane):  # type: ignore[no-untyped-def]
    """Whether each door has been opened at least once."""
    for door in range(facts[N_DOORS]):  # noqa: SIM110
        if not lane[MILESTONES] >> (facts[DOOR_COLOUR + door] + 2) & 1:
            return False
    return True


@compiled_entry
def reset_lanes(facts, views, lanes, owed, codes):  # type: ignore[no-untyped-def]
    """Reset every lane and write what it sees."""
    for n in range(len(lanes)):
        grid_reset(facts, lanes[n])
        owed[n] = 0.0
        grid_view(facts, views, lanes[n], codes[n])


@compiled_entry
def step_lanes(facts, kinds, views, rewards, lanes, owed, actions, codes, reward, ended, cut):  # type: ignore[no-untyped-def]
    """Step every lane that has not ended; return the first of them with an action outside 0..6, or -1."""
    for n in range(len(lanes)):
        if (actions[n] < 0 or actions[n] >= N_ACTIONS) and not lanes[n, TERMINATED] and not lanes[n, TRUNCATED]:
            return n
    for n in range(len(lanes)):
        lane = lanes[n]
        reward[n] = 0.0
        if not lane[TERMINATED] and not lane[TRUNCATED]:
            reward[n] = grid_transition(facts, kinds, rewards, lane, owed[n : n + 1], actions[n])
        grid_view(facts, views, lane, codes[n])
        ended[n] = lane[TERMINATED] != 0
        cut[n] = lane[TRUNCATED] != 0
    return -1
