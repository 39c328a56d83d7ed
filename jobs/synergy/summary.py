"""The aggregated results of a sweep: every metric of every condition, over its successful runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .conditions import condition_key
from .statistics import number, summarise

IDENTIFIERS = ("workspace_dim", "synergy_scale", "run_id", "seed", "unit_index", "status", "condition_id")
COST = (
    "cpu_seconds",
    "wall_seconds",
    "peak_rss_mb",
    "cuda_peak_mb",
    "n_params",
    "steps",
    "model_steps_per_cpu_s",
)
"""What a run cost: never among the aggregated metrics, which are reproducible to the byte."""

DESCRIPTIONS = ("experiment_name", "experiment_type", "loss_weights", "checkpoint_path", "error", "history")


def strict(value: Any) -> Any:
    """Return a value as builtins that strict JSON can hold: NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if isinstance(value, np.ndarray):
        return strict(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def by_condition(records: Iterable[Mapping[str, Any]]) -> dict[tuple[int, float], list[Mapping[str, Any]]]:
    """Return the successful records of each (dim, scale), in canonical order."""
    done = [record for record in records if record.get("status") == "done"]
    found: dict[tuple[int, float], list[Mapping[str, Any]]] = {}
    for record in sorted(done, key=lambda r: (*condition_of(r), int(r.get("run_id", 0)))):
        found.setdefault(condition_of(record), []).append(record)
    return found


def condition_of(record: Mapping[str, Any]) -> tuple[int, float]:
    """Return the condition (dim, scale) of a record."""
    return int(record["workspace_dim"]), float(record["synergy_scale"])


def metric_names(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of everything that can be summarised, in the order in which records first have them."""
    skipped = {*IDENTIFIERS, *DESCRIPTIONS}
    names: dict[str, None] = {}
    for record in records:
        for name, value in record.items():
            if name not in skipped and number(value) is not None:
                names[name] = None
    return list(names)


def aggregate_condition(
    dim: int, scale: float, records: list[Mapping[str, Any]], confidence: float = 0.95
) -> dict[str, Any]:
    """Return the entry of one condition from its successful records in run order."""
    summaries = {
        name: strict(summarise((record.get(name) for record in records), confidence))
        for name in sorted(metric_names(records))
    }
    return {
        "workspace_dim": dim,
        "synergy_scale": scale,
        "n_runs": len(records),
        "aggregated_metrics": {name: value for name, value in summaries.items() if name not in COST},
        "aggregated_cost": {name: summaries[name] for name in COST if name in summaries},
        "individual_results": [strict(record) for record in records],
    }


def aggregate(records: Iterable[Mapping[str, Any]], *, confidence: float = 0.95) -> dict[str, Any]:
    """Return the aggregated results of flat records in any order, keyed by condition in canonical order.

    Only records whose status is `done` count; a condition without any is absent. Values that are no finite numbers
    are left out of a metric's summary, and a metric without values is absent. The object is strict JSON: what overflows
    is None.
    """
    return {
        condition_key(dim, scale): aggregate_condition(dim, scale, found, confidence)
        for (dim, scale), found in by_condition(records).items()
    }
