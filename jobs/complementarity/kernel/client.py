"""The client: what it remembers, how satisfied it is, what it expects and which octant it shows next.

Everything here reads one window of 50 memories, `[start, start + 50)` of three growing arrays: the client's octants,
the perceived octants and the utilities of these pairs. What follows from the window stands in the array `now`.
"""

from __future__ import annotations

import numpy as np

from ..params import MECHANISMS, MEMORY_SIZE
from .beginnings import U_COLUMNS, U_HIGHEST, U_LOWEST
from .compilation import compiled
from .lanes import (
    add_where8,
    count_le8,
    exp1,
    exp8,
    lane8,
    load8,
    peak8,
    scan8,
    sort8,
    splat8,
    store8,
    tree8,
)

BOND_ONLY = MECHANISMS.index("bond_only")
FREQUENCY_AMPLIFIER = MECHANISMS.index("frequency_amplifier")
CONDITIONAL_AMPLIFIER = MECHANISMS.index("conditional_amplifier")
BOND_WEIGHTED_CONDITIONAL = MECHANISMS.index("bond_weighted_conditional_amplifier")
BOND_WEIGHTED_FREQUENCY = MECHANISMS.index("bond_weighted_frequency_amplifier")

DISTORTION_WINDOW = 15

PROBABILITY, CUMULATIVE, FREQUENCY, RS, BOND = 0, 8, 16, 24, 25
NOW_SIZE = 32
"""Layout of `now`: three times eight values by octant, then relationship satisfaction and bond."""


@compiled
def satisfaction(utility, start, weights, settings):  # type: ignore[no-untyped-def]
    """Relationship satisfaction: weighted mean of the utilities in the window, in numpy's order of summation."""
    sums = load8(utility, start) * load8(weights, 0)
    for block in range(8, 48, 8):
        sums = sums + load8(utility, start + block) * load8(weights, block)
    total = tree8(sums)
    total += utility[start + 48] * weights[48]
    total += utility[start + 49] * weights[49]
    return total / settings.weights_sum


@compiled
def bond_of(rs, table, settings):  # type: ignore[no-untyped-def]
    """Bond: logistic function of the satisfaction's place in the range of utilities."""
    place = (rs - table[U_LOWEST]) / (table[U_HIGHEST] - table[U_LOWEST])
    return 1.0 / (1.0 + exp1(-settings.bond_alpha * (2.0 * (place - settings.bond_offset))))


@compiled
def frequencies(perceived, start, weights, settings):  # type: ignore[no-untyped-def]
    """Weighted marginal frequencies of the perceived octants, summed from the oldest to the newest memory."""
    sums = splat8(0.0)
    for i in range(MEMORY_SIZE):
        sums = add_where8(sums, perceived[start + i], weights[i])
    return sums / splat8(settings.weights_running_sum)


@compiled
def amplified(table, t, frequency, k):  # type: ignore[no-untyped-def]
    """Utilities of the therapist's octant t for all client octants, amplified by how often it is seen."""
    column = load8(table, U_COLUMNS + 8 * t)
    return column + (column * frequency) * k


@compiled
def between_order_statistics(a, bond):  # type: ignore[no-untyped-def]
    """Interpolate each lane's eight sorted values at position 7 bond."""
    position = 7.0 * bond
    lower = min(int(position), 7)
    upper = min(lower + 1, 7)
    share = position - lower
    return splat8(1.0 - share) * a[lower] + splat8(share) * a[upper]


@compiled
def expected_payoffs(table, frequency, k, bond):  # type: ignore[no-untyped-def]
    """Payoff that each client octant promises under marginal frequencies."""
    k8 = splat8(k)
    a = sort8(
        amplified(table, 0, splat8(lane8(frequency, 0)), k8),
        amplified(table, 1, splat8(lane8(frequency, 1)), k8),
        amplified(table, 2, splat8(lane8(frequency, 2)), k8),
        amplified(table, 3, splat8(lane8(frequency, 3)), k8),
        amplified(table, 4, splat8(lane8(frequency, 4)), k8),
        amplified(table, 5, splat8(lane8(frequency, 5)), k8),
        amplified(table, 6, splat8(lane8(frequency, 6)), k8),
        amplified(table, 7, splat8(lane8(frequency, 7)), k8),
    )
    return between_order_statistics(a, bond)


@compiled
def conditional_payoffs(table, frequency, k, bond):  # type: ignore[no-untyped-def]
    """Payoff that each client octant promises under its own frequencies, `frequency[8 t + c]`."""
    k8 = splat8(k)
    a = sort8(
        amplified(table, 0, load8(frequency, 0), k8),
        amplified(table, 1, load8(frequency, 8), k8),
        amplified(table, 2, load8(frequency, 16), k8),
        amplified(table, 3, load8(frequency, 24), k8),
        amplified(table, 4, load8(frequency, 32), k8),
        amplified(table, 5, load8(frequency, 40), k8),
        amplified(table, 6, load8(frequency, 48), k8),
        amplified(table, 7, load8(frequency, 56), k8),
    )
    return between_order_statistics(a, bond)


