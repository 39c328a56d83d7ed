"""The one form of a benchmark's table: what, ours, peer, ratio, hard target, stretch, met."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HEAD = ("what", "ours", "peer", "ours/peer", "hard target", "stretch", "met")


@dataclass(frozen=True)
class Row:
    """One line: a figure of ours, the peer's of the same run, and the limits that it is held to.

    Attributes:
        what: what was measured.
        ours: our figure in `unit`.
        unit: CPU s, CPU ms, s, MB, files.
        peer: the peer's figure in the same unit; None where there is none.
        hard: limit that must hold; None where the row is for information.
        stretch: limit that should hold.
        of_peer: whether the limits are multiples of the peer's figure instead of figures in `unit`.
        more_is_better: whether the limits are lower ones.
    """

    what: str
    ours: float
    unit: str
    peer: float | None = None
    hard: float | None = None
    stretch: float | None = None
    of_peer: bool = False
    more_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """Return our figure as a multiple of the peer's."""
        return None if not self.peer else self.ours / self.peer

    def meets(self, limit: float | None) -> bool | None:
        """Return whether a limit holds; None where there is none."""
        value = self.ratio if self.of_peer else self.ours
        if limit is None or value is None:
            return None
        return value >= limit if self.more_is_better else value <= limit

    def cells(self) -> tuple[str, ...]:
        """Return the texts of the line."""
        verdicts = {True: "yes", False: "NO", None: ""}
        hard, stretch = self.meets(self.hard), self.meets(self.stretch)
        met = "stretch" if hard is not False and stretch else verdicts[hard]
        return (
            self.what,
            f"{number(self.ours)} {self.unit}".strip(),
            "" if self.peer is None else f"{number(self.peer)} {self.unit}".strip(),
            "" if self.ratio is None else number(self.ratio),
            self._limit(self.hard),
            self._limit(self.stretch),
            met,
        )

    def _limit(self, limit: float | None) -> str:
        if limit is None:
            return ""
        sign = ">=" if self.more_is_better else "<="
        return f"{sign} {number(limit)} {'x peer' if self.of_peer else self.unit}"


def arguments(description: str) -> argparse.ArgumentParser:
    """Return the parser of a benchmark's command line, with what all of them take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser


def number(value: float) -> str:
    """Return a figure with three digits, as a person writes it."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def machine() -> str:
    """Return processor, cores, Python and platform in one line."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def show(title: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """Print a table in columns; as Markdown with `--markdown` on the command line."""
    lines = [HEAD, *(row.cells() for row in rows)]
    markdown = "--markdown" in sys.argv
    print(f"**{title}**\n" if markdown else f"{title}  [{machine()}]")
    if markdown:
        lines.insert(1, ("---",) * len(HEAD))
        print("\n".join("| " + " | ".join(line) + " |" for line in lines))
        print()
    else:
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
        for line in lines:
            print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    for note in notes:
        print(note)
