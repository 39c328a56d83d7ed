"""Runs of therapy in the compiled kernel: a strategic therapist and the baseline on the same clients.

Both therapists meet the same client with the same random numbers, so the baseline's run is the strategic one up to
the first answer that is not complementary: the fork. The strategic run is simulated first and leaves what the
client remembered there; the baseline's run starts from it, or is the same run if there was no fork.
"""

from __future__ import annotations

import numpy as np

from ..params import MEMORY_SIZE
from .beginnings import SUCCESS_RS, U, fill_memory, fill_table
from .client import (
    BOND,
    NOW_SIZE,
    RS,
    anticipate,
    appraise,
    drawn_octant,
    misread_octant,
    packed_counts,
)
from .compilation import compiled, compiled_entry
from .lanes import address_of
from .mersenne import N_STATE, double_at, extend_words, seed_state
from .settings import Workspace
from .targets import complement_of
from .therapists import HOPELESS, NO_SEED, SEED, begin, decide, take_feedback

DROPOUT_SESSION = 10

# Columns of the integer and the real outcomes of a pair; the baseline's follow the strategic ones.
SESSIONS, B_SESSIONS, FIRST_SUCCESS, B_FIRST_SUCCESS, FORK, N_COUNTS = 0, 1, 2, 3, 4, 5
DROPOUT, B_DROPOUT, N_FLAGS = 0, 1, 2
INITIAL_RS, FINAL_RS, B_FINAL_RS, FINAL_BOND, B_FINAL_BOND, N_REALS = 0, 1, 2, 3, 4, 5

# A state in which the last 51 memories are equal cannot change while the next one is equal too.
STEADY_LENGTH = MEMORY_SIZE + 1


@compiled
def addresses(arrays):  # type: ignore[no-untyped-def]
    """The workspace with pointers in the place of its arrays."""
    return Workspace(
        address_of(arrays.weights),
        address_of(arrays.lead_needs),
        address_of(arrays.named),
        address_of(arrays.state),
        address_of(arrays.words),
        address_of(arrays.generated),
        address_of(arrays.table),
        address_of(arrays.client),
        address_of(arrays.perceived),
        address_of(arrays.utility),
        address_of(arrays.now),
        address_of(arrays.b_client),
        address_of(arrays.b_perceived),
        address_of(arrays.b_utility),
        address_of(arrays.b_now),
        address_of(arrays.strategy),
        address_of(arrays.needs),
        address_of(arrays.conditional),
    )


@compiled
def uniforms(session, settings, work):  # type: ignore[no-untyped-def]
    """The session's two uniform numbers: for the client's octant, and for the perception (1 word pair each)."""
    per_session = 4 if settings.parataxic else 2
    position = per_session * (session - 1)
    if position + 4 > work.generated[0]:
        extend_words(work.state, work.words, work.generated[0])
        work.generated[0] += N_STATE
    return double_at(work.words, position), double_at(work.words, position + 2)


@compiled
def equal_at_end(client, perceived, end):  # type: ignore[no-untyped-def]
    """Number of equal pairs at the end of the memory, 1 .. 50."""
    length = 1
    while (
        length < MEMORY_SIZE
        and client[end - 1 - length] == client[end - 1]
        and perceived[end - 1 - length] == perceived[end - 1]
    ):
        length += 1
    return length


@compiled
def remember(client, perceived, utility, end, c, octant, table, equal):  # type: ignore[no-untyped-def]
    """Append a pair to the memory; returns how many equal pairs now stand at its end."""
    client[end] = c
    perceived[end] = octant
    utility[end] = table[U + 8 * c + octant]
    return equal + 1 if c == client[end - 1] and octant == perceived[end - 1] else 1


@compiled
def packed_session(c, enacted, octant):  # type: ignore[no-untyped-def]
    """One byte of a trajectory."""
    return np.uint8(c | (enacted << 3) | (64 if octant == enacted else 0))


