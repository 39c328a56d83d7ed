"""Merging one phase: scan, reduce, publish, count late units, render where it is the last."""

from __future__ import annotations

import hashlib
import json
import shlex
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..shard.attempts import utc_now
from ..shard.context import Context, inputs_digest, study_module
from ..shard.errors import Exit, QuintetError
from ..shard.memory import give_back_large
from ..shard.partial import Card, file_digest, read_card
from ..shard.publish import replace_file
from ..shard.run import Run
from ..shard.scratch import scratch_base
from ..shard.snapshot import running_code_sha256
from .draft import Draft
from .intake import Standing, look, take_in, take_in_trials
from .lock import merge_lock
from .moments import Moments
from .origin import result_facts, result_meta
from .reduce import write_rows, write_stats
from .report import render, study_merge

if TYPE_CHECKING:
    from ..shard.run import Plan
    from ..shard.scan import Depth, Found

Say = Callable[[str], None]
LINES_SHOWN = 20


@dataclass(frozen=True)
class Request:
    """How to merge: what to do where something is missing, and how closely to look."""

    allow_missing: bool = False
    depth: Depth = "fast"


def merge_run(run: Run, phase: str | None, request: Request, say: Say) -> None:
    """Merge one phase of a run, or all of them in order up to the first incomplete one.

    Raises:
        QuintetError: exit 3 where partials are missing, or those that decide a phase's units, 4 where rendering failed,
            65 for partials or inputs that cannot be right, 69 where another merge is at work.
    """
    names = run.phases()
    if phase is not None and phase not in names:
        raise QuintetError(Exit.USAGE, f"PHASE: found {phase!r}; {run.path} has {', '.join(names)}")
    with merge_lock(run.path / "merged"):
        for name in names if phase is None else (phase,):
            merge_phase(run, name, request, say)


def merge_phase(run: Run, name: str, request: Request, say: Say) -> None:
    """Merge one phase; the caller holds the lock."""
    context = Context.of(run, name)
    if context.plan.units is None:
        raise uncounted(run, context.plan)
    give_back_large()
    inputs = inputs_digest(run, context.plan)
    card = None if request.depth == "full" else unchanged(context, inputs, request)
    if card is None:
        card, late = make_result(context, inputs, request, say), late_plans(context)
    else:
        say(f"{name}: unchanged, payload {card.pd[:12]}")
        late = [plan for plan in late_plans(context) if plan.units is None]
    if card.complete:
        count_late_units(context, [plan.phase for plan in late])
    finish(context, card, say)


def uncounted(run: Run, plan: Plan) -> QuintetError:
    """Return the error of merging a phase whose units no complete result has counted yet."""
    earlier = plan.after[-1] if plan.after else "the phase before it"
    try:
        lacking = not read_card(run.merged(earlier)).complete
    except (OSError, ValueError):
        lacking = False
    if not lacking:
        return QuintetError(
            Exit.INPUT, f"phase {plan.phase}: its units are not counted yet; merge phase {earlier} first"
        )
    quoted = shlex.quote(str(run.path))
    return QuintetError(
        Exit.INCOMPLETE,
        f"phase {plan.phase}: the incomplete phase {earlier} counts its units; "
        f"run: bin/submit {quoted} --missing-only (on Slurm) or bin/local {quoted}",
    )


def unchanged(context: Context, inputs: str, request: Request) -> Card | None:
    """Return the card of a result that this code made from the partials that stand now; None where there is none."""
    run, plan = context.run, context.plan
    path = run.merged(plan.phase)
    facts = result_facts(path)
    if not facts or facts.get("code_sha256") != running_code_sha256() or facts.get("config") != run.config():
        return None
    if facts.get("blocks_present") != facts.get("blocks") and not request.allow_missing:
        return None
    if facts.get("list_digest") != look(context, inputs).list_digest():
        return None
    try:
        card, digest = file_digest(path)
    except (OSError, ValueError):
        return None
    made_of = (card.cfg, card.inp, card.lo, card.hi)
    return card if card.b2 == digest and made_of == (plan.config_sha256[:16], inputs, 0, plan.blocks) else None


def make_result(context: Context, inputs: str, request: Request, say: Say) -> Card:
    """Verify and reduce the partials of a phase, and publish its result."""
    run, plan, phase = context.run, context.plan, context.phase
    started, clock, seconds = utc_now(), time.monotonic(), Laps()
    moments = None
    if plan.kind == "pull":
        standing = take_in_trials(context, inputs, request.depth)
    else:
        moments = Moments(phase.stats) if phase.stats is not None else None
        standing = take_in(context, inputs, request.depth, moments)
    seconds.lap("scan")
    if standing.blocks_lacking:
        list_lacking(run, phase.name, standing, say)
        if not request.allow_missing:
            quoted = shlex.quote(str(run.path))
            raise QuintetError(
                Exit.INCOMPLETE,
                f"phase {phase.name}: {standing.blocks_lacking} of {standing.blocks} blocks missing (missing.txt); "
                f"run: bin/submit {quoted} --missing-only (on Slurm) or bin/local {quoted}",
            )
    else:
        forget_lacking(run, phase.name)
    done_file(run, phase.name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="quintet-merge-", dir=scratch_base()) as scratch:
        draft = Draft(Path(scratch))
        try:
            if moments is not None:
                write_stats(draft, moments, plan.blocks)
            write_rows(context, standing, draft)
            fold_in(context, draft)
            seconds.lap("reduce")
            meta = result_meta(context, standing, inputs, started, clock)
            units = sum(piece.units for piece in standing.pieces)
            card = Card(plan.study, plan.phase, 0, 0, plan.blocks, plan.config_sha256[:16], inputs, units=units)
            if standing.blocks_lacking:
                card = Card(**{**vars(card), "complete": False})
            card = draft.publish(run.merged(phase.name), card, meta)
        finally:
            draft.close()
    seconds.lap("write")
    for warning in meta["warnings"]:
        say(f"{phase.name}: warning: {warning}")
    say(
        f"{phase.name}: {len(standing.pieces)} partials, {units} units, {standing.blocks_present} of {standing.blocks} "
        f"blocks -> merged/{phase.name}.h5, payload {card.pd[:12]} ({seconds})"
    )
    return card


