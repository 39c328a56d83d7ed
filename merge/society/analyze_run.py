"""`analyze-run RUN_ID`: analysis and verification of a run by its id."""

from __future__ import annotations

from pathlib import Path

import click

from ...jobs.society.verification import verify_steering
from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from .analyze import analysis, tables_of
from .dumps import steering_rows
from .verify_command import further_levels


def run_of(name: str) -> Path:
    """Return the run directory of a run id: the folder of that name, or the one below runs/; exit 2 for none."""
    for path in (Path(name), Path("runs") / name):
        if (path / "plan").is_dir():
            return path
    raise QuintetError(Exit.USAGE, f"RUN_ID: found {name!r}; no planned run there, nor below runs/")


@click.command("analyze-run")
@click.argument("run_id")
@click.option("--no-plots", is_flag=True, help="Print the report alone.")
def command(run_id: str, no_plots: bool) -> int:
    """Report what the town of RUN_ID did, and verify its steering."""
    run = run_of(run_id)
    tables = tables_of(None, run, None)
    analysis(tables, None if no_plots else run / "analysis", {"source": run.resolve().name})
    click.echo("")
    verdict = verify_steering(steering_rows(tables["messages"]))
    levels = further_levels(run)
    for line in (*verdict.lines, *(level.line for level in levels)):
        click.echo(line)
    return int(Exit.CHECK) if verdict.exit_code or any(level.verdict == "FAIL" for level in levels) else 0


if __name__ == "__main__":
    run_command(command, name="bin/society analyze-run")
