"""`bin/conspec export-wandb RUN`: replays finished trials to Weights & Biases, on a machine that may reach it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from ...jobs.conspec.metrics import LAST
from ...shard.commands.base import run_command
from ...shard.conspec import PREFIX
from ...shard.conspec.tracking import WeightsAndBiases, facts_of, summary_of
from ...shard.context import Context, inputs_digest
from ...shard.errors import Exit, QuintetError
from ...shard.partial import read_arrays
from ...shard.run import Run
from ...shard.worker import published_trials

if TYPE_CHECKING:
    from ...jobs.conspec.config import Config


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


def replay(context: Context, world: str, folder: Path) -> int:
    """Replay the COMPLETE trials of one world; return how many there are."""
    config: Config = context.config
    count = 0
    for trial in published_trials(context.run, context.plan, inputs_digest(context.run, context.plan)):
        if trial.state != "COMPLETE":
            continue
        arrays = read_arrays(context.run.trial_file(context.phase.name, trial.number))
        episodes = {name.rpartition("/")[2]: values for name, values in arrays.items() if "/episodes/" in name}
        tracker = WeightsAndBiases(folder, trial.parameters, facts_of(config, world, trial.number))
        for row in tracked_rows(episodes, config.logging.log_frequency):
            tracker.log(row)
        names = ("mean_reward", "success_rate", "max_reward")
        tracker.finish(summary_of({name: float(arrays[f"rows/trial/{name}"][0]) for name in names}))
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
        if name.startswith(PREFIX) and opened.plan(name).kind == "pull":
            world = name.removeprefix(PREFIX)
            count = replay(Context.of(opened, name), world, run / "tracking" / world)
            click.echo(f"{world}: {count} trials")


if __name__ == "__main__":
    run_command(command, name="bin/conspec export-wandb")
