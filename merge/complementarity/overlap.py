"""`overlap RUN`: whether the same clients gain from the strategic therapist in many configs."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...jobs.complementarity.seed_analysis import seed_overlap
from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from ...shard.publish import replace_file
from .stored import StoredRun
from .tables import csv_bytes


def complete_or_refused(run: StoredRun) -> list[int]:
    """Configs with all their seeds; exit 65 where there is none."""
    configs = run.complete_configs()
    if not configs:
        raise QuintetError(Exit.INPUT, f"{run.path}: no config has all its seeds; merge the run when it is complete")
    return configs


def category_matrix(run: StoredRun, configs: list[int]) -> NDArray[np.uint8]:
    """Categories of all pairs of the given complete configs, u1[configs, seeds]."""
    matrix = np.empty((len(configs), run.config.simulate.n_seeds), np.uint8)
    for row, config_idx in zip(matrix, configs, strict=True):
        np.concatenate([run.outcome(unit, "category") for unit in run.units_of(config_idx)], out=row)
    return matrix


@click.command("overlap")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Count in how many configs of RUN each seed is a V2 advantage; tables/seed_overlap.csv and its summary."""
    stored = StoredRun(run)
    configs = complete_or_refused(stored)
    found = seed_overlap(category_matrix(stored, configs))
    per_seed = found["configs_per_seed"]
    first = stored.config.simulate.seed_offset
    seeds = pd.DataFrame(
        {
            "seed": np.arange(first, first + len(per_seed)),
            "configs": per_seed,
            "share": per_seed / len(configs),
        }
    )
    shares = {f"seeds in at least {share:.0%} of the configs": value for share, value in found["in_at_least"].items()}
    rows = {
        "configs": len(configs),
        "seeds": len(per_seed),
        "seeds in any config": found["in_any"],
        **shares,
        "largest share of configs of one seed": found["largest"],
        "variance ratio (1: no overlap beyond chance)": found["variance_ratio"],
    }
    summary = pd.DataFrame({"quantity": list(rows), "value": list(rows.values())})
    tables = stored.path / "tables"
    replace_file(tables / "seed_overlap.csv", csv_bytes(seeds))
    replace_file(tables / "seed_overlap_summary.csv", csv_bytes(summary))
    click.echo(f"V2 advantage of {len(per_seed)} seeds in {len(configs)} configs ({left_out(stored, configs)})")
    for quantity, value in list(rows.items())[2:]:
        text = f"{value:.2f}" if quantity.startswith("variance") else f"{value:.2%}"
        click.echo(f"  {quantity}: {text}")
    click.echo(f"{tables}: seed_overlap.csv, seed_overlap_summary.csv")


def left_out(run: StoredRun, configs: list[int]) -> str:
    """How many configs are left out because seeds of theirs are missing, in words."""
    number = len(run.configs) - len(configs)
    return f"{number} configs with missing seeds left out" if number else "none left out"


if __name__ == "__main__":
    run_command(command, name="bin/complementarity overlap")
