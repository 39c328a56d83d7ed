"""Which figures the study has: drawn one after another, so that a failing one takes no other with it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ...jobs.complementarity.aggregate import Aggregate
from ...jobs.complementarity.layout import AxisName
from ...jobs.complementarity.statistics import N_RESAMPLES
from ...shard.memory import give_back_large
from ..style import SavedFigure, save
from . import config_figures, figures, search_figures

DPI = 300
FURTHER_DPI = 150


@dataclass(frozen=True)
class Rendered:
    """Saved figures by name in reading order, and what went wrong (name: error in one line)."""

    saved: dict[str, SavedFigure]
    failures: dict[str, str]

    def __or__(self, later: Rendered) -> Rendered:
        """Return what was saved and what failed of both."""
        return Rendered(self.saved | later.saved, self.failures | later.failures)


def render(
    drawings: Mapping[str, Callable[[], Figure]],
    folder: Path,
    sidecar: Mapping[str, Any],
    stamp: str | None,
    dpi: Mapping[str, int] | None = None,
) -> Rendered:
    """Draw and save figures one by one, keeping one in memory at a time.

    Args:
        drawings: function without arguments that draws a figure, by file name.
        folder: where to.
        sidecar: what the figures are made from; see `style.save`.
        stamp: warning on each figure, or None.
        dpi: resolution by name where it is not `FURTHER_DPI`.
    """
    saved: dict[str, SavedFigure] = {}
    failures: dict[str, str] = {}
    for name, draw in drawings.items():
        gc.collect()  # a figure and its canvas hold each other
        give_back_large()
        try:
            saved[name] = save(draw(), folder, name, (dpi or {}).get(name, FURTHER_DPI), sidecar, stamp)
        except OSError:
            raise
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return Rendered(saved, failures)


def study_drawings(
    aggregate: Aggregate, axis: AxisName, other_axis: AxisName | None, resamples: int = N_RESAMPLES
) -> dict[str, Callable[[], Figure]]:
    """Figures of the simulation phase by file name; the first is the study's main figure.

    Args:
        aggregate: the study's result.
        axis: axis of the main figure.
        other_axis: a second axis to draw the main figure on, or None.
        resamples: number of bootstrap resamples.
    """
    drawings: dict[str, Callable[[], Figure]] = {
        "aggregated_complementarity": lambda: figures.draw_main(aggregate, axis)
    }
    if other_axis is not None:
        drawings[f"aggregated_complementarity_{other_axis}"] = lambda: figures.draw_main(aggregate, other_axis)
    if len(aggregate.layout.metrics) > 1:
        drawings["further_metrics"] = lambda: figures.draw_metrics(aggregate, axis)
    return drawings | {
        "categories": lambda: figures.draw_categories(aggregate, axis),
        "survivorship": lambda: figures.draw_survivorship(aggregate, axis),
        "bootstrap": lambda: figures.draw_bootstrap(aggregate, resamples),
        "advantage_agreement": lambda: config_figures.draw_agreement(aggregate),
        "distance_map": lambda: config_figures.draw_distance_map(aggregate),
        "fork_aligned": lambda: figures.draw_fork(aggregate),
    }


MAIN_DPI = dict.fromkeys(
    ("aggregated_complementarity", "aggregated_complementarity_session", "aggregated_complementarity_normalized"), DPI
)


def search_drawings(frame: pd.DataFrame, importances: Mapping[str, float]) -> dict[str, Callable[[], Figure]]:
    """Figures of the search by file name; see `search_analysis` for the arguments."""
    return {
        "search_history": lambda: search_figures.draw_history(frame),
        "search_importance": lambda: search_figures.draw_importance(importances),
        "search_parallel": lambda: search_figures.draw_parallel(frame),
        "search_success": lambda: search_figures.draw_success(frame),
        "search_contrast": lambda: search_figures.draw_contrast(frame),
        "search_power": lambda: search_figures.draw_power(frame),
        "search_negative": lambda: search_figures.draw_negative(frame),
    }
