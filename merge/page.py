"""A study's report as `report.md` and as one self-contained HTML page, from the same sections.

A section is Markdown (headings, paragraphs, lists, tables, emphasis, code) with figures after it.  The page
embeds the figures as PNG, asks for nothing over the network, runs no script, and follows the reader's light
or dark setting. HTML inside the Markdown is shown as text, never interpreted.
"""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from .exports import write_file
from .style import SavedFigure


@dataclass(frozen=True)
class PageFigure:
    """A saved figure with the sentence or two that a reader needs below it (Markdown)."""

    saved: SavedFigure
    caption: str


@dataclass(frozen=True)
class Section:
    """One part of a report: a heading, Markdown text, and figures."""

    heading: str
    text: str
    figures: tuple[PageFigure, ...] = ()


@dataclass(frozen=True)
class Report:
    """A title, an optional warning that stands on top of everything, and the sections in reading order."""

    title: str
    sections: tuple[Section, ...]
    stamp: str | None = None


_STYLE = """
:root { color-scheme: light dark; --text: #1d1f21; --muted: #5b6167; --page: #ffffff; --line: #d8dce0;
  --shade: #f4f6f8; --warn: #b03a00; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e6e8; --muted: #a3a9af; --page: #16181a;
  --line: #3a3f44; --shade: #1f2225; --warn: #ff9d66; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 1.02rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 54rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.8rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.08rem; margin: 1.6rem 0 .4rem; }
p, ul, ol { margin: .6rem 0; }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: 1rem 0; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: var(--shade); white-space: nowrap; }
code { background: var(--shade); padding: .1em .3em; border-radius: 3px; font-size: .9em; }
pre { background: var(--shade); padding: .8rem; overflow-x: auto; border-radius: 6px; }
pre code { padding: 0; }
figure { margin: 1.4rem 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
figcaption { color: var(--muted); font-size: .92rem; margin-top: .4rem; }
figcaption p { margin: 0; }
.stamp { color: var(--warn); border: 2px solid var(--warn); border-radius: 6px; padding: .5rem .8rem;
  font-weight: 700; }
""".strip()

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def report_markdown(report: Report, folder: Path) -> str:
    """Return a report as Markdown whose figures are links relative to `folder`, where it will stand."""
    parts = [f"# {report.title}"]
    if report.stamp:
        parts.append(f"**{report.stamp}**")
    for section in report.sections:
        parts += [f"## {section.heading}", section.text.strip()]
        for item in section.figures:
            link = Path(os.path.relpath(item.saved.png, folder)).as_posix()
            parts += [f"![{item.saved.name}]({link})", item.caption.strip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def report_html(report: Report) -> str:
    """Return a report as one HTML page that holds everything it shows."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    title = html.escape(report.title)
    parts = [f"<h1>{title}</h1>"]
    if report.stamp:
        parts.append(f'<p class="stamp">{html.escape(report.stamp)}</p>')
    for section in report.sections:
        parts += [f"<h2>{html.escape(section.heading)}</h2>", markdown.render(section.text)]
        for item in section.figures:
            image = base64.b64encode(item.saved.screen).decode("ascii")
            parts.append(
                f'<figure><img alt="{html.escape(item.saved.name)}" src="data:image/png;base64,{image}">'
                f"<figcaption>{markdown.render(item.caption)}</figcaption></figure>"
            )
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write `report.md` and `report.html` into `folder`, each whole or not at all; return both paths."""
    return (
        write_file(folder / "report.md", report_markdown(report, folder).encode()),
        write_file(folder / "report.html", report_html(report).encode()),
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; bars and line ends inside a cell are made harmless."""

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(header), line(["---"] * len(header)), *(line(row) for row in rows)])
