"""`clean`: removes temporary files that were left behind and checkpoints of published units; never a partial."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from ..cleaning import DEFAULT_AGE_H, Removed, remove_checkpoints, remove_temporaries
from ..errors import Exit, QuintetError
from ..run import Run
from .base import run_command

LARGEST_UNIT = 1024.0


@click.command("clean")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--stale-tmp", is_flag=True, help="Only temporary files; checkpoints stay.")
@click.option("--older-than", type=click.FloatRange(min=0), default=DEFAULT_AGE_H, show_default=True, metavar="H",
              help="Age in hours from which a temporary file counts as left behind.")  # fmt: skip
def command(run: Path, stale_tmp: bool, older_than: float) -> int:
    """Remove from RUN the files .*.tmp older than H hours, and checkpoints of units that are published.

    Ages are told by the file server that holds RUN.  A published partial is never removed.
    """
    opened = Run.opened(run)
    items = list(printed(remove_temporaries(opened, older_than)))
    for name in () if stale_tmp else opened.phases():
        try:
            items += printed(remove_checkpoints(opened, opened.plan(name)))
        except QuintetError as error:
            print(f"{name}: checkpoints stay, {error}", file=sys.stderr)
    print(f"removed {len(items)} files, {size(sum(item.bytes for item in items))}")
    return Exit.OK


def printed(items: Iterable[Removed]) -> list[Removed]:
    """Print each removed file and return them."""
    found: list[Removed] = []
    for item in items:
        print(f"{item.name}  {size(item.bytes)}  {item.why}")
        found.append(item)
    return found


def size(count: float) -> str:
    """Return bytes as a person says them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < LARGEST_UNIT:
            return f"{count:.0f} {unit}"
        count /= LARGEST_UNIT
    return f"{count:.1f} TB"


if __name__ == "__main__":
    run_command(command)
