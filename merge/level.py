"""Hierarchical merge: runs of neighbouring shards reduced ahead of the merge, each by an array element of its own.

A reduced run holds what a result holds, for a range of blocks: rows side by side, counts added, extrema taken, and as
`/stats` the maximal aligned nodes of its blocks.  It is a cache.  A merge takes it in place of its shards as long as
their cards are those that it was made from, so that a result has the same bits with it and without.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..shard.attempts import utc_now
from ..shard.context import Context, inputs_digest
from ..shard.errors import Exit, QuintetError
from ..shard.partial import Card
from ..shard.scan import conflicting
from ..shard.scratch import scratch_base
from .draft import Draft
from .intake import Reader, Standing, reduced_file, runs_of, take_shards
from .moments import Moments
from .origin import result_meta
from .reduce import write_rows

if TYPE_CHECKING:
    from ..shard.run import Run
    from .intake import Tile
    from .phase import Say


def reduce_runs(run: Run, phase: str, number: int | None, say: Say) -> None:
    """Reduce one run of shards of a phase, or all of them.

    Raises:
        QuintetError: exit 2 for a phase that has none (a search), 3 where shards of the run are missing, 64 for a
            number outside the plan, 65 where partials or inputs cannot be right.
    """
    context = Context.of(run, phase)
    plan = context.plan
    if plan.kind == "pull":
        raise QuintetError(Exit.USAGE, f"--level: phase {phase} is a search; allowed is a phase of shards")
    if plan.units is None:
        raise QuintetError(Exit.INPUT, f"phase {phase}: its units are not counted yet; merge {plan.after[-1]} first")
    inputs = inputs_digest(run, plan)
    runs = dict(runs_of(plan))
    if number is not None and number not in runs:
        raise QuintetError(Exit.BAD_CALL, f"--index: found {number}; phase {phase} has runs 0 to {len(runs) - 1}")
    for chosen in runs if number is None else (number,):
        reduce_run(context, inputs, chosen, runs[chosen], say)


def reduce_run(context: Context, inputs: str, number: int, shards: list[Tile], say: Say) -> None:
    """Verify one run of shards, reduce it, and publish what comes out."""
    run, plan, phase = context.run, context.plan, context.phase
    lo, hi = shards[0][1][0], shards[-1][1][1]
    standing = Standing(blocks=hi - lo)
    moments = None if phase.stats is None else Moments(phase.stats, lo)
    take_shards(standing, context, inputs, "fast", moments, shards, conflicting(run, plan.phase), Reader())
    if standing.blocks_lacking:
        for found in standing.lacking:
            say(f"  {found.path.stem} {found.reason} {found.detail}".rstrip())
        raise QuintetError(
            Exit.INCOMPLETE,
            f"phase {phase.name}: run {number} lacks {len(standing.lacking)} of {len(shards)} shards; "
            f"bin/missing {run.path} {phase.name} names them",
        )
    path = reduced_file(run, phase.name, number)
    card = published(context, inputs, standing, moments, (lo, hi), number, path)
    say(f"{phase.name}: {len(shards)} partials, {card.units} units -> {path.relative_to(run.path)}")


def published(
    context: Context,
    inputs: str,
    standing: Standing,
    moments: Moments | None,
    blocks: tuple[int, int],
    number: int,
    path: Path,
) -> Card:
    """Publish what shards come to as one partial; return its card.

    Args:
        context: their phase.
        inputs: digest of its inputs.
        standing: the shards, all of them whole.
        moments: their statistics, None where the phase has none.
        blocks: the range of blocks that they cover.
        number: the number on the card.
        path: where to.
    """
    started, clock = utc_now(), time.monotonic()
    plan, units = context.plan, sum(piece.units for piece in standing.pieces)
    with tempfile.TemporaryDirectory(prefix="quintet-level-", dir=scratch_base()) as scratch:
        draft = Draft(Path(scratch))
        try:
            if moments is not None:
                nodes = moments.nodes()
                draft.write("stats", np.stack([triples for _, _, triples in nodes]))
                draft.write("nodes", np.array([node[:2] for node in nodes], dtype="i8"))
            write_rows(context, standing, draft)
            place = {"lo": blocks[0], "hi": blocks[1], "units": units, "traces": standing.traces()}
            meta = result_meta(context, standing, inputs, started, clock) | place
            card = Card(plan.study, plan.phase, number, *blocks, plan.config_sha256[:16], inputs, units=units)
            return draft.publish(path, card, meta)
        finally:
            draft.close()
