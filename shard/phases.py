"""The table of phases that a study is, and what a study's work looks like to the machinery.

A study is the module `shard/<study>.py`; it defines

* `Config`                   the pydantic model of the study's config (from `jobs/<study>/config.py`),
* `phases(config)`           the table: a tuple of `Phase`, in the order in which results flow,
* `start(context)`           the `Work` of one phase in one process,
* `late_units(context)`      only where a phase has `units=None`.
* `completed(files, settings)`  only where files beside the config fill keys of it: returns it with them, before
                               validation; `files` are the config and its templates, nearest first, with their paths,
* `resolved(config)`         only where `auto` values or a foreign file decide something: freezes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

    from .context import Context
    from .trials import FinishedTrial, SearchSpec

Arrays = Mapping[str, Any]
"""Payload of a block or a trial: dataset name -> array; see `Dataset` for the axes."""


@dataclass(frozen=True)
class Dataset:
    """One dataset of a phase's partials.

    Below `/rows` an array's first axis is units (`shape` is the rest); a ragged one holds the units' runs one
    after another and the block carries their lengths as `<name>_length` (int, one per unit).  Below `/counts` an
    array is an integer of exactly `shape`, summed over blocks.  Below `/extrema` it is float64 of exactly `shape`,
    `[2, ...]`: least and greatest values, combined elementwise over blocks; (+inf, -inf) where there is none.  Below
    `/meta` it is as below `/rows`, but no part of the payload: what differs between equal attempts (cost, timing).
    `/stats` is declared by `Stats` instead.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    ragged: bool = False
    merge: Literal["concat", "index"] = "concat"

    @property
    def summed(self) -> bool:
        """Whether blocks add up (counts)."""
        return self.name.startswith("counts/")

    @property
    def folded(self) -> bool:
        """Whether blocks make one array of exactly `shape` (counts, extrema) instead of standing one after another."""
        return self.name.startswith(("counts/", "extrema/"))

    @property
    def counted(self) -> bool:
        """Whether it is part of the payload, and so of its digest."""
        return not self.name.startswith("meta/")


@dataclass(frozen=True)
class Stats:
    """Welford statistics of a phase: triples (n, mean, M2) for metrics x cells, one leaf per block.

    A block hands them over as `stats`, float64 `[metric, 3, cell]`.
    """

    metrics: tuple[str, ...]
    cells: int


@dataclass(frozen=True)
class Resources:
    """What one array element asks for unless the config's `phases.<name>` says otherwise; enters no hash."""

    cpus: int = 1
    mem_mb: int = 1000
    gpus: int = 0
    time_s: int = 3600
    target_minutes: float = 20.0
    checkpoint_s: float = 300.0
    seconds_per_unit: float | None = None
    bytes_per_unit: float | None = None


TRIAL_DATASETS = (
    Dataset("rows/number", "i8"),
    Dataset("rows/failed", "u1"),
    Dataset("rows/value", "f8"),
    Dataset("rows/parameters", "u1", ragged=True),
    Dataset("rows/attributes", "u1", ragged=True),
)
"""What every trial's partial holds beside the study's own datasets; the last two are JSON as UTF-8 bytes."""


@dataclass(frozen=True)
class Phase:
    """One array and its merge.

    `units=None` marks late units: the merge of the last phase in `after` writes this phase's plan file, with the
    count that the study's `late_units` gives; `expected_units` then sets the number of shards.  `reads` names config
    sections or (dotted) single keys of them, `inputs` keys of the config's `inputs:`, and `grows` the one config key
    (dotted) that only adds units at the end; it enters no hash.
    """

    name: str
    kind: Literal["map", "pull"]
    units: int | None
    block_size: int = 1
    after: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    expected_units: int = 1
    grows: str | None = None
    datasets: tuple[Dataset, ...] = ()
    stats: Stats | None = None
    search: SearchSpec | None = None
    resources: Resources = field(default_factory=Resources)

    def blocks(self, units: int) -> int:
        """Return how many blocks hold `units` units."""
        return math.ceil(units / self.block_size)

    @property
    def stored(self) -> tuple[Dataset, ...]:
        """Every dataset of this phase's partials, `/stats` aside."""
        return (*TRIAL_DATASETS, *self.datasets) if self.kind == "pull" else self.datasets


class Task(Protocol):
    """Work that the shard drives: a block, or a trial.  Deterministic: equal tasks give equal bits.

    `advance` does at most about ten seconds and returns whether more is to do; between two calls the shard looks
    at signals, deadline and checkpoint time.  `state` returns arrays and JSON values, and `restore` takes them.  A
    task that cannot go on now, and could later, raises `QuintetError` with exit 75 from `advance`: its state is kept.
    A task may also have `due()`, which says after a step whether a checkpoint shall be kept earlier than its time.
    """

    def advance(self) -> bool:
        """Go on for a while; return True while there is more to do."""
        ...

    def state(self) -> Mapping[str, Any] | None:
        """Return what `restore` needs to go on from here; None where starting afresh costs no more."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state made by an equal task."""
        ...

    def result(self) -> Arrays:
        """Return the finished payload, by dataset name."""
        ...


class Once:
    """A task that is one call of a function; it has no state to keep."""

    def __init__(self, function: Callable[..., Arrays], *arguments: Any) -> None:
        """Keep the call for `advance`."""
        self._call = (function, arguments)
        self._result: Arrays | None = None

    def advance(self) -> bool:
        """Compute the result."""
        function, arguments = self._call
        self._result = function(*arguments)
        return False

    def state(self) -> None:
        """Return nothing: a call is not divided."""
        return

    def restore(self, state: Mapping[str, Any]) -> None:
        """Refuse: nothing was ever saved."""
        raise ValueError("a task without a state cannot be restored")

    def result(self) -> Arrays:
        """Return what the function gave."""
        if self._result is None:
            raise RuntimeError("result() before advance()")
        return self._result


class Work(Protocol):
    """A phase inside one process: gives the task of any block (map) or trial (pull)."""

    def block(self, units: range) -> Task:
        """Return the task that computes the given units (map phases)."""
        ...

    def trial(self, number: int, parameters: Mapping[str, Any]) -> Task:
        """Return the task that evaluates one trial (pull phases).

        Its result holds, beside the declared datasets (one unit each), `value` (float) and optionally
        `attributes` (JSON mapping kept with the trial) and `failure` (a reason: the trial is replaced).
        """
        ...

    def propose(self, number: int, earlier: Sequence[FinishedTrial]) -> dict[str, Any]:
        """Return the parameters of a trial: a pure function of the number and earlier generations' trials.

        Work of a search may also have `told(number, finished)`: called after this process has told a trial, with all
        decided ones, for what is kept beside the results (weights of the best trial).
        """
        ...


class Study(Protocol):
    """The module `shard/<study>.py` as the machinery sees it."""

    Config: Any

    def phases(self, config: Any) -> tuple[Phase, ...]:
        """Return the table of phases of a validated config."""
        ...

    def start(self, context: Context) -> Work:
        """Return the work of `context.phase` in this process."""
        ...


def seed_sequence(entropy: int, *key: int) -> np.random.SeedSequence:
    """Return the seed sequence of one unit: a function of the run's entropy and the key alone."""
    import numpy as np

    return np.random.SeedSequence(entropy, spawn_key=key)
