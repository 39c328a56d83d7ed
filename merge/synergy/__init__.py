"""What is made of the study `synergy` when its arrays are done: the data set, tables, figures and the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...shard.errors import Exit, QuintetError
from ..origin import result_facts

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


def sources(context: Context) -> dict[str, Any]:
    """Return what tables and figures were made from; no host, user or absolute path."""
    facts = result_facts(context.run.merged("train"))
    return {
        "run": context.run.path.resolve().name,
        "study": context.plan.study,
        "config_sha256": context.plan.config_sha256,
        "code_sha256": facts.get("code_sha256"),
        "git_commit": facts.get("git_commit"),
        "data_digest": facts.get("list_digest"),
    }


def render(context: Context, figures: Path, tables: Path, report: Path, stamp: str) -> None:
    """Write tables, then figures, then the report.

    Raises:
        QuintetError: exit 4, naming the figures that failed; everything else stands.
    """
    from ..page import write_report
    from .exports import export_models, write_tables
    from .plugin import run_plugin
    from .rendering import draw, study_drawings
    from .report import study_report
    from .sweep import Sweep

    sweep = Sweep.of(context)
    made_from = sources(context)
    write_tables(tables, sweep, stamp, planned_at(context))
    if context.config.report.export_models:
        export_models(context, sweep, tables)
    drawn = draw(study_drawings(sweep), figures, made_from, stamp or None, context.config.report.format)
    write_report(study_report(sweep, drawn.saved, made_from, val_mse(context), stamp or None), report)
    failures = dict(drawn.failures)
    if context.config.report.plot_plugin is not None:
        failures |= run_plugin(context.config.report.plot_plugin, sweep.aggregated, figures)
    if failures:
        listed = "; ".join(f"{name}: {error}" for name, error in failures.items())
        raise QuintetError(Exit.RENDER, f"figures failed: {listed}")


def val_mse(context: Context) -> float | None:
    """Return how well the visual domain decodes the validation images; None where the data set is from outside."""
    if context.config.inputs.dataset is not None:
        return None
    with context.result("visual") as file:
        return float(file["rows/val_mse"][0])


def planned_at(context: Context) -> str:
    """Return when the run was planned, by the plan file's time."""
    import time

    seconds = (context.run.plan_folder / "run.json").stat().st_mtime
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
