"""`bin/merge RUN [PHASE]`: combine the partials of a run and render its report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ..shard.commands.base import run_command
from ..shard.run import Run

if TYPE_CHECKING:
    from ..shard.scan import Depth


@click.command("merge")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("phase", required=False)
@click.option("--allow-missing", is_flag=True, help="Go on without what is missing, and stamp every figure and table.")
@click.option(
    "--verify",
    type=click.Choice(["fast", "full"]),
    default="fast",
    show_default=True,
    help="fast: digests; full: open every partial and hold it against the plan.",
)
@click.option("--crate", is_flag=True, help="Also describe the run as an RO-Crate (ro-crate-metadata.json).")
def merge(run: Path, phase: str | None, allow_missing: bool, verify: str, crate: bool) -> None:
    """Merge PHASE of RUN, or all phases in order up to the first incomplete one, and render the report."""
    from .crate import write_crate
    from .phase import Request, merge_run

    opened = Run.opened(run)
    merge_run(opened, phase, Request(allow_missing, cast("Depth", verify)), say)
    if crate:
        say(f"crate: {write_crate(opened)}")


def say(line: str) -> None:
    """Print a line with the time of day."""
    click.echo(f"{time.strftime('%H:%M:%S')} {line}")


if __name__ == "__main__":
    run_command(merge)
