"""Phases of the study conspec: search-<world> for each world, side by side -> ablation.

A unit of a search is a trial. A unit of ablation is one of the first COMPLETE trials of a world trained again without
ConSpec, worlds fastest, so that more of them are appended.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.conspec.config import Config
from ...jobs.conspec.search_space import ParameterGrid, read_space
from ...jobs.conspec.worlds import WORLDS, episode_length
from ..errors import Exit, QuintetError
from ..phases import TRIAL_DATASETS, Dataset, Once, Phase, Resources, Task
from ..trials import Claim, FinishedTrial, SearchSpec, SpaceExhausted, choice, integer, uniform
from .models import Models
from .rows import datasets_of, no_arrays
from .tracking import check_tracker, tracker_of

if TYPE_CHECKING:
    from ..context import Context
    from .training import Training

TOOLS = {
    "": "quintet.shard.conspec.search",
    "analyse": "quintet.merge.conspec.analyse",
    "rewards": "quintet.shard.conspec.rewards",
    "expert": "quintet.merge.conspec.expert",
    "export-wandb": "quintet.merge.conspec.export_wandb",
}
OUTPUTS = {
    "hyperparam_search_report.md": "report/report.md",
    "trials.csv": "tables/trials.csv",
}
ABLATION = "ablation"
PREFIX = "search-"
STEP_SECONDS = {"grid": 8e-5, "delayed": 6e-5}
"""CPU seconds per environment step, of a trial that learns or not, averaged over the default space."""

SCIENCE = ("environment", "agent", "hyperparameters", "hyperparameter_order")
TRAINING = ("episodes", "max_steps_per_episode", "eval_frequency")
SEARCH = (
    "method",
    "optimization_metric",
    "optimization_direction",
    "grid_levels",
    "grid_order",
    "sync_batch",
    "n_startup_trials",
    "static",
)
READS = (*SCIENCE, *(f"training.{key}" for key in TRAINING), *(f"search.{key}" for key in SEARCH))


def resolved(config: Config) -> Config:
    """Refuse what cannot be run here: exit 2 before anything is written; say where a grid ends early."""
    check_tracker(config)
    search = config.search
    if search.method == "bayesian" and find_spec("optuna") is None:
        raise QuintetError(Exit.USAGE, "search.method: 'bayesian' needs the package optuna; install quintet whole")
    if config.trials_per_world < search.n_trials:
        points = config.trials_per_world
        warnings.warn(
            f"search.n_trials: found {search.n_trials}; the grid has {points} points, so {points} are run", stacklevel=2
        )
    return config


def space_of(config: Config) -> tuple[tuple[str, str], ...]:
    """Return the search space in Optuna's JSON, in the declared order."""
    space = []
    for axis in read_space(config.hyperparameters):
        if axis.values:
            text = choice(list(axis.values))
        elif axis.kind == "int":
            text = integer(int(axis.low), int(axis.high), axis.log)
        else:
            text = uniform(axis.low, axis.high, axis.log)
        space.append((axis.name, text))
    return tuple(space)


def world_of(phase: str) -> str:
    """Return the world of a search phase."""
    return phase.removeprefix(PREFIX)


def has_conspec(config: Config) -> bool:
    """Whether any trial of the search is with ConSpec."""
    searched = {axis.name: axis.values for axis in read_space(config.hyperparameters)}
    return any(searched.get("conspec", (config.agent.conspec,)))


def ablation_trials(config: Config) -> int:
    """Return how many trials of each world are trained again; none where the search itself is without ConSpec."""
    if not has_conspec(config):
        return 0
    return min(config.ablation.trials, config.trials_per_world)


def phases(config: Config) -> tuple[Phase, ...]:
    """Return the table of phases."""
    searches = tuple(search_phase(config, world) for world in config.environments)
    return (*searches, ablation_phase(config, tuple(phase.name for phase in searches)))


