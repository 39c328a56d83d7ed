"""The strategic therapists: when they aim at a target, when they answer non-complementarily, when they give up.

Their state is the int64 array `strategy`, laid out by the names below; it lives as long as one run.
"""

from __future__ import annotations

import numpy as np

from .beginnings import ANSWER, SUCCESS_RS, U
from .client import BOND, RS
from .compilation import compiled
from .targets import NO_TARGET, complement_of, identify_v1, identify_v2, need_of

PHASE, TARGET, MONITORED, SEED, HOPELESS = 0, 1, 2, 3, 4
ATTEMPTS, WINS, CONSECUTIVE, N_FAILED, FAILED, INITIAL, PREVIOUS, BOOSTS = 5, 6, 7, 8, 9, 10, 11, 12
STRATEGY_SIZE = BOOSTS + 8
"""PREVIOUS holds packed counts, FAILED a set of octants as bits, BOOSTS one number per octant."""

BUILDING, CLIMBING, CONSOLIDATING = 0, 1, 2
NO_SEED = -1

FIRST_STRATEGIC_SESSION = 10
LEAST_BOND = 0.1


@compiled
def begin(strategy):  # type: ignore[no-untyped-def]
    """State of a therapist before the first session."""
    for i in range(STRATEGY_SIZE):
        strategy[i] = 0
    strategy[PHASE] = BUILDING
    strategy[TARGET] = NO_TARGET
    strategy[SEED] = NO_SEED


@compiled
def aim(session, counts, end, work, settings):  # type: ignore[no-untyped-def]
    """Search a target for the current state of the client, replacing the old one; tell whether there is one.

    What was hopeless stays so until the client's state changes, because the time left only shrinks.
    """
    strategy = work.strategy
    if strategy[HOPELESS]:
        strategy[TARGET] = NO_TARGET
        return False
    if settings.is_v2:
        strategy[TARGET] = identify_v2(session, counts, end, work, settings)
    else:
        strategy[TARGET] = identify_v1(work.now, work.table)
    strategy[HOPELESS] = strategy[TARGET] == NO_TARGET
    return strategy[TARGET] != NO_TARGET


@compiled
def count_of(counts, octant):  # type: ignore[no-untyped-def]
    """One of the packed counts."""
    return (counts >> (8 * octant)) & 255


@compiled
def start_monitor(strategy, counts):  # type: ignore[no-untyped-def]
    """Watch from now on how the seeds for the current target are received."""
    strategy[MONITORED] = 1
    strategy[INITIAL] = count_of(counts, strategy[TARGET] & 7)
    strategy[PREVIOUS] = counts
    strategy[ATTEMPTS] = 0
    strategy[WINS] = 0
    strategy[CONSECUTIVE] = 0
    for a in range(8):
        strategy[BOOSTS + a] = 0


V1_ACCURATE_ENOUGH = 0.9
V1_QUICK = 3.0
V1_HORIZON = 100.0
V1_BENEFIT_SCALING = 0.3


@compiled
def v1_accuracy(octant, counts, settings):  # type: ignore[no-untyped-def]
    """Expected accuracy of the perception of `octant`: a misread act is seen as the most frequent octant."""
    own = count_of(counts, octant)
    for a in range(8):
        if count_of(counts, a) > own:
            return settings.baseline_accuracy
    return settings.baseline_accuracy + (1.0 - settings.baseline_accuracy)


@compiled
def v1_seeds(c, session, counts, work, settings):  # type: ignore[no-untyped-def]
    """Whether the V1 therapist answers c with its target's octant."""
    table, target = work.table, work.strategy[TARGET]
    octant = target & 7
    if complement_of(c) == octant:
        return True
    if v1_accuracy(octant, counts, settings) > V1_ACCURATE_ENOUGH:
        return False
    need = need_of(octant, counts, work.lead_needs)
    if need <= V1_QUICK:
        return True
    gain = table[U + target] - work.now[RS]
    if gain <= 0.0:
        return False
    left = V1_HORIZON - session
    if left < need + 3.0:
        return False
    loss = max(0.0, table[ANSWER + c] - table[U + 8 * c + octant])
    return gain * (left - (need + 3.0)) * V1_BENEFIT_SCALING > loss * need


