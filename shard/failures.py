"""Why attempts fail: one class per kind of failure, found from what an attempt left behind, and what follows from it.

The sources are asked in this order: the attempt's own last line, the exit code, the state that Slurm reports, and the
absence of everything.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .errors import Exit


class Failure(StrEnum):
    """The classes of failure."""

    CONFIG = "config"
    INPUT = "input"
    ENV = "env"
    TRANSIENT_IO = "transient-io"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    OOM = "oom"
    KILLED = "killed"
    BUG = "bug"
    CONFLICT = "conflict"
    LOCK = "lock"
    LAUNCH = "launch"


@dataclass(frozen=True)
class Policy:
    """What to do about a class of failure: whether submitting again can help, and what a person should look at."""

    retries: bool
    advice: str


POLICIES = {
    Failure.CONFIG: Policy(False, "config, plan and code do not belong together: plan the run again"),
    Failure.INPUT: Policy(False, "an input is missing or damaged: mend it first"),
    Failure.ENV: Policy(False, "the place cannot be written or used (disk, quota, permission, GPU): see bin/doctor"),
    Failure.TRANSIENT_IO: Policy(True, "the file system failed for a while: submit again"),
    Failure.TIMEOUT: Policy(True, "the time limit came: what is finished is kept, submit again"),
    Failure.PREEMPTED: Policy(True, "the element was stopped from outside: submit again"),
    Failure.OOM: Policy(True, "out of memory: submit again with 1.5 times the memory"),
    Failure.KILLED: Policy(True, "killed without a word: submit again"),
    Failure.BUG: Policy(True, "an exception: read the log; it is worth one more try at most"),
    Failure.CONFLICT: Policy(False, "two attempts gave different results: compare /meta of both files"),
    Failure.LOCK: Policy(True, "a lock was not free: see bin/doctor --locks"),
    Failure.LAUNCH: Policy(True, "Slurm started it, and it left no record: look at Slurm's own log and the node"),
}

BY_EXIT = {
    Exit.USAGE: Failure.CONFIG,
    Exit.BAD_CALL: Failure.CONFIG,
    Exit.INPUT: Failure.INPUT,
    Exit.UNAVAILABLE: Failure.LOCK,
    Exit.BUG: Failure.BUG,
    Exit.CANNOT_WRITE: Failure.ENV,
    Exit.IO: Failure.TRANSIENT_IO,
    Exit.STOPPED: Failure.PREEMPTED,
    Exit.CONFLICT: Failure.CONFLICT,
    Exit.MISMATCH: Failure.CONFIG,
}

BY_SLURM_STATE = {
    "OUT_OF_MEMORY": Failure.OOM,  # the cgroup's limit was hit
    "TIMEOUT": Failure.TIMEOUT,  # the job's own limit
    "DEADLINE": Failure.TIMEOUT,  # the limit that --deadline set
    "NODE_FAIL": Failure.PREEMPTED,  # the node was lost
    "BOOT_FAIL": Failure.PREEMPTED,  # the node never came up
    "PREEMPTED": Failure.PREEMPTED,  # another job took the node
    "CANCELLED": Failure.KILLED,  # scancel, by whomever
}


def failure_of_exit(code: int, reason: str = "") -> Failure | None:
    """Return the class of an exit code, None for success.

    Args:
        code: exit code of the process; negative or above 128 where a signal ended it.
        reason: the one line that the process left, which tells a deadline from a signal and a lock from a GPU.
    """
    if code == Exit.OK:
        return None
    if code == Exit.STOPPED:
        return Failure.TIMEOUT if "deadline" in reason.lower() else Failure.PREEMPTED
    if code == Exit.UNAVAILABLE and ("gpu" in reason.lower() or "cuda" in reason.lower()):
        return Failure.ENV
    if code < 0 or code > 128:
        return failure_of_signal(-code if code < 0 else code - 128, reason)
    return BY_EXIT.get(Exit(code), Failure.BUG) if code in set(Exit) else Failure.BUG


def failure_of_signal(number: int, reason: str = "") -> Failure:
    """Return the class of a death by signal: KILL without an earlier TERM is taken for the kernel's memory killer."""
    if number == signal.SIGKILL and "TERM" not in reason:
        return Failure.OOM
    if number in {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}:
        return Failure.BUG
    return Failure.KILLED


def classify(
    attempt: Mapping[str, Any] | None, slurm_state: str | None = None, code: int | None = None
) -> Failure | None:
    """Return why the last attempt at a shard did not succeed; None where nothing failed.

    Args:
        attempt: as `attempts.read_attempts` yields it; None where there is no record.
        slurm_state: state in which Slurm's accounting says that the element ended, if it says anything.
        code: exit code that someone else saw (the local array, the accounting), if any.
    """
    end = (attempt or {}).get("end")
    if end is not None:
        return failure_of_exit(int(end.get("rc", Exit.BUG)), str(end.get("reason", "")))
    if code is not None and code != Exit.OK:
        return failure_of_exit(code)
    state = (slurm_state or "").split(" ")[0].rstrip("+")
    if state in BY_SLURM_STATE:
        return BY_SLURM_STATE[state]
    if attempt is not None:
        return Failure.KILLED
    return Failure.LAUNCH if state in {"FAILED", "COMPLETED"} else None
