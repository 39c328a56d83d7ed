"""Which figures there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..drawing import Drawing
from .run_figures import draw_ablation, draw_curves, draw_prototypes
from .search_figures import draw_best, draw_impact, draw_parallel, draw_rewards
from .space import Scale
from .world_figure import draw_worlds

if TYPE_CHECKING:
    from .stored import Study


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
