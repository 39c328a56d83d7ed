"""`bin/pack RUN [PHASE]`: after the merge, the partials of a phase become one.

The packed partial is a shard like any other, that of all blocks, and the plan says so: `status`, `missing`, `verify`
and later merges need to know nothing of packing.  A run can still be extended; new shards take the added blocks.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..shard.commands.base import run_command
from ..shard.context import Context, inputs_digest, result_stands
from ..shard.errors import Exit, QuintetError
from ..shard.plan import write_phase_plan
from ..shard.publish import valid_card
from ..shard.run import Run
from ..shard.scan import Found, full_check
from .intake import take_in
from .level import published
from .lock import merge_lock
from .moments import Moments
from .origin import result_facts
from .phase import Request, make_result, merge_phase

if TYPE_CHECKING:
    from ..shard.partial import Card
    from ..shard.run import Plan
    from .phase import Say


def pack(run: Run, phase: str | None, say: Say) -> None:
    """Pack the partials of one phase, or of all phases that can be packed.

    Raises:
        QuintetError: exit 2 for a phase that cannot be packed, 3 where a phase is not merged from the partials that
            stand, 69 where a merge is at work.
    """
    if phase is not None and phase not in run.phases():
        raise QuintetError(Exit.USAGE, f"PHASE: found {phase!r}; {run.path} has {', '.join(run.phases())}")
    with merge_lock(run.path / "merged"):
        for name in run.phases() if phase is None else (phase,):
            context = Context.of(run, name)
            hindrance = kept_apart(context) or pack_phase(context, say)
            if hindrance and phase is not None:
                raise QuintetError(Exit.USAGE, f"phase {name} cannot be packed: {hindrance}")
            if hindrance:
                say(f"{name}: left as it is: {hindrance}")


def kept_apart(context: Context) -> str:
    """Return why the partials of a phase stay files of their own; empty where they can become one."""
    if context.plan.kind == "pull":
        return "its trials are what the database is made again from"
    if any(dataset.summed and dataset.dtype != "i8" for dataset in context.phase.stored):
        return "sums of its counts may not fit into them"
    return ""


def side_by_side(context: Context) -> Context:
    """Return a phase whose rows are all copied, also those to which its result only points."""
    datasets = tuple(replace(dataset, merge="concat") for dataset in context.phase.datasets)
    return replace(context, phase=replace(context.phase, datasets=datasets))


def pack_phase(context: Context, say: Say) -> str:
    """Pack one phase and return why it could not be; the caller holds the merge's lock.

    A kill at any time leaves every block in a valid partial: the others are removed once the packed one was read in
    full and gave the result that stood.
    """
    run, plan = context.run, context.plan
    filled, before = sum(lo < hi for lo, hi in plan.shards), valid_card(run.merged(plan.phase))
    if filled > 1:
        path, wrong = put_together(context, before)
        if wrong:
            path.unlink()
            return wrong
        try:
            write_phase_plan(run, packed(plan))
            merge_again(run, plan.phase, before)
        except BaseException:
            write_phase_plan(run, plan)
            path.unlink(missing_ok=True)
            if valid_card(run.merged(plan.phase)) != before:
                merge_phase(run, plan.phase, Request(), lambda line: None)
            raise
    elif others(run, plan):  # an earlier packing was cut short
        merge_again(run, plan.phase, before)
    elif not result_stands(run, plan):
        raise not_merged(run, plan)
    removed = remove_others(run, run.plan(plan.phase))
    if removed:
        merge_phase(run, plan.phase, Request(), lambda line: None)
    size = sum(path.stat().st_size for path in (run.path / "partials" / plan.phase).rglob("s*.h5"))
    say(f"{plan.phase}: {removed} partials removed, one of {size / 1e6:.1f} MB holds all {plan.blocks} blocks")
    return ""


def put_together(context: Context, merged: Card | None) -> tuple[Path, str]:
    """Write the packed partial beside the others; return it, and what a merge would find wrong with it."""
    run, plan, phase = context.run, context.plan, context.phase
    inputs, moments = inputs_digest(run, plan), None if phase.stats is None else Moments(phase.stats)
    standing = take_in(context, inputs, "full", moments)
    facts = result_facts(run.merged(plan.phase))
    if standing.blocks_lacking or merged is None or facts.get("list_digest") != standing.list_digest():
        raise not_merged(run, plan)
    number = len(plan.shards)
    path = run.shard_file(plan.phase, number)
    card = published(side_by_side(context), inputs, standing, moments, (0, plan.blocks), number, path)
    return path, full_check(Found(number, path, card), phase, card.units) or ""


def not_merged(run: Run, plan: Plan) -> QuintetError:
    """Return the error of packing what no result was made from."""
    return QuintetError(
        Exit.INCOMPLETE,
        f"phase {plan.phase}: not merged from the partials that stand; bin/merge {run.path} {plan.phase} first",
    )


def merge_again(run: Run, phase: str, before: Card | None) -> None:
    """Merge a phase from its packed partial, read in full.

    Raises:
        QuintetError: exit 3 where the packed partial is damaged, 70 where the result is another than before.
    """
    context = Context.of(run, phase)
    card = make_result(context, inputs_digest(run, context.plan), Request(depth="full"), lambda line: None)
    if before is not None and card.pd != before.pd:
        raise QuintetError(Exit.BUG, f"phase {phase}: packed, it merges to another payload; no partial is removed")


def packed(plan: Plan) -> Plan:
    """Return a plan in which one more shard holds all blocks and the others none."""
    return replace(plan, shards=(*((0, 0) for _ in plan.shards), (0, plan.blocks)))


def others(run: Run, plan: Plan) -> list[Path]:
    """Return the partials of shards that have no blocks any more."""
    paths = [run.shard_file(plan.phase, shard) for shard, (lo, hi) in enumerate(plan.shards) if lo == hi]
    return [path for path in paths if path.is_file()]


def remove_others(run: Run, plan: Plan) -> int:
    """Remove the partials of shards that have no blocks any more, and folders that are empty then."""
    paths = others(run, plan)
    for path in paths:
        path.unlink()
        with suppress(OSError):  # other shards of the bucket are still to come
            path.parent.rmdir()
    return len(paths)


@click.command("pack")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("phase", required=False)
def command(run: Path, phase: str | None) -> None:
    """Pack the partials of PHASE of RUN, or of all phases that can be packed, into one file each, after the merge."""
    pack(Run.opened(run), phase, lambda line: click.echo(f"{time.strftime('%H:%M:%S')} {line}"))


if __name__ == "__main__":
    run_command(command)
