"""Which figures the study has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
from matplotlib.figure import Figure

from ...jobs.complementarity.aggregate import Aggregate
from ...jobs.complementarity.layout import AxisName
from ...jobs.complementarity.statistics import N_RESAMPLES
from . import config_figures, figures, search_figures

DPI = 300


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
