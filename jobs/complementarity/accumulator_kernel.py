"""Compiled sums over runs: one loop for every metric of the tracker and every time axis.

An axis has positions x = 0..X-1.  Position x of a run of L sessions is the point `at[x] + part[x]/steps` of
the run (0-based sessions, shifted by the run's own `origin`), read by linear interpolation between
neighbouring sessions; `limit[L]` positions exist, and a point outside the run, or next to a session without a
value, has no value.

    session axis      at = x,                    part = 0,                   steps = 1
    normalised axis   at = floor(x M / n_bins),  part = x M mod n_bins,      steps = n_bins
    fork axis         at = x - 20,               part = 0,  steps = 1,  origin = session of the fork

With y_i = numerator_i / denominator_i and a_i = numerator_i * over[denominator_i], where over[d] = L/d for
the common multiple L of all denominators, the value at x times L*steps is the integer  steps*a_i +
part*(a_{i+1} - a_i).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernel.compilation import compiled, compiled_entry

NO_ORIGIN = -(2**40)
"""Origin of a run that has no place on an aligned axis: every point of it lies outside the run."""


@compiled
def _window_fractions(
    codes: NDArray[np.uint8],
    answers: NDArray[np.uint8],
    shift: int,
    values: NDArray[np.uint8],
    member: NDArray[np.uint8],
    window: int,
    numerator: NDArray[np.int64],
    denominator: NDArray[np.int64],
) -> None:
    total = 0
    number = 0
    for session in range(len(codes)):
        client = codes[session] & 7
        if member[client]:
            total += values[client, (answers[session] >> shift) & 7]
            number += 1
        if session >= window:
            gone = codes[session - window] & 7
            if member[gone]:
                total -= values[gone, (answers[session - window] >> shift) & 7]
                number -= 1
        numerator[session] = total
        denominator[session] = number


@compiled_entry
def add_exactly(
    codes: NDArray[np.uint8],
    answers: NDArray[np.uint8],
    shift: int,
    row_start: NDArray[np.int64],
    category: NDArray[np.uint8],
    origin: NDArray[np.int64],
    values: NDArray[np.uint8],
    member: NDArray[np.uint8],
    window: int,
    over: NDArray[np.int64],
    at: NDArray[np.int64],
    part: NDArray[np.int64],
    steps: int,
    limit: NDArray[np.int64],
    count: NDArray[np.int64],
    total: NDArray[np.int64],
    square: NDArray[np.int64],
) -> None:
    """Add the runs of a unit to integer sums per category and position, in the order of the runs.

    Args:
        codes: packed sessions of all runs, u1[sum L]; bits 0-2 are the client's octant.
        answers: u1[sum L]; the therapist's octant is `(answers >> shift) & 7`.
        shift: see `answers`.
        row_start: i8[n+1], run i is `row_start[i]:row_start[i+1]`.
        category: u1[n], 0..3.
        origin: i8[n], added to `at`.
        values: u1[8, 8], the metric of one pair [client, therapist].
        member: u1[8], whether a client octant counts.
        window: sessions in the tracker's window.
        over: i8[window+1], multiplier per denominator.
        at: i8[X], see the file's head.
        part: i8[X].
        steps: see the file's head.
        limit: i8[longest run + 1], number of positions by length of a run.
        count: i8[4, X], changed in place.
        total: i8[4, X], changed in place.
        square: i8[4, X], changed in place.
    """
    longest = 0
    for run in range(len(category)):
        longest = max(longest, row_start[run + 1] - row_start[run])
    numerator = np.empty(longest, np.int64)
    denominator = np.empty(longest, np.int64)
    for run in range(len(category)):
        first = row_start[run]
        last = row_start[run + 1]
        length = last - first
        if origin[run] == NO_ORIGIN:
            continue
        _window_fractions(codes[first:last], answers[first:last], shift, values, member, window, numerator, denominator)
        for session in range(length):
            numerator[session] *= over[denominator[session]]
        kind = category[run]
        for x in range(limit[length]):
            i = at[x] + origin[run]
            if i < 0 or i >= length or denominator[i] == 0:
                continue
            value = steps * numerator[i]
            if part[x] > 0 and i + 1 < length:
                if denominator[i + 1] == 0:
                    continue
                value += part[x] * (numerator[i + 1] - numerator[i])
            count[kind, x] += 1
            total[kind, x] += value
            square[kind, x] += value * value


@compiled_entry
def add_by_welford(
    codes: NDArray[np.uint8],
    answers: NDArray[np.uint8],
    shift: int,
    row_start: NDArray[np.int64],
    category: NDArray[np.uint8],
    origin: NDArray[np.int64],
    values: NDArray[np.uint8],
    member: NDArray[np.uint8],
    window: int,
    factor: float,
    at: NDArray[np.int64],
    part: NDArray[np.int64],
    steps: int,
    limit: NDArray[np.int64],
    count: NDArray[np.int64],
    mean: NDArray[np.float64],
    m2: NDArray[np.float64],
) -> None:
    """Add the runs of a unit to Welford's (count, mean, M2), where integer sums would not fit 63 bits.

    The arguments are those of `add_exactly`, but `factor` scales the value of a session instead of `over`,
    and `mean` and `m2` (float64[4, X]) take the place of the sums.
    """
    longest = 0
    for run in range(len(category)):
        longest = max(longest, row_start[run + 1] - row_start[run])
    numerator = np.empty(longest, np.int64)
    denominator = np.empty(longest, np.int64)
    for run in range(len(category)):
        first = row_start[run]
        last = row_start[run + 1]
        length = last - first
        if origin[run] == NO_ORIGIN:
            continue
        _window_fractions(codes[first:last], answers[first:last], shift, values, member, window, numerator, denominator)
        kind = category[run]
        for x in range(limit[length]):
            i = at[x] + origin[run]
            if i < 0 or i >= length or denominator[i] == 0:
                continue
            value = factor * numerator[i] / denominator[i]
            if part[x] > 0 and i + 1 < length:
                if denominator[i + 1] == 0:
                    continue
                following = factor * numerator[i + 1] / denominator[i + 1]
                value += part[x] / steps * (following - value)
            count[kind, x] += 1
            deviation = value - mean[kind, x]
            mean[kind, x] += deviation / count[kind, x]
            m2[kind, x] += deviation * (value - mean[kind, x])


@compiled_entry
def add_values_by_welford(
    values: NDArray[np.float64],
    row_start: NDArray[np.int64],
    category: NDArray[np.uint8],
    at: NDArray[np.int64],
    part: NDArray[np.int64],
    steps: int,
    limit: NDArray[np.int64],
    count: NDArray[np.int64],
    mean: NDArray[np.float64],
    m2: NDArray[np.float64],
) -> None:
    """Add the runs of a unit, given as one value per session, to Welford's (count, mean, M2).

    `values` is f8[sum L], the values of all runs one after another; the other arguments are those of
    `add_exactly` and `add_by_welford`, without an origin.
    """
    for run in range(len(category)):
        first = row_start[run]
        length = row_start[run + 1] - first
        kind = category[run]
        for x in range(limit[length]):
            i = at[x]
            if i >= length:
                continue
            value = values[first + i]
            if part[x] > 0 and i + 1 < length:
                value += part[x] / steps * (values[first + i + 1] - value)
            count[kind, x] += 1
            deviation = value - mean[kind, x]
            mean[kind, x] += deviation / count[kind, x]
            m2[kind, x] += deviation * (value - mean[kind, x])
