"""One attempt at one shard of a map phase: the block loop, its checkpoints, and the partial."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .attempts import Attempt, utc_now
from .checkpoints import Checkpoints, still
from .errors import Exit, QuintetError
from .memory import give_back_large
from .partial import Card, build, build_from, file_digest, read_datasets
from .payload import Payload
from .provenance import provenance, spread
from .publish import RETRIES, Outcome, publish, replace_file, retried, set_aside
from .scan import Found, examine, full_check, units_between
from .snapshot import running_code_sha256

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context
    from .phases import Task, Work
    from .run import Plan, Run
    from .signals import StopFlag

LARGE_PARTIAL_BYTES = 8 << 20


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


def take_up(task: Task, state: Mapping[str, Any], checkpoints: Checkpoints) -> None:
    """Restore a task; a state that it cannot take must not stop every later attempt too."""
    try:
        task.restore(state)
    except QuintetError:
        raise
    except Exception as error:
        checkpoints.refuse()
        found = f"{type(error).__name__}: {error}"
        raise QuintetError(Exit.INPUT, f"the checkpoint cannot be taken up ({found}); set aside, run again") from error


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
        take_up(task, state, checkpoints)
    kept = time.monotonic()
    while True:
        begun = time.monotonic()
        try:
            more = task.advance()
        except QuintetError as error:
            if error.code is not Exit.STOPPED:
                raise
            print(error, file=sys.stderr)
            element.stop.reason = element.stop.reason or str(error)
            more = True
        element.stop.took(time.monotonic() - begun)
        if not more:
            return task.result()
        if every_step is not None:
            every_step()
        stopping = element.stop.requested()
        if stopping or time.monotonic() - kept >= checkpoint_s or asks_to_be_kept(task):
            current = task.state()
            if current is not None:
                checkpoints.save(current)
            kept = time.monotonic()
        if stopping:
            raise Stopped


def asks_to_be_kept(task: Task) -> bool:
    """Whether a task that counts its own steps wants a checkpoint now."""
    due = getattr(task, "due", None)
    return due is not None and bool(due())


def checkpoint_path(element: Element) -> Path:
    """Return where the finished blocks of an unfinished shard are kept."""
    path = element.run.shard_file(element.plan.phase, element.shard)
    return path.with_name(f"{path.stem}.ckpt.h5")


def resumed_payload(element: Element, context: Context, blocks: tuple[int, int]) -> Payload:
    """Return the payload of the blocks that an earlier attempt kept, or an empty one."""
    path = checkpoint_path(element)
    for _ in range(RETRIES):
        try:
            card, digest = retried(lambda: file_digest(path))
            arrays = read_datasets(path) if fits(element, context, path, card, digest, blocks) else None
        except FileNotFoundError:  # none was kept, or another attempt has just published the shard
            break
        except (OSError, ValueError):
            set_aside(path, element.quarantine)
            break
        if not still(path, card):
            continue  # another attempt has replaced it in between: card and arrays may be of two files
        if arrays is None:
            set_aside(path, element.quarantine)
            break
        element.resumed_from = card.hi
        return Payload.restored(context.phase, card.lo, card.hi, card.units, arrays)
    return Payload(context.phase, blocks[0])


def fits(element: Element, context: Context, path: Path, card: Card, digest: str, blocks: tuple[int, int]) -> bool:
    """Whether a checkpoint is whole, of this shard, and holds what its card and the phase say."""
    own = element.card(element.shard, card.lo, card.hi, units_between(element.plan, (card.lo, card.hi)), False)
    described = replace(card, off=0, n=0, b2="", pd="")
    if card.b2 != digest or described != own or card.lo != blocks[0] or not card.lo < card.hi <= blocks[1]:
        return False
    return full_check(Found(element.shard, path, card), context.phase, card.units) is None


def keep(element: Element, payload: Payload) -> None:
    """Keep the finished blocks of an unfinished shard."""
    card = element.card(element.shard, payload.lo, payload.next_block, payload.units, complete=False)
    content, _ = build(card, payload.arrays(), element.facts(payload.lo, payload.next_block, payload.units))
    replace_file(checkpoint_path(element), content)


def expected_bytes(plan: Plan, blocks: tuple[int, int]) -> float:
    """Return how large the plan takes the partial of these blocks to be."""
    return units_between(plan, blocks) * float(plan.estimates.get("bytes_per_unit") or 0.0)


def run_blocks(element: Element, context: Context, work: Work, blocks: tuple[int, int]) -> Exit:
    """Compute what is missing of a shard's blocks, publish the partial, and say how it ended."""
    checkpoint_s = float(element.plan.resources["checkpoint_s"])
    if expected_bytes(element.plan, blocks) >= LARGE_PARTIAL_BYTES:
        give_back_large()
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
    content, card = build_from(card, payload.drained(), payload.nbytes, element.facts(*blocks, payload.units))
    outcome = publish(element.run.shard_file(element.plan.phase, element.shard), content, card, element.quarantine)
    if outcome is Outcome.DUPLICATE:
        element.attempt.units_done = 0
    checkpoint_path(element).unlink(missing_ok=True)
    for block in range(*blocks):
        units = element.plan.units_of(block)
        Checkpoints(element.run, element.plan, element.inputs, units.start, len(units)).drop()
    return Exit.OK
