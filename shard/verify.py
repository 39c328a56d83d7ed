"""Verifying a run: every partial opened and held against the plan, every trial store against its partials."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .context import Context, inputs_digest
from .errors import QuintetError
from .missing import waits_for
from .partial import read_card, read_meta
from .publish import set_aside
from .scan import CONFLICT, Found, full_check, scan_map, scan_trials, trial_numbers, units_between

if TYPE_CHECKING:
    from .run import Plan, Run

DIFFERING = frozenset(
    {"hostname", "cpu_model", "cpu_features", "packages_sha256", "threads", "container", "code_sha256", "git_commit"}
)


@dataclass(frozen=True)
class Bad:
    """A file (or trial store) that is not what it should be, and where it was moved, below the run."""

    phase: str
    name: str
    reason: str
    detail: str
    moved: str = ""


@dataclass(frozen=True)
class Verdict:
    """What verifying a phase found."""

    phase: str
    good: int
    bad: tuple[Bad, ...]


def verify_phase(run: Run, context: Context, quarantine: bool = False) -> Verdict:
    """Check every file of a phase in full.

    Args:
        run: the run.
        context: the phase's plan and declaration.
        quarantine: move what is bad to `RUN/quarantine`, and set a corrupt database aside.
    """
    good, bad = 0, []
    for found, reason, detail in checked_files(run, context):
        if reason is None:
            good += 1
            continue
        moved = moved_to(run, found.path) if quarantine else ""
        bad.append(Bad(context.plan.phase, found.path.name, reason, detail, moved))
    bad += strays(run, context.plan, quarantine)
    if context.plan.kind == "pull":
        bad += store_findings(run, context, quarantine)
    return Verdict(context.plan.phase, good, tuple(bad))


def checked_files(run: Run, context: Context) -> Iterator[tuple[Found, str | None, str]]:
    """Yield every published partial with what is wrong with it (None: nothing)."""
    plan = context.plan
    if plan.units is None:
        return
    for found in scanned(run, plan):
        if found.reason == "absent":
            continue
        if found.reason is not None:
            yield found, found.reason, with_differences(found)
            continue
        blocks = (found.card.lo, found.card.hi) if found.card else (0, 0)
        wrong = full_check(found, context.phase, units_between(plan, blocks))
        yield found, "unreadable" if wrong else None, wrong or ""


def scanned(run: Run, plan: Plan) -> Iterator[Found]:
    """Yield the phase's partials, digests checked; what they were made from is not, where no input stands yet."""
    scan = scan_trials if plan.kind == "pull" else scan_map
    if not waits_for(run, plan):
        yield from scan(run, plan, inputs_digest(run, plan))
        return
    for found in scan(run, plan, ""):
        yield replace(found, reason=None, detail="") if found.reason == "wrong-input" else found


def with_differences(found: Found) -> str:
    """Return a finding's detail; for a conflict also which facts of the two files differ."""
    if found.reason != "conflict":
        return found.detail
    beside = [
        path for path in sorted(found.path.parent.iterdir()) if path.name.startswith(f"{found.path.stem}.conflict-")
    ]
    parts = [found.detail]
    for path in beside:
        try:
            ours, theirs = read_meta(found.path), read_meta(path)
        except (QuintetError, OSError):
            parts.append(f"{path.name} cannot be read")
            continue
        different = differing_facts(ours, theirs)
        parts.append(
            f"{path.name} differs in {', '.join(different) or 'nothing recorded: the work is not deterministic'}"
        )
    return "; ".join(parts)


def differing_facts(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return in which facts that may change bits two provenances differ, by name."""
    return sorted(name for name in DIFFERING if ours.get(name) != theirs.get(name))


def strays(run: Run, plan: Plan, quarantine: bool) -> Iterator[Bad]:
    """Yield the files below the phase's partials that nobody planned: conflicts, damaged checkpoints, others."""
    folder = run.path / "partials" / plan.phase
    if plan.kind == "pull":
        planned = {run.trial_file(plan.phase, number) for number in trial_numbers(run, plan.phase)}
    else:
        planned = {run.shard_file(plan.phase, shard) for shard, (lo, hi) in enumerate(plan.shards) if lo < hi}
    for base, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(base) / name
            reason = stray_reason(path, path in planned)
            if reason:
                yield Bad(plan.phase, name, *reason, moved_to(run, path) if quarantine else "")


def stray_reason(path: Path, planned: bool) -> tuple[str, str] | None:
    """Return why a file does not belong where it is; None where it does, or is a temporary one."""
    name = path.name
    if name.startswith(".") and name.endswith(".tmp"):
        return None  # someone may be writing it; bin/clean removes old ones
    if CONFLICT.match(name):
        return "conflict", "kept beside a partial with another payload"
    if name.endswith(".ckpt.h5"):
        try:
            read_card(path)
        except (OSError, ValueError) as error:
            return "unreadable", f"checkpoint: {error}"
        return None
    return None if planned else ("unknown", "no file of the plan has this name")


def moved_to(run: Run, path: Path) -> str:
    """Move a file to the quarantine and return its new place below the run."""
    target = set_aside(path, run.path / "quarantine")
    return target.relative_to(run.path).as_posix() if target else ""


def store_findings(run: Run, context: Context, quarantine: bool) -> Iterator[Bad]:
    """Yield what is wrong with the phase's trial store; a corrupt database is set aside where that is asked for."""
    store = trial_store(run, context)
    if store is None:
        return
    path = run.store(context.plan.phase)
    if not path.exists():
        yield Bad(context.plan.phase, path.name, "absent", "the next worker makes it again from the published trials")
        return
    findings = store.check()
    moved = ""
    if findings and quarantine:
        moved = store.set_aside().relative_to(run.path).as_posix()
    for line in findings:
        yield Bad(context.plan.phase, path.name, "store", line, moved)


def trial_store(run: Run, context: Context) -> Any:
    """Return the phase's trial store; None where nothing of it was ever written."""
    from .worker import open_store

    has_trials = any((run.path / "partials" / context.plan.phase).glob("*/t*.h5"))
    if not has_trials and not run.store(context.plan.phase).exists():
        return None
    from .context import study_module

    work = study_module(context.plan.study).start(context)
    return open_store(context, inputs_digest(run, context.plan), work)
