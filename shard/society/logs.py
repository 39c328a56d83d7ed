"""The logs of a run unit by unit, from partials, from finished blocks of unfinished shards, and from checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...jobs.society.conditions import Condition, conditions
from ...jobs.society.log import Log, decoded
from ...jobs.society.measures import METRICS
from ...jobs.society.residents import sample_residents
from ...jobs.society.traits import TRAITS
from ..context import Context, inputs_digest
from ..errors import Exit, QuintetError
from ..partial import Card, file_digest, opened, read_card, read_meta
from .rows import logged

if TYPE_CHECKING:
    from ...jobs.society.config import RunConfig
    from ..run import Run


@dataclass(frozen=True)
class UnitLog:
    """What one unit has logged so far.

    Attributes:
        unit, condition, replicate: which one.
        config: of this unit.
        ticks: how many are finished.
        columns: arrays by `table/column`; see `jobs.society.log`.
        coefficients: f4[residents, 5] as initialised.
        finished: whether it is published.
    """

    unit: int
    condition: Condition
    replicate: int
    config: RunConfig
    ticks: int
    columns: dict[str, NDArray[Any]]
    coefficients: NDArray[np.float32]
    finished: bool

    def texts(self) -> list[str]:
        """Return the utterance of each action."""
        return decoded(self.columns["messages/bytes"], self.columns["messages/length"])


def simulated(run: Run) -> Context:
    """Return what a run's towns are made from.

    Raises:
        QuintetError: exit 2 where the run is of another study.
    """
    if run.overview().get("study") != "society":
        raise QuintetError(Exit.USAGE, f"{run.path}: not a run of society")
    return Context.of(run, "simulate")


def unit_logs(run: Run) -> Iterator[UnitLog]:
    """Yield the logs of all units that have any, in the order of their numbers.

    Raises:
        QuintetError: exit 2 where the run is of another study.
    """
    context = simulated(run)
    found = {log.unit: log for log in from_checkpoints(context)}
    found |= {log.unit: log for log in from_partials(context)}
    yield from (found[unit] for unit in sorted(found))


def whole(path: Path) -> Card | None:
    """Return the card of a file that is as it was written; None where it is gone or damaged."""
    try:
        card, digest = file_digest(path)
    except (OSError, ValueError):
        return None
    return card if card.b2 == digest else None


def unit_log(context: Context, unit: int, columns: dict[str, Any], ticks: int, finished: bool) -> UnitLog:
    """Return a unit's log with what its number says about it."""
    known = conditions(context.config)
    replicate, index = divmod(unit, len(known))
    config = known[index].config(context.config, replicate)
    people = sample_residents(config)
    coefficients = np.array([[person.persona[trait] for trait in TRAITS] for person in people], np.float32)
    return UnitLog(unit, known[index], replicate, config, ticks, columns, coefficients, finished)


def from_partials(context: Context) -> Iterator[UnitLog]:
    """Yield the logs of published units, and of finished blocks that unfinished shards keep."""
    run, plan = context.run, context.plan
    names = list(logged(context.config))
    for shard in range(len(plan.shards)):
        path = run.shard_file(plan.phase, shard)
        for candidate in (path, path.with_name(f"{path.stem}.ckpt.h5")):
            card = whole(candidate)
            if card is None or card.cfg != plan.config_sha256[:16]:
                continue
            with opened(candidate) as file:
                there = [name for name in names if f"rows/{name}" in file]  # an older run may lack a column
                arrays = {name: file[f"rows/{name}"][()] for name in there}
                offsets = {name: file[f"rows/{name}_offsets"][()].tolist() for name in there}
                ticks = file["rows/units/ticks"][()].tolist()
            first = card.lo * plan.block_size
            for row, count in enumerate(ticks):
                columns = {name: arrays[name][offsets[name][row] : offsets[name][row + 1]] for name in there}
                yield unit_log(context, first + row, columns, count, True)
            break


def from_checkpoints(context: Context) -> Iterator[UnitLog]:
    """Yield the logs in the newest checkpoint of each unfinished block."""
    run, plan = context.run, context.plan
    inputs = inputs_digest(run, plan)
    newest: dict[int, tuple[int, Path]] = {}
    for path in sorted((run.path / "checkpoints" / plan.phase).glob("*/u*.h5")):
        match = re.fullmatch(r"u(\d+)\.(\d+)\.h5", path.name)
        if match:
            unit, generation = int(match[1]), int(match[2])
            if generation >= newest.get(unit, (-1, path))[0]:
                newest[unit] = (generation, path)
    for unit, (_, path) in sorted(newest.items()):
        try:
            card, meta = read_card(path), read_meta(path)
            if (card.cfg, card.inp) != (plan.config_sha256[:16], inputs) or whole(path) is None:
                continue
            with opened(path) as file:
                packed = {lane: file[f"rows/{lane}/log"][()] for lane in range(card.hi - card.lo)}
        except (OSError, ValueError, KeyError):
            continue  # it has just been replaced by a newer one
        for lane, data in packed.items():
            log = Log(METRICS)
            log.unpack(meta["state"][f"{lane}/log_layout"], data)
            yield unit_log(context, unit + lane, log.since(), int(meta["state"][f"{lane}/tick"]), False)
