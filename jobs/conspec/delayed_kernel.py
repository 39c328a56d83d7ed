"""Compiled lanes of the delayed worlds: multi-key-to-door games of fixed length.

A lane is one row of integers (columns below) and one row of placements: the key cell of phases 0, 2, 4, 6, then six
apple cells of phases 1, 3, 5, 7. A world is one table of a row per phase: duration, kind, start cell, door cell
(or -1), then what is drawn on each of the 25 cells: 0 nothing, 1 a wall, 7 the door.
"""

from __future__ import annotations

from .compilation import compiled_entry, inlined

R, C, PHASE, FRAME, HELD, SUCCESS, TRUNCATED, OPEN, KEY_LIES, MILESTONES = range(10)
EATEN = 10  # frame in which each of six apples was eaten, -1 while it lies there
N_COLUMNS = 16

DURATION, KIND, START, DOOR, BOARD, N_PHASE_COLUMNS = 0, 1, 2, 3, 4, 29
EXPLORE, DISTRACTOR, ROOM, REWARD = range(4)
N_KEY_CELLS, N_APPLES, N_PLACEMENTS = 4, 6, 28
APPLE_PAUSE = 20
N_CELLS, N_CODES, N_ACTIONS = 25, 9, 4
WALL, PLAYER, KEY_CODE, DOOR_CODE, APPLE = 1, 2, 3, 7, 8
REWARD_BIT = 7  # milestones: bit p the key of phase 2p, bit 7 the reward


@inlined
def enter_phase(phases, lane, phase):  # type: ignore[no-untyped-def]
    """Put the player at the start of a phase; a room takes the key that is held."""
    lane[PHASE] = phase
    lane[FRAME] = 0
    lane[R], lane[C] = phases[phase, START] // 5, phases[phase, START] % 5
    lane[OPEN] = lane[HELD]
    lane[KEY_LIES] = 0
    kind = phases[phase, KIND]
    if kind == ROOM:
        lane[HELD] = 0
    if kind in (EXPLORE, ROOM):
        lane[KEY_LIES] = 1
    for apple in range(N_APPLES):
        lane[EATEN + apple] = -1


@inlined
def delayed_reset(phases, lane):  # type: ignore[no-untyped-def]
    """Put a lane at the start of an episode."""
    lane[:] = 0
    enter_phase(phases, lane, 0)


@inlined
def delayed_view(phases, placements, lane, codes):  # type: ignore[no-untyped-def]
    """Write the board of a lane, u1[25]; later things are drawn over earlier ones, a door hides the player."""
    phase = lane[PHASE]
    for cell in range(N_CELLS):
        codes[cell] = phases[phase, BOARD + cell]
    kind, door = phases[phase, KIND], phases[phase, DOOR]
    if kind == DISTRACTOR:
        first = N_KEY_CELLS + N_APPLES * (phase // 2)
        for apple in range(N_APPLES):
            codes[placements[first + apple]] = APPLE if lane[EATEN + apple] < 0 else 0
    if lane[KEY_LIES]:
        codes[placements[phase // 2]] = KEY_CODE + phase // 2
    player = 5 * lane[R] + lane[C]
    if player != door:
        codes[player] = PLAYER


@inlined
def delayed_transition(phases, placements, lane, action):  # type: ignore[no-untyped-def]
    """Move a lane that has not ended by one action; return the reward."""
    phase = lane[PHASE]
    kind, door = phases[phase, KIND], phases[phase, DOOR]
    r = lane[R] + (action == 1) - (action == 0)
    c = lane[C] + (action == 3) - (action == 2)
    cell = 5 * r + c
    if 0 <= r < 5 and 0 <= c < 5 and phases[phase, BOARD + cell] != WALL and (cell != door or lane[OPEN]):
        lane[R], lane[C] = r, c
    cell = 5 * lane[R] + lane[C]
    lane[FRAME] += 1
    reward = 0.0
    if kind == DISTRACTOR:
        first = N_KEY_CELLS + N_APPLES * (phase // 2)
        for apple in range(N_APPLES):
            if lane[EATEN + apple] < 0:
                if placements[first + apple] == cell:
                    lane[EATEN + apple] = lane[FRAME]
            elif lane[FRAME] > lane[EATEN + apple] + APPLE_PAUSE:
                lane[EATEN + apple] = -1
    elif kind == REWARD:
        if cell == door and lane[HELD]:
            lane[HELD] = 0
            lane[SUCCESS] = 1
            lane[MILESTONES] |= 1 << REWARD_BIT
            reward = 1.0
    elif lane[KEY_LIES] and placements[phase // 2] == cell:
        lane[KEY_LIES] = 0
        lane[HELD] = 1
        lane[MILESTONES] |= 1 << (phase // 2)
    if lane[FRAME] == phases[phase, DURATION]:
        if phase + 1 == len(phases):
            lane[TRUNCATED] = 1
        else:
            enter_phase(phases, lane, phase + 1)
    return reward


@compiled_entry
def reset_lanes(phases, placements, lanes, codes):  # type: ignore[no-untyped-def]
    """Reset every lane and write what it sees."""
    for n in range(len(lanes)):
        delayed_reset(phases, lanes[n])
        delayed_view(phases, placements[n], lanes[n], codes[n])


@compiled_entry
def step_lanes(phases, placements, lanes, actions, codes, reward, cut):  # type: ignore[no-untyped-def]
    """Step every lane that has not ended; return the first of them with an action outside 0..3, or -1."""
    for n in range(len(lanes)):
        if (actions[n] < 0 or actions[n] >= N_ACTIONS) and not lanes[n, TRUNCATED]:
            return n
    for n in range(len(lanes)):
        lane = lanes[n]
        reward[n] = 0.0
        if not lane[TRUNCATED]:
            reward[n] = delayed_transition(phases, placements[n], lane, actions[n])
        delayed_view(phases, placements[n], lane, codes[n])
        cut[n] = lane[TRUNCATED] != 0
    return -1
