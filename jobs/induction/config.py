"""Config of the study: which worlds and parameters are solved, swept or cut into slabs, and how."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from .neural.run_settings import NeuralRun
from .params import Params, Weights, given_discounts, set_discounts
from .samples import PARAMETERS, Prior
from .solver import DEFAULT_ROW_CHUNK

Probabilities = tuple[Annotated[float, Field(ge=0.0, allow_inf_nan=False)], ...]
THEORY = tuple(Params.model_fields)
PROBLEM_KEYS = (
    "world",
    "max_steps",
    *THEORY,
    "human_agents",
    "robot_agents",
    "allow_unknown_keys",
    "coverage_check",
    "storage_dtype",
    "spill",
    "spill_dir",
    "compression",
    "keep_policies",
    "row_chunk",
)
"""Keys that one of several problems may set for itself."""

SWEEP_BETA_R = 50.0
QUICK_SAMPLES, QUICK_STEPS = 3, {"freeing": 8, "deactivation": 5}


class Section(BaseModel):
    """A section of the config; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Inputs(Section):
    """Files from outside: a world file (or the name of a packaged world), and a finished run to compare with."""

    world: str | None = Field(None, description="World file, or name of a packaged world.")
    exact_run: str | None = Field(None, description="Finished solve run that holds the same problems (mode neural).")


class Slab(Section):
    """How levels are cut into parts that separate processes compute."""

    rows: int = Field(65536, ge=1, description="Rows per block; with --neural: training rows per level.")
    head_levels: int = Field(8, ge=1, description="Small levels that one process computes in one phase.")


