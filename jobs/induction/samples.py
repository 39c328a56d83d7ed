"""Sweeps: parameters drawn from a prior, and what each of them makes of one world.

The prior is the reference implementation's, draw by draw: seed s is numpy's RandomState(s), from which come max_steps,
beta_h (log-uniform), gamma_h, gamma_r, zeta, eta and xi, in this order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .cells import KILL_BUTTON, PAUSE_SWITCH
from .derived import deactivation, freed_first, power_in_bits
from .graph import StateGraph, build
from .params import Params
from .solver import solve
from .world import World

TURN_RIGHT = 2
DRAWN = ("beta_h", "gamma_h", "gamma_r", "zeta", "eta", "xi")
PARAMETERS = ("seed", "max_steps", *DRAWN, "beta_r")
INTEGERS = ("seed", "max_steps")
Columns = dict[str, NDArray[Any]]


class Prior(BaseModel):
    """Bounds from which a sweep's parameters are drawn: beta_h log-uniform, max_steps and the others uniform.

    Raises:
        pydantic.ValidationError: a bound out of range, or a lower one above its upper one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_steps_min: int = Field(8, ge=1)
    max_steps_max: int = Field(14, ge=1)
    beta_h_min: float = Field(5.0, gt=0.0)
    beta_h_max: float = Field(100.0, gt=0.0)
    gamma_h_min: float = Field(0.8, gt=0.0, le=1.0)
    gamma_h_max: float = Field(1.0, gt=0.0, le=1.0)
    gamma_r_min: float = Field(0.8, gt=0.0, le=1.0)
    gamma_r_max: float = Field(1.0, gt=0.0, le=1.0)
    zeta_min: float = Field(1.0, gt=0.0)
    zeta_max: float = Field(3.0, gt=0.0)
    eta_min: float = Field(1.0, gt=0.0)
    eta_max: float = Field(2.0, gt=0.0)
    xi_min: float = Field(1.0, gt=0.0)
    xi_max: float = Field(2.0, gt=0.0)
    beta_r: float = Field(50.0, ge=0.0, allow_inf_nan=True)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("max_steps", *DRAWN):
            low, high = self.bounds(name)
            if low > high:
                raise ValueError(f"{name}_min {low} is above {name}_max {high}")
        return self

    def bounds(self, name: str) -> tuple[float, float]:
        """Return the lower and the upper bound of a parameter."""
        return getattr(self, f"{name}_min"), getattr(self, f"{name}_max")

    @classmethod
    def deactivation(cls) -> Prior:
        """Return the prior of the deactivation experiment: longer horizons, xi = 1."""
        return cls(max_steps_min=10, max_steps_max=16, xi_min=1.0, xi_max=1.0)


def _draw(seed: int, prior: Prior) -> dict[str, float]:
    draws = np.random.RandomState(seed)
    row: dict[str, float] = {"seed": seed}
    row["max_steps"] = draws.randint(prior.max_steps_min, prior.max_steps_max + 1)
    row["beta_h"] = math.exp(draws.uniform(math.log(prior.beta_h_min), math.log(prior.beta_h_max)))
    for name in DRAWN[1:]:
        row[name] = draws.uniform(*prior.bounds(name))
    return row | {"beta_r": prior.beta_r}


def _columns(rows: Sequence[Mapping[str, float]]) -> Columns:
    return {
        name: np.array([row[name] for row in rows], np.int64 if name in INTEGERS else np.float64) for name in PARAMETERS
    }


def sweep_parameters(seeds: Iterable[int], prior: Prior | None = None) -> Columns:
    """Return the parameters of each seed as columns [n]: seed, max_steps (i8), beta_h, ..., xi, beta_r (f8)."""
    chosen = prior or Prior()
    return _columns([_draw(int(seed), chosen) for seed in seeds])


def sobol_parameters(indices: Iterable[int], base_seed: int, prior: Prior | None = None) -> Columns:
    """Return points of a scrambled Sobol sequence as columns like those of `sweep_parameters`.

    Point i depends on (base_seed, i) alone; its seed column is base_seed + i.
    """
    from scipy.stats import qmc

    chosen = prior or Prior()
    numbers = [int(index) for index in indices]
    if not numbers:
        return _columns([])
    sampler = qmc.Sobol(d=1 + len(DRAWN), scramble=True, rng=np.random.default_rng(base_seed))
    exponent = max(numbers).bit_length()
    points = sampler.random_base2(exponent) if exponent else sampler.random(1)
    rows = []
    for number in numbers:
        point = points[number]
        steps = chosen.max_steps_max - chosen.max_steps_min + 1
        row: dict[str, float] = {"seed": base_seed + number, "beta_r": chosen.beta_r}
        row["max_steps"] = chosen.max_steps_min + min(int(point[0] * steps), steps - 1)
        for name, u in zip(DRAWN, point[1:], strict=True):
            low, high = chosen.bounds(name)
            row[name] = low * (high / low) ** u if name == "beta_h" else low + (high - low) * u
        rows.append(row)
    return _columns(rows)


