"""What is made of the study `synergy` when its arrays are done: the data set, tables, figures and the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from ...shard.context import Context


def reduce(context: Context, file: h5py.File) -> Mapping[str, np.ndarray] | None:
    """Add to a phase's result what follows from its rows.

    Raises:
        QuintetError: exit 1 where the visual domain is too poor, 3 where rows of the data set are missing, 65 where the
            trainings' rows and moments differ.
    """
    from .dataset import check_gate, write_splits
    from .sweep import folded

    if context.phase.name == "train":
        return folded(context, file)
    if context.phase.name == "visual":
        check_gate(context, file)
    else:
        write_splits(context, file)
    return None


def render(context: Context, figures: Path, tables: Path, report: Path, stamp: str) -> None:
    """Write tables, then figures, then the report.

    Raises:
        QuintetError: exit 4, naming the figures that failed; everything else stands.
    """
    from ..drawing import Rendered
    from ..origin import made_from, planned_at
    from ..page import write_report
    from .exports import export_models, write_tables
    from .plugin import run_plugin
    from .rendering import draw, study_drawings
    from .report import study_report
    from .sweep import Sweep

    sweep = Sweep.of(context)
    origins = made_from(context, "train")
    write_tables(tables, sweep, stamp, planned_at(context))
    if context.config.report.export_models:
        export_models(context, sweep, tables)
    drawn = draw(study_drawings(sweep), figures, origins, stamp or None, context.config.report.format)
    write_report(study_report(sweep, drawn.saved, origins, val_mse(context), stamp or None), report)
    if context.config.report.plot_plugin is not None:
        drawn |= Rendered({}, run_plugin(context.config.report.plot_plugin, sweep.aggregated, figures))
    drawn.need_all()


def val_mse(context: Context) -> float | None:
    """Return how well the visual domain decodes the validation images; None where the data set is from outside."""
    if context.config.inputs.dataset is not None:
        return None
    with context.result("visual") as file:
        return float(file["rows/val_mse"][0])