def resources_of(config: Config, world: str) -> Resources:
    """Return what an element of a world asks for."""
    family = config.environment.family
    steps = episode_length(world) if family == "delayed" else config.training.max_steps_per_episode // 2
    return Resources(
        mem_mb=2000,
        time_s=7200,
        seconds_per_unit=max(1.0, config.training.episodes * steps * STEP_SECONDS[family]),
        bytes_per_unit=20_000 + 18.0 * config.training.episodes,
        checkpoint_s=60.0,
    )


def search_phase(config: Config, world: str) -> Phase:
    """Return the search of one world: a pull, or with `search.static` a map whose units are the trials."""
    search, store, n_trials = config.search, config.store, config.trials_per_world
    datasets = datasets_of(config.environment.family)
    spec = SearchSpec(
        study_name=world,
        n_trials=n_trials,
        direction=search.optimization_direction,
        space=space_of(config),
        max_failures=config.max_failures,
        adaptive=search.method == "bayesian",
        lease_seconds=store.lease_seconds,
        heartbeat_seconds=store.heartbeat_seconds,
        max_attempts=store.max_attempts,
        sync_batch=search.sync_batch,
        wait_seconds=store.wait_seconds,
        points=grid_points(config),
    )
    return Phase(
        name=PREFIX + world,
        kind="map" if search.static else "pull",
        units=n_trials,
        reads=READS,
        grows="search.n_trials",
        datasets=(*TRIAL_DATASETS, *datasets) if search.static else datasets,
        search=spec,
        resources=resources_of(config, world),
    )


def grid_points(config: Config) -> int | None:
    """Return how many points a grid search has; None for other methods."""
    if config.search.method != "grid":
        return None
    return len(ParameterGrid(config.hyperparameters, levels=config.search.grid_levels))


def ablation_phase(config: Config, searches: tuple[str, ...]) -> Phase:
    """Return the phase that trains again without ConSpec."""
    longest = max((resources_of(config, world) for world in config.environments), key=lambda r: r.seconds_per_unit or 0)
    return Phase(
        name=ABLATION,
        kind="map",
        units=ablation_trials(config) * len(config.environments),
        after=searches,
        reads=("environments",),
        grows="ablation.trials",
        datasets=(Dataset("rows/world", "u1"), *TRIAL_DATASETS, *datasets_of(config.environment.family)),
        resources=longest,
    )


def complete_trials(file: Any) -> list[tuple[int, dict[str, Any]]]:
    """Return number and parameters of the COMPLETE trials in a search's result, by number."""
    offsets, text = file["rows/parameters_offsets"][()], file["rows/parameters"][()].tobytes()
    return sorted(
        (int(number), json.loads(text[offsets[row] : offsets[row + 1]]))
        for row, (number, failed) in enumerate(zip(file["rows/number"][()], file["rows/failed"][()], strict=True))
        if not failed
    )


class Columns:
    """A task whose trial becomes the unit of a map, with the columns that every trial's partial has."""

    def __init__(self, training: Training, number: int, parameters: Mapping[str, Any], **more: Any) -> None:
        """Keep the trial's identity; `more` are further datasets."""
        self._training, self._claim, self._more = training, Claim(number, dict(parameters), 1, ""), more
        self.advance, self.state, self.restore = training.advance, training.state, training.restore
        self.due = training.due

    def result(self) -> dict[str, Any]:
        """Return the arrays of one unit."""
        from ..worker import trial_columns

        return {**trial_columns(self._claim, self._training.result()), **self._more}


