"""Config of a run: worlds, search space, training, search, agent, logging and the store."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .search_space import LARGEST_GRID, ParameterGrid, read_space, sample_parameters
from .settings import KNOWN, NINE, Agent, NotNegative, Real, settings_of
from .worlds import DEFAULT_SIZE, GRID_WORLDS, REWARDS, WORLDS, check_size, check_world, full_rewards

Family = Literal["grid", "delayed"]
World = Literal["single", "double", "triple", "quad"]
Metric = Literal["mean_reward", "success_rate", "max_reward", "auc_reward", "auc_success", "episodes_to_90"]
Positive = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Seconds = Annotated[Real, Field(gt=0.0)]

DEFAULT_SPACE: dict[str, dict[str, Any]] = {
    "num_prototypes": {"type": "choice", "values": [3, 5, 7, 10]},
    "learning_rate": {"type": "loguniform", "min": 1e-4, "max": 1e-2},
    "intrinsic_reward_scale": {"type": "uniform", "min": 0.1, "max": 1.0},
    "gamma": {"type": "choice", "values": [0.95, 0.98, 0.99]},
    "epsilon_decay": {"type": "uniform", "min": 0.99, "max": 0.999},
    "hidden_dim": {"type": "choice", "values": [64, 128, 256]},
    "lstm_hidden_size": {"type": "choice", "values": [64, 128, 256]},
    "batch_size": {"type": "choice", "values": [32, 64, 128, 256]},
    "memory_size": {"type": "choice", "values": [1000, 5000, 10000]},
}
"""The space that the study's literature reports."""


