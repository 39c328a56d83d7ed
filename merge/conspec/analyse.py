"""`bin/conspec analyse`: report and figures of result files, of a run or of several, finished or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ...jobs.conspec.analysis import DIRECTIONS, analyse
from ...jobs.conspec.metrics import OPTIMIZED
from ...shard.commands.base import run_command
from ...shard.conspec.advice import slow_advice
from ...shard.errors import Exit, QuintetError
from ..drawing import draw_all
from ..exports import write_file
from ..page import report_markdown
from .records import read_results
from .rendering import FIXED, OF_PARAMETERS, record_drawings
from .report import Material, search_report
from .space import guessed_scales, varies
from .words import is_slow


def lines_of(analysis: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what is printed: a line per world, and its three strongest parameters."""
    lines = []
    for world, found in analysis.items():
        strongest = ", ".join(f"{name} {found['pearson'][name]:+.2f}" for name in found["importance_order"][:3])
        lines.append(
            f"{world}: {found['trials']} trials, best trial {found['best_trial']} with mean reward "
            f"{found['best_reward']:.3f} and success rate {found['best_success_rate']:.2%}"
            + (f"; correlations: {strongest}" if strongest else "")
        )
    return lines


@click.command("analyse")
@click.option(
    "--results-dir",
    type=click.Path(path_type=Path),
    default=Path("hyperparam_search_results"),
    show_default=True,
    help="Folder of result files, a run, or a folder of runs.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("hyperparam_search_report.md"),
    show_default=True,
    help="Report.",
)
@click.option("--figures", type=click.Path(path_type=Path), help="Folder  [default: figures beside the report]")
@click.option("--metric", default="mean_reward", show_default=True, help=f"One of {', '.join(OPTIMIZED)}.")
@click.option("--direction", type=click.Choice(DIRECTIONS), default="maximize", show_default=True)
def command(results_dir: Path, output: Path, figures: Path | None, metric: str, direction: str) -> None:
    """Analyse the result files (search_*.json) in a folder."""
    if metric not in OPTIMIZED:
        raise QuintetError(Exit.USAGE, f"metric: {metric!r} is not one of {', '.join(OPTIMIZED)}")
    records = read_results(results_dir)
    try:
        found = analyse(records, metric=metric, direction=direction)
    except ValueError as error:
        raise QuintetError(Exit.USAGE, f"{results_dir}: {error}") from None
    made_from = {"results": results_dir.name, "metric": metric, "direction": direction, "trials": len(records)}
    drawings = record_drawings(records, guessed_scales(records), metric, direction)
    empty = {} if varies(records) else dict.fromkeys(OF_PARAMETERS, FIXED)
    drawings = {name: draw for name, draw in drawings.items() if name not in empty}
    drawn = draw_all(drawings, figures or output.parent / "figures", made_from, None)
    material = Material(records, found, metric, direction)
    report = search_report(material, drawn.saved, {}, made_from, left_out=empty)
    write_file(output, report_markdown(report, output.parent).encode())
    for line in lines_of(found):
        click.echo(line)
    if is_slow(found):
        click.echo(slow_advice(with_conspec=True), err=True)
    click.echo(str(output))
    drawn.need_all()


if __name__ == "__main__":
    run_command(command, name="bin/conspec analyse")
