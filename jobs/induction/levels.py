"""Backward induction, level by level: what is known of level t + 1 gives any rows of level t.

These functions hold no state. Whoever calls them decides which rows are computed where: all of a level in one process
(`solver`), a part of it in each of several processes that map the tables of level t + 1, or rows of no graph.
"""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernel.backward import Model, Rows, backward_rows, entering_rows
from .params import Params
from .world import World


class PowerlessError(ValueError):
    """A human has no power at all: X_h = 0, and U_r would be minus infinity."""


class Tables(NamedTuple):
    """What a level's states are worth to those who enter them.

    Attributes:
        Wm, We: f8 [n, HG], 1 where human h attains goal g on entering, else gamma_h V.
        Vr: f8 [n].
    """

    Wm: NDArray[np.float64]
    We: NDArray[np.float64]
    Vr: NDArray[np.float64]


class Values(NamedTuple):
    """Values and policies of n rows, f8.

    Attributes:
        Vm, Ve: [n, H, G]; Vr: [n]; Xh: [n, H]; Qr, pi_r: [n, R]; m_h: [n, H, A].
        pi_h: [n, H, G, A], or [0, H, G, A] where it was not asked for.
    """

    Vm: NDArray[np.float64]
    Ve: NDArray[np.float64]
    Vr: NDArray[np.float64]
    Xh: NDArray[np.float64]
    Qr: NDArray[np.float64]
    pi_r: NDArray[np.float64]
    m_h: NDArray[np.float64]
    pi_h: NDArray[np.float64]


def model_of(world: World, params: Params) -> Model:
    """Return the theory as the kernels take it.

    Raises:
        ValueError: goal weights or habitual policy of another length than the world's.
    """
    n_actions, humans, robots = world.n_actions, world.humans, world.robots
    joint = list(itertools.product(range(n_actions), repeat=len(humans)))
    robot_joint = list(itertools.product(range(n_actions), repeat=len(robots)))
    profiles = [
        [
            sum(a * n_actions**agent for a, agent in zip((*own, *other), (*humans, *robots), strict=True))
            for other in robot_joint
        ]
        for own in joint
    ]
    n_goals = len(world.goals)
    return Model(
        n_humans=len(humans),
        n_goals=n_goals,
        n_actions=n_actions,
        profiles=np.array(profiles, np.int32),
        own=np.array(joint, np.int32).T.copy(),
        weights=params.weights(n_goals, world.has_goal_list),
        habit=params.habit(n_actions),
        nu=params.nu,
        beta_h=params.beta_h,
        beta_r=params.beta_r,
        gamma_r=params.gamma_r,
        zeta=params.zeta,
        xi=params.xi,
        eta=params.eta,
        duration=params.duration,
        aggregate=float(len(humans)) if params.human_aggregate == "mean" else 1.0,
        power_floor=params.power_floor,
        is_optimistic=params.optimistic,
    )


def model_at(model: Model, steps_to_go: int) -> Model:
    """Return the theory at a level: with one step to go all Q_r are equal but for rounding, so pi_r is uniform."""
    is_last = steps_to_go == 1 and model.beta_r == math.inf
    return model._replace(beta_r=0.0) if is_last else model


def empty_values(model: Model, n: int, keeps_pi_h: bool) -> Values:
    """Return arrays for n rows, not filled."""
    n_humans, n_goals, n_actions = model.n_humans, model.n_goals, model.n_actions
    n_robots = model.profiles.shape[1]
    return Values(
        Vm=np.empty((n, n_humans, n_goals)),
        Ve=np.empty((n, n_humans, n_goals)),
        Vr=np.empty(n),
        Xh=np.empty((n, n_humans)),
        Qr=np.empty((n, n_robots)),
        pi_r=np.empty((n, n_robots)),
        m_h=np.empty((n, n_humans, n_actions)),
        pi_h=np.empty((n if keeps_pi_h else 0, n_humans, n_goals, n_actions)),
    )


def terminal_tables(human_cell: NDArray[np.uint16], attained: NDArray[np.bool_], params: Params) -> Tables:
    """Return what entering the states at the horizon is worth: 1 where a goal is attained there, else 0."""
    W = attained[human_cell].reshape(len(human_cell), -1).astype(np.float64)
    return Tables(W, W, np.full(len(human_cell), params.terminal_Vr))


def entering_tables(
    Vm: NDArray[np.floating],
    Ve: NDArray[np.floating],
    Vr: NDArray[np.float64],
    human_cell: NDArray[np.uint16],
    attained: NDArray[np.bool_],
    params: Params,
    into: Tables | None = None,
) -> Tables:
    """Return what entering states with these values is worth.

    Args:
        Vm, Ve: [n, H, G] of any float type (arithmetic is f8).
        Vr: f8 [n].
        human_cell: u2 [n, H], where the humans stand.
        attained: bool [cells, G].
        params: gives gamma_h.
        into: arrays to write to; None makes new ones.
    """
    n = len(Vr)
    width = human_cell.shape[1] * attained.shape[1]
    tables = into or Tables(np.empty((n, width)), np.empty((n, width)), np.empty(n))
    for V, W in ((Vm, tables.Wm), (Ve, tables.We)):
        entering_rows(np.ascontiguousarray(V, np.float64).reshape(n, width), human_cell, attained, params.gamma_h, W)
    tables.Vr[:] = Vr
    return tables


def backward(
    model: Model,
    rows: Rows,
    following: Tables,
    human_cell: NDArray[np.uint16],
    attained: NDArray[np.bool_],
    *,
    keeps_pi_h: bool = False,
    threads: int = 1,
    into: Values | None = None,
) -> Values:
    """Return values and policies of n rows from the values of their successors.

    Args:
        model: from `model_of`, at the rows' level (`model_at`).
        rows: transitions into places of `following`.
        following: what entering each successor is worth; the arrays must be C-contiguous and writable (a memory map
            in mode "c").
        human_cell: u2 [n, H], where the humans stand in these rows.
        attained: bool [cells, G].
        keeps_pi_h: also return the policies for each goal.
        threads: rows are split among so many threads; the result does not depend on it.
        into: arrays of n rows to write to; None makes new ones.

    Raises:
        PowerlessError: a human has X_h = 0; `args` are the message, row and human.
    """
    n = len(rows.succ)
    values = into or empty_values(model, n, keeps_pi_h)
    bounds = np.linspace(0, n, max(1, min(threads, n)) + 1).astype(int)

    def part(k: int) -> int:
        low, high = int(bounds[k]), int(bounds[k + 1])
        arrays = [array[low:high] for array in values]
        status = backward_rows(
            model,
            rows._replace(succ=rows.succ[low:high]),
            following.Wm,
            following.We,
            following.Vr,
            human_cell[low:high],
            attained,
            arrays[0].reshape(high - low, -1),
            arrays[1].reshape(high - low, -1),
            *arrays[2:],
        )
        return -1 if status < 0 else low * model.n_humans + int(status)

    if len(bounds) == 2:
        statuses = [part(0)]
    else:
        with ThreadPoolExecutor(len(bounds) - 1) as pool:
            statuses = list(pool.map(part, range(len(bounds) - 1)))
    failed = min((status for status in statuses if status >= 0), default=-1)
    if failed >= 0:
        row, human = divmod(failed, model.n_humans)
        raise PowerlessError(f"human {human} has power X_h = 0 in row {row}", row, human)
    return values