class Sweep(Section):
    """Which parameter sets are drawn."""

    n_samples: int = Field(10, ge=1, le=10_000_000, description="Parameter sets; the run may grow by them.")
    base_seed: int = Field(1000, ge=0, lt=2**31, description="Sample i has seed base_seed + i.")
    profile: Literal["freeing", "deactivation"] = Field("freeing", description="Which experiment's prior.")
    sampler: Literal["legacy", "sobol", "grid"] = Field("legacy", description="How parameters are drawn.")
    quick: bool = Field(False, description="Three samples at a small horizon.")
    max_steps_threshold: int = Field(10, ge=1, description="Subsamples: horizons below and above.")
    max_steps_min: int | None = Field(None, ge=1, description="[8; deactivation: 10]")
    max_steps_max: int | None = Field(None, ge=1, description="[14; deactivation: 16]")
    beta_h_min: float = Field(5.0, gt=0.0, allow_inf_nan=False)
    beta_h_max: float = Field(100.0, gt=0.0, allow_inf_nan=False)
    gamma_h_min: float = Field(0.8, gt=0.0, le=1.0)
    gamma_h_max: float = Field(1.0, gt=0.0, le=1.0)
    gamma_r_min: float = Field(0.8, gt=0.0, le=1.0)
    gamma_r_max: float = Field(1.0, gt=0.0, le=1.0)
    zeta_min: float = Field(1.0, gt=0.0, allow_inf_nan=False)
    zeta_max: float = Field(3.0, gt=0.0, allow_inf_nan=False)
    eta_min: float = Field(1.0, gt=0.0, allow_inf_nan=False)
    eta_max: float = Field(2.0, gt=0.0, allow_inf_nan=False)
    xi_min: float | None = Field(None, gt=0.0, allow_inf_nan=False, description="[1]")
    xi_max: float | None = Field(None, gt=0.0, allow_inf_nan=False, description="[2; deactivation: 1]")
    beta_r: float = Field(SWEEP_BETA_R, ge=0.0, description="Exponent of the robot's power law.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        usual = Prior() if self.profile == "freeing" else Prior.deactivation()
        if self.quick:
            steps = QUICK_STEPS[self.profile]
            self.n_samples, self.max_steps_min, self.max_steps_max = QUICK_SAMPLES, steps, steps
        self.max_steps_min = self.max_steps_min or usual.max_steps_min
        self.max_steps_max = self.max_steps_max or max(usual.max_steps_max, self.max_steps_min)
        self.xi_min = self.xi_min or usual.xi_min
        self.xi_max = self.xi_max or max(usual.xi_max, self.xi_min)
        _ = self.prior
        return self

    @property
    def prior(self) -> Prior:
        """The bounds as a prior."""
        return Prior(**{name: getattr(self, name) for name in Prior.model_fields})


class Problem(Section):
    """One of several problems: what it sets for itself; the rest is the config's."""

    world: str | None = Field(None, description="World file, or name of a packaged world.")
    max_steps: int | None = Field(None, ge=1, description="Horizon; the world's unless set.")
    beta_h: float | None = None
    gamma_h: float | None = None
    rho_h: float | None = None
    beta_r: float | None = None
    gamma_r: float | None = None
    rho_r: float | None = None
    zeta: float | None = None
    xi: float | None = None
    eta: float | None = None
    terminal_Vr: float | None = None  # noqa: N815
    optimistic: bool | None = None
    human_aggregate: Literal["mean", "sum"] | None = None
    goal_weights: Weights | None = None
    nu: float | None = None
    pi0: Literal["uniform"] | Probabilities | None = None
    power_floor: float | None = None
    human_agents: tuple[int, ...] | None = None
    robot_agents: tuple[int, ...] | None = None
    allow_unknown_keys: bool | None = None
    coverage_check: bool | None = None
    storage_dtype: Literal["float64", "float32", "float16"] | None = None
    spill: Literal["auto", "always", "never"] | None = None
    spill_dir: str | None = None
    compression: Literal["none", "lzf", "gzip"] | None = None
    keep_policies: Literal["none", "robot", "all"] | None = None
    row_chunk: int | None = Field(None, ge=1)


class FrozenWorld(Section):
    """A world as planning has read it: its file's content and the largest horizon that is asked of it."""

    source: str = Field(description="Content of the world file as canonical JSON.")
    max_steps: int = Field(ge=1, description="Largest horizon of the run on this world.")
    human_agents: tuple[int, ...] | None = None
    robot_agents: tuple[int, ...] | None = None


class Config(Section):
    """One run of the study."""

    mode: Literal["solve", "sweep", "slab", "neural"] = Field("solve", description="What is computed.")
    inputs: Inputs = Inputs()
    max_steps: int | None = Field(None, ge=1, description="Horizon; the world's unless set.")
    problems: tuple[Problem, ...] = Field((), description="Several problems in a run.")
    grid: dict[str, tuple[Any, ...]] | None = Field(None, description="Lists of values; every problem x their product.")
    beta_h: float = Field(10.0, ge=0.0, description="Inverse temperature of the humans.")
    gamma_h: float = Field(0.95, gt=0.0, le=1.0, description="The humans' discount per step.")
    rho_h: float | None = Field(None, ge=0.0, allow_inf_nan=False, description="Instead of gamma_h = exp(-rho_h).")
    beta_r: float = Field(100.0, ge=0.0, description="Exponent of the robot's power law.")
    gamma_r: float = Field(0.99, gt=0.0, le=1.0, description="The robot's discount per step.")
    rho_r: float | None = Field(None, ge=0.0, allow_inf_nan=False, description="Instead of gamma_r = exp(-rho_r).")
    zeta: float = Field(2.0, gt=0.0, allow_inf_nan=False, description="Preference for certainty.")
    xi: float = Field(1.0, gt=0.0, allow_inf_nan=False, description="Inequality aversion between humans.")
    eta: float = Field(1.1, gt=0.0, allow_inf_nan=False, description="Inequality aversion between times.")
    terminal_Vr: float = Field(-1e-10, lt=0.0, allow_inf_nan=False, description="V_r at the horizon.")  # noqa: N815
    optimistic: bool = Field(False, description="Humans expect the best robot behaviour.")
    human_aggregate: Literal["mean", "sum"] = Field("mean", description="How the humans' powers are joined.")
    goal_weights: Weights | None = Field(None, description="uniform (a world without goals: unit), unit, or a list.")
    nu: float = Field(0.0, ge=0.0, le=1.0, description="Weight of the habitual policy.")
    pi0: Literal["uniform"] | Probabilities = Field("uniform", description="The humans' habitual policy.")
    power_floor: float = Field(0.0, ge=0.0, allow_inf_nan=False, description="Lower bound of X_h.")
    human_agents: tuple[int, ...] | None = Field(None, description="Numbers of the humans; yellow agents unless set.")
    robot_agents: tuple[int, ...] | None = Field(None, description="Numbers of the robots; grey agents unless set.")
    allow_unknown_keys: bool = Field(False, description="Warn of a world's unknown keys instead of refusing them.")
    coverage_check: bool = Field(True, description="Refuse goals that leave a walkable cell uncovered.")
    storage_dtype: Literal["float64", "float32", "float16"] = Field("float64", description="Rounding of stored V.")
    spill: Literal["auto", "always", "never"] = Field("auto", description="Transitions and levels on disk.")
    spill_dir: str | None = Field(None, description="Where; job scratch unless set.")
    allow_tmpfs: bool = Field(False, description="Let spill_dir be in memory.")
    compression: Literal["none", "lzf", "gzip"] = Field("none", description="Of what is spilled.")
    keep_policies: Literal["none", "robot", "all"] = Field("robot", description="What is written per level.")
    row_chunk: int = Field(DEFAULT_ROW_CHUNK, ge=1, description="Rows per kernel call.")
    min_free_memory_fraction: float = Field(0.10, ge=0.0, lt=1.0, description="Memory trigger level (0: off).")
    memory_pause_duration: float = Field(60.0, ge=0.0, allow_inf_nan=False, description="Seconds to wait for memory.")
    memory_check_interval: int = Field(1, ge=1, description="Chunks between looks at the memory.")
    on_low_memory: Literal["spill", "pause", "abort"] = Field("spill", description="What is done when it is low.")
    max_states: int | None = Field(None, ge=1, description="Stop the expansion beyond so many states.")
    slab: Slab | None = None
    sweep: Sweep | None = None
    neural: NeuralRun | None = None
    rollouts: int = Field(20, ge=0, description="Episodes to play; 0: none.")
    rollout_seed: int = Field(42, ge=0, lt=2**63, description="Seed of the episodes.")
    fps: float = Field(3.0, gt=0.0, allow_inf_nan=False, description="Frames per second.")
    others_marginal: bool = Field(False, description="In an episode only one human follows its goal.")
    human_always_toggles: bool = Field(False, description="In episodes humans always toggle.")
    quiet: bool = Field(False, description="No progress output.")
    worlds: tuple[FrozenWorld, ...] = Field((), description="Filled in by planning: the worlds of the run.")
    world_of: tuple[int, ...] = Field((), description="Filled in by planning: the world of each problem.")
    level_sizes: tuple[tuple[int, ...], ...] = Field(
        (), description="Filled in by planning in mode neural: states of each problem's levels, as far as counted."
    )

    @field_validator("grid", mode="before")
    @classmethod
    def _of_pairs(cls, grid: Any) -> Any:
        """Take a grid as a plan writes it, too: pairs of name and values, since plans sort the keys of mappings."""
        is_paired = isinstance(grid, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in grid)
        return dict(grid) if is_paired else grid

    @model_serializer(mode="wrap")
    def _as_plans_hold_it(self, handler: Any, info: Any) -> Any:
        values = given_discounts(handler(self))
        if info.mode != "json":
            return values
        return json_values({**values, "grid": None if self.grid is None else list(self.grid.items())})

    @model_validator(mode="after")
    def _of_one_mode(self) -> Self:
        set_discounts(self)
        if self.slab is not None and self.mode != "slab":
            raise ValueError(f"slab: belongs to mode slab; mode is {self.mode}")
        if self.sweep is not None and self.mode != "sweep":
            raise ValueError(f"sweep: belongs to mode sweep; mode is {self.mode}")
        if self.neural is not None and self.mode != "neural":
            raise ValueError(f"neural: belongs to mode neural; mode is {self.mode}")
        if self.inputs.exact_run is not None and self.mode != "neural":
            raise ValueError(f"inputs.exact_run: belongs to mode neural; mode is {self.mode}")
        if self.problems and self.mode not in ("solve", "neural"):
            raise ValueError(f"problems: belongs to modes solve and neural; mode is {self.mode}")
        takes_grid = self.mode in ("solve", "neural") or (self.sweep is not None and self.sweep.sampler == "grid")
        if self.grid is not None and not takes_grid:
            raise ValueError(f"grid: belongs to modes solve and neural, and to sampler grid; mode is {self.mode}")
        if self.mode == "slab":
            self.slab = self.slab or Slab()
        if self.mode == "neural":
            self.neural = self.neural or NeuralRun()
            if self.inputs.exact_run is not None and not self.neural.validates:
                raise ValueError("inputs.exact_run: needs neural.validate: true, which compares with it")
        if self.mode == "sweep":
            self.sweep = self.sweep or Sweep()
            self._check_sweep_grid(self.sweep)
        else:
            for problem in self.resolved_problems():
                _ = problem_params(problem)
                if self.mode == "neural":
                    _check_storage(problem)
                if self.mode == "solve" and self.rollouts and problem["keep_policies"] == "none":
                    raise ValueError("rollouts: need the policies; set keep_policies to robot or all, or rollouts to 0")
        return self

    def _check_sweep_grid(self, sweep: Sweep) -> None:
        if sweep.sampler == "grid" and not self.grid:
            raise ValueError("grid: sampler grid needs lists of values")
        for name, values in (self.grid or {}).items():
            if name not in PARAMETERS[1:] or not values:
                raise ValueError(f"grid.{name}: allowed are non-empty lists for {', '.join(PARAMETERS[1:])}")

    def resolved_problems(self) -> Iterator[dict[str, Any]]:
        """Yield every problem with all its keys: each of `problems` (or the config) x the grid, last list fastest.

        Raises:
            ValueError: a grid names a key that no problem has, or an empty list.
        """
        grid = self.grid or {}
        for name, values in grid.items():
            if name not in PROBLEM_KEYS or not values:
                raise ValueError(f"grid.{name}: allowed are non-empty lists for {', '.join(PROBLEM_KEYS)}")
        base = {name: getattr(self, name) for name in PROBLEM_KEYS if name != "world"} | {"world": self.inputs.world}
        for problem in self.problems or (Problem(),):
            for point in itertools.product(*grid.values()):
                chosen = problem.model_dump(exclude_none=True) | dict(zip(grid, point, strict=True))
                yield _overridden(base, chosen)


def _check_storage(problem: dict[str, Any]) -> None:
    """Refuse what says how exact tables are stored; fitted values have none."""
    for name in ("storage_dtype", "spill", "spill_dir", "compression", "keep_policies"):
        usual = Config.model_fields[name].default
        if problem.get(name, usual) != usual:
            raise ValueError(f"{name}: found {problem[name]!r}; it belongs to modes solve and slab, not to neural")


def json_values(value: Any) -> Any:
    """Return a value with "inf" for infinity, which JSON cannot hold, and lists for tuples."""
    if isinstance(value, dict):
        return {key: json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    return "inf" if isinstance(value, float) and value == math.inf else value


def _overridden(base: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """The problem with its own keys; a discount of its own replaces the config's, whichever way each is given."""
    kept = dict(base)
    for who in ("h", "r"):
        if f"gamma_{who}" in chosen or f"rho_{who}" in chosen:
            kept.pop(f"gamma_{who}")
            kept.pop(f"rho_{who}")
        if f"gamma_{who}" in chosen and f"rho_{who}" in chosen:
            raise ValueError(f"gamma_{who} and rho_{who} exclude each other; give one (gamma = exp(-rho))")
    try:
        found = Problem(**{**kept, **chosen})
    except ValidationError as error:
        raise ValueError(_one_line(error)) from None
    return found.model_dump(exclude_none=True)


def problem_params(problem: dict[str, Any]) -> Params:
    """Return the theory of a resolved problem.

    Raises:
        ValueError: a value out of range; one line.
    """
    try:
        return Params(**given_discounts({name: problem[name] for name in THEORY if name in problem}))
    except ValidationError as error:
        raise ValueError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: found {first['input']!r}; {first['msg']}" if where else str(first["msg"])
