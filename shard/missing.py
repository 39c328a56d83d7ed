"""What is missing of a phase, why, and in which words to say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from .context import inputs_digest, standing_result
from .errors import Exit, QuintetError
from .scan import scan_map, scan_trials

if TYPE_CHECKING:
    from .run import Plan, Run
    from .scan import Depth, Found

WAITS = "waits"


@dataclass(frozen=True)
class Missing:
    """The missing elements of one phase.

    Of a map phase, `numbers` are shards.  Of a pull phase they are as many workers as can still find a trial, and
    `trials_missing` says how many trials are not COMPLETE with a valid partial, and `details` (by shard, of a pull
    phase by trial) what is wrong with each.
    """

    phase: str
    kind: str
    numbers: tuple[int, ...]
    total: int
    reasons: dict[str, tuple[int, ...]] = field(default_factory=dict)
    details: dict[int, str] = field(default_factory=dict)
    waits_for: str = ""
    trials_missing: int = 0


def waits_for(run: Run, plan: Plan) -> str:
    """Return the earlier phase whose result this one waits for; empty where its inputs stand."""
    for name in plan.after:
        if not run.merged(name).exists():
            return name
    return plan.after[-1] if plan.units is None and plan.after else ""


def missing_of(run: Run, plan: Plan) -> Missing:
    """Return what is missing of a phase, after checking the digest of every partial.

    Raises:
        QuintetError: exit 65 where an earlier result is damaged.
    """
    awaited = waits_for(run, plan)
    if awaited:
        every = tuple(shard for shard, (lo, hi) in enumerate(plan.shards) if lo < hi or plan.units is None)
        lacking = plan.units or 0 if plan.kind == "pull" else 0
        return Missing(plan.phase, plan.kind, every, len(every), {WAITS: every}, {}, awaited, lacking)
    inputs = inputs_digest(run, plan)
    if plan.kind == "pull":
        return missing_trials(run, plan, inputs)
    total = 0
    reasons: dict[str, list[int]] = {}
    details: dict[int, str] = {}
    for found in scan_map(run, plan, inputs):
        total += 1
        if found.reason is not None:
            reasons.setdefault(found.reason, []).append(found.number)
            details[found.number] = found.detail
    numbers = tuple(sorted(number for group in reasons.values() for number in group))
    return Missing(
        plan.phase, plan.kind, numbers, total, {key: tuple(value) for key, value in reasons.items()}, details
    )


def missing_trials(run: Run, plan: Plan, inputs: str) -> Missing:
    """Return how many trials a pull phase lacks, and the workers that can still find one."""
    from .worker import trial_in

    wanted = plan.units or 0
    states: Counter[str] = Counter()
    spoilt: dict[int, str] = {}
    for found in scan_trials(run, plan, inputs):
        if states["COMPLETE"] == wanted:
            break
        trial = trial_in(found)
        if trial is None:
            spoilt[found.number] = f"{found.reason or 'unreadable'} {found.detail}".strip()
        else:
            states[trial.state] += 1
    lacking = trials_lacking(wanted, states["COMPLETE"], states["FAIL"], len(spoilt), plan.points)
    workers = tuple(range(min(lacking, len(plan.shards))))
    reasons = {"absent": workers} if workers else {}
    return Missing(plan.phase, plan.kind, workers, len(plan.shards), reasons, spoilt, "", lacking)


def trials_lacking(wanted: int, complete: int, failed: int, spoilt: int, points: int | None) -> int:
    """Return how many trials a search lacks.

    A damaged or absent file before the last COMPLETE trial that counts is lacking even where it had failed: it is
    among the results of an undamaged run. A search with all its `points` tried lacks none, though some failed.
    """
    if points is not None and complete + failed >= points and not spoilt:
        return 0
    return max(wanted - complete, spoilt)


def is_merged(run: Run, plan: Plan, inputs: str, depth: Depth) -> bool:
    """Return whether the phase's result stands, whole, from these inputs and all of the planned units.

    What it was made from must stand as well: later phases may read the partials, and a merge would ask for them.
    """
    card = standing_result(run, plan)
    if card is None:
        return False
    if plan.kind == "map":  # failed trials are units, too, so that a search may hold more than it planned
        return card.units == plan.units and all(found.reason is None for found in scan_map(run, plan, inputs, depth))
    trials = islice(scan_trials(run, plan, inputs, depth), card.units)  # a whole result holds the first so many
    return sum(found.reason is None for found in trials) == card.units


def damaged(found: Iterable[Found]) -> Counter[str]:
    """Count the reasons of files that stand and do not count."""
    return Counter(item.reason for item in found if item.reason not in {None, "absent"})


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as `3,7-9`."""
    pieces: list[list[int]] = []
    for number in sorted(set(numbers)):
        if pieces and number == pieces[-1][1] + 1:
            pieces[-1][1] = number
        else:
            pieces.append([number, number])
    return ",".join(str(lo) if lo == hi else f"{lo}-{hi}" for lo, hi in pieces)


def known_phases(run: Run, phase: str | None) -> tuple[str, ...]:
    """Return the phases that a command is about; exit 2 for one that the run does not have."""
    phases = run.phases()
    if phase is None:
        return phases
    if phase not in phases:
        raise QuintetError(Exit.USAGE, f"PHASE: found {phase!r}; the run has {', '.join(phases)}")
    return (phase,)
