"""The attempts of a phase: which are alive, when they worked, and where their logs lie."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..attempts import read_attempts
from ..scheduler import arrays_of
from .rate import Span

if TYPE_CHECKING:
    from ..run import Plan, Run
    from ..scheduler import QueueView

LAST_WORDS = 4096
ELEMENT_LOG = re.compile(r"^(\d+)_(\d+)\.log$")
CODE_TOLD = re.compile(r"\brc (\d+)")
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
    except (ProcessLookupError, OverflowError):
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


@dataclass(frozen=True)
class Unrecorded:
    """An element whose Python never began an attempt: its exit code, its last words, its log below the run."""

    code: int
    words: str
    log: str


def unrecorded(run: Run, plan: Plan, attempts: History) -> dict[int, Unrecorded]:
    """Return what the batch script's log says of shards that were started and have no attempt at all.

    An array of the journal knows its shards; of one that was handed in by hand, the task number is the shard.
    """
    folder = run.path / "logs" / plan.phase
    if not folder.is_dir():
        return {}
    arrays = {array.job: array.shards for array in arrays_of(run) if array.phase == plan.phase}
    found: dict[int, Unrecorded] = {}
    for bucket in sorted(folder.iterdir()):
        for entry in sorted(os.scandir(bucket), key=lambda item: item.name) if bucket.is_dir() else ():
            match = ELEMENT_LOG.match(entry.name)
            if match is None:
                continue
            task = int(match[2])
            shards = arrays.get(match[1], range(len(plan.shards)))
            shard = shards[task] if task < len(shards) else task
            words = [line for line in last_lines(entry.path) if line.startswith("quintet: ")]
            code = CODE_TOLD.search(words[-1]) if words else None
            if shard not in attempts and code is not None:
                log = f"logs/{plan.phase}/{bucket.name}/{entry.name}"
                found[shard] = Unrecorded(int(code[1]), words[0].removeprefix("quintet: "), log)
    return found


def last_lines(path: str) -> list[str]:
    """Return the last lines of a log, none where it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a path of scandir
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_WORDS))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
