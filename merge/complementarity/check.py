"""`check RUN`: a random sample of pairs simulated again and held against every byte that is stored of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ...jobs.complementarity.simulation import simulate_pairs
from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from .stored import StoredRun, Unit, differing, outcome_columns

LISTED = 10


def sample_of(units: list[Unit], size: int, seed: int) -> Iterator[tuple[Unit, NDArray[np.int64]]]:
    """Draw pairs without replacement, all of them where there are not more than `size`.

    Yields:
        Units that were hit, in their order, with the ascending places in there, i8[n].
    """
    ends = np.cumsum([unit.n_seeds for unit in units])
    total = int(ends[-1]) if len(ends) else 0
    drawn = np.sort(np.random.default_rng(seed).choice(total, min(size, total), replace=False))
    where = np.searchsorted(ends, drawn, side="right")
    for index in np.unique(where):
        unit = units[index]
        yield unit, drawn[where == index] - (int(ends[index]) - unit.n_seeds)


def unit_disagreements(run: StoredRun, unit: Unit, places: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    """Simulate some pairs of a unit by the kernel; yield (place, what differs) for those that differ."""
    batch = simulate_pairs(run.params(unit.config_idx), unit.seeds[places], trajectories=True)
    stored: dict[str, Any] = {name: column[places] for name, column in run.outcomes(unit).items()}
    for name, row in differing(stored, outcome_columns(batch)):
        yield int(places[row]), name
    again = {"v2": batch.v2, "baseline": batch.baseline}
    for therapist in run.kept:
        runs, simulated = run.trajectories(unit, therapist), again[therapist]
        assert simulated is not None
        for row, place in enumerate(places.tolist()):
            if not np.array_equal(runs.row(place), simulated.row(row)):
                yield place, f"{therapist} trajectory"


@click.command("check")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--sample", type=click.IntRange(min=1), default=1000, show_default=True, help="Number of pairs.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the choice of pairs.")
def command(run: Path, sample: int, seed: int) -> None:
    """Simulate a random sample of the pairs of RUN again and compare every stored byte; exit 1 where one differs."""
    stored = StoredRun(run)
    pairs, units = 0, 0
    wrong: dict[tuple[int, int], list[str]] = {}
    for unit, places in sample_of(stored.units, sample, seed):
        pairs, units = pairs + len(places), units + 1
        for place, what in unit_disagreements(stored, unit, places):
            wrong.setdefault((unit.config_idx, unit.seed_start + place), []).append(what)
    for (config_idx, at), parts in list(wrong.items())[:LISTED]:
        click.echo(f"config {config_idx}, seed {at}: {', '.join(parts)}")
    if wrong:
        raise QuintetError(Exit.CHECK, f"{len(wrong)} of {pairs} pairs differ from what is stored")
    kept = ", ".join(stored.kept) or "none kept"
    click.echo(f"{pairs} pairs of {units} units are equal to what is stored (outcomes; trajectories: {kept})")


if __name__ == "__main__":
    run_command(command, name="bin/complementarity check")
