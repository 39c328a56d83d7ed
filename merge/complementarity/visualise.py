"""`visualise RUN`: figures of one config under chosen mechanisms, memory patterns and strategic therapists."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import click
import pandas as pd

from ...jobs.complementarity.config_view import ConfigView, config_view
from ...jobs.complementarity.params import LARGEST_SEED, MECHANISMS, PATTERNS, THERAPISTS
from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from ...shard.publish import replace_file
from ..drawing import draw_all
from . import sources
from .stored import StoredRun
from .tables import csv_bytes
from .visualiser import draw_combined, draw_outcomes, draw_tracker


def names_of(flag: str, text: str | None, allowed: Sequence[str], default: str) -> list[str]:
    """Names out of `a,b`, all of them for `all`, the default for None; exit 2 for an unknown one."""
    if text is None:
        return [default]
    if text == "all":
        return list(allowed)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in allowed:
            raise QuintetError(Exit.USAGE, f"{flag}: found {name!r}; allowed is all, or some of {', '.join(allowed)}")
    return list(dict.fromkeys(names))


def seed_table(views: Sequence[ConfigView]) -> pd.DataFrame:
    """One row per view and seed: what was simulated, category, success, dropout and sessions of both therapists."""
    tables = []
    for view in views:
        table = view.seeds.copy()
        for name in ("therapist_version", "pattern", "mechanism"):
            table.insert(0, name, getattr(view, name))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


@click.command("visualise")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--config-idx", type=int, required=True, help="Number of the config, from 0.")
@click.option("--mechanisms", help="Comma-separated mechanisms, or all (default: the run's).")
@click.option("--patterns", help="Comma-separated memory patterns, or all (default: the config's).")
@click.option("--therapists", help="v1, v2, or both as v1,v2 (default: the run's).")
@click.option("--seeds", type=click.IntRange(min=1), default=200, show_default=True, help="Number of seeds.")
def command(
    run: Path, config_idx: int, mechanisms: str | None, patterns: str | None, therapists: str | None, seeds: int
) -> None:
    """Simulate one config of RUN on some seeds and draw it: figures/config-K/."""
    stored = StoredRun(run)
    params = stored.params(config_idx)
    variants = list(
        product(
            names_of("--mechanisms", mechanisms, MECHANISMS, params.mechanism),
            names_of("--patterns", patterns, PATTERNS, params.pattern),
            names_of("--therapists", therapists, THERAPISTS, params.therapist_version),
        )
    )
    first = stored.config.simulate.seed_offset
    if first + seeds - 1 > LARGEST_SEED:
        raise QuintetError(Exit.USAGE, f"--seeds: found {seeds}; allowed is at most {LARGEST_SEED - first + 1}")
    views = [
        config_view(
            params, range(first, first + seeds), mechanism=mechanism, pattern=pattern, therapist_version=version
        )
        for mechanism, pattern, version in variants
    ]
    folder = stored.path / "figures" / f"config-{config_idx}"
    drawings = {
        "distance": lambda: draw_tracker(views, "distance"),
        "rate": lambda: draw_tracker(views, "rate"),
        "combined": lambda: draw_combined(views),
        "outcomes": lambda: draw_outcomes(views),
    }
    made_from = {
        **sources(stored.context),
        "config_idx": config_idx,
        "trial_number": stored.configs[config_idx]["trial_number"],
        "seeds": [first, first + seeds - 1],
        "variants": [list(variant) for variant in variants],
    }
    drawn = draw_all(drawings, folder, made_from, None)
    replace_file(folder / "seeds.csv", csv_bytes(seed_table(views)))
    for view in views:
        strategic, baseline = view.success_rates
        click.echo(f"{view.label}: success {strategic:.1%}, baseline {baseline:.1%} of {seeds} seeds")
    click.echo(f"{folder}: {', '.join([*(f'{name}.png' for name in drawn.saved), 'seeds.csv'])}")
    drawn.need_all()


if __name__ == "__main__":
    run_command(command, name="bin/complementarity visualise")
