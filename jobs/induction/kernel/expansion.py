"""Successors of many configurations, compiled; a hash table gives every configuration that is met its number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compilation import compiled, compiled_entry
from .stepping import (
    DIRECTION,
    FIELDS,
    FORWARD,
    KILL_BUTTON,
    LEFT,
    RIGHT,
    TOGGLE,
    UNSTEADY,
    emit,
    forward,
    is_out,
    place,
    push_end,
    remove,
    rewind,
    step_outcomes,
    workspace,
)

EMPTY = -1
BLOCKED, HELD_UP, WALKS, PUSHES = 0, 1, 2, 3


@compiled
def slot_of(key: Any, n_words: int, n_slots: int) -> int:
    """First slot of a key in a table of n_slots, a power of two (mixing of Steele, Lea and Flood 2014)."""
    mixed = np.uint64(0)
    for w in range(n_words):
        mixed = (mixed ^ key[w]) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(32)
    return np.int64(mixed & np.uint64(n_slots - 1))  # type: ignore[return-value]


@compiled
def find_slot(key: Any, keys: Any, slots: Any) -> int:
    """The slot that holds this key, or the empty one where it belongs."""
    n_words = keys.shape[1]
    mask = len(slots) - 1
    at = slot_of(key, n_words, len(slots))
    while slots[at] != EMPTY:
        row = slots[at]
        is_same = True
        for w in range(n_words):
            is_same = is_same and keys[row, w] == key[w]
        if is_same:
            break
        at = (at + 1) & mask
    return at


@compiled
def pack(tables: Any, vector: Any, key: Any) -> None:
    """Write the key of a vector."""
    for w in range(tables.n_words):
        key[w] = np.uint64(0)
    for j in range(len(tables.packed)):
        value = vector[tables.packed[j]]
        if tables.is_cell[j] != 0:
            value = tables.compact[value]
        key[tables.word[j]] |= np.uint64(value) << tables.shift[j]


@compiled
def unpack(tables: Any, key: Any, vector: Any) -> None:
    """Write the vector of a key; fields without bits are left as they are."""
    for j in range(len(tables.packed)):
        value = np.int32((key[tables.word[j]] >> tables.shift[j]) & tables.mask[j])
        if tables.is_cell[j] != 0:
            value = tables.full[value]
        vector[tables.packed[j]] = value


@compiled
def solo_change(tables: Any, work: Any, i: int, action: int) -> None:
    """Write what an action of agent i alone adds to the key of the placed configuration."""
    direction = FIELDS * i + DIRECTION
    if action == LEFT:
        work.current[direction] = (work.current[direction] + 3) & 3
    elif action == RIGHT:
        work.current[direction] = (work.current[direction] + 1) & 3
    elif action == FORWARD:
        forward(tables, work, i)
    emit(tables, work, 0, 1.0)
    rewind(tables, work)
    pack(tables, work.outcomes[0], work.key)
    for w in range(tables.n_words):
        work.change[i, action, w] = work.key[w] - work.base_key[w]


@compiled
def look_ahead(tables: Any, work: Any, i: int) -> None:
    """Say how agent i's `forward` would go, and which cell it contests."""
    here, step = work.base[FIELDS * i], tables.steps[work.base[FIELDS * i + DIRECTION]]
    target = here + step
    work.manner[i] = BLOCKED
    work.front[i] = target
    if work.occupied[target] < 0:
        end = push_end(tables, work, i, target, step)
        work.manner[i] = PUSHES if end >= 0 else HELD_UP
        work.front[i] = end
    elif tables.enterable[target] != 0 and work.occupied[target] == 0 and work.start[target] == 0:
        work.manner[i] = WALKS


@compiled
def prepare_solos(tables: Any, work: Any) -> None:
    """Work out what each agent's actions do alone, and which need to be looked at jointly.

    Without switches and stumbling, agents that do not meet act as if they were alone: a step can be put together from
    its parts. Two agents meet where both walk to one cell, one walks to where the other pushes, or one pushes
    and the other pushes or stands before a mobile. That a cell can only be entered the step after it was
    vacated makes the rest independent.
    """
    for i in range(tables.n_agents):
        work.conflicts[i] = 0
        work.manner[i] = BLOCKED
        for action in range(tables.n_actions):
            work.is_joint[i, action] = 0
            for w in range(tables.n_words):
                work.change[i, action, w] = np.uint64(0)
        if tables.n_actions > TOGGLE:
            cell = work.base[FIELDS * i] + tables.steps[work.base[FIELDS * i + DIRECTION]]
            work.is_joint[i, TOGGLE] = tables.ground[cell] >= KILL_BUTTON
        if is_out(work, i):
            continue
        look_ahead(tables, work, i)
        solo_change(tables, work, i, LEFT)
        solo_change(tables, work, i, RIGHT)
        if tables.ground[work.base[FIELDS * i]] == UNSTEADY:
            work.is_joint[i, FORWARD] = 1
        elif work.manner[i] == WALKS or work.manner[i] == PUSHES:
            solo_change(tables, work, i, FORWARD)
    for i in range(tables.n_agents):
        for j in range(i):
            least = min(work.manner[i], work.manner[j])
            most = max(work.manner[i], work.manner[j])
            meets = most == PUSHES and least in (HELD_UP, PUSHES)
            if least == WALKS:
                meets = work.front[i] == work.front[j]
            if meets:
                work.conflicts[i] |= np.int64(1) << j
                work.conflicts[j] |= np.int64(1) << i


