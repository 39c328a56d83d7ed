"""Learning curves of a sweep: the raw file of all runs, and its summary per condition and metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .conditions import condition_key
from .result import UnitResult
from .statistics import number, summarise_curves
from .summary import strict

CURVES = {
    "train_loss": "train_loss",
    "val_loss": "val_loss",
    "fusion_attr_non_synergy_features_mse": "val_fusion_attr_non_synergy_features_mse",
    "fusion_attr_synergy_source_feature_mse": "val_fusion_attr_synergy_source_feature_mse",
    "predictability/synergy_acc": "predictability/synergy_acc",
    "predictability/synergy_norm_ce": "predictability/synergy_norm_ce",
}
"""Curves that are drawn, and the name of each in a unit's history."""

STATES = ("finished", "running", "crashed", "failed")


def raw_run(result: UnitResult, state: str = "finished") -> dict[str, Any]:
    """Return one run of the raw file: its config, final metrics and whole history, and the curves' short names.

    Raises:
        ValueError: the state is none of finished, running, crashed and failed.
    """
    return raw_entry(result.record(), result.history, state)


def raw_entry(record: Mapping[str, Any], history: Mapping[str, Sequence[float]], state: str) -> dict[str, Any]:
    """Return one run of the raw file from a flat record and its history.

    Raises:
        ValueError: the state is none of finished, running, crashed and failed.
    """
    if state not in STATES:
        raise ValueError(f"state: {state!r}; it must be one of {', '.join(STATES)}")
    series = {name: list(values) for name, values in history.items()}
    aliases = {name: series[source] for name, source in CURVES.items() if source in series}
    config = {
        "workspace_dim": record["workspace_dim"],
        "synergy_loss_scale": record["synergy_scale"],
        "experiment_type": record.get("experiment_type"),
        "run_id": record["run_id"],
        "seed": record["seed"],
    }
    summary = {name: value for name, value in record.items() if number(value) is not None and name not in config}
    return strict(  # type: ignore[no-any-return]
        {
            "name": record.get("condition_id"),
            "state": state,
            "config": config,
            "summary": summary,
            "time_series": {**series, **aliases},
        }
    )


def raw_curves(
    runs: Iterable[Mapping[str, Any]],
    *,
    project: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    entity: str | None = None,
) -> dict[str, Any]:
    """Return the raw file's object: the runs, and the labels that were asked for."""
    return {"project": project, "entity": entity, "group": group, "tags": list(tags), "runs": list(runs)}


def section_of(run: Any, place: int, section: str) -> Mapping[str, Any]:
    """Return a section of a raw run; an absent one, or null, is empty.

    Raises:
        ValueError: the run or its section is no object.
    """
    if not isinstance(run, Mapping):
        raise ValueError(f"runs[{place}]: found {type(run).__name__}; a run is an object")
    found = run.get(section)
    if not isinstance(found, Mapping | None):
        raise ValueError(f"runs[{place}] ({run.get('name')}): {section}: found {type(found).__name__}; allowed: object")
    return found or {}


def series_of(run: Mapping[str, Any], metric: str, place: int = 0) -> list[float | None]:
    """Return one curve of a raw run: numbers, or objects with a `value`; None where a number is missing.

    Raises:
        ValueError: the run's curves are no object, or the curve is no list.
    """
    series = section_of(run, place, "time_series")
    points = series.get(metric, series.get(CURVES.get(metric, metric)))
    if isinstance(points, Mapping):
        points = points.get("values", points.get("value"))
    if not isinstance(points, list | None):
        kind = type(points).__name__
        raise ValueError(f"runs[{place}] ({run.get('name')}): time_series.{metric}: found {kind}; allowed: list")
    points = points or []
    return [number(point.get("value") if isinstance(point, Mapping) else point) for point in points]


def processed_curves(
    raw: Mapping[str, Any], metrics: Sequence[str] | None = None, confidence: float = 0.95
) -> dict[str, Any]:
    """Return per condition and experiment type, in canonical order, the summary of each metric's curves over runs.

    `raw` is the object of `raw_curves`, or a file of the reference: a list `runs` with `config`, `summary` and
    `time_series`. Runs without workspace_dim are left out; the scale of a run that names none is 1.0, and a curve that
    no run has is absent. Where there are several experiment types, keys end in theirs.

    Raises:
        ValueError: there is no list of runs, or one has not that form.
    """
    runs = raw.get("runs")
    if not isinstance(runs, list):
        raise ValueError("runs: it must be a list")
    groups: dict[tuple[int, float, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for place, run in enumerate(runs):
        config = section_of(run, place, "config")
        dim, scale = number(config.get("workspace_dim")), number(config.get("synergy_loss_scale"))
        if dim is not None:
            group = int(dim), 1.0 if scale is None else scale, str(config.get("experiment_type") or "")
            groups.setdefault(group, []).append((place, run))
    several = len({kind for _, _, kind in groups}) > 1
    conditions = {}
    for dim, scale, kind in sorted(groups):
        members = groups[dim, scale, kind]
        found = {
            metric: summarise_curves([series_of(run, metric, place) for place, run in members], confidence)
            for metric in metrics or CURVES
        }
        conditions[condition_key(dim, scale) + (f"_{kind or 'unknown'}" if several else "")] = {
            "workspace_dim": dim,
            "synergy_scale": scale,
            "experiment_type": kind or None,
            "n_runs": len(members),
            "metrics": strict({metric: curve for metric, curve in found.items() if curve["n_runs"]}),
        }
    return {"confidence": confidence, "conditions": conditions}
