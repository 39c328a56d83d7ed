"""`verify`: every partial and trial store checked in full, bad ones set aside, random blocks computed again."""

from __future__ import annotations

import random
import shlex
from pathlib import Path

import click

from ..array_element import set_threads, threads_of
from ..context import Context
from ..errors import Exit
from ..missing import known_phases, waits_for
from ..run import Run
from ..verify import Verdict, verify_phase
from .base import run_command


@click.command("verify")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("phase", required=False)
@click.option("--quarantine", is_flag=True, help="Move bad files to RUN/quarantine, and set a corrupt database aside.")
@click.option("--spot", type=click.IntRange(min=0), default=0, metavar="K",
              help="Compute K random blocks of every map phase again and compare.")  # fmt: skip
@click.option("--seed", type=int, help="Seed of the choice of blocks; another choice each time unless given.")
def command(run: Path, phase: str | None, quarantine: bool, spot: int, seed: int | None) -> int:
    """Check every partial of RUN in full (opened, shapes, dtypes, digests, config) and every trial store.

    Exit 1 when something is bad.  What is only missing is no finding here: see bin/missing.
    """
    opened = Run.opened(run)
    rng = random.Random(seed)
    sound = True
    moved = False
    quoted = shlex.quote(str(run))
    phases = known_phases(opened, phase)
    first = opened.plan(phases[0])
    if spot:
        set_threads(first)
    for name in phases:
        context = Context.of(opened, name)
        verdict = verify_phase(opened, context, quarantine)
        print_verdict(verdict)
        sound &= not verdict.bad
        moved |= any(item.moved for item in verdict.bad)
        if spot and context.plan.kind == "map" and context.plan.units and not waits_for(opened, context.plan):
            if threads_of(context.plan) == threads_of(first):
                sound &= print_spots(opened, context, spot, rng)
            else:
                itself = f"bin/verify {quoted} {name} --spot {spot}"
                print(f"  not computed again, for it has other threads than {phases[0]}: {itself}")
    if moved:
        again = "bin/submit {} --missing-only" if (run / "submissions.jsonl").exists() else "bin/local {}"
        print(f"to make again what was set aside: {again.format(quoted)}")
    elif not sound and not quarantine:
        print(f"to set bad files aside: bin/verify {quoted} --quarantine")
    return Exit.OK if sound else Exit.CHECK


def print_verdict(verdict: Verdict) -> None:
    """Print a phase's count and its findings."""
    print(f"{verdict.phase}: {verdict.good} good, {len(verdict.bad)} bad")
    for item in verdict.bad:
        moved = f" -> {item.moved}" if item.moved else ""
        print(f"  {item.name}  {item.reason}  {item.detail}{moved}")


def print_spots(run: Run, context: Context, count: int, rng: random.Random) -> bool:
    """Compute pieces again, print each comparison, and return whether all agree."""
    from ..spot import spot_check

    equal = True
    for item in spot_check(run, context, count, rng):
        where = f"{item.phase} shard {item.shard} blocks {item.lo}:{item.hi}"
        if item.equal:
            print(f"  {where}: equal bits ({', '.join(item.compared)})")
            continue
        equal = False
        for name, text in item.differences.items():
            print(f"  {where}: /{name}: {text}")
        print(f"    {item.elsewhere}")
    return equal


if __name__ == "__main__":
    run_command(command)