@compiled
def run_strategic(settings, work, path, counts_out, flags_out, reals_out):  # type: ignore[no-untyped-def]
    """Run the strategic therapist; returns how many equal pairs stood at the memory's end before the fork."""
    client, perceived, utility, now, table = work.client, work.perceived, work.utility, work.now, work.table
    strategy = work.strategy
    begin(strategy)
    end = MEMORY_SIZE
    window = settings.perception_window
    counts = packed_counts(perceived, end, window)
    equal = equal_at_end(client, perceived, end)
    equal_at_fork = 0
    initial_rs, success_rs = now[RS], table[SUCCESS_RS]
    fork, first_success, dropout = 0, 0, False
    session = 0
    while session < settings.max_sessions:
        session += 1
        draw, perception = uniforms(session, settings, work)
        c = drawn_octant(now, draw)
        enacted = decide(c, session, counts, end, work, settings)
        if fork == 0 and enacted != complement_of(c):
            fork = session
            equal_at_fork = equal
            for i in range(end - MEMORY_SIZE, end):
                work.b_client[i] = client[i]
                work.b_perceived[i] = perceived[i]
                work.b_utility[i] = utility[i]
            for i in range(NOW_SIZE):
                work.b_now[i] = now[i]
        octant = enacted
        if settings.parataxic and perception >= settings.baseline_accuracy:
            octant = misread_octant(perceived, end)
        equal = remember(client, perceived, utility, end, c, octant, table, equal)
        path[session - 1] = packed_session(c, enacted, octant)
        counts += (np.int64(1) << (8 * octant)) - (np.int64(1) << (8 * perceived[end - window]))
        end += 1
        if equal < STEADY_LENGTH:
            appraise(now, utility, end - MEMORY_SIZE, work, settings)
            strategy[HOPELESS] = 0
        if first_success == 0 and now[RS] >= success_rs:
            first_success = session
            if settings.stops_at_success:
                break
        if session == DROPOUT_SESSION and now[RS] < initial_rs:
            dropout = True
            break
        if session == settings.max_sessions:
            break
        if equal < STEADY_LENGTH:
            anticipate(now, client, perceived, end - MEMORY_SIZE, work, settings)
        if strategy[SEED] != NO_SEED:
            if settings.is_v2:
                take_feedback(session, octant, counts, end, work, settings)
            strategy[SEED] = NO_SEED
    counts_out[SESSIONS] = session
    counts_out[FIRST_SUCCESS] = first_success
    counts_out[FORK] = fork
    flags_out[DROPOUT] = dropout
    reals_out[INITIAL_RS] = initial_rs
    reals_out[FINAL_RS] = now[RS]
    reals_out[FINAL_BOND] = now[BOND]
    return equal_at_fork


@compiled
def run_baseline(settings, work, path, equal, counts_out, flags_out, reals_out):  # type: ignore[no-untyped-def]
    """Run the complementary therapist from the fork on, with what the client remembered there."""
    client, perceived, utility, now, table = work.b_client, work.b_perceived, work.b_utility, work.b_now, work.table
    initial_rs, success_rs = reals_out[INITIAL_RS], table[SUCCESS_RS]
    dropout = False
    session = counts_out[FORK] - 1
    first_success = counts_out[FIRST_SUCCESS] if 0 < counts_out[FIRST_SUCCESS] <= session else 0
    end = MEMORY_SIZE + session
    while session < settings.max_sessions:
        session += 1
        draw, perception = uniforms(session, settings, work)
        c = drawn_octant(now, draw)
        enacted = complement_of(c)
        octant = enacted
        if settings.parataxic and perception >= settings.baseline_accuracy:
            octant = misread_octant(perceived, end)
        equal = remember(client, perceived, utility, end, c, octant, table, equal)
        path[session - 1] = packed_session(c, enacted, octant)
        end += 1
        if equal < STEADY_LENGTH:
            appraise(now, utility, end - MEMORY_SIZE, work, settings)
        if first_success == 0 and now[RS] >= success_rs:
            first_success = session
            if settings.stops_at_success:
                break
        if session == DROPOUT_SESSION and now[RS] < initial_rs:
            dropout = True
            break
        if session == settings.max_sessions:
            break
        if equal < STEADY_LENGTH:
            anticipate(now, client, perceived, end - MEMORY_SIZE, work, settings)
    counts_out[B_SESSIONS] = session
    counts_out[B_FIRST_SUCCESS] = first_success
    flags_out[B_DROPOUT] = dropout
    reals_out[B_FINAL_RS] = now[RS]
    reals_out[B_FINAL_BOND] = now[BOND]


