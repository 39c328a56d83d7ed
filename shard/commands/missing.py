"""`missing`: which array elements have no partial that can be believed, and why."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import Exit
from ..missing import WAITS, Missing, known_phases, missing_of, ranges
from ..run import Run
from .base import run_command

DETAILS_SHOWN = 3


@click.command("missing")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("phase", required=False)
@click.option("--format", "form", type=click.Choice(["ranges", "list"]), default="ranges", show_default=True,
              help="3,7-9 on one line, or one number a line.")  # fmt: skip
def command(run: Path, phase: str | None, form: str) -> int:
    """Print the shards of RUN (of PHASE, or of every phase) that are missing; exit 1 if there are any.

    The numbers go to stdout, with the phase's name before them where no PHASE is given; the reasons go to stderr.
    """
    opened = Run.opened(run)
    results = [missing_of(opened, opened.plan(name)) for name in known_phases(opened, phase)]
    for result in results:
        if result.numbers:
            print_numbers(result, "" if phase else f"{result.phase} ", form)
            print_reasons(result)
    return Exit.CHECK if any(result.numbers for result in results) else Exit.OK


def print_numbers(result: Missing, prefix: str, form: str) -> None:
    """Print the missing numbers to stdout."""
    if form == "ranges":
        print(f"{prefix}{ranges(result.numbers)}")
        return
    for number in result.numbers:
        print(f"{prefix}{number}")


def print_reasons(result: Missing) -> None:
    """Print the reasons to stderr, with some details."""
    if result.kind == "pull":
        print(f"{result.phase}: {result.trials_missing} trials missing", file=sys.stderr)
        for number, detail in list(result.details.items())[:DETAILS_SHOWN]:
            print(f"      trial {number}: {detail}", file=sys.stderr)
    else:
        print(f"{result.phase}: {len(result.numbers)} of {result.total} shards missing", file=sys.stderr)
    for reason, numbers in sorted(result.reasons.items(), key=lambda item: -len(item[1])):
        if reason == WAITS:
            print(f"  {WAITS:<12} for the result of {result.waits_for}", file=sys.stderr)
            continue
        print(
            f"  {reason:<12} {len(numbers):>7}  {ranges(numbers[:50])}{',…' if len(numbers) > 50 else ''}",
            file=sys.stderr,
        )
        if result.kind == "pull":
            continue
        for number in [number for number in numbers if result.details.get(number)][:DETAILS_SHOWN]:
            print(f"      shard {number}: {result.details[number]}", file=sys.stderr)


if __name__ == "__main__":
    run_command(command)
