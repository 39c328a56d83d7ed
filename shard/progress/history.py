"""The attempts of a phase: which are alive, when they worked, and where their logs lie."""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..attempts import read_attempts
from .rate import Span

if TYPE_CHECKING:
    from ..run import Plan, Run
    from ..scheduler import QueueView

OVERDUE = 1.5  # an attempt on another host without a last line counts as running for so many time limits
History = dict[int, list[dict[str, Any]]]
"""Shard (or worker) -> its attempts, oldest first."""


def read_phase_attempts(run: Run, plan: Plan) -> History:
    """Return the attempts of every shard (or worker) that has any."""
    folder = run.path / "attempts" / plan.phase
    found: History = {}
    if not folder.is_dir():
        return found
    for bucket in sorted(folder.iterdir()):
        for entry in os.scandir(bucket) if bucket.is_dir() else ():
            match = re.fullmatch(r"s(\d{6,})\.jsonl", entry.name)
            if match:
                shard = int(match.group(1))
                found[shard] = list(read_attempts(run.attempt_file(plan.phase, shard)))
    return found


def seconds_of(text: object) -> float | None:
    """Return an attempt record's time in epoch seconds."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def lives(shard: int, attempt: dict[str, Any], queue: QueueView, plan: Plan, now: float) -> bool:
    """Whether an attempt without a last line still works, as far as anyone can tell.

    Slurm knows it of its own elements, this host of its own processes; of others only their age speaks.
    """
    if "end" in attempt:
        return False
    if queue.asked and attempt.get("slurm", {}).get("SLURM_ARRAY_JOB_ID"):
        return queue.running(plan.phase, shard)
    host, _, rest = str(attempt.get("attempt", "")).rpartition("-")[0].rpartition("-")
    if host == os.uname().nodename and rest.isdigit():
        return process_exists(int(rest))
    started = seconds_of(attempt.get("time"))
    return started is not None and now - started < OVERDUE * float(plan.resources.get("time_s", 3600))


def process_exists(pid: int) -> bool:
    """Whether a process of this host exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def span_of(shard: int, attempt: dict[str, Any], queue: QueueView, plan: Plan, now: float) -> Span | None:
    """Return when an attempt worked and what came out of it; None for one that was lost."""
    started = seconds_of(attempt.get("time"))
    if started is None:
        return None
    end = attempt.get("end")
    if end is None:
        return Span(started, now, None, ()) if lives(shard, attempt, queue, plan, now) else None
    stopped = seconds_of(end.get("time")) or started
    return Span(started, max(stopped, started), int(end.get("units", 0)), tuple(end.get("block_s", ())))


def log_name(run: Run, phase: str, shard: int, attempt: dict[str, Any] | None) -> str:
    """Return an attempt's log, as a path below the run; empty where it left none."""
    folder = run.log_folder(phase, shard)
    ids = (attempt or {}).get("slurm", {})
    pid = str((attempt or {}).get("attempt", "")).rpartition("-")[0].rpartition("-")[2]
    named = folder / f"{ids.get('SLURM_ARRAY_JOB_ID', 'local')}_{ids.get('SLURM_ARRAY_TASK_ID', pid)}.log"
    if named.is_file():
        return named.relative_to(run.path).as_posix()
    return ""
