"""Which figures there are: drawn one after another, so that a failing one takes no other with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from ..style import SavedFigure, save
from .run_figures import draw_ablation, draw_curves, draw_prototypes
from .search_figures import draw_best, draw_impact, draw_parallel, draw_rewards
from .space import Scale
from .world_figure import draw_worlds

if TYPE_CHECKING:
    from .stored import Study

DPI = 150
Drawing = Callable[[], Figure]


@dataclass
class Rendered:
    """Saved figures by name in reading order, and what went wrong (name: error in one line)."""

    saved: dict[str, SavedFigure] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


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


def draw(drawings: Mapping[str, Drawing], folder: Path, sidecar: Mapping[str, Any], stamp: str | None) -> Rendered:
    """Draw and save figures one by one, keeping one in memory at a time.

    Args:
        drawings: function that draws a figure, by file name.
        folder: where to.
        sidecar: what the figures are made from; see `style.save`.
        stamp: warning on each figure, or None.
    """
    rendered = Rendered()
    for name, make in drawings.items():
        try:
            rendered.saved[name] = save(make(), folder, name, DPI, sidecar, stamp)
        except OSError:
            raise
        except Exception as error:
            rendered.failures[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return rendered
