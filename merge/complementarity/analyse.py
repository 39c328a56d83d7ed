"""`analyse RUN` or `analyse DATABASE`: what a finished search tells, as figures, tables and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...shard.commands.base import run_command
from ...shard.context import Context
from ...shard.errors import Exit, QuintetError
from ...shard.publish import make_folder
from ...shard.run import Run
from ..drawing import draw_all
from ..origin import made_from
from ..page import Report, write_report
from ..report import incomplete_stamp
from .findings import SearchFindings, findings_of_run, findings_of_trials, write_search_tables
from .rendering import search_drawings
from .search_section import search_section

TITLE = "When does the strategic therapist help? What the search found"
STUDY_NAME = "freq_amp_v2_optimization"
TOP_K = 15


def of_run(path: Path) -> tuple[SearchFindings, dict[str, Any], str, int]:
    """Return the findings of a run's search, what they were made from, the warning on top, and the trials to export."""
    run = Run.opened(path)
    if run.overview().get("study") != "complementarity" or "search" not in run.phases():
        raise QuintetError(Exit.USAGE, f"{path}: has no search; allowed is a run of complementarity that has one")
    context = Context.of(run, "search")
    findings = findings_of_run(context)
    origins = {**made_from(context, "search"), "seed": context.config.seed}
    return findings, origins, incomplete_stamp(run), context.config.search.top_k


def of_database(path: Path, study_name: str) -> tuple[SearchFindings, dict[str, Any]]:
    """Return the findings of a study in a database, and what they were made from."""
    from ...shard.complementarity import read_database
    from ...shard.context import sha256_of

    trials = read_database(path, study_name, "RUN_OR_DATABASE", "--study-name")
    return findings_of_trials(trials), {
        "database": path.name,
        "database_sha256": sha256_of(path),
        "study_name": study_name,
    }


@click.command("analyse")
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN_OR_DATABASE")
@click.option("--study-name", default=STUDY_NAME, show_default=True, help="Study in the database.")
@click.option("--top-k", type=click.IntRange(min=1), help=f"Best trials to export  [default: the run's, or {TOP_K}]")
@click.option(
    "--output-dir", type=click.Path(path_type=Path), help="Where to write  [default: the run; needed for a database]"
)
def command(source: Path, study_name: str, top_k: int | None, output_dir: Path | None) -> None:
    """Analyse the search of RUN, or of an Optuna DATABASE: figures/search_*.png, tables/, report/."""
    stamp, planned_top_k = "", TOP_K
    if source.is_dir():
        findings, origins, stamp, planned_top_k = of_run(source)
        # The run's own report holds the search too, once it is simulated; this page must not take its place.
        page = "report/search" if output_dir is None else "report"
    else:
        if output_dir is None:
            raise QuintetError(Exit.USAGE, "--output-dir: not given; a database has no place for figures of its own")
        findings, origins = of_database(source, study_name)
        page = "report"
    if findings.frame.empty:
        raise QuintetError(Exit.USAGE, f"{source}: no COMPLETE trial with a finite value")
    folder = output_dir or source
    for name in ("figures", "tables", page):
        make_folder(folder / name)
    write_search_tables(folder / "tables", findings, top_k or planned_top_k)
    drawn = draw_all(search_drawings(findings.frame, findings.importances), folder / "figures", origins, stamp or None)
    section = search_section(findings, drawn.saved)
    write_report(Report(TITLE, (section,), stamp or None), folder / page)
    best = findings.frame["value"].max()
    click.echo(f"{len(findings.frame)} trials, largest advantage {best:+.3f}: {folder / page / 'report.html'}")
    if drawn.failures:
        listed = "; ".join(f"{name}: {error}" for name, error in drawn.failures.items())
        raise QuintetError(Exit.RENDER, f"figures failed: {listed}")


if __name__ == "__main__":
    run_command(command, name="bin/complementarity analyse")