@compiled
def fill_conditional_frequencies(conditional, client, perceived, start, weights, settings):  # type: ignore[no-untyped-def]
    """Frequencies of the perceived octants given the client's, smoothed; `conditional[8 t + c]`."""
    for cell in range(64):
        conditional[cell] = 0.0
    for i in range(MEMORY_SIZE):
        conditional[8 * perceived[start + i] + client[start + i]] += weights[i]
    smoothing = splat8(settings.smoothing)
    g0, g1 = load8(conditional, 0) + smoothing, load8(conditional, 8) + smoothing
    g2, g3 = load8(conditional, 16) + smoothing, load8(conditional, 24) + smoothing
    g4, g5 = load8(conditional, 32) + smoothing, load8(conditional, 40) + smoothing
    g6, g7 = load8(conditional, 48) + smoothing, load8(conditional, 56) + smoothing
    total = ((g0 + g1) + (g2 + g3)) + ((g4 + g5) + (g6 + g7))
    store8(conditional, 0, g0 / total)
    store8(conditional, 8, g1 / total)
    store8(conditional, 16, g2 / total)
    store8(conditional, 24, g3 / total)
    store8(conditional, 32, g4 / total)
    store8(conditional, 40, g5 / total)
    store8(conditional, 48, g6 / total)
    store8(conditional, 56, g7 / total)


@compiled
def choice_probabilities(payoffs, entropy):  # type: ignore[no-untyped-def]
    """Softmax of the payoffs at temperature `entropy`."""
    x = payoffs / splat8(entropy)
    e = exp8(x - splat8(peak8(x)))
    return e / splat8(tree8(e))


@compiled
def appraise(now, utility, start, work, settings):  # type: ignore[no-untyped-def]
    """Set satisfaction and bond from the window."""
    rs = satisfaction(utility, start, work.weights, settings)
    now[RS] = rs
    now[BOND] = bond_of(rs, work.table, settings)


@compiled
def anticipate(now, client, perceived, start, work, settings):  # type: ignore[no-untyped-def]
    """Set the probabilities of the client's next octant from the window and the bond."""
    mechanism, table = settings.mechanism, work.table
    bond = now[BOND]
    k = settings.history_weight
    if mechanism in (BOND_WEIGHTED_CONDITIONAL, BOND_WEIGHTED_FREQUENCY):
        k = bond**settings.bond_power * k
    if mechanism in (FREQUENCY_AMPLIFIER, BOND_WEIGHTED_FREQUENCY):
        frequency = frequencies(perceived, start, work.weights, settings)
        store8(now, FREQUENCY, frequency)
        payoffs = expected_payoffs(table, frequency, k, bond)
    elif mechanism == BOND_ONLY:
        payoffs = expected_payoffs(table, splat8(0.0), 0.0, bond)
    else:
        fill_conditional_frequencies(work.conditional, client, perceived, start, work.weights, settings)
        payoffs = conditional_payoffs(table, work.conditional, k, bond)
    probability = choice_probabilities(payoffs, settings.entropy)
    store8(now, PROBABILITY, probability)
    running = scan8(probability)
    store8(now, CUMULATIVE, running / splat8(lane8(running, 7)))


@compiled
def drawn_octant(now, uniform):  # type: ignore[no-untyped-def]
    """The client's octant for a uniform number in [0, 1)."""
    return min(count_le8(load8(now, CUMULATIVE), uniform), 7)


@compiled
def most_frequent(perceived, end, counts):  # type: ignore[no-untyped-def]
    """Octant with the largest of the packed counts; among equals the one seen last before `end`."""
    largest = 0
    for a in range(8):
        largest = max(largest, (counts >> (8 * a)) & 255)
    i = end - 1
    while (counts >> (8 * perceived[i])) & 255 != largest:
        i -= 1
    return perceived[i]


@compiled
def packed_counts(perceived, end, length):  # type: ignore[no-untyped-def]
    """How often each octant stands in the last `length` before `end`: eight bytes in one integer."""
    counts = np.int64(0)
    for i in range(end - length, end):
        counts += np.int64(1) << (8 * perceived[i])
    return counts


@compiled
def misread_octant(perceived, end):  # type: ignore[no-untyped-def]
    """What a client perceives that misreads the therapist: the most frequent octant of late."""
    return most_frequent(perceived, end, packed_counts(perceived, end, DISTORTION_WINDOW))
