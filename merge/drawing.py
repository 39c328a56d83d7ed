"""Figures drawn one after another, so that a failing one takes no other with it, and how reports show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .page import PageFigure
from .style import SavedFigure, save

Drawing = Callable[[], Figure]


@dataclass(frozen=True)
class Rendered:
    """Saved figures by name in reading order, and what went wrong (name: error in one line)."""

    saved: dict[str, SavedFigure]
    failures: dict[str, str]


def draw_all(
    drawings: Mapping[str, Drawing], folder: Path, sidecar: Mapping[str, Any], stamp: str | None, dpi: int = 150
) -> Rendered:
    """Draw and save figures one by one, keeping one in memory at a time.

    Args:
        drawings: function without arguments that draws a figure, by file name.
        folder: where to.
        sidecar: what the figures are made from; see `style.save`.
        stamp: warning on each figure, or None.
        dpi: resolution of the PNG files.
    """
    saved: dict[str, SavedFigure] = {}
    failures: dict[str, str] = {}
    for name, draw in drawings.items():
        try:
            saved[name] = save(draw(), folder, name, dpi, sidecar, stamp)
        except OSError:
            raise
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return Rendered(saved, failures)


def shown(figures: Mapping[str, SavedFigure], captions: Mapping[str, str]) -> tuple[PageFigure, ...]:
    """Return those figures that were drawn, each with its caption."""
    return tuple(PageFigure(figures[name], text) for name, text in captions.items() if name in figures)
