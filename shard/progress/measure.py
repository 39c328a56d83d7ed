"""Measuring a run: states of shards and trials from cards and sizes, attempt records, and what Slurm says."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import missing
from ..context import inputs_digest, result_stands
from ..errors import Exit, QuintetError
from ..failures import POLICIES, Failure, classify
from ..partial import CARD_BYTES, open_regular, read_card
from ..scan import Found, scan_map, scan_trials
from .history import History, Unrecorded, lives, read_phase_attempts, span_of, unrecorded
from .rate import estimate
from .record import FailureCount, PhaseProgress, State
from .trials import trials_of
from .use import REASONS_SHOWN, measure_attempts, suggestion

if TYPE_CHECKING:
    from pathlib import Path

    from ..run import Plan, Run
    from ..scheduler import QueueView

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
SUPERBLOCK_BYTES = 48


def progress_of(run: Run, plan: Plan, queue: QueueView, now: float | None = None) -> PhaseProgress:
    """Measure one phase.

    Args:
        run: the run.
        plan: the phase's plan.
        queue: what Slurm says; an empty view where nobody asked.
        now: wall clock in epoch seconds, for rates only.
    """
    now = time.time() if now is None else now
    progress = PhaseProgress(plan.phase, plan.kind, plan.blocks, plan.units, waits_for=missing.waits_for(run, plan))
    inputs = ""
    if not progress.waits_for:
        try:
            inputs = inputs_digest(run, plan)
        except QuintetError as error:
            progress.trouble = str(error)
    attempts = read_phase_attempts(run, plan)
    launches = unrecorded(run, plan, attempts)
    measure_attempts(progress, run, plan, attempts, launches, queue, now)
    if not progress.waits_for and not progress.trouble:
        if plan.kind == "pull":
            measure_trials(progress, run, plan, inputs, attempts, launches, queue, now)
        else:
            measure_shards(progress, run, plan, inputs, attempts, launches, queue, now)
        pull = plan.kind == "pull"
        progress.merged = missing.is_merged(run, plan, inputs, "card") if pull else result_stands(run, plan)
        progress.rendered = progress.merged and run.merged(plan.phase).with_suffix(".done").is_file()
    else:
        progress.shards["missing"] = sum(lo < hi or plan.units is None for lo, hi in plan.shards)
    spans = [span_of(shard, item, queue, plan, now) for shard, items in attempts.items() for item in items]
    remaining = (plan.units or 0) - progress.units_done
    progress.estimate = estimate([span for span in spans if span], remaining, plan.block_size, plan.estimates, now)
    progress.suggestion = suggestion(progress)
    return progress


def measure_shards(
    progress: PhaseProgress,
    run: Run,
    plan: Plan,
    inputs: str,
    attempts: History,
    launches: Mapping[int, Unrecorded],
    queue: QueueView,
    now: float,
) -> None:
    """Fill in the states of a map phase's shards."""
    wrong: dict[str, list[Found]] = {}
    for found in scan_map(run, plan, inputs, "card"):
        items = attempts.get(found.number, [])
        state = shard_state(found, items, queue, plan, now)
        if state == "missing" and found.number in launches:
            state = "failed"
        progress.shards[state] += 1
        if state == "done" and found.card is not None:
            progress.blocks_done += found.card.hi - found.card.lo
            progress.units_done += found.card.units
            continue
        if state == "failed":
            progress.failed_shards.append(found.number)
            progress.retries &= may_retry(last_failure(plan, found.number, items, launches, queue))
        if found.reason not in {None, "absent"}:
            wrong.setdefault(str(found.reason), []).append(found)
        if items:
            kept = kept_blocks(found.path, plan, inputs)
            progress.blocks_done += kept[0]
            progress.units_done += kept[1]
    for reason, group in wrong.items():
        last = group[-1]
        progress.failures.append(FailureCount(f"partial {reason}", len(group), last.detail, last.number, ""))
    progress.failures = sorted(progress.failures, key=lambda item: -item.count)[:REASONS_SHOWN]


