"""`shard RUN PHASE`: one array element by hand."""

from __future__ import annotations

from pathlib import Path

import click

from ..array_element import LONGEST_NUMBER, attempt_shard, shard_number
from ..ending import end_at_once
from ..errors import Exit, QuintetError
from ..run import Run
from .base import run_command


def block_range(text: str | None, run: Run, phase: str) -> tuple[int, int] | None:
    """Return a range of blocks that is one planned shard's, from LO:HI."""
    if text is None:
        return None
    lo, _, hi = text.partition(":")
    if not (lo.isdecimal() and hi.isdecimal()) or len(text) > 2 * LONGEST_NUMBER:
        raise QuintetError(Exit.USAGE, f"--blocks: found {text[:80]!r}; allowed is LO:HI")
    return int(lo), int(hi)


@click.command(name="shard")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("phase")
@click.option("--index", type=click.IntRange(min=0), help="Shard number; else the environment's.")
@click.option("--blocks", help="A shard's blocks as LO:HI, instead of its number.")
@click.option("--map", "map_file", type=click.Path(path_type=Path), help="File with one shard number a line.")
@click.option("--offset", type=click.IntRange(min=0), default=0, show_default=True, help="Added to the task id.")
@click.option("--allow-code-drift", is_flag=True, help="Run although the code is not the planned.")
@click.option("--keep-logs", is_flag=True, help="Keep the log of a shard that succeeded, too.")
def command(
    run: Path,
    phase: str,
    index: int | None,
    blocks: str | None,
    map_file: Path | None,
    offset: int,
    allow_code_drift: bool,
    keep_logs: bool,
) -> int:
    """Run one shard of PHASE of a planned RUN."""
    planned = Run.opened(run)
    wanted = block_range(blocks, planned, phase)
    if wanted is None:
        shard = shard_number(map_file, offset) if index is None else index
    else:
        shards = planned.plan(phase).shards
        if wanted not in shards:
            raise QuintetError(Exit.BAD_CALL, f"--blocks: {blocks} is no shard of the plan; shards: {shards[:3]}…")
        shard = shards.index(wanted)
    return int(attempt_shard(planned, phase, shard, allow_code_drift, keep_logs))


if __name__ == "__main__":
    run_command(command, end=end_at_once)
