"""`doctor`: is this place fit for a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from ..doctor import Check, Level
from ..doctor.examination import examine_machine, examine_place, examine_run
from ..errors import Exit, QuintetError
from ..run import Run
from .base import run_command

STYLES = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command("doctor")
@click.option("--run", "run", type=click.Path(path_type=Path), help="Examine this run, or the place where it will be.")
@click.option("--slurm", is_flag=True, help="Also start a job of two tasks that checks locks between nodes.")
@click.option("--locks", is_flag=True, help="Only show who holds the run's locks and leases (needs --run).")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON list.")
def command(run: Path | None, slurm: bool, locks: bool, as_json: bool) -> int:
    """Check file system, locks, scheduler, container, packages and GPU, each with advice.

    Without --run the file system of the working directory is examined.  Exit 1 when a check fails.
    """
    checks = []
    for check in chosen(run, slurm, locks):
        checks.append(check)
        if not as_json:
            print_check(check)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        counts = ", ".join(f"{sum(check.level is level for check in checks)} {level}" for level in Level)
        print(counts)
    return Exit.CHECK if any(check.level is Level.FAIL for check in checks) else Exit.OK


def chosen(run: Path | None, slurm: bool, locks: bool) -> Iterator[Check]:
    """Yield the checks that were asked for."""
    planned = Run(run) if run is not None and (run / "plan" / "run.json").is_file() else None
    if locks:
        from ..doctor.locks import check_run_locks

        if planned is None:
            raise QuintetError(Exit.USAGE, f"--locks: found --run {run}; it needs a planned run")
        yield from check_run_locks(planned)
        return
    yield from examine_place(existing(run or Path()), slurm)
    yield from examine_machine(planned is not None and wants_gpu(planned))
    if planned is not None:
        yield from examine_run(planned)


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder


def wants_gpu(run: Run) -> bool:
    """Whether a phase of a run asks for a GPU."""
    return any(run.plan(name).resources.get("gpus") for name in run.phases())


def print_check(check: Check) -> None:
    """Print one check, in colour on a terminal."""
    level = (
        click.style(f"{check.level:<4}", fg=STYLES[check.level], bold=True)
        if sys.stdout.isatty()
        else f"{check.level:<4}"
    )
    print(f"{level}  {check.name:<16}  {check.found}", flush=True)
    if check.advice:
        print(f"{'':24}{check.advice}")


if __name__ == "__main__":
    run_command(command)