def shard_state(found: Found, items: list[dict[str, Any]], queue: QueueView, plan: Plan, now: float) -> State:
    """Return the state of one shard: what stands, then what is alive, then how the last attempt ended."""
    if found.reason is None and found.card is not None and whole(found):
        return "done"
    if queue.running(plan.phase, found.number) or any(
        lives(found.number, item, queue, plan, now) for item in items[-2:]
    ):
        return "running"
    if queue.queued(plan.phase, found.number):
        return "queued"
    failure = classify(items[-1] if items else None, queue.ended.get((plan.phase, found.number)))
    stopped = bool(items) and items[-1].get("end", {}).get("rc") == Exit.STOPPED
    return "failed" if failure is not None and not stopped else "missing"


def whole(found: Found) -> bool:
    """Whether a file is as long as its HDF5 superblock says; its digest is not looked at here.

    The superblock behind the card names the end of the file, counted from its base address (HDF5 file format, II.A,
    versions 2 and 3).
    """
    try:
        descriptor = open_regular(found.path)
        try:
            head, size = os.pread(descriptor, SUPERBLOCK_BYTES, CARD_BYTES), os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except OSError:
        return False
    base, end = int.from_bytes(head[12:20], "little"), int.from_bytes(head[28:36], "little")
    return head[:8] == HDF5_SIGNATURE and size >= end + (CARD_BYTES if base == 0 else 0)


def last_failure(
    plan: Plan, shard: int, items: list[dict[str, Any]], launches: Mapping[int, Unrecorded], queue: QueueView
) -> Failure | None:
    """Return why the last attempt at a shard, or the element that came to none, did not succeed."""
    code = launches[shard].code if shard in launches else None
    return classify(items[-1] if items else None, queue.ended.get((plan.phase, shard)), code)


def may_retry(failure: Failure | None) -> bool:
    """Whether submitting again can help."""
    return failure is None or POLICIES[failure].retries


def kept_blocks(path: Path, plan: Plan, inputs: str) -> tuple[int, int]:
    """Return the blocks and units that an unfinished shard has kept."""
    try:
        card = read_card(path.with_name(f"{path.stem}.ckpt.h5"))
    except (OSError, ValueError):
        return 0, 0
    if card.cfg != plan.config_sha256[:16] or card.inp != inputs:
        return 0, 0
    return max(card.hi - card.lo, 0), max(card.units, 0)


def measure_trials(
    progress: PhaseProgress,
    run: Run,
    plan: Plan,
    inputs: str,
    attempts: History,
    launches: Mapping[int, Unrecorded],
    queue: QueueView,
    now: float,
) -> None:
    """Fill in the trials of a pull phase and the states of its workers."""

    files = [found for found in scan_trials(run, plan, inputs, "card") if found.reason is None]
    progress.trials = trials_of(run, plan, files)
    progress.blocks_done = progress.units_done = progress.trials.complete
    for worker in range(len(plan.shards)):
        items = attempts.get(worker, [])
        found = Found(worker, run.path, None, "absent")
        state = shard_state(found, items, queue, plan, now)
        ended_well = bool(items) and items[-1].get("end", {}).get("rc") == Exit.OK
        if state == "missing" and (progress.complete or ended_well):
            state = "done"
        elif state == "missing" and worker in launches:
            state = "failed"
        progress.shards[state] += 1
        if state == "failed":
            progress.failed_shards.append(worker)
            progress.retries &= may_retry(last_failure(plan, worker, items, launches, queue))


def next_step(run: Run, phases: Sequence[PhaseProgress]) -> str:
    """Return the command that goes on, in one line."""
    submitted = (run.path / "submissions.jsonl").exists()
    name = shlex.quote(str(run.path))
    for progress in phases:
        if progress.merged and progress.complete:
            continue
        if progress.trouble:
            return progress.trouble
        if progress.active:
            return f"{progress.phase} is under way: bin/status {name} --watch 30"
        if progress.complete:
            return f"bin/merge {name} {progress.phase}"
        again = f"bin/submit {name} --missing-only" if submitted else f"bin/local {name}"
        if progress.failed_shards and not progress.retries:
            return f"see bin/status {name} --failed and mend that; then {again}"
        return again
    if phases and not phases[-1].rendered:
        return f"complete; the report of {phases[-1].phase} is being made, or was cut short: bin/merge {name}"
    return f"complete: the report is in {name}/report"
