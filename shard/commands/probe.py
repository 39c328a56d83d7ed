"""`probe RUN PHASE`: measure a phase's first block (or trial) without publishing it; prints JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from ..array_element import node_local, set_threads
from ..context import Context, study_module
from ..partial import Card, build
from ..payload import Payload
from ..run import Run
from .base import run_command

MOST_SECONDS = 20.0


@click.command(name="probe")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("phase")
def command(run: Path, phase: str) -> None:
    """Measure CPU seconds and bytes per unit; a task longer than the probe gives what was seen of it."""
    planned = Run.opened(run)
    plan = planned.plan(phase)
    set_threads(plan)
    started = time.process_time()
    with node_local():
        context = Context.of(planned, phase)
        work = study_module(plan.study).start(context)
        first = plan.units_of(0) if plan.kind == "map" else range(0, 1)
        figures: dict[str, float] = {}
        for _ in range(2):  # the first time also compiles
            ready = time.process_time()
            task = work.block(first) if plan.kind == "map" else work.trial(0, work.propose(0, ()))
            more = True
            while more and time.process_time() - started < MOST_SECONDS:
                more = task.advance()
            seconds = time.process_time() - ready
            figures["seconds_per_unit"] = min(figures.get("seconds_per_unit", 1e30), seconds / len(first))
            if more:
                break
        if not more and plan.kind == "map":
            payload = Payload(context.phase, 0)
            payload.add(task.result(), len(first))
            content, _ = build(Card("", "", 0, 0, 1, "", ""), payload.arrays(), {})
            figures["bytes_per_unit"] = len(content) / len(first)
    click.echo(json.dumps({key: float(f"{value:.3g}") for key, value in figures.items()}))


if __name__ == "__main__":
    run_command(command)
