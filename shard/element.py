"""One attempt at one shard of a map phase: the block loop, its checkpoints, and the partial."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .attempts import Attempt, utc_now
from .checkpoints import Checkpoints
from .errors import Exit, QuintetError
from .partial import Card, build, file_digest, read_arrays
from .payload import Payload
from .provenance import provenance, spread
from .publish import Outcome, publish, replace_file, set_aside
from .scan import examine, units_between
from .snapshot import running_code_sha256

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context
    from .phases import Task, Work
    from .run import Plan, Run
    from .signals import StopFlag


@dataclass
class Element:
    """What one process needs while it works on one shard (or as one worker)."""

    run: Run
    plan: Plan
    shard: int
    inputs: str
    stop: StopFlag
    attempt: Attempt
    started: str = field(default_factory=utc_now)
    resumed_from: int | None = None

    def facts(self, lo: int, hi: int, units: int) -> dict[str, Any]:
        """Return the provenance of a file with these blocks."""
        plan = self.plan
        return provenance(
            study=plan.study,
            phase=plan.phase,
            shard=self.shard,
            lo=lo,
            hi=hi,
            units=units,
            root_entropy=str(plan.root_entropy),
            config_sha256=plan.config_sha256,
            git_commit=plan.code["git_commit"],
            git_dirty=plan.code["git_dirty"],
            code_sha256=running_code_sha256(),
            started=self.started,
            ended=utc_now(),
            wall_s=round(time.monotonic() - self.attempt.started, 3),
            block_s=[round(value, 4) for value in spread(self.attempt.block_seconds)],
            attempt=self.attempt.token,
            resumed_from=self.resumed_from,
        )

    def card(self, number: int, lo: int, hi: int, units: int, complete: bool = True) -> Card:
        """Return the card of a file with these blocks, digests to be filled in."""
        plan = self.plan
        return Card(
            plan.study, plan.phase, number, lo, hi, plan.config_sha256[:16], self.inputs, complete=complete, units=units
        )

    @property
    def quarantine(self) -> Path:
        """Return where damaged files go."""
        return self.run.path / "quarantine"


class Stopped(Exception):  # noqa: N818
    """The stop flag was set between two steps of a task; its state was kept where it has one."""


def finished(element: Element, blocks: tuple[int, int]) -> bool:
    """Whether this shard's partial stands; a damaged one is set aside, a foreign one is exit 78 or made again."""
    path = element.run.shard_file(element.plan.phase, element.shard)
    found = examine(path, element.shard, element.plan, element.inputs, "fast", blocks)
    if found.reason is None:
        return True
    if found.reason == "wrong-config":
        raise QuintetError(Exit.MISMATCH, f"{path}: {found.detail}; the plan says {element.plan.config_sha256[:16]}")
    if found.reason != "absent":
        print(f"{path.name}: {found.reason} {found.detail}; set aside", file=sys.stderr)
        set_aside(path, element.quarantine)
    return False


def run_task(
    element: Element, task: Task, checkpoints: Checkpoints, checkpoint_s: float, every_step: Any = None
) -> Mapping[str, Any]:
    """Drive a task to its result, from its newest checkpoint on.

    Args:
        element: this process.
        task: a block's or a trial's task.
        checkpoints: where its state is kept.
        checkpoint_s: seconds between two checkpoints.
        every_step: called after each step (a worker renews its lease).

    Raises:
        Stopped: the process was asked to stop; the state is kept.
    """
    state = checkpoints.load()
    if state is not None:
        task.restore(state)
    kept = time.monotonic()
    while True:
        begun = time.monotonic()
        more = task.advance()
        element.stop.took(time.monotonic() - begun)
        if not more:
            return task.result()
        if every_step is not None:
            every_step()
        stopping = element.stop.requested()
        if stopping or time.monotonic() - kept >= checkpoint_s:
            current = task.state()
            if current is not None:
                checkpoints.save(current)
            kept = time.monotonic()
        if stopping:
            raise Stopped


def checkpoint_path(element: Element) -> Path:
    """Return where the finished blocks of an unfinished shard are kept."""
    path = element.run.shard_file(element.plan.phase, element.shard)
    return path.with_name(f"{path.stem}.ckpt.h5")


def resumed_payload(element: Element, context: Context, blocks: tuple[int, int]) -> Payload:
    """Return the payload of the blocks that an earlier attempt kept, or an empty one."""
    path = checkpoint_path(element)
    try:
        card, digest = file_digest(path)
    except FileNotFoundError:
        return Payload(context.phase, blocks[0])
    except (OSError, ValueError):
        set_aside(path, element.quarantine)
        return Payload(context.phase, blocks[0])
    mine = element.card(element.shard, card.lo, card.hi, card.units)
    same = (card.study, card.phase, card.shard, card.cfg, card.inp) == (
        mine.study,
        mine.phase,
        mine.shard,
        mine.cfg,
        mine.inp,
    )
    fits = (
        card.lo == blocks[0] and card.hi <= blocks[1] and card.units == units_between(element.plan, (card.lo, card.hi))
    )
    if card.b2 != digest or not same or not fits or card.complete:
        set_aside(path, element.quarantine)
        return Payload(context.phase, blocks[0])
    try:
        arrays = read_arrays(path)
    except FileNotFoundError:  # another attempt has just published the shard
        return Payload(context.phase, blocks[0])
    element.resumed_from = card.hi
    return Payload.restored(context.phase, card.lo, card.hi, card.units, arrays)


def keep(element: Element, payload: Payload) -> None:
    """Keep the finished blocks of an unfinished shard."""
    card = element.card(element.shard, payload.lo, payload.next_block, payload.units, complete=False)
    content, _ = build(card, payload.arrays(), element.facts(payload.lo, payload.next_block, payload.units))
    replace_file(checkpoint_path(element), content)


def run_blocks(element: Element, context: Context, work: Work, blocks: tuple[int, int]) -> Exit:
    """Compute what is missing of a shard's blocks, publish the partial, and say how it ended."""
    checkpoint_s = float(element.plan.resources["checkpoint_s"])
    payload = resumed_payload(element, context, blocks)
    kept_blocks, kept = payload.next_block, time.monotonic()
    while payload.next_block < blocks[1]:
        if element.stop.requested():
            break
        units = element.plan.units_of(payload.next_block)
        begun = time.monotonic()
        checkpoints = Checkpoints(element.run, element.plan, element.inputs, units.start, len(units))
        try:
            payload.add(run_task(element, work.block(units), checkpoints, checkpoint_s), len(units))
        except Stopped:
            break
        element.attempt.block_seconds.append(time.monotonic() - begun)
        element.attempt.blocks_done += 1
        element.attempt.units_done += len(units)
        if payload.next_block < blocks[1] and time.monotonic() - kept >= checkpoint_s:
            keep(element, payload)
            kept_blocks, kept = payload.next_block, time.monotonic()
    if payload.next_block < blocks[1]:
        if payload.next_block > kept_blocks:
            keep(element, payload)
        return Exit.STOPPED
    card = element.card(element.shard, *blocks, payload.units)
    content, card = build(card, payload.arrays(), element.facts(*blocks, payload.units))
    outcome = publish(element.run.shard_file(element.plan.phase, element.shard), content, card, element.quarantine)
    if outcome is Outcome.DUPLICATE:
        element.attempt.units_done = 0
    checkpoint_path(element).unlink(missing_ok=True)
    for block in range(*blocks):
        units = element.plan.units_of(block)
        Checkpoints(element.run, element.plan, element.inputs, units.start, len(units)).drop()
    return Exit.OK
