"""`bin/synergy summary RUN`: what a sweep gave, as a few lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from ...shard.run import Run
from .sweep import NOTHING

LOSS = "best_val_loss"
SHOWN = ("predictability/synergy_acc", "predictability/redundant_r2")


def lines_of(results: Mapping[str, Any], planned: int) -> Iterator[str]:
    """Yield conditions, completion of what was planned, range and mean of the loss, then one line per condition."""
    losses = [
        entry["aggregated_metrics"][LOSS]["mean"] for entry in results.values() if LOSS in entry["aggregated_metrics"]
    ]
    completion = sum(entry["n_runs"] for entry in results.values()) / planned
    yield f"Conditions with results: {len(results)}"
    yield f"Mean completion rate: {completion:.1%}"
    if losses:
        yield f"Validation loss: {min(losses):.4f} to {max(losses):.4f}, mean {sum(losses) / len(losses):.4f}"
    for key, entry in results.items():
        metrics = entry["aggregated_metrics"]
        parts = [f"{name.rpartition('/')[2]} {metrics[name]['mean']:.3f}" for name in (LOSS, *SHOWN) if name in metrics]
        yield f"  {key}: {entry['n_runs']} runs, {', '.join(parts)}"


@click.command("summary")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Say in a few lines what the sweep of RUN gave."""
    path = run / "tables" / "aggregated_results.json"
    sweep = Run.opened(run).config()["sweep"]
    if not path.is_file() or not (results := json.loads(path.read_text(encoding="utf-8"))):
        raise QuintetError(Exit.INCOMPLETE, NOTHING)
    planned = len(sweep["dims"]) * len(sweep["synergy_scales"]) * sweep["runs_per_condition"]
    for line in lines_of(results, planned):
        click.echo(line)


if __name__ == "__main__":
    run_command(command, name="bin/synergy summary")
