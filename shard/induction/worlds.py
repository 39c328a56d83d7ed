"""Finding the worlds of a run and freezing them: from the plan on, nobody reads a world file again."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...jobs.induction.config import THEORY, Config, FrozenWorld, problem_params
from ...jobs.induction.episodes import TOGGLE
from ...jobs.induction.params import Params
from ...jobs.induction.world import TRIVIAL, World
from ..errors import Exit, QuintetError
from ..snapshot import package_folders
from .spill import checked_spill_folder

SWEEP_WORLDS = {"freeing": "asymmetric_freeing_simple", "deactivation": "deactivate_pause_or_destroy"}
WORLD_KEYS = ("human_agents", "robot_agents", "allow_unknown_keys", "coverage_check")


def packaged_world(name: str) -> Path | None:
    """Return the file of a world that the suite brings along, None where it has none of that name."""
    folder = package_folders()["shard"].parent / "configs" / "induction" / "worlds"
    path = (folder if folder.is_dir() else Path("configs/induction/worlds")) / f"{name}.yaml"
    return path if Path(name).name == name and path.is_file() else None


def read_world(name: str | None, **choices: Any) -> World:
    """Return the world of a path or a packaged name; None is the trivial world.

    Raises:
        QuintetError: exit 2 where it cannot be computed, in one line.
    """
    try:
        if name is None:
            return World.from_dict(TRIVIAL, **choices)
        path = Path(name)
        if not path.is_file():
            path = packaged_world(name) or path
        return World.from_yaml(path, **choices)
    except ValueError as error:
        raise QuintetError(Exit.USAGE, str(error)) from None


def with_worlds(config: Config) -> Config:
    """Read every world and freeze its content; refuse what no world of the run can serve: exit 2."""
    checked_spill_folder(config.spill_dir, config.allow_tmpfs)
    worlds: list[FrozenWorld] = []
    numbers: list[int] = []
    seen: dict[tuple[Any, ...], int] = {}
    for problem in problems_of(config):
        choices = {key: problem[key] for key in WORLD_KEYS if key in problem}
        key = (problem.get("world"), *sorted(choices.items()))
        if key not in seen:
            world = read_world(problem.get("world"), **choices)
            seen[key] = len(worlds)
            agents = {name: problem.get(name) for name in ("human_agents", "robot_agents")}
            worlds.append(FrozenWorld(source=world.source, max_steps=1, **agents))
        number = seen[key]
        world = thawed(worlds[number])
        checked(config, problem, world)
        horizon = problem["max_steps"] if problem.get("max_steps") else world.max_steps
        worlds[number] = worlds[number].model_copy(update={"max_steps": max(horizon, worlds[number].max_steps)})
        numbers.append(number)
    if config.mode == "sweep":
        largest = sweep_horizon(config, thawed(worlds[0]))
        worlds = [worlds[0].model_copy(update={"max_steps": largest})]
    elif config.mode == "slab":
        horizon = config.max_steps or thawed(worlds[0]).max_steps
        worlds = [worlds[0].model_copy(update={"max_steps": horizon})]
    return config.model_copy(update={"worlds": tuple(worlds), "world_of": tuple(numbers)})


def problems_of(config: Config) -> list[dict[str, Any]]:
    """Return the problems whose worlds a run needs: all of a solve or neural run, else the config itself."""
    if config.mode in ("solve", "neural"):
        return list(config.resolved_problems())
    world = config.inputs.world
    if config.mode == "sweep" and config.sweep is not None and world is None:
        world = SWEEP_WORLDS[config.sweep.profile]
    names = ("max_steps", *THEORY, *WORLD_KEYS)
    return [{**{name: getattr(config, name) for name in names if getattr(config, name) is not None}, "world": world}]


def sweep_horizon(config: Config, world: World) -> int:
    """Return the largest horizon of a sweep."""
    sweep = config.sweep
    assert sweep is not None
    if sweep.sampler == "grid":
        return max(int(steps) for steps in (config.grid or {}).get("max_steps", (config.max_steps or world.max_steps,)))
    return sweep.prior.max_steps_max


def checked(config: Config, problem: dict[str, Any], world: World) -> None:
    """Refuse a problem whose weights, habit or episodes do not fit its world, or with a key beyond the supported."""
    try:
        params = theory_of(problem, problem.get("world") is None)
        params.weights(len(world.goals), world.has_goal_list)
        params.habit(world.n_actions)
        _ = world.packing.n_words
    except ValueError as error:
        raise QuintetError(Exit.USAGE, str(error)) from None
    if (
        config.mode in ("solve", "neural")
        and config.rollouts
        and config.human_always_toggles
        and world.n_actions <= TOGGLE
    ):
        raise QuintetError(
            Exit.USAGE, f"human_always_toggles: world {world.name} has no action toggle; it needs ObjectActions"
        )


def theory_of(problem: dict[str, Any], is_trivial: bool) -> Params:
    """Return the theory of a problem; the trivial world has goal weights 1 unless they are set."""
    if is_trivial and problem.get("goal_weights") is None:
        problem = {**problem, "goal_weights": "unit"}
    return problem_params(problem)


@lru_cache(maxsize=64)
def _thawed(source: str, humans: tuple[int, ...] | None, robots: tuple[int, ...] | None) -> World:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # planning has said it
        return World.from_dict(
            json.loads(source), human_agents=humans, robot_agents=robots, allow_unknown_keys=True, coverage_check=False
        )


def thawed(frozen: FrozenWorld) -> World:
    """Return a frozen world."""
    return _thawed(frozen.source, frozen.human_agents, frozen.robot_agents)


@dataclass(frozen=True)
class Case:
    """One problem of a run: its world, horizon and theory, and how it is solved."""

    number: int
    world_number: int
    world: World
    max_steps: int
    params: Params
    settings: dict[str, Any]

    @property
    def label(self) -> str:
        """Name of the problem in tables: its world and horizon."""
        return f"{self.world.name}, T={self.max_steps}"


def cases(config: Config) -> list[Case]:
    """Return the problems of a planned run in mode solve, neural or slab."""
    found = []
    problems = list(config.resolved_problems()) if config.mode != "slab" else [_slab_problem(config)]
    for number, problem in enumerate(problems):
        world_number = config.world_of[number]
        frozen = config.worlds[world_number]
        world = thawed(frozen)
        found.append(
            Case(
                number=number,
                world_number=world_number,
                world=world,
                max_steps=int(problem.get("max_steps") or world.max_steps),
                params=theory_of(problem, problem.get("world") is None),
                settings=problem,
            )
        )
    return found


def _slab_problem(config: Config) -> dict[str, Any]:
    problem = next(iter(config.resolved_problems()))
    return {**problem, "max_steps": config.worlds[0].max_steps}