@compiled
def is_joint_step(tables: Any, work: Any) -> bool:
    """Whether `work.actions` must be looked at jointly."""
    moving = np.int64(0)
    for i in range(tables.n_agents):
        if work.is_joint[i, work.actions[i]] != 0:
            return True
        if work.actions[i] == FORWARD:
            if work.conflicts[i] & moving != 0:
                return True
            moving |= np.int64(1) << i
    return False


@compiled_entry
def expand_rows(
    tables: Any,
    work: Any,
    sources: Any,
    keys: Any,
    slots: Any,
    counts: Any,
    succ: Any,
    exc_ptr: Any,
    exc_succ: Any,
    exc_prob: Any,
) -> int:
    """Write the successors of configurations; stop before one for which an array has no room.

    Args:
        tables, work: the world and scratch arrays.
        sources: keys of the configurations to expand, u8 [n, w].
        keys: configurations met so far, in order of their numbers, u8 [capacity, w].
        slots: hash table of numbers, i4 [power of two].
        counts: i8 [3], changed: configurations met, exceptions, outcomes of exceptions.
        succ: i4 [n, P], written: the successor's number, or -1 - e for exception e.
        exc_ptr, exc_succ, exc_prob: outcomes of the exceptions, written from counts[1] and counts[2] on.

    Returns:
        How many sources were expanded.
    """
    n, n_words, n_actions = tables.n_agents, tables.n_words, tables.n_actions
    n_profiles = succ.shape[1]
    for row in range(len(sources)):
        n_keys, n_exceptions, n_outcomes = counts[0], counts[1], counts[2]
        for w in range(n_words):
            work.base_key[w] = sources[row, w]
        unpack(tables, sources[row], work.base)
        place(tables, work)
        prepare_solos(tables, work)
        for i in range(n):
            work.actions[i] = 0
        is_full = False
        for profile in range(n_profiles):
            is_joint = is_joint_step(tables, work)
            k = step_outcomes(tables, work) if is_joint else 1
            is_full = n_keys + k > len(keys) or 2 * (n_keys + k) > len(slots)
            is_full = is_full or n_exceptions + 2 > len(exc_ptr) or n_outcomes + k > len(exc_succ)
            if is_full:
                break
            for j in range(k):
                if is_joint:
                    pack(tables, work.outcomes[j], work.key)
                else:
                    for w in range(n_words):
                        word = work.base_key[w]
                        for i in range(n):
                            word += work.change[i, work.actions[i], w]
                        work.key[w] = word
                at = find_slot(work.key, keys, slots)
                if slots[at] == EMPTY:
                    slots[at] = n_keys
                    for w in range(n_words):
                        keys[n_keys, w] = work.key[w]
                    n_keys += 1
                if k == 1:
                    succ[row, profile] = slots[at]
                else:
                    exc_succ[n_outcomes] = slots[at]
                    exc_prob[n_outcomes] = work.probability[j]
                    n_outcomes += 1
            if k > 1:
                succ[row, profile] = -1 - n_exceptions
                n_exceptions += 1
                exc_ptr[n_exceptions] = n_outcomes
            i = 0
            while i < n and work.actions[i] == n_actions - 1:
                work.actions[i] = 0
                i += 1
            if i < n:
                work.actions[i] += 1
        remove(tables, work)
        counts[0] = n_keys
        if is_full:
            return row
        counts[1], counts[2] = n_exceptions, n_outcomes
    return len(sources)


@compiled_entry
def insert_keys(keys: Any, n_keys: int, slots: Any) -> None:
    """Enter the first n_keys keys, all different, into an empty hash table."""
    for row in range(n_keys):
        slots[find_slot(keys[row], keys, slots)] = row


@compiled_entry
def renumber(numbers: Any, first: int, rank: Any) -> None:
    """Replace every number from `first` on by first + rank[number - first]; others stay."""
    for i in range(len(numbers)):
        if numbers[i] >= first:
            numbers[i] = first + rank[numbers[i] - first]


@compiled_entry
def outcomes_of(tables: Any, work: Any, profile: int) -> int:
    """Write the outcomes of one profile in configuration `work.base`; return how many there are."""
    for i in range(tables.n_agents):
        work.actions[i] = profile % tables.n_actions
        profile //= tables.n_actions
    place(tables, work)
    n_outcomes = step_outcomes(tables, work)
    remove(tables, work)
    return n_outcomes


def successors(tables: Any, vector: NDArray[np.int32], profile: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the configurations i4 [k, n_fields] that follow a profile, and their probabilities [k]."""
    work = workspace(tables)
    work.base[:] = vector
    k = outcomes_of(tables, work, profile)
    return work.outcomes[:k], work.probability[:k]
