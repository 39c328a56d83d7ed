"""What the fitted policies bring when they are played, beside what the fitted values promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..levels import Values
from ..params import Params
from .configurations import freed_humans, human_cells, root_key
from .play import Moment, episodes
from .stepping import Steps
from .streams import PLAYED, check_seed, stream
from .value_function import ValueFunction


def intrinsic_rewards(Xh: NDArray[np.float64], params: Params) -> NDArray[np.float64]:
    """Return U_r = -y^eta f8 [n] of powers f8 [n, H], y the mean (or sum) over humans of X_h^-xi."""
    inverse = Xh**-params.xi
    y = inverse.mean(axis=1) if params.human_aggregate == "mean" else inverse.sum(axis=1)
    reward: NDArray[np.float64] = -(y**params.eta)
    return reward


def standard_error(sample: NDArray[np.float64]) -> float:
    """Return the standard error of a mean; nan for a single value."""
    return float(sample.std(ddof=1) / math.sqrt(len(sample))) if len(sample) > 1 else float("nan")


def rollout_check(
    fitted: ValueFunction, n: int, *, seed: int = 0, goals: Sequence[tuple[int, int]] = ()
) -> dict[str, Any]:
    """Play episodes from the root and compare with the fitted root values.

    Agreement is necessary, not sufficient: a poor robot can be valued rightly. Compare several trainings' returns.

    Args:
        fitted: the values.
        n: episodes, and again so many for each of `goals`.
        seed: of the draws.
        goals: pairs (human, goal); there the human follows that goal, the others their marginal policies.

    Returns:
        `V_r`: fitted, at the root. `return_mean`, `return_se`: of sum_t gamma_r^t D U_r(s_t) + gamma_r^T terminal_Vr,
        U_r of expanded states. `p_first` f8 [H + 2]: share of episodes in which human 0, 1, ..., several at once, or
        none is freed first. `goals`: for each a dict human, goal, fitted (V^e at the root), mean and se of
        gamma_h^(first step in g - 1).

    Raises:
        ValueError: n below 1, or no such human or goal.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n is {n!r}; allowed are whole numbers from 1 on")
    number = check_seed(seed)
    steps = Steps(fitted)
    world = fitted.world
    for human, goal in goals:
        if not (0 <= human < len(world.humans) and 0 <= goal < len(world.goals)):
            raise ValueError(
                f"goals holds {(human, goal)}; the world has humans 0 to {len(world.humans) - 1} "
                f"and goals 0 to {len(world.goals) - 1}"
            )
    root = steps.expand(0, root_key(world))
    returns, first = played_returns(steps, int(n), number)
    outcome = np.bincount(first, minlength=len(world.humans) + 2) / n
    rows = []
    for k, (human, goal) in enumerate(goals):
        sample = played_attainment(steps, int(n), number, k + 1, (human, goal))
        fitted_value = float(root.Ve[0, human, goal])
        row = {"human": human, "goal": goal, "fitted": fitted_value}
        rows.append(row | {"mean": float(sample.mean()), "se": standard_error(sample)})
    return {
        "V_r": float(root.Vr[0]),
        "return_mean": float(returns.mean()),
        "return_se": standard_error(returns),
        "p_first": outcome,
        "goals": rows,
    }


def _rewards(values: Values, params: Params) -> NDArray[np.float64]:
    return params.duration * intrinsic_rewards(values.Xh, params)


def played_returns(steps: Steps, n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the returns of n episodes, f8 [n], and who is freed first i8 [n] (H: several at once, H + 1: nobody)."""
    params, n_humans = steps.params, len(steps.world.humans)
    returns, first = np.zeros(n), np.full(n, n_humans + 1)
    for moment in episodes(steps, n, lambda t: stream(seed, PLAYED, 0, t), np.zeros(n)):
        if moment.values is None:
            returns += params.gamma_r**moment.t * params.terminal_Vr
        else:
            returns += params.gamma_r**moment.t * _rewards(moment.values, params)[moment.row]
        freed = freed_humans(steps.world, moment.met)
        who = np.where(freed.sum(axis=1) > 1, n_humans, freed.argmax(axis=1))
        is_freed: NDArray[np.bool_] = np.any(freed, axis=1)
        is_new = is_freed[moment.row] & (first == n_humans + 1)
        first[is_new] = who[moment.row][is_new]
    return returns, first


def played_attainment(steps: Steps, n: int, seed: int, index: int, pair: tuple[int, int]) -> NDArray[np.float64]:
    """Return gamma_h^(tau - 1) f8 [n], tau the first step at which the human stands in the goal; 0 where never.

    Args:
        steps: exact steps on fitted values.
        n, seed: episodes, and seed of their draws.
        index: number of the pair, from 1 on; each has draws of its own.
        pair: (human, goal); the human follows that goal, the others their marginal policies.
    """
    human, goal = pair
    found = np.zeros(n)
    is_open = np.ones(n, np.bool_)
    moment: Moment
    for moment in episodes(steps, n, lambda t: stream(seed, PLAYED, index, t), np.zeros(n), pair):
        if moment.t == 0:
            continue
        stands = steps.attained[human_cells(steps.world, moment.met)[:, human], goal][moment.row]
        found[is_open & stands] = steps.params.gamma_h ** (moment.t - 1)
        is_open &= ~stands
    return found
