"""The cap on a run's CPU hours: what its attempts have used, and the end of submission once that is reached."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..shard.errors import Exit, QuintetError
from ..shard.progress import read_phase_attempts
from ..shard.progress.history import seconds_of
from ..shard.run import Plan, Run
from .queue import ENDED, Desk, Ending
from .retry import element_of, killed_jobs, last_line


def hold_to_cap(run: Run, desk: Desk, cap: float | None) -> None:
    """Raise where a run's attempts have used its CPU hours; what is queued or running goes on.

    Raises:
        QuintetError: 1 where they have.
    """
    if cap is None:
        return
    plans = [run.plan(name) for name in run.phases()]
    attempts = {plan.phase: read_phase_attempts(run, plan) for plan in plans}
    endings = desk.endings({job for tried in attempts.values() for job in killed_jobs(tried)})
    told = untold = 0.0
    for plan in plans:
        for shard, items in attempts[plan.phase].items():
            told += sum(float(item["end"].get("cpu_s", 0)) for item in items if "end" in item)
            untold += untold_seconds(run, plan, shard, items, endings)
    if told + untold >= 3600 * cap:
        without = f" (up to {untold / 3600:.3g} of them by attempts without a last line)" if untold else ""
        raise QuintetError(
            Exit.CHECK,
            f"{run.path}: {(told + untold) / 3600:.3g} CPU hours are used of at most {cap:g}{without}; nothing is "
            "submitted (--max-cpu-hours, else max_cpu_hours of plan/site.yaml)",
        )


def untold_seconds(
    run: Run, plan: Plan, shard: int, attempts: Sequence[Mapping[str, Any]], endings: Mapping[str, Ending]
) -> float:
    """Return the most CPU seconds that a shard's attempts without a last line, lost or running, can have used.

    An attempt's time ends with the first of what is known: the batch script's last line, the shard's next attempt, now,
    its time limit, the seconds that the accounting has for the element's last start.  All of its CPUs count as busy.

    Args:
        run: the run.
        plan: the phase's plan.
        shard: the shard's number.
        attempts: those of the shard, oldest first.
        endings: element -> how it ended, as far as the accounting knows.
    """
    starts = [seconds_of(item.get("time")) for item in attempts]
    last_of = {element_of(item): item for item in attempts}
    limit = float(plan.resources.get("time_s", 3600))
    seconds = 0.0
    for item, began in zip(attempts, starts, strict=True):
        if "end" in item:
            continue
        element, spans = element_of(item), [limit]
        ending = endings.get(element) if item is last_of[element] else None
        if ending is not None and ending.state in ENDED:
            spans.append(ending.seconds)
        if began is not None:
            ends = [time.time(), *starts, script_ended(run.log_folder(plan.phase, shard) / f"{element}.log")]
            spans += [end - began for end in ends if end is not None and end > began]
        seconds += int(plan.resources.get("cpus", 1)) * min(spans)
    return seconds


def script_ended(log: Path) -> float | None:
    """Return when a batch script that outlived its Python wrote its last line, in epoch seconds."""
    try:
        return log.stat().st_mtime if " ended with rc " in last_line(log) else None
    except FileNotFoundError:  # it came back, and its log went
        return None
