"""`bin/index [FOLDER]`: one page of every run below a folder: question, answer, main figure, origin and cost."""

from __future__ import annotations

import io
import re
from pathlib import Path

import click
from PIL import Image

from ..shard.commands.base import run_command
from ..shard.context import Context
from ..shard.errors import Exit, QuintetError
from ..shard.progress import PhaseProgress, next_step, progress_of
from ..shard.run import Run
from ..shard.scheduler import QueueView
from .exports import write_file
from .origin import made_from
from .page import PageFigure, Report, Section, markdown_table, report_html
from .style import SavedFigure

FIGURE = re.compile(r"^!\[([^\]]*)\]\(([^)]+)\)\n\n([^\n#]*)", re.MULTILINE)
SECTIONS_SHOWN = 2
WIDEST_PIXELS = 1080
ORIGIN = {"git_commit": "commit", "code_sha256": "code", "config_sha256": "config", "data_digest": "partials"}


def write_index(folder: Path) -> Path:
    """Write `index.html` into a folder of runs.

    Returns:
        The page.

    Raises:
        QuintetError: exit 2 where no planned run is below the folder.
    """
    runs = [Run(path.parent.parent) for path in sorted(folder.glob("*/plan/run.json"))]
    if not runs:
        raise QuintetError(Exit.USAGE, f"{folder}: no planned run below it; bin/plan makes one")
    rows, sections = [], []
    for run in runs:
        try:
            phases = [progress_of(run, run.plan(name), QueueView()) for name in run.phases()]
            used = sum(phase.cpu_h for phase in phases)
            sections.append(section_of(run, phases))
            rows.append((link(run), run.overview()["study"], f"{used:.3f}", state(run, phases)))
        except QuintetError as error:  # told on the page, beside the runs that can be read
            rows.append((link(run), "–", "–", str(error).removeprefix(f"{run.path}/")))
    overview = Section("Overview", markdown_table(("run", "study", "CPU h", "state"), rows))
    return write_file(folder / "index.html", report_html(Report("Runs", (overview, *sections))).encode())


def state(run: Run, phases: list[PhaseProgress]) -> str:
    """Return whether a run is complete, else what to do next."""
    if all(phase.merged and phase.rendered for phase in phases):
        return "complete"
    return f"{sum(phase.fraction for phase in phases) / len(phases):.0%}; next: {next_step(run, phases)}"


def link(run: Run) -> str:
    """Return a run's name, as a link to its report where that stands."""
    name = run.path.name
    return f"[{name}](<{name}/report/report.html>)" if (run.path / "report" / "report.html").is_file() else name


def section_of(run: Run, phases: list[PhaseProgress]) -> Section:
    """Return what the page shows of one run: the head of its report, its main figure, its origin and its cost."""
    heading = f"{run.path.name}: {run.overview()['study']}"
    report = run.path / "report" / "report.md"
    if not report.is_file():
        return Section(heading, f"Not rendered yet: {next_step(run, phases)}\n\n{cost(phases)}")
    text = report.read_text(encoding="utf-8")
    title, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    shown = [part.partition("\n")[2].split("\n![")[0].strip() for part in parts[:SECTIONS_SHOWN]]
    words = [f"**{title.removeprefix('# ').strip()}**", *shown, f"Report: {link(run)}", cost(phases), origin(run)]
    return Section(heading, "\n\n".join(words), main_figure(run, text))


def main_figure(run: Run, report: str) -> tuple[PageFigure, ...]:
    """Return the first figure of a report with its caption; nothing where it has none that stands."""
    found = FIGURE.search(report)
    if found is None:
        return ()
    name, place, caption = found.groups()
    png = (run.path / "report" / place).resolve()
    if not png.is_file() or not png.is_relative_to(run.path.resolve()):
        return ()
    return (PageFigure(SavedFigure(name, png, png, png, screen_copy(png)), caption),)


def screen_copy(png: Path) -> bytes:
    """Return a picture as PNG, no wider than the page shows it on a sharp screen."""
    with Image.open(png) as picture:
        picture.thumbnail((WIDEST_PIXELS, 4 * WIDEST_PIXELS))
        content = io.BytesIO()
        picture.convert("RGB").quantize(256).save(content, format="png", optimize=True)
    return content.getvalue()


def cost(phases: list[PhaseProgress]) -> str:
    """Return what the phases used beside what was requested for them, as a table."""
    header = ("phase", "done", "CPU h", "memory used of requested (MB)", "time used of requested (s)")
    return markdown_table(header, [
        (
            phase.phase,
            f"{phase.fraction:.0%}",
            f"{phase.cpu_h:.3f}",
            "–" if phase.memory_mb is None else f"{phase.memory_mb.max:.0f} of {phase.memory_mb.requested:.0f}",
            "–" if phase.seconds is None else f"{phase.seconds.max:.0f} of {phase.seconds.requested:.0f}",
        )
        for phase in phases
    ])  # fmt: skip


def origin(run: Run) -> str:
    """Return which commit, code, config and partials the last result was made from, in one line."""
    last = run.phases()[-1]
    facts = made_from(Context.of(run, last), last)
    return " · ".join(f"{words} `{str(facts[key])[:12]}`" for key, words in ORIGIN.items() if facts[key])


@click.command("index")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
def command(folder: Path) -> None:
    """Write FOLDER/index.html, a page that shows every run below FOLDER (runs/ where none is named)."""
    click.echo(write_index(folder))


if __name__ == "__main__":
    run_command(command)
