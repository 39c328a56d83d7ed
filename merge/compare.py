"""`bin/compare RUN OTHER`: whether two runs came to the same payloads, and where they first differ."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ..shard.commands.base import run_command
from ..shard.errors import Exit, QuintetError
from ..shard.partial import Card, opened, walk
from ..shard.publish import valid_card
from ..shard.run import Run
from ..shard.verify import differing_facts
from .origin import result_facts

if TYPE_CHECKING:
    import h5py

READ_BYTES = 8 << 20


def first_difference(one: Path, other: Path) -> str | None:
    """Return where two results first differ, by the names of their datasets; None where their payloads are equal."""
    with opened(one) as left, opened(other) as right:
        names = [[item for item in walk(file) if not item[0].startswith("meta/")] for file in (left, right)]
        for pair in zip_longest(*(sorted(found, key=lambda item: item[0]) for found in names)):
            (name, ours), (other_name, theirs) = (item or ("", None) for item in pair)
            if name != other_name:
                lacking = one if not name or (other_name and other_name < name) else other
                return f"/{min(filter(None, (name, other_name)))} is not in {lacking}"
            difference = first_element(ours, theirs)
            if difference is not None:
                return f"/{name}{difference}"
    return None


def first_element(ours: h5py.Dataset, theirs: h5py.Dataset) -> str | None:
    """Return where two datasets first differ bit by bit, in words; None where they do not."""
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f" is {ours.dtype}{list(ours.shape)} and {theirs.dtype}{list(theirs.shape)}"
    rows = len(ours) if ours.shape else 1
    step = max(1, READ_BYTES * rows // max(1, ours.size * ours.dtype.itemsize))
    for start in range(0, rows, step):
        part = slice(start, start + step) if ours.shape else ()
        left, right = np.atleast_1d(ours[part]), np.atleast_1d(theirs[part])
        unequal = np.flatnonzero((as_bytes(left) != as_bytes(right)).any(axis=1))
        if len(unequal):
            place = [int(index) for index in np.unravel_index(unequal[0], left.shape)]
            values = (array[tuple(place)].item() for array in (left, right))
            return f"{[start + place[0], *place[1:]]} is {' and '.join(map(repr, values))}"
    return None


def as_bytes(array: np.ndarray) -> np.ndarray:
    """Return the bytes of an array's elements, u1[elements, item size]."""
    return np.frombuffer(array.tobytes(), dtype=np.uint8).reshape(array.size, array.dtype.itemsize)


def whole_result(run: Run, phase: str) -> tuple[Path, Card]:
    """Return the result of a phase and its card; exit 65 where there is no whole one."""
    path = run.merged(phase)
    card = valid_card(path)
    if card is None:
        raise QuintetError(Exit.INPUT, f"{path}: no whole result; bin/merge makes it from complete partials")
    return path, card


@click.command("compare")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
def command(run: Path, other: Path) -> int:
    """Compare the payloads of two runs, phase by phase; exit 1 at the first that differs, naming dataset and place."""
    ours, theirs = Run.opened(run), Run.opened(other)
    if ours.phases() != theirs.phases():
        raise QuintetError(
            Exit.USAGE, f"{other}: has the phases {', '.join(theirs.phases())}, {run} has {', '.join(ours.phases())}"
        )
    for phase in ours.phases():
        (path, card), (other_path, other_card) = whole_result(ours, phase), whole_result(theirs, phase)
        if card.pd != other_card.pd:
            made = differing_facts(result_facts(path), result_facts(other_path))
            how = f"made with different {', '.join(made)}" if made else "made alike"
            click.echo(f"{phase}: differs: {first_difference(path, other_path)}; {how}")
            return Exit.CHECK
        click.echo(f"{phase}: equal, payload {card.pd[:12]}")
    return Exit.OK


if __name__ == "__main__":
    run_command(command)
