"""One look for all figures, and files of them that are equal byte for byte when the numbers are equal.

Figures are drawn on the Agg canvas with the DejaVu fonts that matplotlib brings along, whatever matplotlibrc
the user has.  A saved figure is `<name>.png`, `<name>.pdf` (neither holds a time or a program version) and a
sidecar `<name>.json` that says what it was made from.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from .exports import write_file

SCREEN_DPI = 100
PAD_INCHES = 0.1
STAMP_INCHES = 0.4
STAMP_COLOR = "#B03A00"
MUTED = "#595959"

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 11,
    "figure.titlesize": 15,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "#CCCCCC",
    # Unhinted text keeps its proportions at every resolution, so one arrangement fits all pictures.
    "text.hinting": "none",
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "timezone": "UTC",
}

mpl.use("Agg")
mpl.rcdefaults()
mpl.rcParams.update(_SETTINGS)


@dataclass(frozen=True)
class SavedFigure:
    """A figure on disk, and the same picture at screen resolution for a report page (PNG bytes)."""

    name: str
    png: Path
    pdf: Path
    sidecar: Path
    screen: bytes


def figure(width: float, height: float) -> Figure:
    """Return an empty figure of that many inches whose panels arrange themselves."""
    made = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=PAD_INCHES, w_pad=PAD_INCHES))
    FigureCanvasAgg(made)
    return made


def say_empty(axes: Axes, text: str) -> None:
    """Fill a panel that has nothing to show with one sentence instead of empty axes."""
    axes.set_axis_off()
    axes.text(
        0.5,
        0.5,
        text,
        ha="center",
        va="center",
        transform=axes.transAxes,
        color=MUTED,
        fontsize=12,
        wrap=True,
    )


def screen_png(drawn: Figure, dpi: int = SCREEN_DPI) -> bytes:
    """Return a figure as PNG bytes, by default at the resolution of a screen."""
    image = io.BytesIO()
    drawn.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    return image.getvalue()


def save(
    drawn: Figure,
    folder: Path,
    name: str,
    dpi: int,
    sidecar: Mapping[str, Any],
    stamp: str | None = None,
) -> SavedFigure:
    """Write a figure as PNG and PDF with its sidecar, each file whole or not at all.

    Args:
        drawn: the figure.
        folder: where to; made if it is not there.
        name: file name without ending.
        dpi: resolution of the PNG file.
        sidecar: what the figure was made from (run, config_sha256, code_sha256, data_digest, ...), JSON
            values.
        stamp: a warning to write across the top edge, such as "INCOMPLETE 3 of 40 blocks".

    Returns:
        The files and the picture at screen resolution.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if stamp:
        _make_room(drawn)
        drawn.text(
            0.004,
            0.996,
            stamp,
            ha="left",
            va="top",
            fontsize=12,
            fontweight="bold",
            color="white",
            bbox={"facecolor": STAMP_COLOR, "edgecolor": "none", "boxstyle": "square,pad=0.3"},
        )
    # Arranged once for all three pictures; the second pass measures labels that the first one has moved.
    for _ in range(2):
        drawn.draw_without_rendering()
    drawn.set_layout_engine(None)  # the default: no engine, where "none" keeps one that asks for a draw before each
    page = io.BytesIO()
    nothing = dict.fromkeys(("CreationDate", "ModDate", "Creator", "Producer"))
    drawn.savefig(page, format="pdf", metadata=nothing)
    text = json.dumps({"figure": name, **sidecar, "stamp": stamp}, indent=2, sort_keys=True) + "\n"
    saved = SavedFigure(
        name, folder / f"{name}.png", folder / f"{name}.pdf", folder / f"{name}.json", screen_png(drawn)
    )
    write_file(saved.png, screen_png(drawn, dpi))
    write_file(saved.pdf, page.getvalue())
    write_file(saved.sidecar, text.encode())
    return saved


def _make_room(drawn: Figure) -> None:
    """Free a strip at the top of a figure of unchanged size for a stamp."""
    if drawn.get_suptitle():
        drawn.suptitle("\n" + drawn.get_suptitle())
    else:
        strip = STAMP_INCHES / drawn.get_figheight()
        engine = ConstrainedLayoutEngine(h_pad=PAD_INCHES, w_pad=PAD_INCHES, rect=(0, 0, 1, 1 - strip))
        drawn.set_layout_engine(engine)
