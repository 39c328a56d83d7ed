"""Figures drawn one after another, so that a failing one takes no other with it, and how reports show them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..shard.errors import Exit, QuintetError
from ..shard.memory import give_back_large
from .page import PageFigure
from .style import SavedFigure, save

Drawing = Callable[[], Figure]
DPI = 150


@dataclass(frozen=True)
class Rendered:
    """Saved figures by name in reading order, and what went wrong (name: error in one line)."""

    saved: dict[str, SavedFigure]
    failures: dict[str, str]

    def __or__(self, later: Rendered) -> Rendered:
        """Return what was saved and what failed of both."""
        return Rendered(self.saved | later.saved, self.failures | later.failures)

    def need_all(self) -> None:
        """Raise where a figure failed.

        Raises:
            QuintetError: exit 4, naming the figures that failed.
        """
        if self.failures:
            listed = "; ".join(f"{name}: {error}" for name, error in self.failures.items())
            raise QuintetError(Exit.RENDER, f"figures failed: {listed}")


def draw_all(
    drawings: Mapping[str, Drawing],
    folder: Path,
    sidecar: Mapping[str, Any],
    stamp: str | None,
    dpi: int | Mapping[str, int] = DPI,
    also: Callable[[Figure, Path], object] | None = None,
) -> Rendered:
    """Draw and save figures one by one, keeping one in memory at a time.

    Args:
        drawings: function without arguments that draws a figure, by file name.
        folder: where to.
        sidecar: what the figures are made from; see `style.save`.
        stamp: warning on each figure, or None.
        dpi: resolution of the PNG files, or by file name where it is not `DPI`.
        also: called with each saved figure and its path without ending, for a further form of it.
    """
    saved: dict[str, SavedFigure] = {}
    failures: dict[str, str] = {}
    for name, draw in drawings.items():
        gc.collect()  # a figure and its canvas hold each other
        give_back_large()
        try:
            resolution = dpi if isinstance(dpi, int) else dpi.get(name, DPI)
            drawn = draw()
            saved[name] = save(drawn, folder, name, resolution, sidecar, stamp)
            if also is not None:
                also(drawn, folder / name)
        except OSError:
            raise
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return Rendered(saved, failures)


def shown(figures: Mapping[str, SavedFigure], captions: Mapping[str, str]) -> tuple[PageFigure, ...]:
    """Return those figures that were drawn, each with its caption."""
    return tuple(PageFigure(figures[name], text) for name, text in captions.items() if name in figures)
