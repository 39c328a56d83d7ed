"""`analyze`: the text report of a finished town, and its three plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pandas as pd

from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from .dumps import check_complete, dumped, logs_of, table_of
from .town_report import resident_coefficients, town_report

PLOT_DPI = 150


def tables_of(dump_dir: Path | None, run: Path | None, unit: int | None) -> dict[str, pd.DataFrame]:
    """Return actions, messages and, from a run, tick metrics; exit 2 where they are missing or incomplete."""
    if (dump_dir is None) == (run is None):
        raise QuintetError(Exit.USAGE, "give one of --dump-dir and --run")
    if dump_dir is not None:
        return {table: dumped(dump_dir, table, "--dump-dir") for table in ("actions", "messages")}
    assert run is not None
    logs = logs_of(run, unit)
    check_complete(run, logs, unit is None)
    return {table: table_of(logs, table) for table in ("actions", "messages", "ticks")}


def metric_log(path: Path) -> pd.DataFrame:
    """Read a table of tick metrics; exit 2 where it is none."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise QuintetError(Exit.USAGE, f"--metric-log: {path}: {' '.join(str(error).split())[:200]}") from None


def write_plots(tables: dict[str, pd.DataFrame], folder: Path, source: dict[str, Any]) -> list[Path]:
    """Draw the three plots of a town; return their files."""
    from ..style import save
    from .town_figures import draw_action_distribution, draw_activity, draw_steering_heatmap

    actions, messages = tables["actions"], tables["messages"]
    ids, coefficients = resident_coefficients(messages)
    last = int(actions["tick"].max()) + 1
    per_tick = [frame.groupby("tick").size().reindex(range(last), fill_value=0) for frame in (actions, messages)]
    drawings = {
        "action_distribution": draw_action_distribution(actions["action"].value_counts().to_dict()),
        "steering_heatmap": draw_steering_heatmap(ids, coefficients, "Steering coefficients"),
        "activity_over_time": draw_activity(*(counts.to_numpy(float) for counts in per_tick)),
    }
    return [save(drawn, folder, name, PLOT_DPI, source).png for name, drawn in drawings.items()]


def analysis(tables: dict[str, pd.DataFrame], plots: Path | None, source: dict[str, Any]) -> None:
    """Print the report, and write the plots where a folder is given."""
    for line in town_report(tables["actions"], tables["messages"], tables.get("ticks")):
        click.echo(line)
    if plots is not None:
        for path in write_plots(tables, plots, source):
            click.echo(f"plot: {path}")


@click.command("analyze")
@click.option("--dump-dir", type=click.Path(path_type=Path), help="Folder with exported actions and messages.")
@click.option("--run", type=click.Path(path_type=Path), help="Run directory of a finished run.")
@click.option("--unit", type=click.IntRange(min=0), help="Only this unit of the run.")
@click.option("--no-plots", is_flag=True, help="Print the report alone.")
@click.option(
    "--metric-log", "log", type=click.Path(path_type=Path), help="CSV of tick metrics for the tracker summary."
)
@click.option("--output-dir", type=click.Path(path_type=Path), help="Folder of the plots  [default: analysis/ there]")
def command(
    dump_dir: Path | None, run: Path | None, unit: int | None, no_plots: bool, log: Path | None, output_dir: Path | None
) -> None:
    """Report what a town did, and plot actions, steering and activity."""
    tables = tables_of(dump_dir, run, unit)
    if log is not None:
        tables["ticks"] = metric_log(log)
    home = dump_dir or run
    assert home is not None
    folder = None if no_plots else output_dir or home / "analysis"
    analysis(tables, folder, {"source": home.resolve().name, "unit": unit})


if __name__ == "__main__":
    run_command(command, name="bin/society analyze")
