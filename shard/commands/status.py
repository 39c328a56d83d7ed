"""`status`: how far a run is, what it uses, what fails, and what to do next."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..errors import Exit, QuintetError
from ..failures import classify
from ..progress import PhaseProgress, log_name, next_step, progress_of, read_phase_attempts, unrecorded
from ..run import Run
from ..scheduler import DEFAULT_INTERVAL_S, SHORTEST_INTERVAL_S, QueueView, Scheduler
from .base import run_command

SHORTEST_WATCH_S = 1.0
LOG_LINES = 20
LARGEST_LOG_BYTES = 1 << 20


@click.command("status")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option("--watch", type=click.FloatRange(min=SHORTEST_WATCH_S), metavar="S", help="Look again every S seconds.")
@click.option("--log", "log_of", metavar="SHARD", help="Print the newest log of a shard: 12, or PHASE/12.")
@click.option("--failed", is_flag=True, help="Print the end of every failed shard's log.")
@click.option("--slurm-interval", type=click.FloatRange(min=SHORTEST_INTERVAL_S), default=DEFAULT_INTERVAL_S,
              show_default=True, metavar="S", help="Ask Slurm at most every S seconds.")  # fmt: skip
def command(
    run: Path, as_json: bool, watch: float | None, log_of: str | None, failed: bool, slurm_interval: float
) -> int:
    """Show how far RUN is, from its directory alone; Slurm is asked where there is one, and seldom."""
    opened = Run.opened(run)
    scheduler = Scheduler(slurm_interval)
    if log_of is not None:
        print_log(opened, log_of)
    elif failed:
        print_failed(opened, scheduler.view(opened))
    elif as_json:
        for phases, view in looks(opened, scheduler, watch):
            print(json.dumps(as_data(opened, phases, view)), flush=True)
    elif sys.stdout.isatty():
        show(opened, scheduler, watch)
    else:
        for phases, view in looks(opened, scheduler, watch):
            print_lines(opened, phases, view)
    return Exit.OK


def looks(run: Run, scheduler: Scheduler, watch: float | None) -> Iterator[tuple[list[PhaseProgress], QueueView]]:
    """Yield one look at the run, or one every `watch` seconds until everything is merged."""
    while True:
        view = scheduler.view(run)
        phases = [progress_of(run, run.plan(name), view) for name in run.phases()]
        yield phases, view
        if watch is None or all(progress.merged for progress in phases):
            return
        time.sleep(watch)


def as_data(run: Run, phases: list[PhaseProgress], view: QueueView) -> dict[str, Any]:
    """Return a look as JSON values."""
    return {
        "run": str(run.path),
        "study": run.overview()["study"],
        "phases": [
            {**asdict(progress), "complete": progress.complete, "fraction": progress.fraction} for progress in phases
        ],
        "slurm": {"asked": view.asked, "trouble": view.trouble},
        "next": next_step(run, phases),
    }


def print_lines(run: Run, phases: list[PhaseProgress], view: QueueView) -> None:
    """Print a look as timed lines."""
    from ..board import plain

    for line in plain(phases, view.trouble, next_step(run, phases)):
        print(line, flush=True)


def show(run: Run, scheduler: Scheduler, watch: float | None) -> None:
    """Draw on the terminal, over the last picture while watching."""
    from rich.console import Console
    from rich.live import Live

    from ..board import picture

    console = Console(highlight=False)
    title = f"{run.overview()['study']}  {run.path}"
    if watch is None:
        for phases, view in looks(run, scheduler, None):
            console.print(picture(title, phases, view.trouble, next_step(run, phases), console.width))
        return
    with Live(console=console, auto_refresh=False) as live:
        for phases, view in looks(run, scheduler, watch):
            live.update(picture(title, phases, view.trouble, next_step(run, phases), console.width), refresh=True)


def print_log(run: Run, name: str) -> None:
    """Print the newest log of a shard; exit 2 where the shard is not known, 1 where it has none."""
    phase, _, number = name.rpartition("/")
    names = [phase] if phase else list(run.phases())
    if not number.isdecimal() or phase not in {"", *run.phases()}:
        raise QuintetError(
            Exit.USAGE, f"--log: found {name!r}; allowed is a shard number, or PHASE/number with a phase of the run"
        )
    for candidate in reversed(names):
        plan, shard = run.plan(candidate), int(number)
        history = read_phase_attempts(run, plan)
        attempts, launch = history.get(shard, []), unrecorded(run, plan, history).get(shard)
        log = launch.log if launch else log_name(run, candidate, shard, attempts[-1] if attempts else None)
        if log:
            print(f"# {log}")
            print((run.path / log).read_bytes()[-LARGEST_LOG_BYTES:].decode(errors="replace"), end="")
            return
    raise QuintetError(Exit.CHECK, f"shard {name}: no log below {run.path}/logs (a shard that ends well keeps none)")


def print_failed(run: Run, view: QueueView) -> None:
    """Print the reason and the end of the log of every failed shard."""
    for name in run.phases():
        plan = run.plan(name)
        attempts = read_phase_attempts(run, plan)
        launches = unrecorded(run, plan, attempts)
        for shard in progress_of(run, plan, view).failed_shards:
            last = attempts[shard][-1] if attempts.get(shard) else None
            launch = launches.get(shard)
            failure = classify(last, view.ended.get((name, shard)), launch.code if launch else None)
            log = launch.log if launch else log_name(run, name, shard, last)
            reason = launch.words if launch else (last or {}).get("end", {}).get("reason") or "no last line"
            print(f"== {name}/{shard}: {failure}: {reason} ({log or 'no log'})")
            if log:
                print("\n".join((run.path / log).read_text(errors="replace").splitlines()[-LOG_LINES:]))


if __name__ == "__main__":
    run_command(command)
