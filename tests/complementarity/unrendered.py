"""Runs of the study from plan to result without its figures, which cost most of a small run's time."""

from __future__ import annotations

import shutil
from pathlib import Path

from quintet.merge.phase import Request, make_result
from quintet.shard.context import Context, inputs_digest
from quintet.shard.run import Run

from ..house import House


def choose(house: House, run: Path, earlier: Path | None = None) -> None:
    """Search and select, or take the finished search of an earlier run."""
    if earlier is not None:
        for name in ("partials/search", "store"):
            shutil.copytree(earlier / name, run / name, dirs_exist_ok=True)
    else:
        house("local", run, "--phase", "search", "--jobs", 2)
    house("merge", run, "search")
    house("local", run, "--phase", "select")
    house("merge", run, "select")


def reduced(run: Path) -> None:
    """Merge the simulation without its report."""
    context = Context.of(Run(run), "simulate")
    make_result(context, inputs_digest(context.run, context.plan), Request(), print)


def complete(house: House, run: Path, earlier: Path | None = None, jobs: int = 2) -> Path:
    """Do all of a planned run but its report."""
    choose(house, run, earlier)
    house("local", run, "--phase", "simulate", "--jobs", jobs)
    reduced(run)
    return run
