"""Which figures the study has."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from ...jobs.synergy.curves import CURVES, processed_curves, raw_curves, raw_entry
from ..drawing import Drawing, Rendered, draw_all
from ..exports import write_file
from .curve_figures import draw_all_conditions, draw_panels, draw_reconstruction, draw_synergy, levels_of
from .figures import draw_heatmap, draw_prior, draw_summary, draw_trend
from .sweep import Sweep

DPI = 300
REPORT_CURVE = "predictability/synergy_acc"
REPORT_FIGURE = "training_curves_synergy_acc_by_dimension"


def file_name(metric: str) -> str:
    """Return a metric's name in file names."""
    return metric.replace("/", "_")


def study_drawings(sweep: Sweep) -> dict[str, Drawing]:
    """Return the figures of a sweep by file name."""
    drawings: dict[str, Drawing] = {
        "statistical_summary": partial(draw_summary, sweep),
        "synergy_prior": partial(draw_prior, sweep),
    }
    for metric in sweep.metrics:
        name = file_name(metric)
        drawings |= {
            f"{name}_vs_dimensions": partial(draw_trend, sweep, metric, "dims"),
            f"{name}_vs_synergy_scale": partial(draw_trend, sweep, metric, "scales"),
            f"heatmap_{name}": partial(draw_heatmap, sweep, metric),
        }
    runs = [raw_entry(record, result.history, "finished") for record, result in finished(sweep)]
    conditions = processed_curves(raw_curves(runs), [REPORT_CURVE])["conditions"]
    n_bins = sweep.config.data.n_bins
    drawings[REPORT_FIGURE] = partial(draw_panels, conditions, REPORT_CURVE, "workspace_dim", n_bins)
    return drawings


def finished(sweep: Sweep) -> list[tuple[dict[str, Any], Any]]:
    """Return the successful units' records with their results."""
    return [pair for pair in zip(sweep.records, sweep.results, strict=True) if pair[1].status == "done"]


def curve_drawings(processed: Mapping[str, Any], n_bins: int = 8) -> dict[str, Drawing]:
    """Return the figures of processed curves: three per metric, by the name of their files."""
    conditions = processed["conditions"]
    drawings: dict[str, Drawing] = {}
    for metric in CURVES:
        name = file_name(metric)
        drawings |= {
            f"{name}_all_conditions": partial(draw_all_conditions, conditions, metric, n_bins),
            f"{name}_by_dimension": partial(draw_panels, conditions, metric, "workspace_dim", n_bins),
            f"{name}_by_synergy_scale": partial(draw_panels, conditions, metric, "synergy_scale", n_bins),
        }
    return drawings


def dimension_drawings(processed: Mapping[str, Any], n_bins: int = 8) -> dict[str, Drawing]:
    """Return the two figures of each dimension."""
    conditions = processed["conditions"]
    drawings: dict[str, Drawing] = {}
    for dim in levels_of(conditions, "workspace_dim"):
        drawings |= {
            f"reconstruction_mse_dim_{dim}": partial(draw_reconstruction, conditions, dim),
            f"synergy_metrics_dim_{dim}": partial(draw_synergy, conditions, dim, n_bins),
        }
    return drawings


def draw(
    drawings: Mapping[str, Drawing], folder: Path, sidecar: Mapping[str, Any], stamp: str | None, form: str = "png"
) -> Rendered:
    """Draw and save figures at the resolution of print.

    Args:
        drawings: function that draws a figure, by file name.
        folder: where to.
        sidecar: what the figures are made from; see `style.save`.
        stamp: warning on each figure, or None.
        form: "svg" adds SVG files to PNG and PDF, which there always are.
    """
    return draw_all(drawings, folder, sidecar, stamp, DPI, save_svg if form == "svg" else None)


def save_svg(drawn: Figure, path: Path) -> None:
    """Write a figure as SVG, equal byte for byte when the numbers are."""
    image = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "quintet"}):
        drawn.savefig(image, format="svg", metadata={"Date": None, "Creator": None})
    write_file(path.with_name(f"{path.name}.svg"), image.getvalue())
