"""`bin/conspec expert RUN`: what a trained policy does, as binary features per step in a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray

from ...jobs.conspec.worlds import COLOURS, GRID_WORLDS
from ...shard.commands.base import run_command
from ...shard.conspec import PREFIX
from ...shard.conspec.models import Models
from ...shard.context import Context
from ...shard.errors import Exit, QuintetError
from ...shard.run import Run
from ..exports import replacing
from .stored import Study

if TYPE_CHECKING:
    from ...jobs.conspec.config import Config

FEATURES = (
    *(f"has_{colour}_key" for colour in ("blue", "green", "purple")),
    *(f"{colour}_door_open" for colour in ("blue", "green", "purple")),
    "at_green_goal",
    "at_purple_goal",
    "task_complete",
)
ORDER = tuple(COLOURS.index(colour) + 1 for colour in ("blue", "green", "purple"))
GREEN, PURPLE = 1, 3
BATCH = 20


def trial_of(arguments: dict[str, Any], weights: NDArray[np.float32] | None) -> tuple[Any, NDArray[np.float32]]:
    """Return a trial of these arguments and the policy's final weights, trained again where they are gone."""
    from ...jobs.conspec.trial import Trial

    trial = Trial(**arguments)
    if weights is None:
        while trial.advance():
            pass
        weights = trial.result().weights["policy"]
    return trial, weights


def episodes_of(
    trial: Any, config: Config, world: str, number: int, theta: NDArray[np.float32], count: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield the actions of episodes sampled from pi, in a random stream of their own."""
    from ...jobs.conspec.environment import make_env
    from ...jobs.conspec.sampler import Sampler
    from ...jobs.conspec.trial import EXPORT
    from ...jobs.conspec.worlds import WORLDS

    arguments = config.trial_arguments({}, world, number)
    env = make_env(
        world,
        ruleset=arguments["ruleset"],
        reward_mode=arguments["reward_mode"],
        num_envs=BATCH,
        max_steps=arguments["max_steps"],
        size=arguments["size"],
        rewards=arguments["rewards"],
    )
    sampler = Sampler(env, trial.sizes, trial.settings.chunk_len)
    words = [config.seed, WORLDS.index(world), number, EXPORT]
    chance = Generator(PCG64(SeedSequence(words)))
    for first in range(0, count, BATCH):
        played = sampler.play(theta, np.zeros(BATCH), chance, chance)
        for lane in range(min(BATCH, count - first)):
            yield played.record.actions[: played.record.lengths[lane], lane].copy()


def rows_of(env: Any, actions: NDArray[np.uint8]) -> Iterator[list[int]]:
    """Yield the features after each step of an episode, played again by the plain program."""
    env.reset()
    for action in actions.tolist():
        env.step(action)
        keys = [int(env.carrying == colour) for colour in ORDER]
        doors = [int(colour in env.open_doors) for colour in ORDER]
        yield [*keys, *doors, int(env.goal == GREEN), int(env.goal == PURPLE), int(env.success)]


def write(path: Path, env: Any, episodes: Iterator[NDArray[np.uint8]]) -> int:
    """Write the table, whole or not at all; return the number of steps."""
    count = 0
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(FEATURES)
        for actions in episodes:
            writer.writerows(rows_of(env, actions))
            count += len(actions)
    return count


@click.command("expert")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--env", "world", required=True, help="World of the policy.")
@click.option("--trial", "number", type=click.IntRange(min=0), help="Trial of the policy  [default: the best]")
@click.option("--episodes", type=click.IntRange(min=1), default=1000, show_default=True, help="Episodes to play.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV file  [default: RUN/tables/expert_ENV.csv]",
)
def command(run: Path, world: str, number: int | None, episodes: int, output: Path | None) -> None:
    """Write what the best trial's policy does in ENV: nine binary features, one row per step."""
    opened = Run.opened(run)
    if opened.overview().get("study") != "conspec":
        raise QuintetError(Exit.USAGE, f"{run}: holds another study; allowed is a run of conspec")
    phase = PREFIX + world
    if phase not in opened.phases():
        known = ", ".join(name.removeprefix(PREFIX) for name in opened.phases() if name.startswith(PREFIX))
        raise QuintetError(Exit.USAGE, f"env: {world!r} is not one of {known}")
    context = Context.of(opened, phase)
    config: Config = context.config
    if config.environment.family != "grid" or world not in GRID_WORLDS:
        raise QuintetError(Exit.USAGE, f"{run}: family {config.environment.family}; allowed is family grid")
    study = Study.of(context)
    if world not in study.searches:
        raise QuintetError(Exit.USAGE, f"{run}: {phase} is not merged; run bin/merge {run} --allow-missing")
    best = study.best_row(world)
    if best is None:
        raise QuintetError(Exit.USAGE, f"{run}: {phase} has no COMPLETE trial")
    trials = study.searches[world]
    try:
        row = best if number is None else trials.row_of(number)
    except LookupError as error:
        raise QuintetError(Exit.USAGE, f"--trial: {error}") from None
    chosen = int(trials.number[row])
    weights = Models(context, world).load(chosen)
    arguments = config.trial_arguments(trials.parameters[row], world, chosen)
    trial, theta = trial_of(arguments, None if weights is None else weights["policy"])
    from ...jobs.conspec.reference import SingleEnv

    names = ("ruleset", "reward_mode", "max_steps", "size", "rewards")
    env = SingleEnv(world, **{name: arguments[name] for name in names})
    target = output or run / "tables" / f"expert_{world}.csv"
    if not target.parent.is_dir():
        raise QuintetError(Exit.USAGE, f"--output: found {str(target)!r}; its folder does not exist")
    steps = write(target, env, episodes_of(trial, config, world, chosen, theta, episodes))
    click.echo(f"{target}: {steps} steps of {episodes} episodes, {world} trial {chosen}")


if __name__ == "__main__":
    run_command(command, name="bin/conspec expert")
