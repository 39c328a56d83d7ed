"""Which figures and tables a sweep has."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..drawing import Drawing, Rendered, draw_all
from ..exports import write_csv
from ..page import write_report
from . import sweep_figures as figures_of
from .sweep_report import sweep_report
from .sweep_results import DISABLED, Swept, swept
from .sweep_tables import write_sweep_tables

if TYPE_CHECKING:
    from ...shard.context import Context


def sweep_drawings(result: Swept) -> dict[str, Drawing]:
    """Return the figures of a sweep by file name."""
    drawings: dict[str, Drawing] = {
        "sweep_freed_first": partial(figures_of.draw_first_by_horizon, result),
        "coefficient_plot": partial(figures_of.draw_coefficients, result),
    }
    if result.config.grid:  # on a grid every scatter plot is the grid
        return {"phase_diagram": partial(figures_of.draw_phase_diagram, result), **drawings}
    outcomes = tuple(name for name in result.drawn_outcomes if not name.startswith("pi_r"))
    return drawings | {
        "scatter_plots": partial(figures_of.draw_scatter, result, "p_left"),
        "first_scatter": partial(figures_of.draw_scatter, result, "p_first_h1"),
        **{name: partial(figures_of.draw_scatter, result, name) for name in DISABLED if name in result.outcomes},
        "matrix_regressors_outcomes": partial(figures_of.draw_regressors_by_outcomes, result),
        "matrix_regressors": partial(
            figures_of.draw_square_matrix, result, result.predictors, "Parameters among themselves"
        ),
        "matrix_outcomes": partial(figures_of.draw_square_matrix, result, outcomes, "Outcomes among themselves"),
    }


def render_sweep(
    context: Context, figures: Path, tables: Path, report: Path, stamp: str, facts: dict[str, Any]
) -> Rendered:
    """Write tables, figures and the report of a sweep."""
    result, marked = swept(context), stamp or None
    write_sweep_tables(tables, result, facts, marked)
    if result.config.grid and len(result.config.grid) == 2:
        write_csv(
            tables / "phase_diagram.csv",
            (*result.config.grid, *(f"p_first_h{h + 1}" for h in range(result.humans))),
            (
                (*(float(result.columns[name][k]) for name in result.config.grid), *first[: result.humans].tolist())
                for k, first in enumerate(result.columns["p_first"])
            ),
            marked,
        )
    drawn = draw_all(sweep_drawings(result), figures, facts, marked)
    write_report(sweep_report(result, drawn.saved, facts, marked), report)
    return drawn
