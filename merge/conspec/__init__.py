"""What is made of the study `conspec` when its arrays are done: curves, tables, result files, figures, the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...shard.conspec import ABLATION, PREFIX
from ..origin import made_from

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from ...shard.context import Context
    from .report import Material
    from .stored import Study


VERSIONED = ("python", "numpy", "numba", "torch", "optuna")


def reduce(context: Context, file: h5py.File) -> Mapping[str, np.ndarray] | None:
    """Add the learning curves of a search's groups of trials to its result; make the database of a static search.

    Raises:
        QuintetError: exit 65 where the trial store and the partials differ.
    """
    if context.phase.name == ABLATION:
        return None
    from .curves import group_curves
    from .database import check_store, make_static_store

    if context.phase.kind == "map":
        make_static_store(context, file)
    else:
        check_store(context)
    return group_curves(context.config, file)


def sources(context: Context) -> dict[str, Any]:
    """Return what tables and figures were made from; no host, user or absolute path."""
    from ..phase import result_card

    names = [PREFIX + world for world in context.config.environments]
    digests = {name: result_card(context.run, name) for name in (*names, ABLATION)}
    return {
        **made_from(context, ABLATION),
        "seed": context.config.seed,
        "data_digest": {name: digest for name, digest in digests.items() if digest is not None},
    }


def provenance_rows(context: Context, made_from: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the report's last section lists."""
    known = {key: value for key, value in made_from.items() if key != "data_digest" and value is not None}
    digests = {f"payload of {name}": digest for name, digest in made_from["data_digest"].items()}
    return {**known, **versions_of(context), **digests}


def versions_of(context: Context) -> dict[str, str]:
    """Return the versions of what the numbers rest on, as the run was planned."""
    import json

    try:
        listed = json.loads((context.run.plan_folder / "environment.json").read_text())["packages"]
    except (OSError, ValueError, KeyError):
        return {}
    versions = dict(str(line).partition("==")[::2] for line in listed)
    return {name: versions[name] for name in VERSIONED if name in versions}


def material_of(context: Context, study: Study) -> Material:
    """Return what the report is written from."""
    from ...jobs.conspec.analysis import analyse
    from ...shard.conspec import space_of
    from .importance import importances
    from .report import Material

    search = context.config.search
    metric, direction = search.optimization_metric, search.optimization_direction
    shares = {}
    for world, trials in study.searches.items():
        chosen = [trials.parameters[row] for row in trials.complete]
        values = trials.value[trials.complete].tolist()
        shares[world] = importances(chosen, values, space_of(context.config), direction)
    failures = [
        f"{world} trial {number}: {reason}"
        for world, trials in study.searches.items()
        for number, failed, reason in zip(trials.number, trials.failed, trials.reasons, strict=True)
        if failed
    ]
    return Material(
        study.records,
        analyse(study.records, metric=metric, direction=direction),
        metric,
        direction,
        shares,
        study,
        (context.config.environment.family, context.config.environment.ruleset),
        failures,
        advice_of(context),
    )


def advice_of(context: Context) -> tuple[str, ...]:
    """Return what to do where an element ran out of memory."""
    from ...shard.conspec.advice import MEMORY_ADVICE, out_of_memory

    return tuple(f"An element of {name} ended {MEMORY_ADVICE}." for name in out_of_memory(context.run)[:1])


def cost_of(study: Study) -> dict[str, Any]:
    """Return what the trials cost, those without ConSpec included."""
    every = [*study.searches.values(), *([] if study.ablation is None else [study.ablation])]

    def total(name: str) -> float:
        return sum(float(trials.cost[name][trials.number >= 0].sum()) for trials in every)

    count = sum(int((trials.number >= 0).sum()) for trials in every)
    hours = total("cpu_seconds") / 3600
    peaks = [float(peak) for trials in every for peak in trials.cost["peak_rss_mb"][trials.number >= 0]]
    steps = sum(float(trials.metrics["env_steps"][trials.complete].sum()) for trials in every)
    return {
        "trials, twins included": count,
        "CPU time": f"{hours:.2f} h" if hours >= 1 else f"{3600 * hours:.0f} s",
        "trials per CPU hour": f"{count / hours:.0f}" if hours > 0 else "n/a",
        "peak memory of a process": f"{max(peaks):.0f} MB" if peaks else "n/a",
        "environment steps": f"{steps:,.0f}",
    }


def render(context: Context, figures: Path, tables: Path, report: Path, stamp: str) -> None:
    """Write result files and tables, then figures, then the report.

    Raises:
        QuintetError: exit 4, naming the figures that failed; everything else stands.
    """
    from ..drawing import draw_all
    from ..page import write_report
    from .records import STAMP, write_records
    from .rendering import left_out, record_drawings, run_drawings
    from .report import CAPTIONS, search_report
    from .space import scales_of
    from .stored import Study, utc
    from .summary import write_summary
    from .tables import write_tables

    study = Study.of(context)
    material = material_of(context, study)
    origins = sources(context)
    best = {
        world: next(
            record
            for record in material.records
            if (record["environment"], record["trial"]) == (world, found["best_trial"])
        )
        for world, found in material.analysis.items()
    }
    newest = float(study.newest)
    config = context.config.model_dump(mode="json")
    write_records(tables, study.records, utc(newest, STAMP), config, best, utc(newest))
    write_tables(tables, study, material.analysis, material.importances)
    write_summary(tables, study, material, origins, stamp)
    drawings = {
        **record_drawings(material.records, scales_of(context.config), material.metric, material.direction),
        **run_drawings(study),
    }
    empty = left_out(study)
    for name in empty:  # an earlier merge may have drawn it
        for path in figures.glob(f"{name}.*"):
            path.unlink()
    shown = [name for name in CAPTIONS if name not in empty]
    drawn = draw_all({name: drawings[name] for name in shown}, figures, origins, stamp or None)
    rows = provenance_rows(context, origins)
    write_report(search_report(material, drawn.saved, cost_of(study), rows, stamp or None, empty), report)
    drawn.need_all()