class Section(BaseModel):
    """A section of the config: unknown keys are refused with the nearest known one, `null` means the defaults."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_default=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if data is None:
            return {}
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.4)
                hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(cls.model_fields)}"
                raise ValueError(f"{key}: unknown key{hint}")
        return data


class Training(Section):
    """How long a trial is, and how often it is looked at; family `delayed` has episodes of fixed length."""

    episodes: Positive = 5000
    max_steps_per_episode: Positive = 400
    eval_frequency: Positive = 500
    checkpoint_frequency: Positive = 1000


class Search(Section):
    """How the parameters of trials are chosen, and what is optimised."""

    method: Literal["random", "grid", "bayesian"] = "random"
    n_trials: Positive = 50
    optimization_metric: Metric = "mean_reward"
    optimization_direction: Literal["maximize", "minimize"] = "maximize"
    grid_levels: Annotated[int, Field(strict=True, ge=2, le=10**6)] = 3
    grid_order: Literal["shuffled", "lexicographic"] = "shuffled"
    sync_batch: Annotated[int, Field(strict=True, ge=0)] = 8
    n_startup_trials: Annotated[int, Field(strict=True, ge=0)] = 10
    static: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _static_methods(self) -> Self:
        if self.static and self.method == "bayesian":
            raise ValueError("static needs method random or grid")
        return self


class Logging(Section):
    """Trackers and what is kept of finished trials; changes no number."""

    wandb_project: str = "schema-learning"
    wandb_entity: str | None = "mandanasmi"
    log_frequency: Positive = 100
    save_best_only: Annotated[bool, Field(strict=True)] = True
    tracker: Literal["none", "jsonl", "tensorboard", "wandb"] = "jsonl"


class Rewards(Section):
    """What a step pays in family `grid`."""

    key: Real = REWARDS["key"]
    door: Real = REWARDS["door"]
    green_goal: Real = REWARDS["green_goal"]
    goal: Real = REWARDS["goal"]

    @model_validator(mode="after")
    def _not_negative(self) -> Self:
        full_rewards(self.model_dump())
        return self


class Environment(Section):
    """Which family of worlds, and by which rules."""

    family: Family = "grid"
    ruleset: Literal["standard", "reference"] = "standard"
    reward_mode: Literal["shaped", "sparse", "delayed"] = "shaped"
    size: Annotated[int, Field(strict=True)] = DEFAULT_SIZE
    rewards: Rewards = Rewards()

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        if self.family == "delayed":
            if self.ruleset != "standard":
                raise ValueError(f"ruleset {self.ruleset} has no meaning in family delayed")
            if self.reward_mode != "shaped":
                raise ValueError(f"reward_mode {self.reward_mode} has no meaning in family delayed")
        else:
            check_size("", self.size)
        return self


class Ablation(Section):
    """How many trials of each world are trained again without ConSpec."""

    trials: Annotated[int, Field(strict=True, ge=0, le=10**6)] = 5


class Store(Section):
    """Leases of the trial store; changes no number."""

    lease_seconds: Seconds = 120.0
    heartbeat_seconds: Seconds = 15.0
    max_attempts: Positive = 5
    wait_seconds: NotNegative = 900.0
    max_failures: Annotated[int, Field(strict=True, ge=0)] | None = None

    @model_validator(mode="after")
    def _beats_within_lease(self) -> Self:
        if self.heartbeat_seconds >= self.lease_seconds:
            raise ValueError(f"heartbeat_seconds {self.heartbeat_seconds} >= lease_seconds {self.lease_seconds}")
        return self


class Config(Section):
    """One run of the study.

    `hyperparameter_order` keeps the declared order of the search space, which decides what each trial draws, where a
    file keeps mappings sorted; it need not be written.
    """

    seed: Annotated[int, Field(strict=True, ge=0, lt=2**64)] = 0
    environments: tuple[World, ...] = GRID_WORLDS  # type: ignore[assignment]
    hyperparameters: dict[str, dict[str, Any]] = DEFAULT_SPACE
    hyperparameter_order: tuple[str, ...] | None = None
    training: Training = Training()
    search: Search = Search()
    environment: Environment = Environment()
    agent: Agent = Agent()
    ablation: Ablation = Ablation()
    logging: Logging = Logging()
    store: Store = Store()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_worlds()
        self._check_space()
        return self

    def _check_worlds(self) -> None:
        if not self.environments or len(set(self.environments)) != len(self.environments):
            raise ValueError(f"environments: {list(self.environments)}; allowed different worlds, at least one")
        for world in self.environments:
            check_world(world, self.environment.family)
            if self.environment.family == "grid":
                check_size(world, self.environment.size)
        self.environments = tuple(world for world in WORLDS if world in self.environments)  # type: ignore[misc]

    def _check_space(self) -> None:
        order = self.hyperparameter_order or tuple(self.hyperparameters)
        if sorted(order) != sorted(self.hyperparameters):
            raise ValueError(f"hyperparameter_order: {list(order)}; allowed the names under hyperparameters, each once")
        self.hyperparameters = {name: self.hyperparameters[name] for name in order}
        self.hyperparameter_order = order
        for name in order:
            if name not in KNOWN:
                raise ValueError(f"hyperparameters.{name}: the agent has no such parameter; known: {', '.join(KNOWN)}")
            known = Agent.model_fields.get(name)
            if known is not None and getattr(self.agent, name) != known.default:
                raise ValueError(f"hyperparameters.{name}: stands under agent too; give it in one place")
        try:
            axes = read_space(self.hyperparameters)
        except ValueError as error:
            raise ValueError(f"hyperparameters.{error}") from None
        ends = {axis.name: axis.values or (axis.at(0.0), axis.at(math.nextafter(1.0, 0.0))) for axis in axes}
        for name, values in ends.items():
            for value in values:  # the two epsilons are compared below
                self._check_settings({"epsilon_min": 0.0, "epsilon_start": 1.0, name: value}, "hyperparameters.")
        picks = (("epsilon_min", max), ("epsilon_start", min))
        worst = {name: pick(ends[name]) for name, pick in picks if name in ends}
        self._check_settings(worst, "hyperparameters." if worst else "agent.")
        if self.search.method == "grid":
            n_points = math.prod(len(axis.levels(self.search.grid_levels)) for axis in axes)
            if n_points > LARGEST_GRID:
                raise ValueError(f"grid has {n_points} points; allowed at most {LARGEST_GRID}")

    def _check_settings(self, params: Mapping[str, Any], section: str) -> None:
        try:
            settings_of(params, self.agent.model_dump(exclude_unset=True), self.environment.family)
        except ValueError as error:
            raise ValueError(f"{section}{error}") from None

    @property
    def max_failures(self) -> int:
        """Failed trials after which nothing is claimed any more."""
        return self.search.n_trials if self.store.max_failures is None else self.store.max_failures

    @property
    def trials_per_world(self) -> int:
        """Trials that a search can have: n_trials, or every point of a smaller grid."""
        if self.search.method != "grid":
            return self.search.n_trials
        return min(self.search.n_trials, len(ParameterGrid(self.hyperparameters, levels=self.search.grid_levels)))

    def parameters(self, world: str, trial: int) -> dict[str, Any]:
        """Return the parameters of a trial of method `random` or `grid` (for `bayesian`, of its random trials).

        Raises:
            IndexError: the grid has no such point left.
        """
        if self.search.method != "grid":
            return sample_parameters(self.hyperparameters, self.seed, world, trial)
        grid = ParameterGrid(self.hyperparameters, levels=self.search.grid_levels)
        if self.search.grid_order == "lexicographic":
            return grid[trial]
        return grid[int(grid.order(self.seed, world)[trial])]

    def trial_arguments(
        self, params: Mapping[str, Any], world: str, trial: int, with_conspec: bool | None = None
    ) -> dict[str, Any]:
        """Return the keywords of `trial.Trial` for one trial; `with_conspec` overrides the agent's choice."""
        agent = self.agent.model_dump(exclude_unset=True)
        own = dict(params)
        if with_conspec is not None:
            own.pop("conspec", None)
            agent["conspec"] = with_conspec
        return {
            "params": own,
            "seed_words": (self.seed, WORLDS.index(world), trial),
            "world": world,
            "episodes": self.training.episodes,
            "family": self.environment.family,
            "ruleset": self.environment.ruleset,
            "reward_mode": self.environment.reward_mode,
            "agent": agent,
            "max_steps": self.training.max_steps_per_episode,
            "size": self.environment.size,
            "rewards": self.environment.rewards.model_dump(),
            "eval_frequency": self.training.eval_frequency,
        }


__all__ = ["DEFAULT_SPACE", "NINE", "Config", "Section", "ValidationError"]
