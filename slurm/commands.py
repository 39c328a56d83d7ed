"""The verb `submit`."""

from __future__ import annotations

import click

from ..shard.run import Run
from .queue import Rehearsal, Slurm
from .submission import Wishes, submit
from .watch import until_done


@click.command(name="submit")
@click.argument("run")
@click.option("--phase", help="Submit this phase and its merge only.")
@click.option(
    "--missing-only",
    is_flag=True,
    help="Heal: leave out shards that need a person, give more memory where it lacked.",
)
@click.option("--dry-run", is_flag=True, help="Print the exact sbatch lines; write and submit nothing.")
@click.option("--throttle", type=click.IntRange(min=1), help="At most so many elements of an array at a time.")
@click.option(
    "--auto-resubmit",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="How often an incomplete merge job may submit what is missing by itself.",
)
@click.option(
    "--until-done",
    "stay",
    is_flag=True,
    help="Stay, and submit what is missing until all is merged or nothing moves.",
)
@click.option(
    "--container",
    envvar="QUINTET_CONTAINER",
    help="Run every shard and merge in this Apptainer image (else the site's, if it names one).",
)
@click.option("--allow-code-drift", "drift", is_flag=True, help="Let an image run whose code is not the planned.")
@click.option(
    "--max-cpu-hours",
    "cap",
    type=click.FloatRange(min=0, min_open=True),
    help="Submit nothing more once the run has used so many (else the site's max_cpu_hours).",
)
@click.option(
    "--poll",
    type=click.IntRange(min=10),
    default=30,
    show_default=True,
    help="Seconds between two looks at the queue.",
)
def command(
    run: str,
    phase: str | None,
    missing_only: bool,
    dry_run: bool,
    throttle: int | None,
    auto_resubmit: int,
    stay: bool,
    container: str | None,
    drift: bool,
    cap: float | None,
    poll: int,
) -> int:
    """Submit RUN to Slurm: an array per phase, its merge behind it, the next phase behind that merge.

    What is published, queued or running is left out, so that a repetition doubles nothing.  Ends with 69 when a limit
    on queued jobs kept something out: repeat it later.
    """
    planned = Run.opened(run)
    wishes = Wishes(phase, missing_only, throttle, auto_resubmit, container, drift, cap)
    if dry_run and stay:
        raise click.UsageError("--dry-run and --until-done exclude each other")
    if dry_run:
        code = submit(planned, Rehearsal(Slurm()), wishes, lambda line: click.echo(f"# {line}")).code
    elif stay:
        code = until_done(planned, Slurm(), wishes, poll, click.echo)
    else:
        code = submit(planned, Slurm(), wishes, click.echo).code
    return int(code)