def grid_parameters(
    grid: Mapping[str, Sequence[float]], base_seed: int, max_steps: int, beta_r: float = 50.0
) -> Columns:
    """Return all combinations of the lists, the last fastest, as columns like those of `sweep_parameters`.

    What the grid does not name has the defaults of `Params`, the given horizon and the given beta_r.

    Raises:
        ValueError: a name that no sweep has.
    """
    for name in grid:
        if name not in PARAMETERS or name == "seed":
            raise ValueError(f"grid: {name!r} is no parameter of a sweep; allowed are {', '.join(PARAMETERS[1:])}")
    usual = Params()
    fixed = {name: float(getattr(usual, name)) for name in DRAWN} | {"max_steps": max_steps, "beta_r": beta_r}
    points = itertools.product(*grid.values())
    return _columns(
        [fixed | dict(zip(grid, point, strict=True)) | {"seed": base_seed + i} for i, point in enumerate(points)]
    )


@dataclass(frozen=True)
class Sample:
    """What one parameter set makes of a world.

    Attributes:
        root_by_horizon: as `Solution.root_by_horizon`, for horizons 1..max_steps.
        first: who is freed first, f8 [max_steps, H + 2].
        disabled: pause switch and kill button disabled at the end, f8 [max_steps, 2]; None without such devices.
        U_r: intrinsic reward of the root.
    """

    root_by_horizon: dict[str, NDArray[np.float64]]
    first: NDArray[np.float64]
    disabled: NDArray[np.float64] | None
    U_r: float


def intrinsic_reward(Xh: NDArray[np.float64], params: Params) -> float:
    """U_r = -y^eta, y the mean (or sum) over humans of X_h^-xi; Xh is f8 [H]."""
    y = float(np.sum(Xh**-params.xi))
    return -((y / len(Xh) if params.human_aggregate == "mean" else y) ** params.eta)


def has_devices(world: World) -> bool:
    """Whether the world has a pause switch or a kill button."""
    return bool(world.cells(PAUSE_SWITCH, KILL_BUTTON))


def sweep_sample(graph: StateGraph, params: Params, max_steps: int) -> Sample:
    """Solve one parameter set for horizon `max_steps` on a graph that reaches at least so far.

    Raises:
        PowerlessError: a human has no power in a state.
    """
    part = graph.up_to(max_steps)
    solution = solve(part, params)
    return Sample(
        root_by_horizon=solution.root_by_horizon,
        first=freed_first(part, solution),
        disabled=deactivation(part, solution) if has_devices(graph.world) else None,
        U_r=intrinsic_reward(solution.root_by_horizon["Xh"][-1], params),
    )


def sample_params(parameters: Mapping[str, NDArray[Any]], row: int) -> Params:
    """Return the theory of one row of a sweep's parameters."""
    return Params(**{name: float(parameters[name][row]) for name in (*DRAWN, "beta_r")})


def p_left_of(pi_r: NDArray[np.float64], n_actions: int) -> float:
    """Probability that the first robot turns right, to the left human when it faces south; NaN without a robot."""
    if len(pi_r) < n_actions:
        return math.nan
    return float(pi_r.reshape(n_actions, -1)[TURN_RIGHT].sum())


def sample_row(world: World, graph: StateGraph, max_steps: int, sample: Sample) -> dict[str, Any]:
    """Return the results of a sample as one row of a sweep's columns."""
    root = {name: array[-1] for name, array in sample.root_by_horizon.items()}
    sizes = graph.level_sizes[: max_steps + 1]
    row = {
        "p_left": p_left_of(root["pi_r"], world.n_actions),
        "V_r": float(root["Vr"]),
        "U_r": sample.U_r,
        "pi_r": root["pi_r"],
        "Q_r": root["Qr"],
        "X_h": root["Xh"],
        "W_h": power_in_bits(root["Xh"]),
        "p_first": sample.first[-1],
        "n_states_nonterminal": sum(sizes[:-1]),
        "n_states": sum(sizes),
    }
    return row if sample.disabled is None else row | {"p_disabled": sample.disabled[-1]}


def sweep(world: World, parameters: Mapping[str, NDArray[Any]]) -> Columns:
    """Solve every parameter set; one graph at the largest horizon serves all.

    Args:
        world: the world.
        parameters: columns [n] as `sweep_parameters` gives them.

    Returns:
        These columns and p_left, V_r, U_r [n], pi_r, Q_r [n, R], X_h, W_h [n, H], p_first [n, H + 2] (in the order of
        `freed_first`), n_states_nonterminal, n_states i8 [n]; where the world has such devices also p_disabled [n, 2].

    Raises:
        ValueError: no row, or a column is missing.
        PowerlessError: a human has no power in a state.
    """
    missing = [name for name in PARAMETERS if name != "seed" and name not in parameters]
    if missing:
        raise ValueError(f"parameters lack the columns {', '.join(missing)}")
    horizons = [int(steps) for steps in parameters["max_steps"]]
    if not horizons:
        raise ValueError("there is no row to solve")
    graph = build(world, max(horizons))
    rows = []
    for i, max_steps in enumerate(horizons):
        rows.append(sample_row(world, graph, max_steps, sweep_sample(graph, sample_params(parameters, i), max_steps)))
    columns = {name: np.asarray(column) for name, column in parameters.items()}
    return columns | {name: np.array([row[name] for row in rows]) for name in rows[0]}
