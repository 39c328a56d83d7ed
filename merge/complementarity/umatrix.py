"""`umatrix RUN`: whether clients of the four categories differ in their utility matrices and in what they did.

Pairs of one seed share their matrix, so tests are made config by config, where all seeds are independent.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from ...jobs.complementarity.seed_analysis import behaviour_features, category_contrasts, matrix_features
from ...jobs.complementarity.simulation import CATEGORIES
from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from ...shard.publish import replace_file
from .overlap import complete_or_refused, left_out
from .stored import StoredRun
from .tables import csv_bytes

LEVEL = 0.05


def config_contrasts(run: StoredRun, config_idx: int, matrices: pd.DataFrame) -> pd.DataFrame:
    """Contrasts between the categories of one complete config; see `category_contrasts`.

    Args:
        run: the run.
        config_idx: the config.
        matrices: `matrix_features` of all seeds of the run, ascending.

    Returns:
        Per feature of the matrix, and of the V2 trajectory where those were kept, one row, headed by
        `config_idx` and the size `n_<category>` of every category.
    """
    units = run.units_of(config_idx)
    category = np.concatenate([run.outcome(unit, "category") for unit in units])
    features = matrices
    if "v2" in run.kept:
        behaviour = [behaviour_features(run.trajectories(unit, "v2")) for unit in units]
        features = pd.concat([matrices, pd.concat(behaviour, ignore_index=True)], axis=1)
    sizes = np.bincount(category, minlength=len(CATEGORIES))
    table = category_contrasts(features, category)
    for name, size in zip(reversed(CATEGORIES), reversed(sizes.tolist()), strict=True):
        table.insert(0, f"n_{name}", size)
    table.insert(0, "config_idx", config_idx)
    return table


def across_configs(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Contrasts of all configs in a row per feature.

    Returns:
        Per feature the mean over configs of the category means (configs without the category left out), how many
        configs have a Kruskal-Wallis or Mann-Whitney test at all, and in how many p is below 0.05 after
        Bonferroni over those.
    """
    records = []
    for feature, rows in contrasts.groupby("feature", sort=False):
        record: dict[str, object] = {"feature": feature}
        record |= {f"mean_{name}": rows[f"mean_{name}"].mean() for name in CATEGORIES}
        for test in ("kruskal", "mann_whitney"):
            p = rows[f"{test}_p"].dropna()
            record |= {f"{test}_configs": len(p), f"{test}_significant": int((p * len(p) < LEVEL).sum())}
        records.append(record)
    return pd.DataFrame(records)


@click.command("umatrix")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Contrast the four categories of RUN in utility matrices and behaviour; tables/umatrix_*.csv."""
    stored = StoredRun(run)
    if (named := stored.config.model.u_matrix) is not None:
        raise QuintetError(
            Exit.USAGE,
            f"{run}: model.u_matrix: found {named!r}; allowed is null, as only drawn matrices differ by seed",
        )
    configs = complete_or_refused(stored)
    simulate = stored.config.simulate
    seeds = np.arange(simulate.seed_offset, simulate.seed_offset + simulate.n_seeds, dtype=np.int64)
    matrices = matrix_features(seeds.astype(np.uint32))
    contrasts = pd.concat([config_contrasts(stored, k, matrices) for k in configs], ignore_index=True)
    summary = across_configs(contrasts)
    tables = stored.path / "tables"
    contents = {"seeds": matrices, "contrasts": contrasts, "summary": summary}
    for name, table in contents.items():
        replace_file(tables / f"umatrix_{name}.csv", csv_bytes(table))
    click.echo(f"{len(configs)} configs ({left_out(stored, configs)}), {simulate.n_seeds} seeds; means by category")
    short = summary.set_axis([name.removeprefix("mean_").replace("_significant", "_p<.05") for name in summary], axis=1)
    click.echo(short.to_string(index=False, float_format="{:.3f}".format))
    if "v2" not in stored.kept:
        click.echo("no V2 trajectories were kept: behaviour is left out")
    click.echo(f"{tables}: {', '.join(f'umatrix_{name}.csv' for name in contents)}")


if __name__ == "__main__":
    run_command(command, name="bin/complementarity umatrix")
