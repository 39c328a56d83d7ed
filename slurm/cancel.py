"""`bin/cancel RUN`: withdraw every job of a run, and no other."""

from __future__ import annotations

import shlex

import click

from ..shard.commands.base import run_command
from ..shard.lock import study_lock
from ..shard.run import Run
from .journal import Entry, Journal
from .queue import Slurm, of_run
from .submission import site_of


def cancelled(run: Run, desk: Slurm) -> dict[str, str]:
    """Cancel a run's jobs, whether they wait or run, and write that into its journal.

    An element that runs gets TERM, keeps its finished blocks and ends with 75.

    Returns:
        The cancelled jobs, each with its script and arguments.

    Raises:
        QuintetError: 69 where Slurm does not answer.
    """
    with study_lock(run.path / "submissions.lock", site_of(run).lock_kind):
        own = {name.partition("_")[0]: found.command for name, found in of_run(run, desk.queued()).items()}
        desk.cancel_all(own)
        journal = Journal(run)
        for job, script in own.items():
            journal.append(Entry("", "cancelled", job, script.split(" "), reason="bin/cancel"))
    return own


@click.command("cancel")
@click.argument("run")
def command(run: str) -> None:
    """Cancel every queued or running job of RUN, and no other.  Finished blocks are kept."""
    opened = Run.opened(run)
    own = cancelled(opened, Slurm())
    if not own:
        click.echo(f"nothing of {opened.path} is queued or running")
        return
    for job, script in own.items():
        click.echo(f"job {job} cancelled: {script}")
    click.echo(f"to go on: bin/submit {shlex.quote(str(opened.path))}")


if __name__ == "__main__":
    run_command(command)