class ConSpecWork:
    """The work of one phase in one process."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context
        self._config: Config = context.config
        self._world = world_of(context.phase.name)
        self._latest: tuple[int, Training] | None = None

    @cached_property
    def _models(self) -> Models:
        return Models(self._context, self._world)

    @cached_property
    def _order(self) -> tuple[Any, Any]:
        search = self._config.search
        grid = ParameterGrid(self._config.hyperparameters, levels=search.grid_levels)
        return grid, None if search.grid_order == "lexicographic" else grid.order(self._config.seed, self._world)

    @cached_property
    def _adaptive(self) -> Any:
        from ..samplers import propose_tpe

        search = self._config.search
        words = (self._config.seed, WORLDS.index(self._world))
        return propose_tpe(
            space_of(self._config), words, search.n_startup_trials, search.optimization_direction, multivariate=True
        )

    def propose(self, number: int, earlier: Sequence[FinishedTrial]) -> dict[str, Any]:
        """Return the parameters of trial `number`.

        Raises:
            SpaceExhausted: the grid has no such point.
        """
        method = self._config.search.method
        if method == "bayesian":
            return dict(self._adaptive(number, earlier))
        if method == "random":
            return self._config.parameters(self._world, number)
        grid, order = self._order
        if number >= len(grid):
            raise SpaceExhausted(f"the grid has {len(grid)} points")
        return dict(grid[number if order is None else int(order[number])])

    def trial(self, number: int, parameters: Mapping[str, Any]) -> Task:
        """Return the task that trains one trial."""
        # JSON has lost the order of the parameters where a rebuilt store gives them.
        named = {name: parameters[name] for name in self._config.hyperparameters}
        training = self._training(self._world, number, named, tracked=True)
        self._latest = (number, training)
        return training

    def told(self, number: int, finished: Sequence[FinishedTrial]) -> None:
        """Keep the weights of the trial that was told just now: only of the best one, unless all are wanted."""
        if self._latest is None or self._latest[0] != number or self._latest[1].weights is None:
            return
        keeps_all = not self._config.logging.save_best_only
        if keeps_all or self._models.keep_best(finished, self._config.search.optimization_direction) == number:
            self._models.save(number, self._latest[1].weights)

    def block(self, units: range) -> Task:
        """Return the task of one unit of ablation, or of a static search."""
        (unit,) = units
        if self._context.phase.name != ABLATION:
            parameters = self.propose(unit, ())
            training = self._training(self._world, unit, parameters, tracked=True)
            return Columns(training, unit, parameters)
        position, place = divmod(unit, len(self._config.environments))
        world = self._config.environments[place]
        mark = np.array([WORLDS.index(world)], "u1")
        with self._context.result(PREFIX + world) as file:
            known = complete_trials(file)
        if position >= len(known):
            return Once(self._absent, mark)
        number, stored = known[position]
        parameters = {name: stored[name] for name in self._config.hyperparameters}
        training = self._training(world, number, parameters, tracked=False)
        return Columns(training, number, parameters, **{"rows/world": mark})

    def _absent(self, mark: Any) -> dict[str, Any]:
        from ..worker import trial_columns

        arrays = {**no_arrays(self._config.environment.family), "failure": "the search has fewer COMPLETE trials"}
        return {**trial_columns(Claim(-1, {}, 1, ""), arrays), "rows/world": mark}

    def _training(self, world: str, number: int, parameters: Mapping[str, Any], tracked: bool) -> Training:
        from .training import Training

        config = self._config
        again = self._context.phase.name == ABLATION
        arguments = config.trial_arguments(parameters, world, number, with_conspec=False if again else None)
        tracker = tracker_of(config, self._context.run.path, world, number, parameters) if tracked else None
        return Training(
            arguments,
            config.search.optimization_metric,
            log_frequency=config.logging.log_frequency,
            checkpoint_frequency=config.training.checkpoint_frequency,
            tracker=tracker,
        )


def start(context: Context) -> ConSpecWork:
    """Return the work of `context.phase` in this process."""
    return ConSpecWork(context)


def failed_units(run: Path, phases: Sequence[str]) -> list[str]:
    """Return a line for every failure row of a run."""
    from ..partial import opened

    lines = []
    for phase in phases:
        with opened(run / "merged" / f"{phase}.h5") as file:
            offsets, text = file["rows/attributes_offsets"][()], file["rows/attributes"][()].tobytes()
            for row in np.flatnonzero(file["rows/failed"][()] & (file["rows/number"][()] >= 0)):
                reason = json.loads(text[offsets[row] : offsets[row + 1]]).get("reason", "no reason given")
                lines.append(f"{phase}: trial {file['rows/number'][row]}: {reason}")
    return lines
