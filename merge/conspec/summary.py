"""`summary.json`: the numbers of the report for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exports import write_json
from .intervals import interval_of
from .words import late_activation, verdict

if TYPE_CHECKING:
    from .report import Material
    from .stored import Study

METRICS = ("mean_reward", "success_rate", "auc_success", "episodes_to_90")


def summary_of(study: Study, material: Material, made_from: Mapping[str, Any], stamp: str) -> dict[str, Any]:
    """Return per world the best trial, intervals over trials and paired differences."""
    worlds: dict[str, Any] = {}
    for world, trials in study.searches.items():
        late, solved = late_activation(study, world)
        rows = trials.complete
        worlds[world] = {
            "trials": len(rows),
            "failed": int(trials.failed.sum()),
            "best_trial": material.analysis.get(world, {}).get("best_trial"),
            "best_hyperparameters": material.analysis.get(world, {}).get("best_hyperparameters"),
            "best_success_rate": material.analysis.get(world, {}).get("best_success_rate"),
            "over_trials": {name: asdict(interval_of(name, trials.metrics[name][rows])) for name in METRICS},
            "success_rates": {str(int(trials.number[row])): float(trials.metrics["success_rate"][row]) for row in rows},
            "solved": solved,
            "solved_before_any_prototype_was_active": late,
            "ablation": ablation_of(study, world),
        }
    return {"stamp": stamp or None, "total_trials": len(material.records), "worlds": worlds, **made_from}


def ablation_of(study: Study, world: str) -> dict[str, Any] | None:
    """Return the arms and the paired differences of one world; None without a pair."""
    pairs = study.pairs(world)
    if study.ablation is None or not len(pairs.numbers):
        return None
    found: dict[str, Any] = {"pairs": len(pairs.numbers)}
    for name in METRICS:
        difference = interval_of(name, study.differences(world, name), least=-1.0)
        found[name] = {
            "with_conspec": asdict(interval_of(name, study.searches[world].metrics[name][pairs.with_conspec])),
            "without": asdict(interval_of(name, study.ablation.metrics[name][pairs.without])),
            "difference": asdict(difference),
        }
    found["says"] = verdict(interval_of("auc_success", study.differences(world, "auc_success"), least=-1.0))
    return found


def write_summary(folder: Path, study: Study, material: Material, made_from: Mapping[str, Any], stamp: str) -> None:
    """Write `summary.json`."""
    write_json(folder / "summary.json", summary_of(study, material, made_from, stamp))