def fold_in(context: Context, draft: Draft) -> None:
    """Write what the study itself derives from the payload."""
    module = study_merge(context.plan.study)
    if module is not None and hasattr(module, "reduce"):
        for name, array in sorted((module.reduce(context, draft.file) or {}).items()):
            draft.write(name, array)


def late_plans(context: Context) -> list[Plan]:
    """Return the plans of the phases whose units this phase's result decides."""
    plans = map(context.run.plan, context.run.phases())
    return [plan for plan in plans if plan.late and plan.after[-1:] == (context.phase.name,)]


def count_late_units(context: Context, names: list[str]) -> None:
    """Write the plan files of phases whose units are known now; one that stands with that count is left alone."""
    from ..shard.plan import counted, write_phase_plan

    for name in names:
        late = Context.of(context.run, name)
        units = int(study_module(late.plan.study).late_units(late))  # type: ignore[attr-defined]
        if units != late.plan.units:
            write_phase_plan(context.run, counted(late.plan, units))


def finish(context: Context, card: Card, say: Say) -> None:
    """Render the report after the last phase, then mark the phase as done; nothing where that is so already."""
    run, name = context.run, context.phase.name
    last = name == run.phases()[-1]
    content = {"phase": name, "payload": card.pd, **({"rendered_from": report_digest(run)} if last else {})}
    line = json.dumps(content, sort_keys=True).encode() + b"\n"
    path = done_file(run, name)
    if path.is_file() and path.read_bytes() == line:
        return
    path.unlink(missing_ok=True)
    if last:
        give_back_large()
        seconds = Laps()
        if render(context):
            seconds.lap("render")
            say(f"report: {run.path / 'report'} ({seconds})")
    replace_file(path, line)


def done_file(run: Run, phase: str) -> Path:
    """Return the file that says a phase's merge came to its end."""
    return run.merged(phase).with_suffix(".done")


def report_digest(run: Run) -> str:
    """Return the digest of all that a report is rendered from: config, code, and every result."""
    results = {phase: result_card(run, phase) for phase in run.phases()}
    content = {"config": run.config(), "code": running_code_sha256(), "results": results}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def result_card(run: Run, phase: str) -> str | None:
    """Return the payload digest of a phase's result, None where it is not merged."""
    try:
        return read_card(run.merged(phase)).pd
    except (OSError, ValueError):
        return None


def lacking_header(phase: str) -> str:
    """Return how the list of what is missing in a phase begins."""
    return f"# phase {phase}: "


def list_lacking(run: Run, phase: str, standing: Standing, say: Say) -> None:
    """Print why how many partials are missing, and write all of them to `missing.txt`."""
    reasons = Counter(str(found.reason) for found in standing.lacking)
    summary = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    say(
        f"{phase}: {standing.blocks_present} of {standing.blocks} blocks stand"
        + (f"; missing: {summary}" if summary else "")
    )
    lines = [lacking_line(found) for found in standing.lacking]
    for line in lines[:LINES_SHOWN]:
        say(f"  {line}")
    if len(lines) > LINES_SHOWN:
        say(f"  … and {len(lines) - LINES_SHOWN} more in missing.txt")
    header = f"{lacking_header(phase)}{standing.blocks_lacking} of {standing.blocks} blocks missing"
    replace_file(run.path / "missing.txt", ("\n".join([header, *lines]) + "\n").encode())


def lacking_line(found: Found) -> str:
    """Return one missing partial as a line: file, reason, detail."""
    return f"{found.path.stem} {found.reason}" + (f" ({found.detail})" if found.detail else "")


def forget_lacking(run: Run, phase: str) -> None:
    """Remove the list of what was missing in this phase."""
    path = run.path / "missing.txt"
    try:
        if path.read_text().startswith(lacking_header(phase)):
            path.unlink()
    except FileNotFoundError:
        return


class Laps:
    """Seconds of the steps of a merge, for people."""

    def __init__(self) -> None:
        """Start the clock."""
        self._last = time.monotonic()
        self._laps: list[str] = []

    def lap(self, name: str) -> None:
        """End a step."""
        now = time.monotonic()
        self._laps.append(f"{name} {now - self._last:.2f} s")
        self._last = now

    def __str__(self) -> str:
        """Return the steps with their seconds."""
        return ", ".join(self._laps)
