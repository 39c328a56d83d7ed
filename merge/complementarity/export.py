"""`export RUN`: configs, outcomes or trajectories of a run as one CSV file, written unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd

from ...jobs.complementarity.simulation import CATEGORIES
from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from ..exports import write_frames
from .stored import FLAGS, StoredRun, Unit


def config_tables(run: StoredRun) -> Iterator[pd.DataFrame]:
    """Yield one table: per config its number, trial, advantage in the search, sessions and parameters."""
    yield pd.DataFrame(
        [
            {
                "config_idx": config["config_idx"],
                "trial_number": config["trial_number"],
                "advantage": config["advantage"],
                "effective_max_sessions": config["max_sessions"],
                **config["params"],
            }
            for config in run.configs
        ]
    )


def outcome_tables(run: StoredRun) -> Iterator[pd.DataFrame]:
    """Yield a table per unit: a row per pair with category, success, dropout, sessions, satisfaction and bond."""
    for unit in run.units:
        columns = run.outcomes(unit)
        category, flags = columns.pop("category"), columns.pop("flags")
        bits = {name: flags >> np.uint8(bit) & np.uint8(1) for bit, name in enumerate(FLAGS)}
        head = {**identity(unit, unit.n_seeds), "seed": unit.seeds, "category": np.array(CATEGORIES)[category]}
        yield pd.DataFrame({**head, **bits, **columns})


def trajectory_tables(run: StoredRun) -> Iterator[pd.DataFrame]:
    """Yield a table per unit and kept therapist: a row per session with the three octants."""
    if not run.kept:
        raise QuintetError(Exit.USAGE, f"{run.path}: no trajectories were kept (simulate.trajectories: none)")
    for unit in run.units:
        for therapist in run.kept:
            runs = run.trajectories(unit, therapist)
            starts = runs.row_start.astype(np.int64)
            length = np.diff(starts)
            yield pd.DataFrame(
                {
                    **identity(unit, int(starts[-1])),
                    "seed": np.repeat(unit.seeds, length),
                    "therapist": therapist,
                    "session": np.arange(starts[-1]) - np.repeat(starts[:-1], length) + 1,
                    "client": runs.flat_client(),
                    "enacted": runs.flat_enacted(),
                    "perceived": runs.flat_perceived(),
                }
            )


def identity(unit: Unit, rows: int) -> dict[str, object]:
    """Columns that say which config the rows of a unit belong to."""
    return {"config_idx": np.full(rows, unit.config_idx), "trial_number": np.full(rows, unit.trial_number)}


TABLES: dict[str, Callable[[StoredRun], Iterator[pd.DataFrame]]] = {
    "outcomes": outcome_tables,
    "trajectories": trajectory_tables,
    "configs": config_tables,
}


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--what", type=click.Choice(list(TABLES)), required=True, help="What is written.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="CSV file; replaced where it stands.",
)
def command(run: Path, what: str, output: Path) -> None:
    """Write configs, outcomes (a row per pair) or trajectories (a row per session) of RUN as CSV."""
    stored = StoredRun(run)
    if not output.parent.is_dir():
        raise QuintetError(Exit.USAGE, f"--output: found {str(output)!r}; its folder does not exist")
    click.echo(f"{output}: {write_frames(output, TABLES[what](stored))} rows")


if __name__ == "__main__":
    run_command(command, name="bin/complementarity export")