@compiled
def decide(c, session, counts, end, work, settings):  # type: ignore[no-untyped-def]
    """The therapist's octant for the client's octant c, before anything of this session is remembered."""
    now, table, strategy = work.now, work.table, work.strategy
    complement = complement_of(c)
    if now[RS] >= table[SUCCESS_RS]:
        strategy[PHASE] = CONSOLIDATING
        return complement
    if strategy[PHASE] != CLIMBING:
        building = strategy[PHASE] == BUILDING
        if building and (session < FIRST_STRATEGIC_SESSION or now[BOND] < LEAST_BOND):
            return complement
        if not aim(session, counts, end, work, settings):
            return complement
        if building and not settings.is_v2:
            octant = strategy[TARGET] & 7
            if (
                v1_accuracy(octant, counts, settings) > V1_ACCURATE_ENOUGH
                or need_of(octant, counts, work.lead_needs) <= 0.0
            ):
                return complement
        strategy[PHASE] = CLIMBING
        start_monitor(strategy, counts)
    target = strategy[TARGET]
    if target != NO_TARGET and c == target >> 3:
        strategy[PHASE] = CONSOLIDATING
        return complement
    if (target == NO_TARGET or table[ANSWER + c] > table[U + target]) and aim(session, counts, end, work, settings):
        start_monitor(strategy, counts)
        if c == strategy[TARGET] >> 3:
            strategy[PHASE] = CONSOLIDATING
            return complement
    target = strategy[TARGET]
    if target == NO_TARGET:
        return complement
    octant = target & 7
    if settings.is_v2:
        seeds = complement == octant or need_of(octant, counts, work.lead_needs) > 0.0
    else:
        seeds = v1_seeds(c, session, counts, work, settings)
    if not seeds:
        return complement
    strategy[SEED] = octant
    return octant


@compiled
def take_feedback(session, read, counts, end, work, settings):  # type: ignore[no-untyped-def]
    """V2 after the memory update of a session in which it seeded: count how it was `read`, abort what fails."""
    strategy = work.strategy
    seeded = strategy[SEED]
    strategy[SEED] = NO_SEED
    if not strategy[MONITORED]:
        return
    gainer, gain = -1, 0
    for a in range(8):
        change = count_of(counts, a) - count_of(strategy[PREVIOUS], a)
        if a != seeded and change > gain:
            gainer, gain = a, change
    strategy[ATTEMPTS] += 1
    if read == seeded:
        strategy[WINS] += 1
        strategy[CONSECUTIVE] = 0
    else:
        strategy[CONSECUTIVE] += 1
        if gainer >= 0:
            strategy[BOOSTS + gainer] += 1
    net = count_of(counts, seeded) - strategy[INITIAL]
    strategy[PREVIOUS] = counts

    attempts, wins = strategy[ATTEMPTS], strategy[WINS]
    boosted = 0
    for a in range(8):
        boosted = max(boosted, strategy[BOOSTS + a])
    octant = strategy[TARGET] & 7
    if not (
        strategy[CONSECUTIVE] >= settings.abort_threshold
        or (attempts >= 5 and boosted > 0 and boosted > wins and net <= 0)
        or settings.horizon - session < need_of(octant, counts, work.lead_needs) + 3.0
        or (attempts >= 10 and wins / attempts < settings.baseline_accuracy - 0.1)
    ):
        return
    strategy[MONITORED] = 0
    found = aim(session, counts, end, work, settings)
    if found and strategy[TARGET] & 7 != octant:
        bit = np.int64(1) << (strategy[TARGET] & 7)
        if not strategy[FAILED] & bit:
            strategy[FAILED] |= bit
            strategy[N_FAILED] += 1
        if strategy[N_FAILED] >= 3:
            strategy[PHASE] = CONSOLIDATING
    else:
        strategy[PHASE] = CONSOLIDATING
