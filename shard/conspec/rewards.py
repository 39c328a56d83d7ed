"""`bin/conspec rewards`: what a world pays, step by step, for random actions or its shortest solution."""

from __future__ import annotations

import click
import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

from ...jobs.conspec.reference import SingleEnv
from ...jobs.conspec.worlds import GRID_ACTIONS, GRID_WORLDS, RULESETS
from ..commands.base import run_command
from ..errors import Exit, QuintetError

SOLUTIONS = {
    ("single", "standard"): "022213222522221222",
    ("single", "reference"): "022213222522221222",
    ("double", "standard"): "02213222502240230025222212222",
    ("double", "reference"): "0221322252222122",
    ("triple", "standard"): "023221250240302402212220202322152221222",
    ("triple", "reference"): "02322125221222",
}
"""Shortest ways to the largest return, found by breadth-first search; a digit is an action."""

EVENTS = ("", "key", "door", "green goal", "final goal")


def actions_of(world: str, ruleset: str, steps: int, seed: int, demo: bool) -> list[int]:
    """Return what is played: a shortest solution, or uniform random actions."""
    if demo:
        return [int(digit) for digit in SOLUTIONS[world, ruleset]]
    words = SeedSequence([seed, GRID_WORLDS.index(world)])
    return [int(action) for action in Generator(PCG64(words)).integers(0, len(GRID_ACTIONS), steps)]


def play(world: str, ruleset: str, actions: list[int]) -> tuple[float, int, bool]:
    """Play actions and print each paid step; return total, steps and success."""
    env = SingleEnv(world, ruleset=ruleset, max_steps=max(len(actions), 1))
    env.reset()
    total, step = 0.0, 0
    for step, action in enumerate(actions, 1):
        _, reward, terminated, _ = env.step(action)
        total += reward
        if reward or env.event:
            event = EVENTS[env.event] or GRID_ACTIONS[action]
            click.echo(f"{world} step {step}: reward {reward:+.2f}, event {event}, total {total:.2f}")
        if terminated:
            break
    return total, step, bool(env.success)


@click.command("rewards")
@click.option("--env", "world", help="World  [default: all]")
@click.option("--steps", type=click.IntRange(min=1), default=400, show_default=True, help="Random steps per world.")
@click.option("--ruleset", default="standard", show_default=True, help=f"One of {', '.join(RULESETS)}.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random actions.")
@click.option("--demo", is_flag=True, help="Play the shortest solution instead.")
def command(world: str | None, steps: int, ruleset: str, seed: int, demo: bool) -> None:
    """Print every paid step of the grid worlds."""
    if world not in (None, "all", *GRID_WORLDS):
        raise QuintetError(Exit.USAGE, f"env: {world!r} is not one of {', '.join((*GRID_WORLDS, 'all'))}")
    if ruleset not in RULESETS:
        raise QuintetError(Exit.USAGE, f"ruleset: {ruleset!r} is not one of {', '.join(RULESETS)}")
    for name in GRID_WORLDS if world in (None, "all") else (world,):
        actions = actions_of(name, ruleset, steps, seed, demo)
        total, taken, success = play(name, ruleset, actions)
        click.echo(f"{name}: total {np.round(total, 10):.1f} in {taken} steps{', solved' if success else ''}")


if __name__ == "__main__":
    run_command(command, name="bin/conspec rewards")
