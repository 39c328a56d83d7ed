"""Choice of the configs to simulate from the finished trials of a search."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

import numpy as np

SAMPLINGS = ("rank", "value")


class TrialRecord(Protocol):
    """What a selection looks at: a trial's number, value and state (a name, or an enum member of that name)."""

    number: int
    value: float | None
    state: Any


Trial = TypeVar("Trial", bound=TrialRecord)


def usable(trials: Iterable[Trial]) -> list[Trial]:
    """The complete trials with a finite value, in the order of their numbers."""
    complete = [trial for trial in trials if getattr(trial.state, "name", trial.state) == "COMPLETE"]
    finite = [trial for trial in complete if trial.value is not None and math.isfinite(trial.value)]
    return sorted(finite, key=lambda trial: trial.number)


def _by_value(ordered: list[Trial], n_configs: int) -> list[Trial]:
    free = list(ordered)
    lowest, highest = float(ordered[0].value or 0.0), float(ordered[-1].value or 0.0)
    chosen: list[Trial] = []
    for wanted in np.linspace(lowest, highest, n_configs):
        distances = [abs(float(trial.value or 0.0) - wanted) for trial in free]
        chosen.append(free.pop(int(np.argmin(distances))))
    return chosen


def select(
    trials: Iterable[Trial], n_configs: int | None = None, top_n: int | None = None, sampling: str = "rank"
) -> list[Trial]:
    """Choose trials across the spectrum of their values, or the best ones.

    Trials are sorted by value, equal ones by number. All are taken, in that order, if `n_configs` is at least their
    number; otherwise `n_configs` of them: with sampling "rank" at equally spaced ranks, with "value" those nearest
    to equally spaced values, each used once. `top_n` takes the largest values instead, best first.

    Args:
        trials: records with `number`, `value` and `state`, such as Optuna's frozen trials; those that are not
            COMPLETE or have no finite value are skipped.
        n_configs: how many to choose, at least 1; 1000 if neither this nor `top_n` is given.
        top_n: how many of the best to choose, at least 1.
        sampling: "rank" or "value".

    Returns:
        The chosen records; a config's index is its position.

    Raises:
        ValueError: no usable trial, both numbers given, one below 1, or unknown sampling.
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling: {sampling!r} is none of {', '.join(SAMPLINGS)}")
    if n_configs is not None and top_n is not None:
        raise ValueError("n_configs and top_n exclude each other; give one")
    for name, number in (("n_configs", n_configs), ("top_n", top_n)):
        if number is not None and number < 1:
            raise ValueError(f"{name}: {number} is not at least 1")
    ordered = sorted(usable(trials), key=lambda trial: float(trial.value or 0.0))
    if not ordered:
        raise ValueError("no usable trial: none is COMPLETE with a finite value")
    if top_n is not None:
        return ordered[-top_n:][::-1]
    n_configs = 1000 if n_configs is None else n_configs
    if n_configs >= len(ordered):
        return ordered
    if sampling == "value":
        return _by_value(ordered, n_configs)
    ranks = np.floor(np.linspace(0, len(ordered) - 1, n_configs)).astype(int)
    return [ordered[rank] for rank in ranks]
