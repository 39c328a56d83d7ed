"""`bin/conspec export-wandb RUN`: replays finished trials to Weights & Biases, on a machine that may reach it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from ...jobs.conspec.metrics import LAST, METRICS
from ...shard.commands.base import run_command
from ...shard.conspec import PREFIX
from ...shard.conspec.rows import EPISODES
from ...shard.conspec.tracking import WeightsAndBiases, facts_of, summary_of
from ...shard.context import Context, inputs_digest
from ...shard.errors import Exit, QuintetError
from ...shard.partial import read_arrays
from ...shard.run import Run
from ...shard.scan import scan_map, scan_trials
from .stored import ragged, texts

if TYPE_CHECKING:
    from ...jobs.conspec.config import Config


class Finished(NamedTuple):
    """What is replayed of a trial: number, parameters, columns of its episodes, final metrics."""

    number: int
    parameters: dict[str, Any]
    episodes: dict[str, NDArray[Any]]
    metrics: dict[str, float]


def tracked_rows(episodes: Mapping[str, NDArray[Any]], frequency: int) -> Iterator[dict[str, float]]:
    """Yield what a tracker logs, from the stored episodes."""
    reward, success = episodes["reward"].astype(np.float64), episodes["success"].astype(np.float64)
    for episode in range(frequency, len(reward) + 1, frequency):
        last = slice(max(0, episode - LAST), episode)
        yield {
            "episode": episode,
            "reward": float(reward[episode - 1]),
            "mean_reward_100": float(reward[last].mean()),
            "success_rate": float(success[last].mean()),
            "epsilon": float(episodes["epsilon"][episode - 1]),
            "intrinsic_reward": float(episodes["intrinsic"][episode - 1]),
        }


def complete_trials(context: Context) -> Iterator[Finished]:
    """Yield the COMPLETE trials of a search, pulled or static, from the partials that stand."""
    run, plan = context.run, context.plan
    scan = scan_trials if plan.kind == "pull" else scan_map
    for found in scan(run, plan, inputs_digest(run, plan)):
        if found.reason is not None:
            continue
        arrays = read_arrays(found.path)
        parameters = texts(arrays, "rows/parameters")
        episodes = {name: ragged(arrays, f"rows/episodes/{name}") for name in EPISODES}
        for unit in np.flatnonzero(arrays["rows/failed"] == 0):
            yield Finished(
                int(arrays["rows/number"][unit]),
                parameters[unit],
                {name: values[unit] for name, values in episodes.items()},
                {name: float(arrays[f"rows/trial/{name}"][unit]) for name in METRICS},
            )


def replay(context: Context, world: str, folder: Path) -> int:
    """Replay the COMPLETE trials of one world; return how many there are."""
    config: Config = context.config
    count = 0
    for trial in complete_trials(context):
        tracker = WeightsAndBiases(folder, trial.parameters, facts_of(config, world, trial.number))
        for row in tracked_rows(trial.episodes, config.logging.log_frequency):
            tracker.log(row)
        tracker.finish(summary_of(trial.metrics))
        count += 1
    return count


@click.command("export-wandb")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Replay the finished trials of RUN; offline unless WANDB_MODE says otherwise."""
    if find_spec("wandb") is None:
        raise QuintetError(Exit.USAGE, "the package wandb is not installed; install the extra quintet[wandb]")
    opened = Run.opened(run)
    if opened.overview().get("study") != "conspec":
        raise QuintetError(Exit.USAGE, f"{run}: holds another study; allowed is a run of conspec")
    os.environ.setdefault("WANDB_MODE", "offline")
    for name in opened.phases():
        if name.startswith(PREFIX):
            world = name.removeprefix(PREFIX)
            count = replay(Context.of(opened, name), world, run / "tracking" / world)
            click.echo(f"{world}: {count} trials")


if __name__ == "__main__":
    run_command(command, name="bin/conspec export-wandb")
