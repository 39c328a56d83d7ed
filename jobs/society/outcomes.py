"""The outcomes of a unit: one number for each study metric, from the tables of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .interview import BEHAVIOR, LIKERT, LOGIT
from .measures import METRICS
from .statistics import entropy
from .summaries import by_resident
from .traits import TRAITS
from .vocabulary import KIND_NAMES, KINDS, PLACES

if TYPE_CHECKING:
    from .simulation import Simulation

Columns = Mapping[str, NDArray[Any]]

_OVER_ACTIONS = ("success_rate", "cooperation_rate", "action_entropy")
_MEAN_OF_TICKS = (
    "collaboration_ratio",
    "fluency",
    "plan_reuse_rate",
    "prompt_duplicates",
    "talk_edges",
    "modularity",
    "degree_mean",
    "degree_max",
    *(f"assortativity_{trait}" for trait in TRAITS),
)
_LAST_TICK = ("gini_all", "satisfaction_mean", "satisfaction_variance")
OUTCOMES = (
    *(f"share_{name}" for name in KIND_NAMES),
    *(f"probe_{trait}" for trait in TRAITS),
    *(f"behavior_{trait}" for trait in TRAITS),
    *(f"likert_{trait}" for trait in TRAITS),
    *_OVER_ACTIONS,
    *_MEAN_OF_TICKS,
    *_LAST_TICK,
    "n_actions",
    "n_messages",
    "tokens_in",
    "tokens_out",
    "message_words",
    "efficiency",
    "time_to_submit",
    "facts",
    "citations",
    "reward",
    "objectives",
    "safety_events",
    *(f"dose_{trait}" for trait in TRAITS),
)
"""Names of the study metrics, in the order of their column; NaN where one is not measured."""


def action_counts(columns: Columns) -> NDArray[np.int64]:
    """Return i8[13, 2], how often each kind of action had each outcome."""
    place = columns["actions/action"].astype(np.int64) * 2 + columns["actions/outcome"]
    return np.bincount(place, minlength=2 * len(KINDS)).reshape(len(KINDS), 2)


def outcomes_of(simulation: Simulation) -> NDArray[np.float64]:
    """Return f8[metrics], the outcomes of a finished run, in the order of `OUTCOMES`."""
    columns = simulation.log.since()
    values = dict.fromkeys(OUTCOMES, np.nan)
    values |= _of_actions(columns) | _of_probes(columns)
    ticks = dict(zip(METRICS, columns["ticks/metrics"].T, strict=True))
    values |= {name: _mean(ticks[name]) for name in _MEAN_OF_TICKS}
    values |= {name: float(ticks[name][-1]) if len(ticks[name]) else np.nan for name in _LAST_TICK}
    values |= {f"dose_{trait}": _mean(ticks[f"dose_{trait}"]) for trait in TRAITS}
    residents = by_resident(columns, [PLACES.index(resident.place) for resident in simulation.residents])
    submitted = residents["time_to_submit"][residents["submit_tick"] >= 0]
    values |= {
        "efficiency": _mean(residents["efficiency"]),
        "time_to_submit": _mean(submitted.astype(np.float64)),
        "facts": _mean(np.array([facts.bit_count() for facts in simulation.world.facts], np.float64)),
        "citations": _mean(residents["citations"].astype(np.float64)),
        "reward": _mean(np.array(simulation.world.reward, np.float64)),
        "objectives": float(len(columns["objectives/tick"])),
        "safety_events": float(len(columns["safety/tick"])),
    }
    return np.array([values[name] for name in OUTCOMES])


def _mean(values: NDArray[np.float64]) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def _of_actions(columns: Columns) -> dict[str, float]:
    counts = action_counts(columns)
    total = int(counts.sum())
    if not total:
        return {"n_actions": 0.0}
    each = counts.sum(axis=1)
    cooperative = [index for index, kind in enumerate(KINDS) if kind.cooperative]
    words = columns["messages/bytes"] == ord(" ")
    spoken = int((columns["messages/length"] > 0).sum())
    return {
        **{f"share_{name}": float(each[index] / total) for index, name in enumerate(KIND_NAMES)},
        "success_rate": float(counts[:, 0].sum() / total),
        "cooperation_rate": float(counts[cooperative, 0].sum() / total),
        "action_entropy": entropy(each.tolist()),
        "n_actions": float(total),
        "n_messages": float(spoken),
        "tokens_in": float(columns["actions/tokens_in"].mean()),
        "tokens_out": float(columns["actions/tokens_out"].mean()),
        "message_words": (float(words.sum()) + spoken) / spoken if spoken else np.nan,
    }


def _of_probes(columns: Columns) -> dict[str, float]:
    values = {}
    for name, kind in (("probe", LOGIT), ("behavior", BEHAVIOR), ("likert", LIKERT)):
        for index, trait in enumerate(TRAITS):
            chosen = (columns["probes/kind"] == kind) & (columns["probes/trait"] == index)
            values[f"{name}_{trait}"] = _mean(columns["probes/score"][chosen].astype(np.float64))
    return values