@compiled
def meet_client(seed, settings, work):  # type: ignore[no-untyped-def]
    """Set up the client of a seed: random words, tables, memory, and its state before the first session."""
    seed_state(work.state, seed)
    extend_words(work.state, work.words, 0)
    extend_words(work.state, work.words, N_STATE)
    work.generated[0] = 2 * N_STATE
    table = work.table
    fill_table(table, work.words, work.named, settings.is_named, settings.threshold)
    fill_memory(work.client, work.perceived, work.words, settings.pattern)
    for i in range(MEMORY_SIZE):
        work.utility[i] = table[U + 8 * work.client[i] + work.perceived[i]]
    appraise(work.now, work.utility, 0, work, settings)
    anticipate(work.now, work.client, work.perceived, 0, work, settings)


@compiled_entry
def run_pairs(settings, seeds, arrays, paths, path_length, b_paths, b_path_length, counts_out, flags_out, reals_out):  # type: ignore[no-untyped-def]
    """Simulate the pairs of `seeds` in order, until one might not fit into `paths`; returns how many were done.

    Args:
        settings: the config.
        seeds: u4[n].
        arrays: the workspace.
        paths, b_paths: u1, where the packed trajectories of the strategic and the baseline runs go one after another.
        path_length, b_path_length: i8[1], set to the bytes used in them.
        counts_out, flags_out, reals_out: i8[n, N_COUNTS], bool[n, N_FLAGS], f8[n, N_REALS], filled.
    """
    work = addresses(arrays)
    used, b_used, done = 0, 0, 0
    while (
        done < len(seeds)
        and used + settings.max_sessions <= len(paths)
        and b_used + settings.max_sessions <= len(b_paths)
    ):
        counts, flags, reals = counts_out[done], flags_out[done], reals_out[done]
        meet_client(seeds[done], settings, work)
        path = paths[used:]
        equal = run_strategic(settings, work, path, counts, flags, reals)
        b_path = b_paths[b_used:]
        if counts[FORK] == 0:
            counts[B_SESSIONS] = counts[SESSIONS]
            counts[B_FIRST_SUCCESS] = counts[FIRST_SUCCESS]
            flags[B_DROPOUT] = flags[DROPOUT]
            reals[B_FINAL_RS] = reals[FINAL_RS]
            reals[B_FINAL_BOND] = reals[FINAL_BOND]
            shared = counts[SESSIONS]
        else:
            run_baseline(settings, work, b_path, equal, counts, flags, reals)
            shared = counts[FORK] - 1
        for i in range(shared):
            b_path[i] = path[i]
        used += counts[SESSIONS]
        b_used += counts[B_SESSIONS]
        done += 1
    path_length[0] = used
    b_path_length[0] = b_used
    return done


@compiled_entry
def fill_perceived(packed, row_start, seeds, pattern, arrays, perceived_out):  # type: ignore[no-untyped-def]
    """Octants that the clients of `seeds` perceived, recomputed from packed trajectories; u1 of the same length."""
    work = addresses(arrays)
    memory, other = work.perceived, work.client
    for run in range(len(seeds)):
        seed_state(work.state, seeds[run])
        extend_words(work.state, work.words, 0)
        extend_words(work.state, work.words, N_STATE)
        fill_memory(other, memory, work.words, pattern)
        end = MEMORY_SIZE
        for i in range(np.int64(row_start[run]), np.int64(row_start[run + 1])):
            enacted = (np.int64(packed[i]) >> 3) & 7
            octant = enacted if packed[i] & 64 else misread_octant(memory, end)
            memory[end] = octant
            perceived_out[i] = octant
            end += 1


@compiled_entry
def fill_client(seed, settings, arrays):  # type: ignore[no-untyped-def]
    """Leave in the workspace what the client of a seed is before the first session."""
    meet_client(seed, settings, addresses(arrays))
