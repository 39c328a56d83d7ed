"""What a run leaves behind: actions, encounters, metrics and the world at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .residents import Resident, resident_id
from .scheduler import Encounter
from .vocabulary import BROADCAST, PLACES
from .world import BROADCAST_LIMIT


@dataclass(frozen=True)
class Action:
    """One action as carried out; `parameters` and `result` hold no free text."""

    tick: int
    resident: str
    kind: str
    outcome: str
    parameters: dict[str, Any]
    result: dict[str, Any]


@dataclass(frozen=True)
class FinalState:
    """The world after the last tick; ids stand in index order."""

    places: dict[str, list[str]]
    credits: dict[str, int]
    tokens_left: dict[str, int]
    checklists: dict[str, list[str]]
    rules: list[tuple[str, str, int]]
    satisfaction: dict[str, float]
    objective_progress: dict[str, dict[str, int]]


@dataclass
class History:
    """The ticks of one call.

    Attributes:
        residents: as initialised.
        encounters: one list per tick.
        actions: in the order in which they were applied.
        planner_calls: how often a resident planned anew.
        metrics: arrays of shape [ticks] by name; NaN where a metric is not measured at a tick.
        final: the world after the last tick.
        columns: all that was logged (see `log.py`), arrays by `table/column`.
        utterances: the text of each action.
    """

    residents: list[Resident]
    encounters: list[list[Encounter]] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    planner_calls: int = 0
    metrics: dict[str, NDArray[Any]] = field(default_factory=dict)
    final: FinalState | None = None
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    utterances: list[str] = field(default_factory=list)

    @property
    def noticeboard(self) -> list[tuple[int, str, str, str]]:
        """Every broadcast of these ticks, in order: (tick, resident, place, text); the last five are the transcript."""
        names = ("tick", "action", "resident", "place")
        columns = (self.columns[f"actions/{name}"].tolist() for name in names)
        return [
            (tick, resident_id(resident), PLACES[place], text[:BROADCAST_LIMIT])
            for tick, kind, resident, place, text in zip(*columns, self.utterances, strict=True)
            if kind in BROADCAST and text
        ]

    def record(self, values: dict[str, float]) -> None:
        """Append one tick's metrics."""
        for name, value in values.items():
            old = self.metrics.get(name, np.empty(0))
            self.metrics[name] = np.append(old, value)
