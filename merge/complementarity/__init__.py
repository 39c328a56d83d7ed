"""What is rendered of the study `complementarity`: tables, figures and the report of a merged run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...shard.errors import QuintetError
from ..origin import made_from, planned_at, result_facts

if TYPE_CHECKING:
    from ...jobs.complementarity.aggregate import Aggregate
    from ...jobs.complementarity.config import Config
    from ...jobs.complementarity.layout import AxisName
    from ...shard.context import Context
    from .findings import SearchFindings


def aggregate_of(context: Context) -> Aggregate:
    """Return the run's result in memory, from `merged/simulate.h5`."""
    from ...jobs.complementarity.aggregate import Aggregate
    from ...shard.complementarity import selected_configs

    simulate = context.config.simulate
    configs = effective(context.config, selected_configs(context))
    with context.result("simulate") as file:
        return Aggregate.from_rows(file, configs, simulate.n_bins, simulate.window_size, simulate.metrics)


def effective(config: Config, configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the selected configs, each with a value of every parameter that a trial of theirs has.

    A trial that lacks one was simulated with the run's pattern or the default; `max_sessions` stays the trial's own.
    """
    names = dict.fromkeys(name for chosen in configs for name in chosen["params"])
    found = []
    for chosen in configs:
        params = config.params(dict(chosen["params"]), chosen["max_sessions"])
        simulated = {name: getattr(params, name) for name in names}
        own = {name: value for name, value in chosen["params"].items() if name == "max_sessions"}
        found.append({**chosen, "params": simulated | own})
    return found


def search_findings(context: Context) -> SearchFindings | None:
    """Return the search that the configs come from; None where its database is not at hand any more."""
    from ...shard.complementarity import read_database
    from ...shard.context import Context
    from .findings import findings_of_run, findings_of_trials

    if context.config.inputs.database is None:
        return findings_of_run(context)
    try:
        path = Context.of(context.run, "select").inputs["database"]
    except QuintetError:
        return None
    return findings_of_trials(read_database(path, context.config.search.study_name))


def sources(context: Context) -> dict[str, Any]:
    """Return what tables and figures were made from; no host, user or absolute path."""
    return {**made_from(context, "simulate"), "seed": context.config.seed}


def resources(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the simulation used."""
    keys = ("partials_cpu_s", "partials_peak_rss_mb", "partials_bytes", "partials")
    return {key: facts[key] for key in keys if key in facts}


def render(context: Context, figures: Path, tables: Path, report: Path, stamp: str) -> None:
    """Write the tables, then figures, then the report.

    Raises:
        QuintetError: exit 4, naming the figures that failed; everything else stands.
    """
    from ...shard.memory import log_memory
    from ..drawing import draw_all
    from ..page import write_report
    from .findings import write_search_tables
    from .rendering import MAIN_DPI, search_drawings, study_drawings
    from .report import study_report
    from .tables import write_config_info, write_tables

    aggregate = aggregate_of(context)
    log_memory("after aggregation")
    origins, facts = sources(context), result_facts(context.run.merged("simulate"))
    chosen = context.config.figures.axis
    axis: AxisName = "session" if chosen == "both" else chosen
    used = resources(facts)
    resamples = context.config.figures.bootstrap
    info = {"u_matrix": context.config.model.u_matrix, "timestamp": planned_at(context)}
    write_tables(
        tables,
        aggregate,
        axis,
        **info,
        resources=used,
        missing_units=(context.plan.units or 0) - int(facts.get("units", 0)),
        provenance=origins,
        resamples=resamples,
    )
    drawings = study_drawings(aggregate, axis, "normalized" if chosen == "both" else None, resamples)
    drawn = draw_all(drawings, figures, origins, stamp or None, MAIN_DPI)
    findings = search_findings(context)  # after the large figures: Optuna is not in memory beside them
    if findings is not None:
        write_search_tables(tables, findings, context.config.search.top_k)
        usable = {"usable": len(findings.frame), "skipped": findings.skipped}
        write_config_info(tables, aggregate, **info, trials=usable)
    if findings is not None and len(findings.frame):
        drawings = search_drawings(findings.frame, findings.importances)
        drawn |= draw_all(drawings, figures, origins, stamp or None)
    seed_offset, facts = context.config.simulate.seed_offset, {**origins, **used}
    write_report(
        study_report(aggregate, axis, drawn.saved, facts, findings, stamp or None, resamples, seed_offset), report
    )
    drawn.need_all()
