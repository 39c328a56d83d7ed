"""What is rendered of the study `society`: tables, figures, exports and the report of a merged run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..origin import made_from

if TYPE_CHECKING:
    import pandas as pd

    from ...shard.context import Context
    from ..drawing import Drawing
    from .results import Result


def reduce(context: Context, file: Any) -> Mapping[str, np.ndarray]:
    """Return what simulate's result holds beside its rows: Welford triples (n, mean, M2) over replicates.

    `conditions/outcomes` f8[conditions, outcomes, 3], `conditions/ticks` f8[conditions, ticks, metrics, 3],
    `conditions/bands` f8[conditions, bands, metrics, 3].
    """
    if context.phase.name != "simulate":
        return {}
    from .results import result_from

    result = result_from(file, context.config)
    return {
        "conditions/outcomes": result.outcome_moments,
        "conditions/ticks": result.tick_moments,
        "conditions/bands": result.band_moments,
    }


def sources(context: Context) -> dict[str, Any]:
    """Return what tables and figures were made from; no host, user or absolute path."""
    model = context.config.model_name.rpartition("/")[2]
    return {**made_from(context, "simulate"), "model": model, "seed": context.config.seed}


def drawings_of(result: Result, tables: Mapping[str, pd.DataFrame]) -> dict[str, Drawing]:
    """Return the figures of a study by name, in reading order."""
    from . import dose_figures, study_figures

    doses: dict[str, Drawing] = {}
    if result.dosed_traits:
        doses = {
            "dose_response": lambda: dose_figures.draw_dose_response(result),
            "behaviour_by_dose": lambda: dose_figures.draw_behaviour(result),
            "bleed_matrix": lambda: dose_figures.draw_bleed(tables["doses"]),
        }
    if result.dosed_traits and np.isfinite(result.column("fluency")).any():
        doses["fluency_vs_effect"] = lambda: dose_figures.draw_fluency(tables["contrasts"])
    return {
        **doses,
        "arms_over_time": lambda: study_figures.draw_arms(result),
        "action_distribution": lambda: study_figures.draw_actions(result),
        "steering_heatmap": lambda: study_figures.draw_heatmap(result),
        "activity_over_time": lambda: study_figures.draw_mean_activity(result),
        "throughput": lambda: study_figures.draw_throughput(result),
    }


def render(context: Context, figures: Path, tables: Path, report: Path, stamp: str) -> None:
    """Write tables and exports, then figures, then the report.

    Raises:
        QuintetError: exit 4, naming the figures that failed; everything else stands.
    """
    from ..drawing import draw_all
    from ..exports import write_frames
    from ..page import write_report
    from .evidence import vector_evidence
    from .export import write_exports
    from .levels import behaviour_level, held_out_level, hook_level, logged_level
    from .report import study_report
    from .results import result_from
    from .summary import write_summary
    from .tables import band_table, contrast_table, dose_table, share_table, summary_table, tick_table

    with context.result("simulate") as file:
        result = result_from(file, context.config)
    origins = sources(context)
    frames = {"contrasts": contrast_table(result), "doses": dose_table(result)}
    write_frames(tables / "summary.csv", [summary_table(result)])
    write_frames(tables / "contrasts.csv", [frames["contrasts"]])
    write_frames(tables / "dose_response.csv", [frames["doses"]])
    write_frames(tables / "shares.csv", [share_table(result)])
    write_frames(tables / "bands.csv", [band_table(result)])
    write_frames(tables / "ticks.csv", [tick_table(result)])
    evidence = vector_evidence(context)
    name = context.config.model_name
    levels = [
        logged_level(result),
        hook_level(name, evidence),
        held_out_level(name, evidence),
        behaviour_level(frames["contrasts"]),
    ]
    write_summary(tables / "summary.json", result, frames, evidence, levels, origins, stamp or None)
    for form in context.config.logging.export:
        write_exports(context.run, form, tables / "export")
    drawn = draw_all({} if result.blank else drawings_of(result, frames), figures, origins, stamp or None)
    write_report(study_report(result, frames, drawn.saved, evidence, levels, origins, stamp or None), report)
    drawn.need_all()
