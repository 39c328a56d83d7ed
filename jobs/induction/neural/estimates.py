"""Errors where no whole table can be had: exact solves at single states, and residuals accumulated over levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import TooManyStatesError, attained_goals, build
from ..packing import State
from ..params import Params
from ..solver import solve
from ..world import World
from .comparison import COLUMNS, TABLES, row_errors
from .configurations import human_cells, keys_of, states_of
from .distance import Bound
from .play import episodes
from .stepping import Steps
from .streams import CHECK, check_seed, stream
from .value_function import ValueFunction

CHECK_NOISE = 0.1
RESIDUALS = ("Vm", "Ve", "log_Vr")


def fresh_states(fitted: ValueFunction, n: int, *, seed: int | None = None) -> list[list[State]]:
    """Play n episodes with the fitted policies and 10 % uniform actions; return their n states of each t = 0..T-1.

    Args:
        fitted: the values.
        n: episodes.
        seed: seed of the draws; None: the training's.
    """
    number = check_seed(fitted.seed if seed is None else seed)
    moments = episodes(Steps(fitted), n, lambda t: stream(number, CHECK, 0, t), np.full(n, CHECK_NOISE))
    return [states_of(fitted.world, moment.t, moment.keys) for moment in moments if moment.values is not None]


def spot_truth(fitted: ValueFunction, states: Sequence[State], max_states: int = 2_000_000) -> dict[str, NDArray[Any]]:
    """Return the errors of `expand` at states of one t against exact solves rooted there, however large the world.

    Values depend on a configuration and the steps to go alone, so the exact solver with horizon T - t from the state
    gives the truth there.

    Args:
        fitted: the values.
        states: states of one t < T.
        max_states: a state whose solve has more states gets nan.

    Returns:
        Columns [N]: those of `errors` (each over the humans and goals of one state), f8, and `n_states`, i8: states of
        the exact solve, or how many had been met when it passed `max_states`.
    """
    steps = Steps(fitted)
    t, keys = keys_of(fitted.world, states)
    values = steps.expand(t, keys)
    is_possible = Bound(fitted.world, fitted.params, fitted.max_steps).at(t, keys) > 0.0
    columns: dict[str, list[float]] = {name: [] for name in COLUMNS}
    n_states = []
    for row, state in enumerate(states):
        found, size = _exact(fitted.world, fitted.params, state, fitted.max_steps - t, max_states)
        n_states.append(size)
        error = dict.fromkeys(COLUMNS, float("nan"))
        if found is not None:
            own = {name: getattr(values, name)[row : row + 1] for name in TABLES}
            error = row_errors(own, found, is_possible[row : row + 1])
        for name in COLUMNS:
            columns[name].append(error[name])
    return {name: np.array(column) for name, column in columns.items()} | {"n_states": np.array(n_states, np.int64)}


def _exact(
    world: World, params: Params, state: State, togo: int, max_states: int
) -> tuple[dict[str, NDArray[np.float64]] | None, int]:
    """Exact arrays of a state, or None, and how many states were met."""
    try:
        graph = build(world, togo, max_states=max_states, root=state)
    except TooManyStatesError as error:
        return None, sum(error.level_sizes)
    root = solve(graph, params).root_by_horizon
    return {name: root[name][togo - 1 :] for name in TABLES}, graph.n_states


def residuals(fitted: ValueFunction, states: Sequence[State]) -> dict[str, float]:
    """Return the mean distances of the bare estimates from one exact step on the next level's: Vm, Ve, log_Vr.

    Entries whose goal is attained count as 0: nobody reads them.

    Args:
        fitted: the values.
        states: states of one t in 1..T-1.

    Raises:
        ValueError: states of another level.
    """
    t, keys = keys_of(fitted.world, states)
    if not 1 <= t < fitted.max_steps:
        raise ValueError(f"level {t} is out of range; residuals exist at levels 1 to {fitted.max_steps - 1}")
    Vm, Ve, Vr = fitted.values(states)
    target = Steps(fitted).expand(t, keys, keeps_pi_h=False)
    is_read = ~attained_goals(fitted.world)[human_cells(fitted.world, keys)]
    return {
        "Vm": float((np.abs(Vm - target.Vm) * is_read).mean()),
        "Ve": float((np.abs(Ve - target.Ve) * is_read).mean()),
        "log_Vr": float(np.abs(np.log(-Vr) - np.log(-target.Vr)).mean()),
    }


def accumulate(
    residuals_by_level: Sequence[Mapping[str, float]] | Mapping[int, Mapping[str, float]], gamma_h: float
) -> dict[str, NDArray[Any]]:
    """Return an estimate of the error at each level: A_t = r_t + gamma A_{t+1}, A_T = 0; gamma = 1 for log_Vr.

    It is an estimate, no bound: minimum, mean and chance expand no error, the humans' softmax can.

    Args:
        residuals_by_level: what `residuals` gave, by level, or in order of consecutive levels from 1 to T-1.
        gamma_h: the humans' discount.

    Returns:
        Columns `level` i8 and `Vm`, `Ve`, `log_Vr` f8, in order of levels.

    Raises:
        ValueError: levels that are not consecutive.
    """
    rows = residuals_by_level
    by_level = dict(rows.items() if isinstance(rows, Mapping) else enumerate(rows, start=1))
    levels = sorted(by_level)
    if levels != list(range(levels[0], levels[-1] + 1) if levels else []):
        raise ValueError(f"residuals are needed at consecutive levels; found {levels}")
    columns: dict[str, NDArray[Any]] = {"level": np.array(levels, np.int64)}
    for name in RESIDUALS:
        discount, total, column = (1.0 if name == "log_Vr" else gamma_h), 0.0, []
        for t in reversed(levels):
            total = by_level[t][name] + discount * total
            column.append(total)
        columns[name] = np.array(column[::-1])
    return columns
