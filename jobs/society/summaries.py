"""Summaries of a run's tables: by resident, and by trait band of the residents who act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .measures import COLLABORATIVE, COOPERATIVE
from .traits import TRAITS, trait_band
from .vocabulary import ARGUE, KINDS, PLACES, SUBMIT_PLAN, SUBMIT_REPORT, TALK

Columns = Mapping[str, NDArray[Any]]

BANDS = tuple(f"{trait}:{level}" for trait in TRAITS for level in ("low", "neutral", "high"))
BAND_METRICS = ("n_actions", "share_talk", "cooperation_rate", "conflicts", "success_rate", "tokens_out")
BUCKETS = (0.5, 1.5)
"""Edges of the buckets of |coefficient|."""


def bands_of(personas: Sequence[Sequence[float]]) -> NDArray[np.int64]:
    """Return the index in `BANDS` of each resident, from coefficients in trait order."""
    return np.array([BANDS.index(trait_band(dict(zip(TRAITS, row, strict=True)))) for row in personas], np.int64)


def by_band(columns: Columns, bands: NDArray[np.int64], ticks: int) -> NDArray[np.float64]:
    """Return f8[ticks, bands, metrics] (`BANDS`, `BAND_METRICS`); shares are NaN where nobody of a band acts."""
    place = columns["actions/tick"].astype(np.int64) * len(BANDS) + bands[columns["actions/resident"]]
    kind, success = columns["actions/action"], columns["actions/outcome"] == 0
    size = ticks * len(BANDS)

    def total(values: Any) -> NDArray[Any]:
        return np.bincount(place, np.asarray(values, np.float64), size).reshape(ticks, len(BANDS))

    n = total(np.ones(len(place)))
    share = np.where(n > 0, n, np.nan)
    return np.stack(
        [
            n,
            total(kind == TALK) / share,
            total(success & np.isin(kind, list(COOPERATIVE))) / share,
            total(kind == ARGUE),
            total(success) / share,
            total(columns["actions/tokens_out"]),
        ],
        axis=-1,
    )


def by_resident(columns: Columns, places: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Return columns [residents]: what each did over the run.

    `efficiency` is the share of goal-directed actions that succeeded, `collaboration_ratio` that of collaborative
    actions done where more than one resident was at the tick's start; ticks that never came are -1.

    Args:
        columns: the log from the first tick on.
        places: where each resident was before it.
    """
    n = len(places)
    who, kind, tick = (columns[f"actions/{name}"] for name in ("resident", "action", "tick"))
    success = columns["actions/outcome"] == 0
    directed = np.isin(kind, [index for index, entry in enumerate(KINDS) if entry.directed])
    collaborative = np.isin(kind, list(COLLABORATIVE))
    company = _crowds(columns, places) > 1

    def total(values: Any) -> NDArray[Any]:
        return np.bincount(who, np.asarray(values, np.float64), n)

    def first(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        ticks = np.full(n, np.iinfo(np.int64).max)
        np.minimum.at(ticks, who[chosen], tick[chosen])
        return np.where(ticks == np.iinfo(np.int64).max, -1, ticks)

    with np.errstate(invalid="ignore", divide="ignore"):
        efficiency = total(directed & success) / total(directed)
        together = total(collaborative & company) / total(collaborative)
    started = first(np.ones(len(who), bool))
    submitted = first(np.isin(kind, [SUBMIT_REPORT, SUBMIT_PLAN]) & success)
    reward = np.bincount(columns["objectives/resident"], columns["objectives/reward"].astype(np.float64), n)
    return {
        "actions": total(np.ones(len(who))).astype(np.int64),
        "goal_directed": total(directed).astype(np.int64),
        "efficiency": efficiency,
        "collaboration_ratio": together,
        "first_action_tick": started,
        "submit_tick": submitted,
        "time_to_submit": np.where(submitted < 0, -1, submitted - started),
        "citations": np.bincount(columns["citations/resident"], minlength=n),
        "reward": reward,
    }


def _crowds(columns: Columns, places: Sequence[int]) -> NDArray[np.int64]:
    """Return how many residents were at the place of each action at the start of its tick."""
    tick, source, target = (columns[f"actions/{name}"].astype(np.int64) for name in ("tick", "place", "place_after"))
    changes = np.zeros((int(tick.max(initial=-1)) + 2, len(PLACES)), np.int64)
    changes[0] = np.bincount(np.asarray(places, np.int64), minlength=len(PLACES))
    np.add.at(changes, (tick + 1, target), 1)
    np.subtract.at(changes, (tick + 1, source), 1)
    crowds: NDArray[np.int64] = changes.cumsum(axis=0)[tick, source]
    return crowds


def coefficient_buckets(coefficients: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return, by trait, how many of the coefficients f4[messages, 5] lie below 0.5, up to 1.5, and above, i8[5, 3]."""
    index = np.digitize(np.abs(coefficients), BUCKETS)
    return np.stack([(index == bucket).sum(axis=0) for bucket in range(3)], axis=1)
