"""What is rendered of the study `complementarity`: tables, figures and the report of a merged run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ...shard.errors import Exit, QuintetError
from ..origin import result_facts

if TYPE_CHECKING:
    import pandas as pd

    from ...jobs.complementarity.aggregate import Aggregate
    from ...jobs.complementarity.layout import AxisName
    from ...shard.context import Context
    from .report import SearchFindings


def aggregate_of(context: Context) -> Aggregate:
    """Return the run's result in memory, from `merged/simulate.h5`."""
    from ...jobs.complementarity.aggregate import Aggregate
    from ...shard.complementarity import selected_configs

    simulate = context.config.simulate
    with context.result("simulate") as file:
        return Aggregate.from_rows(
            file, selected_configs(context), simulate.n_bins, simulate.window_size, simulate.metrics
        )


def search_findings(context: Context) -> SearchFindings | None:
    """Return the run's own search as the analyses see it; None where configs came from a database."""
    import optuna

    from ...jobs.complementarity.search_analysis import importance, trials_frame
    from ...shard.complementarity import finished_trials, space_of
    from .report import SearchFindings

    if context.config.inputs.database is not None:
        return None
    with context.result("search") as file:
        trials = finished_trials(file)
    frame: pd.DataFrame = trials_frame(
        SimpleNamespace(
            number=trial.number,
            value=trial.value,
            state=trial.state,
            params=trial.parameters,
            user_attrs=trial.user_attrs,
        )
        for trial in trials
    )
    space = {name: optuna.distributions.json_to_distribution(text) for name, text in space_of(context.config)}
    return SearchFindings(frame, importance(frame, space), context.config.search.n_seeds)


def sources(context: Context) -> dict[str, Any]:
    """Return what tables and figures were made from; no host, user or absolute path."""
    facts = result_facts(context.run.merged("simulate"))
    return {
        "run": context.run.path.resolve().name,
        "study": context.plan.study,
        "config_sha256": context.plan.config_sha256,
        "code_sha256": facts.get("code_sha256"),
        "git_commit": facts.get("git_commit"),
        "data_digest": facts.get("list_digest"),
        "seed": context.config.seed,
    }


def resources(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the simulation used."""
    keys = ("partials_cpu_s", "partials_peak_rss_mb", "partials_bytes", "partials")
    return {key: facts[key] for key in keys if key in facts}


def render(context: Context, figures: Path, tables: Path, report: Path, stamp: str) -> None:
    """Write tables, then figures, then the report.

    Raises:
        QuintetError: exit 4, naming the figures that failed; everything else stands.
    """
    from ..page import write_report
    from .rendering import MAIN_DPI, search_drawings, study_drawings
    from .rendering import render as draw
    from .report import study_report
    from .tables import write_tables

    aggregate, findings = aggregate_of(context), search_findings(context)
    made_from, facts = sources(context), result_facts(context.run.merged("simulate"))
    chosen = context.config.figures.axis
    axis: AxisName = "session" if chosen == "both" else chosen
    used = resources(facts)
    write_tables(
        tables,
        aggregate,
        axis,
        u_matrix=context.config.model.u_matrix,
        timestamp=planned_at(context),
        resources=used,
        missing_units=(context.plan.units or 0) - int(facts.get("units", 0)),
        provenance=made_from,
    )
    drawings = study_drawings(aggregate, axis, "normalized" if chosen == "both" else None)
    if findings is not None and len(findings.frame):
        drawings |= search_drawings(findings.frame, findings.importances)
    drawn = draw(drawings, figures, made_from, stamp or None, MAIN_DPI)
    write_report(
        study_report(aggregate, axis, drawn.saved, {**made_from, **used}, findings, stamp or None),
        report,
    )
    if findings is not None:
        write_top_trials(tables / "top_trials.json", findings, context.config.search.top_k)
    if drawn.failures:
        listed = "; ".join(f"{name}: {error}" for name, error in drawn.failures.items())
        raise QuintetError(Exit.RENDER, f"figures failed: {listed}")


def planned_at(context: Context) -> str:
    """Return when the run was planned, by the plan file's time."""
    import time

    seconds = (context.run.plan_folder / "run.json").stat().st_mtime
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def write_top_trials(path: Path, findings: SearchFindings, top_k: int) -> None:
    """Export the best trials of the search as JSON."""
    from ...jobs.complementarity.search_analysis import best_trials
    from ...shard.publish import replace_file

    records = json.loads(best_trials(findings.frame, top_k).to_json(orient="records", double_precision=15))
    replace_file(path, (json.dumps(records, indent=2) + "\n").encode())
