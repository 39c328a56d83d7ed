"""Which figures there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..drawing import Drawing
from .run_figures import (
    draw_ablation,
    draw_curves,
    draw_prototypes,
    rows_with_peaks,
    worlds_with_pairs,
    worlds_with_trials,
)
from .search_figures import draw_best, draw_impact, draw_parallel, draw_rewards
from .space import Scale
from .world_figure import draw_worlds

if TYPE_CHECKING:
    from .stored import Study

OF_PARAMETERS = ("hyperparameter_impact", "parallel_coordinates")
OF_TRIALS = ("reward_distributions", *OF_PARAMETERS, "best_configs_comparison", "learning_curves")
FIXED = "every parameter is fixed"


def record_drawings(
    records: Sequence[Mapping[str, Any]], scales: Sequence[Scale], metric: str, direction: str
) -> dict[str, Drawing]:
    """Return the figures that result records are enough for."""
    return {
        "reward_distributions": partial(draw_rewards, records),
        "hyperparameter_impact": partial(draw_impact, records, scales),
        "best_configs_comparison": partial(draw_best, records, metric, direction),
        "parallel_coordinates": partial(draw_parallel, records, scales, metric, direction),
    }


def run_drawings(study: Study) -> dict[str, Drawing]:
    """Return the figures that need a run."""
    config = study.config
    return {
        "learning_curves": partial(draw_curves, study),
        "prototype_events": partial(draw_prototypes, study),
        "ablation": partial(draw_ablation, study),
        "environments": partial(draw_worlds, config.environments, config.environment.family, config.environment.size),
    }


def left_out(study: Study) -> dict[str, str]:
    """Return the figures of a run that would hold no data, and why."""
    reasons: dict[str, str] = {}
    if not study.searched:
        reasons |= dict.fromkeys(OF_PARAMETERS, FIXED)
    if not worlds_with_trials(study):
        reasons |= dict.fromkeys(OF_TRIALS, "no trial is COMPLETE")
    if not rows_with_peaks(study):
        reasons["prototype_events"] = "no rewarded peak in the last 100 episodes of a best trial"
    if not worlds_with_pairs(study):
        reasons["ablation"] = "no trial was trained again without ConSpec"
    return reasons
