"""Which (client octant, therapist octant) the strategic therapists aim at."""

from __future__ import annotations

import math

import numpy as np

from .beginnings import ANSWER, COLUMN_PEAK, REGRET, U_COLUMNS, U_HIGHEST, U_LOWEST, U
from .client import (
    BOND,
    BOND_ONLY,
    BOND_WEIGHTED_FREQUENCY,
    FREQUENCY,
    FREQUENCY_AMPLIFIER,
    PROBABILITY,
    RS,
    choice_probabilities,
    expected_payoffs,
    frequencies,
    most_frequent,
)
from .compilation import compiled
from .lanes import (
    add_where8,
    exp8,
    first_equal8,
    lane8,
    load8,
    minimum8,
    peak8,
    select_le8,
    set_lane8,
    splat8,
    tree8,
)

NO_TARGET = -1
"""A target is 8 client octant + therapist octant, or this."""

LEAST_TIME_LEFT = 3.0
LARGEST_CHANGE = 0.3
MEMORY_LENGTH = 50.0


@compiled
def need_of(t, counts, lead_needs):  # type: ignore[no-untyped-def]
    """Expected seeds until octant t is the most frequent one alone in the therapist's window; 0 if it is."""
    others = 0
    for a in range(8):
        if a != t:
            others = max(others, (counts >> (8 * a)) & 255)
    own = (counts >> (8 * t)) & 255
    return 0.0 if own > others else lead_needs[others + 1 - own]


@compiled
def fill_needs(needs, counts, lead_needs):  # type: ignore[no-untyped-def]
    """`need_of` for all eight octants at once."""
    first, second = 0, 0
    for a in range(8):
        count = (counts >> (8 * a)) & 255
        second = max(second, min(first, count))
        first = max(first, count)
    for t in range(8):
        own = (counts >> (8 * t)) & 255
        others = second if own == first else first
        needs[t] = 0.0 if own > others else lead_needs[others + 1 - own]


@compiled
def identify_v2(session, counts, end, work, settings):  # type: ignore[no-untyped-def]
    """The pair with the largest expected net benefit of the V2 therapist, or `NO_TARGET`.

    All that depends on the therapist's octant t alone is computed for eight t at once. Probabilities are at most
    one, and every operation of the benefit is monotone also after rounding, so `bound` is never below the benefit
    of any pair with this t: octants are tried from the largest bound down until no bound can win any more.
    """
    left = settings.horizon - session
    if left <= LEAST_TIME_LEFT:
        return NO_TARGET
    now, table, needs, perceived = work.now, work.table, work.needs, work.perceived
    rs, bond = now[RS], now[BOND]
    rs8, bond8 = splat8(rs), splat8(bond)
    accuracy = settings.baseline_accuracy
    scaling = splat8(settings.benefit_scaling)

    fill_needs(needs, counts, work.lead_needs)
    need = load8(needs, 0)
    after = splat8(float(left)) - need
    expected = splat8(0.0)
    regret = splat8(0.0)
    for c in range(8):
        probability = splat8(now[PROBABILITY + c])
        expected = expected + load8(table, U + 8 * c) * probability
        regret = regret + probability * load8(table, REGRET + 8 * c)
    cost = regret * need

    change = minimum8(splat8(LARGEST_CHANGE), need / splat8(MEMORY_LENGTH))
    later_rs = (splat8(1.0) - change) * rs8 + change * expected
    lowest = splat8(table[U_LOWEST])
    place = (later_rs - lowest) / splat8(table[U_HIGHEST] - table[U_LOWEST])
    steepness = splat8(-settings.bond_alpha)
    exponent = steepness * (splat8(2.0) * (place - splat8(settings.bond_offset)))
    later_bond = splat8(1.0) / (splat8(1.0) + exp8(exponent))
    later_bond = select_le8(need, splat8(0.0), bond8, later_bond)
    floor = minimum8(later_bond, bond8)

    peak = load8(table, COLUMN_PEAK)
    none = splat8(-1.0)
    bound = (((peak - rs8) * after) * floor) * scaling - cost
    bound = select_le8(after, splat8(LEAST_TIME_LEFT), none, bound)
    bound = select_le8(peak, rs8, none, bound)

    best, target = 0.0, NO_TARGET
    largest = peak8(bound)
    if largest <= 0.0:
        return target

    frequency = load8(now, FREQUENCY)
    if settings.mechanism != FREQUENCY_AMPLIFIER and settings.mechanism != BOND_WEIGHTED_FREQUENCY:
        frequency = frequencies(perceived, end - 50, work.weights, settings)
    history_weight = 1.0 if settings.mechanism == BOND_ONLY else settings.history_weight
    mode = most_frequent(perceived, end, counts)
    while largest > 0.0 and largest >= best:
        t = min(first_equal8(bound, largest), 7)
        bound = set_lane8(bound, t, -1.0)
        need_t = needs[t]
        if need_t == 0.0 and settings.mechanism == FREQUENCY_AMPLIFIER:
            probability = load8(now, PROBABILITY)
        else:
            projected = frequency
            if need_t != 0.0:
                seeds = math.ceil(need_t * accuracy)
                projected = add_where8(projected, t, seeds * settings.recent_weight)
                misread = (seeds * (1.0 - accuracy)) / accuracy
                projected = add_where8(projected, mode, misread * settings.recent_weight)
                projected = projected / splat8(tree8(projected))
            payoffs = expected_payoffs(table, projected, history_weight, lane8(later_bond, t))
            probability = choice_probabilities(payoffs, settings.entropy)
        column = load8(table, U_COLUMNS + 8 * t)
        gain = (((column - rs8) * probability) * splat8(lane8(after, t))) * splat8(lane8(floor, t))
        net = select_le8(column, rs8, none, gain * scaling - splat8(lane8(cost, t)))
        top = peak8(net)
        if top > 0.0 and top >= best:
            candidate = 8 * first_equal8(net, top) + t
            if top > best or candidate < target:
                best, target = top, candidate
        largest = peak8(bound)
    return target


@compiled
def complement_of(c):  # type: ignore[no-untyped-def]
    """K(c) = (4 - c) mod 8."""
    return (4 - c) & 7


@compiled
def identify_v1(now, table):  # type: ignore[no-untyped-def]
    """The client octant whose complementary answer promises the V1 therapist most, or `NO_TARGET`."""
    best, target = -np.inf, NO_TARGET
    for c in range(8):
        gain = table[ANSWER + c] - now[RS]
        if gain > 0.0:
            value = gain * now[PROBABILITY + c]
            if value > best:
                best = value
                target = 8 * c + complement_of(c)
    return target
