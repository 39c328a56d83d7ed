"""`bin/merge RUN [PHASE]`: combine the partials of a run and render its report."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ..shard.commands.base import run_command
from ..shard.errors import Exit
from ..shard.run import Run

if TYPE_CHECKING:
    from ..shard.scan import Depth


@click.command("merge")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.argument("phase", required=False)
@click.option("--all", "every", is_flag=True, help="Merge every run below the folder RUN (runs/ where none is named).")
@click.option("--allow-missing", is_flag=True, help="Go on without what is missing, and stamp every figure and table.")
@click.option(
    "--verify",
    type=click.Choice(["fast", "full"]),
    default="fast",
    show_default=True,
    help="fast: digests; full: open every partial and hold it against the plan.",
)
@click.option(
    "--level",
    is_flag=True,
    help="Only reduce runs of 1000 neighbouring shards of PHASE to a file each, which the next merge takes instead.",
)
@click.option(
    "--index",
    type=click.IntRange(min=0),
    help="With --level: this run of shards only; else SLURM_ARRAY_TASK_ID's, else all.",
)
@click.option("--crate", is_flag=True, help="Also describe the run as an RO-Crate (ro-crate-metadata.json).")
def merge(
    run: Path | None,
    phase: str | None,
    every: bool,
    allow_missing: bool,
    verify: str,
    level: bool,
    index: int | None,
    crate: bool,
) -> int:
    """Merge PHASE of RUN, or all phases in order up to the first incomplete one, and render the report."""
    from .crate import write_crate
    from .many import merge_many
    from .phase import Request, merge_run

    if every:
        if phase is not None or level or index is not None:
            raise click.UsageError("--all merges whole runs: no PHASE, --level or --index with it")
        flags = {"--allow-missing": allow_missing, "--crate": crate}
        options = [f"--verify={verify}", *(name for name, given in flags.items() if given)]
        return merge_many(run or Path("runs"), options, click.echo)
    if run is None:
        raise click.UsageError("RUN: not given; --all merges every run below runs/")
    opened = Run.opened(run)
    if level or index is not None:
        from .level import reduce_runs

        if phase is None or not level or allow_missing:
            raise click.UsageError("--level needs PHASE and allows neither --allow-missing nor --index without it")
        task = os.environ.get("SLURM_ARRAY_TASK_ID", "")
        reduce_runs(opened, phase, int(task) if index is None and task.isdecimal() else index, say)
        return Exit.OK
    merge_run(opened, phase, Request(allow_missing, cast("Depth", verify)), say)
    if crate:
        say(f"crate: {write_crate(opened)}")
    return Exit.OK


def say(line: str) -> None:
    """Print a line with the time of day."""
    click.echo(f"{time.strftime('%H:%M:%S')} {line}")


if __name__ == "__main__":
    run_command(merge)
