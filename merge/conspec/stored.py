"""A run's results in memory: the trials of each world, and their twins without ConSpec."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...jobs.conspec.analysis import best_of
from ...jobs.conspec.metrics import COST, METRICS
from ...jobs.conspec.search_space import read_space
from ...jobs.conspec.worlds import WORLDS
from ...shard.conspec import ABLATION, PREFIX
from ...shard.conspec.rows import WELFORD_COLUMNS

if TYPE_CHECKING:
    from ...jobs.conspec.config import Config
    from ...shard.context import Context

Record = dict[str, Any]
COUNTS = ("total_episodes", "episodes_to_90", "active_prototypes", "env_steps", "attempts")


def ragged(file: Any, name: str) -> list[NDArray[Any]]:
    """Return a ragged dataset as one array per unit."""
    offsets, values = file[f"{name}_offsets"][()], file[name][()]
    return [values[low:high] for low, high in pairwise(offsets)]


def texts(file: Any, name: str) -> list[Any]:
    """Return a dataset of JSON texts as values, one per unit."""
    return [json.loads(row.tobytes()) for row in ragged(file, name)]


def utc(seconds: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """Return a time as text, ISO 8601 unless told otherwise."""
    return time.strftime(form, time.gmtime(seconds))


@dataclass(frozen=True)
class Trials:
    """The decided trials of one phase in the order of its rows.

    `metrics` holds f8[n] by name, `cost` the same of what differs between equal trials, `curves` the means of 50
    blocks of episodes f8[n, 50], `counts` the rewarded peaks by kind of event i8[P, kinds + 1] of each trial.
    """

    number: NDArray[np.int64]
    failed: NDArray[np.bool_]
    value: NDArray[np.float64]
    parameters: list[dict[str, Any]]
    reasons: list[str]
    metrics: dict[str, NDArray[np.float64]]
    cost: dict[str, NDArray[np.float64]]
    curves: dict[str, NDArray[np.float64]]
    block_episodes: NDArray[np.int64]
    activated: list[NDArray[np.int32]]
    counts: list[NDArray[np.int64]]
    finished: NDArray[np.int64]
    world: NDArray[np.uint8] | None = None

    @classmethod
    def of(cls, file: Any, order: tuple[str, ...]) -> Trials:
        """Read a phase's result; `order` is that of the parameters, which JSON has lost."""
        attributes = texts(file, "rows/attributes")
        stored = texts(file, "rows/parameters")
        return cls(
            file["rows/number"][()],
            file["rows/failed"][()].astype(bool),
            file["rows/value"][()],
            [{name: found[name] for name in order if name in found} for found in stored],
            [str(found.get("reason", "")) for found in attributes],
            {name: file[f"rows/trial/{name}"][()] for name in METRICS},
            {name: file[f"meta/trial/{name}"][()] for name in COST},
            {name: file[f"rows/welford/{name}_mean"][()] for name in WELFORD_COLUMNS},
            file["rows/welford/reward_count"][()],
            ragged(file, "rows/prototypes/activated_episode"),
            ragged(file, "rows/prototypes/event_counts"),
            file["meta/trial/finished"][()],
            file["rows/world"][()] if "rows/world" in file else None,
        )

    def __len__(self) -> int:
        """Return the number of decided trials."""
        return len(self.number)

    @cached_property
    def complete(self) -> NDArray[np.int64]:
        """Rows of the COMPLETE trials, by number."""
        rows = np.flatnonzero(~self.failed)
        return rows[np.argsort(self.number[rows], kind="stable")]

    def row_of(self, number: int) -> int:
        """Return the row of a COMPLETE trial.

        Raises:
            LookupError: there is none of that number.
        """
        rows = [int(row) for row in self.complete if self.number[row] == number]
        if not rows:
            raise LookupError(f"no COMPLETE trial {number}")
        return rows[0]


@dataclass(frozen=True)
class Pairs:
    """Trials of a world beside their twins without ConSpec: rows of either, in the order of the numbers."""

    numbers: NDArray[np.int64]
    with_conspec: NDArray[np.int64]
    without: NDArray[np.int64]


@dataclass(frozen=True)
class Study:
    """Everything that is rendered."""

    config: Config
    searches: dict[str, Trials]
    ablation: Trials | None

    @classmethod
    def of(cls, context: Context) -> Study:
        """Read the merged results of a run; phases that are not merged yet are left out."""
        config: Config = context.config
        order = tuple(config.hyperparameters)
        searches: dict[str, Trials] = {}
        for world in config.environments:
            if context.run.merged(PREFIX + world).is_file():
                with context.result(PREFIX + world) as file:
                    searches[world] = Trials.of(file, order)
        ablation = None
        if context.run.merged(ABLATION).is_file():
            with context.result(ABLATION) as file:
                ablation = Trials.of(file, order)
        return cls(config, searches, ablation)

    @cached_property
    def records(self) -> list[Record]:
        """The COMPLETE trials as result files hold them, by world and number."""
        return [
            record_of(world, trials, int(row)) for world, trials in self.searches.items() for row in trials.complete
        ]

    @property
    def searched(self) -> bool:
        """Whether any parameter varies between trials."""
        return any(axis.kind != "fixed" for axis in read_space(self.config.hyperparameters))

    @property
    def newest(self) -> int:
        """When the newest trial was finished, seconds since 1970; 0 without any."""
        return max((int(trials.finished.max()) for trials in self.searches.values() if len(trials)), default=0)

    def best_row(self, world: str) -> int | None:
        """Return the row of a world's best trial by the study's metric; None where none is COMPLETE."""
        trials = self.searches[world]
        if not len(trials.complete):
            return None
        place = best_of(trials.value[trials.complete], self.config.search.optimization_direction)
        return int(trials.complete[place])

    def pairs(self, world: str) -> Pairs:
        """Return the trials of a world that have a finished twin."""
        nothing = np.zeros(0, np.int64)
        twins, trials = self.ablation, self.searches.get(world)
        if twins is None or twins.world is None or trials is None:
            return Pairs(nothing, nothing, nothing)
        own = np.flatnonzero((twins.world == WORLDS.index(world)) & ~twins.failed)
        rows = {int(trials.number[row]): int(row) for row in trials.complete}
        both = sorted((int(twins.number[row]), int(row)) for row in own if int(twins.number[row]) in rows)
        return Pairs(
            np.array([number for number, _ in both], np.int64),
            np.array([rows[number] for number, _ in both], np.int64),
            np.array([row for _, row in both], np.int64),
        )

    def differences(self, world: str, metric: str) -> NDArray[np.float64]:
        """Return with minus without ConSpec of each pair."""
        pairs = self.pairs(world)
        if self.ablation is None or not len(pairs.numbers):
            return np.zeros(0)
        return self.searches[world].metrics[metric][pairs.with_conspec] - self.ablation.metrics[metric][pairs.without]


def record_of(world: str, trials: Trials, row: int) -> Record:
    """Return one COMPLETE trial as a result file holds it."""
    found = {name: float(values[row]) for name, values in {**trials.metrics, **trials.cost}.items()}
    return {
        "environment": world,
        "trial": int(trials.number[row]),
        "hyperparameters": trials.parameters[row],
        "results": {name: int(value) if name in COUNTS else value for name, value in found.items()},
        "timestamp": utc(float(trials.finished[row])),
    }
