"""What attempts used, what they wasted and why they failed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import Exit
from ..failures import Failure, classify
from .history import History, Unrecorded, lives, log_name
from .rate import quantile
from .record import FailureCount, PhaseProgress, Use

if TYPE_CHECKING:
    from ..run import Plan, Run
    from ..scheduler import QueueView

REASONS_SHOWN = 5


def measure_attempts(
    progress: PhaseProgress,
    run: Run,
    plan: Plan,
    attempts: History,
    launches: Mapping[int, Unrecorded],
    queue: QueueView,
    now: float,
) -> None:
    """Fill in what the attempts used, and why they (or elements that never came so far) failed."""
    counts: dict[tuple[str, str], list[tuple[int, dict[str, Any] | None, str]]] = {}
    memory, seconds = [], []
    for shard, items in attempts.items():
        progress.attempts += len(items)
        progress.attempts_max = max(progress.attempts_max, len(items))
        for item in items:
            end = item.get("end")
            if end is None:
                if lives(shard, item, queue, plan, now):
                    continue
                progress.attempts_lost += 1
            else:
                cpu_h = float(end.get("cpu_s", 0)) / 3600
                progress.cpu_h += cpu_h
                progress.wasted_cpu_h += cpu_h if is_wasted(end) else 0.0
                memory.append(float(end.get("peak_rss_mb", 0)))
                if end.get("blocks"):
                    seconds.append(float(end.get("wall_s", 0)))
            failure = classify(item, queue.ended.get((plan.phase, shard)))
            if failure is not None:
                words = str((end or {}).get("reason") or ("no last line" if end is None else f"exit {end.get('rc')}"))
                counts.setdefault((failure, re.sub(r"\d+|0x[0-9a-f]+", "#", words)[:80]), []).append(
                    (shard, item, words)
                )
    for (phase, shard), state in queue.ended.items():
        known = phase != plan.phase or shard in attempts or shard in launches
        failure = None if known else classify(None, state)
        if failure is not None:
            counts.setdefault((failure, state), []).append((shard, None, f"Slurm says {state}"))
    failures = [
        FailureCount(failure, len(cases), cases[-1][2][:200], cases[-1][0], log_name(run, plan.phase, *cases[-1][:2]))
        for (failure, _), cases in counts.items()
    ]
    failures += launch_failures(launches)
    progress.failures = sorted(failures, key=lambda item: -item.count)[:REASONS_SHOWN]
    if memory:
        progress.memory_mb = use_of(memory, float(plan.resources.get("mem_mb", 0)))
    if seconds:
        progress.seconds = use_of(seconds, float(plan.resources.get("time_s", 0)))


def launch_failures(launches: Mapping[int, Unrecorded]) -> list[FailureCount]:
    """Return the failures of elements that ended before their first attempt, one entry for equal words."""
    groups: dict[str, list[tuple[int, Unrecorded]]] = {}
    for shard, case in launches.items():
        groups.setdefault(re.sub(r"\d+", "#", case.words)[:80], []).append((shard, case))
    return [
        FailureCount(Failure.LAUNCH, len(cases), cases[-1][1].words[:200], cases[-1][0], cases[-1][1].log)
        for cases in groups.values()
    ]


def is_wasted(end: dict[str, Any]) -> bool:
    """Whether an attempt's work was not published: it failed, or another attempt had published the same."""
    failed = int(end.get("rc", Exit.BUG)) not in {Exit.OK, Exit.STOPPED}
    return failed or (bool(end.get("blocks")) and not end.get("units"))


def use_of(values: Sequence[float], requested: float) -> Use:
    """Return the quantiles of what was used."""
    ordered = sorted(values)
    return Use(quantile(ordered, 0.5), quantile(ordered, 0.95), ordered[-1], requested)


def suggestion(progress: PhaseProgress) -> str:
    """Return what to request next time, from what was used; empty where nothing is known or all is well."""
    if progress.memory_mb is None or progress.seconds is None:
        return ""
    memory, seconds = progress.memory_mb, progress.seconds
    mem_mb = max(100 * -(-int(max(1.25 * memory.p95, 1.1 * memory.max)) // 100), 100)
    minutes = max(-(-int(max(1.5 * seconds.p95, 1.2 * seconds.max)) // 60), 1)
    fits = mem_mb <= memory.requested <= 2 * mem_mb and 60 * minutes <= seconds.requested <= 4 * 60 * max(minutes, 5)
    return "" if fits else f"request --mem={mem_mb}M --time={minutes // 60:02d}:{minutes % 60:02d}:00"
