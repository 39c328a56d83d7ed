"""Who holds a run's locks and leases, and whether the holder still lives."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import QuintetError
from ..lock import holder_of, study_lock
from ..progress.history import process_exists
from .record import Check, fail, passed, warn
from .slurm import output_of

if TYPE_CHECKING:
    from ..lock import LockKind
    from ..run import Run

TRY_S = 0.2
MAX_LEASE_BYTES = 1 << 20
LOCK_FOLDERS = ("store", "merged", ".")


def lock_kind(run: Run) -> LockKind:
    """Return the run's one kind of lock."""
    kinds = {run.plan(name).lock_kind for name in run.phases()}
    return "strict" if "strict" in kinds else "flock"


def check_run_locks(run: Run) -> Iterator[Check]:
    """Say of each lock whether it is free, and of a held one who holds it and whether that process still lives."""
    kind = lock_kind(run)
    found = False
    for folder in LOCK_FOLDERS:
        for path in sorted((run.path / folder).glob("*.lock")):
            if path.is_file() or kind == "strict":
                found = True
                yield check_lock(run, path, kind)
    yield from check_leases(run)
    if not found:
        yield passed("locks", "no lock was ever taken in this run")


def check_lock(run: Run, path: Path, kind: LockKind) -> Check:
    """Try one lock for a moment."""
    name = f"lock {path.relative_to(run.path)}"
    holder = holder_of(path)
    try:
        with study_lock(path, kind, TRY_S):
            return passed(name, "free")
    except QuintetError:
        alive, words = fate(holder)
    if alive is False:
        advice = (
            f"remove {path} and its claims beside it by hand, once you are sure"
            if kind == "strict"
            else "wait: the kernel frees it"
        )
        return warn(name, f"held by {holder}, {words}", advice)
    return warn(name, f"held by {holder}, {words}", "normal for moments; look again before doing anything")


def fate(holder: str, job: str = "") -> tuple[bool | None, str]:
    """Return whether a holder `host:pid` lives (None: nobody can tell from here), and that in words."""
    host, _, pid = holder.rpartition(":")
    if host == os.uname().nodename and pid.isdigit():
        lives = process_exists(int(pid))
        return lives, "which lives" if lives else "which is gone"
    if job and shutil.which("squeue"):
        code, text = output_of(["squeue", "-h", "-j", job, "-o", "%T"])
        if code == 0:
            return (
                (True, f"job {job} is {text.split()[0]}")
                if text.split()
                else (False, f"job {job} is not queued any more")
            )
        if "Invalid job id" in text:
            return False, f"job {job} is not known any more"
    return None, "on another host; nobody can tell from here whether it lives"


def check_leases(run: Run) -> Iterator[Check]:
    """Say of each running trial who works on it, since when it last said so, and whether Slurm knows its job."""
    for folder in sorted((run.path / "store" / "leases").glob("*")):
        leases = [item for item in map(lease, sorted(folder.glob("[0-9]*.json"))) if item is not None]
        if not leases:
            continue
        lost = []
        for number, owner in leases:
            job = f"{owner['array_job']}_{owner['array_task']}" if owner.get("array_job") else ""
            alive, words = fate(f"{owner.get('host')}:{owner.get('pid')}", job if re.fullmatch(r"\d+_\d+", job) else "")
            if alive is False:
                lost.append(f"trial {number} of {owner.get('host')}:{owner.get('pid')} ({words})")
        text = f"{len(leases)} trials are being worked on"
        if lost:
            yield warn(
                f"leases {folder.name}",
                f"{text}; {'; '.join(lost[:5])}",
                "nothing to do: another worker takes these over",
            )
        else:
            yield passed(f"leases {folder.name}", text)


def lease(path: Path) -> tuple[int, dict[str, Any]] | None:
    """Return a lease's trial and owner; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            record = json.loads(stream.read(MAX_LEASE_BYTES))
        return int(path.stem), dict(record["owner"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_stores(run: Run) -> Iterator[Check]:
    """Run SQLite's quick check on each trial database, under its lock."""
    from ..trials import table

    kind = lock_kind(run)
    for path in sorted((run.path / "store").glob("*.sqlite3")):
        name = f"store {path.stem}"
        advice = f"bin/verify {run.path} --quarantine sets it aside; the next worker makes it again"
        try:
            with study_lock(path.with_suffix(".lock"), kind, 5.0), closing(table.connect(path)) as connection:
                findings = table.integrity(connection)
        except QuintetError as error:
            yield warn(name, str(error), "look again later")
            continue
        except (OSError, *table.UNREADABLE) as error:
            yield fail(name, str(error), advice)
            continue
        yield fail(name, "; ".join(findings[:3]), advice) if findings else passed(name, "quick_check ok")
