"""`bin/cancel RUN`: withdraw every job of a run, and no other."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ..shard.commands.base import run_command
from ..shard.lock import study_lock
from ..shard.run import Run
from .journal import Entry, Journal
from .queue import Handed, Slurm
from .submission import site_of


def cancelled(run: Run, desk: Slurm) -> list[Handed]:
    """Cancel a run's jobs, whether they wait or run, and write that into its journal.

    An element that runs gets TERM, keeps its finished blocks and ends with 75.

    Returns:
        The cancelled jobs.

    Raises:
        QuintetError: 69 where Slurm does not answer.
    """
    with study_lock(run.path / "submissions.lock", site_of(run).lock_kind):
        own = [handed for handed in desk.handed_in() if belongs(handed, run)]
        desk.cancel_all(handed.job for handed in own)
        journal = Journal(run)
        for handed in own:
            journal.append(Entry("", "cancelled", handed.job, handed.command.split(" "), reason="bin/cancel"))
    return own


def belongs(handed: Handed, run: Run) -> bool:
    """Return whether a job is a run's: by its script in the run's folder, or by the run that a script was given.

    A number in the journal would not tell: after a reset of the cluster it may be another run's.
    """
    root = run.path.resolve()
    if handed.command.startswith(f"{root}/slurm/"):
        return True
    words = handed.command.partition(f"/{run.overview()['study']}.sbatch ")[2].split(" ")
    paths = (" ".join(words[:count]) for count in range(1, len(words) + 1))
    return any(path and Path(handed.folder, path).resolve() == root for path in paths)


@click.command("cancel")
@click.argument("run")
def command(run: str) -> None:
    """Cancel every queued or running job of RUN, and no other.  Finished blocks are kept."""
    opened = Run.opened(run)
    own = cancelled(opened, Slurm())
    if not own:
        click.echo(f"nothing of {opened.path} is queued or running")
        return
    for handed in own:
        click.echo(f"job {handed.job} cancelled: {handed.command}")
    click.echo(f"to go on: bin/submit {shlex.quote(str(opened.path))}")


if __name__ == "__main__":
    run_command(command)
