"""Removing what nobody needs any more: temporary files that were left behind, checkpoints of published units."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .context import inputs_digest
from .missing import waits_for
from .scan import scan_map, scan_trials

if TYPE_CHECKING:
    from .run import Plan, Run

TEMPORARY = re.compile(r"^\..+\.tmp$")
CHECKPOINT = re.compile(r"^u(\d{6,})\.(\d+)\.h5$")
DEFAULT_AGE_H = 1.0
WRITTEN_FOLDERS = ("partials", "checkpoints", "merged", "plan", "slurm", "figures", "tables", "report", "cache")


@dataclass(frozen=True)
class Removed:
    """A file that was removed: its name below the run, its bytes, and why."""

    name: str
    bytes: int
    why: str


def server_time(run: Run) -> float:
    """Return the file server's present time: the modification time of a file touched there now."""
    path = run.path / f".now.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.utime(descriptor)
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def remove_temporaries(run: Run, hours: float) -> Iterator[Removed]:
    """Remove the temporary files `.*.tmp` that are older than `hours`, and nothing else; yield each.

    Links are neither followed nor removed.
    """
    now = server_time(run)
    for folder in (".", *WRITTEN_FOLDERS):
        for base, inner, names in os.walk(run.path / folder):
            if folder == ".":
                inner.clear()
            for name in names:
                path = Path(base) / name
                if not TEMPORARY.match(name) or path.is_symlink() or not path.is_file():
                    continue
                state = path.stat()
                age = (now - state.st_mtime) / 3600
                if age > hours:
                    path.unlink(missing_ok=True)
                    yield Removed(path.relative_to(run.path).as_posix(), state.st_size, f"left behind, {age:.1f} h old")


def remove_checkpoints(run: Run, plan: Plan) -> Iterator[Removed]:
    """Remove the checkpoints of shards, units and trials that are published and whole; yield each."""
    if waits_for(run, plan) or plan.units is None:
        return
    scan = scan_trials if plan.kind == "pull" else scan_map
    published: set[int] = set()
    for found in scan(run, plan, inputs_digest(run, plan)):
        if found.reason is not None or found.card is None:
            continue
        if plan.kind == "pull":
            published.add(found.number)
            continue
        published.update(plan.units_of(block).start for block in range(found.card.lo, found.card.hi))
        yield from removed(run, found.path.with_name(f"{found.path.stem}.ckpt.h5"), "its shard is published")
    for base, _, names in os.walk(run.path / "checkpoints" / plan.phase):
        for name in sorted(names):
            match = CHECKPOINT.match(name)
            if match and int(match.group(1)) in published:
                yield from removed(run, Path(base) / name, "its unit is published")


def removed(run: Run, path: Path, why: str) -> Iterator[Removed]:
    """Remove one file, if it is there, and yield it."""
    try:
        size = path.lstat().st_size
        path.unlink()
    except FileNotFoundError:
        return
    yield Removed(path.relative_to(run.path).as_posix(), size, why)
