"""Backward induction for any rows, compiled: both phases in one pass over a row's successors.

A row is a configuration with its P successors (or outcome lists), given as places in tables of the successors' values.
Which configurations these are, and who made the tables, does not matter here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compilation import compiled, compiled_entry
from .exponential import exponential


class Model(NamedTuple):
    """Numbers of the theory and the order in which joint actions are visited.

    J = A^H joint actions of the humans and R of the robots, lexicographic, the first agent slowest.
    """

    n_humans: int
    n_goals: int
    n_actions: int
    profiles: NDArray[np.int32]
    own: NDArray[np.int32]
    weights: NDArray[np.float64]
    habit: NDArray[np.float64]
    nu: float
    beta_h: float
    beta_r: float
    gamma_r: float
    zeta: float
    xi: float
    eta: float
    duration: float
    aggregate: float
    power_floor: float
    is_optimistic: bool


class Rows(NamedTuple):
    """Transitions of n rows.

    Attributes:
        succ: i4 [n, P], a place in the tables of values, or -1 - e for exception e.
        first: number of the exception that comes first in the arrays below.
        exc_ptr: i8 [E + 1], where the outcomes of exception `first` + k begin, less exc_ptr[0].
        exc_succ, exc_prob: i4, f8 [outcomes].
    """

    succ: NDArray[np.int32]
    first: int
    exc_ptr: NDArray[np.int64]
    exc_succ: NDArray[np.int32]
    exc_prob: NDArray[np.float64]


@compiled
def expected_value(rows: Any, place: int, table: Any) -> float:
    """Expectation of table [n'] over the outcomes of an exception."""
    k = -1 - place - rows.first
    total = 0.0
    for at in range(rows.exc_ptr[k] - rows.exc_ptr[0], rows.exc_ptr[k + 1] - rows.exc_ptr[0]):
        total += rows.exc_prob[at] * table[rows.exc_succ[at]]
    return total


@compiled
def expected_row(rows: Any, place: int, table: Any, out: Any) -> None:
    """Expectation of the rows of table [n', width] over the outcomes of an exception."""
    k = -1 - place - rows.first
    out[:] = 0.0
    for at in range(rows.exc_ptr[k] - rows.exc_ptr[0], rows.exc_ptr[k + 1] - rows.exc_ptr[0]):
        successor, p = rows.exc_succ[at], rows.exc_prob[at]
        for c in range(len(out)):
            out[c] += p * table[successor, c]


@compiled
def are_single(rows: Any, row: int, model: Any, j: int, r: int) -> bool:
    """Whether four robot profiles from r on have one successor each."""
    succ, profiles = rows.succ, model.profiles
    return (
        succ[row, profiles[j, r]]
        | succ[row, profiles[j, r + 1]]
        | succ[row, profiles[j, r + 2]]
        | succ[row, profiles[j, r + 3]]
    ) >= 0


@compiled
def robot_extremes(model: Any, rows: Any, row: int, j: int, table: Any, mixed: Any, extreme: Any) -> None:
    """For every human and goal, the worst (or best) of the robots' profiles, after averaging over chance.

    The best is the worst of the negated values. Four profiles are taken at a time, so that a column is stored once.
    """
    width, n_robots = len(extreme), model.profiles.shape[1]
    sign = -1.0 if model.is_optimistic else 1.0
    for c in range(width):
        extreme[c] = math.inf
    r = 0
    while r < n_robots:
        if r + 4 <= n_robots and are_single(rows, row, model, j, r):
            first, second = rows.succ[row, model.profiles[j, r]], rows.succ[row, model.profiles[j, r + 1]]
            third, fourth = rows.succ[row, model.profiles[j, r + 2]], rows.succ[row, model.profiles[j, r + 3]]
            for c in range(width):
                x, y = sign * table[first, c], sign * table[second, c]
                x = y if y < x else x
                y, z = sign * table[third, c], sign * table[fourth, c]
                y = z if z < y else y
                x = y if y < x else x
                extreme[c] = x if x < extreme[c] else extreme[c]
            r += 4
            continue
        place = rows.succ[row, model.profiles[j, r]]
        if place >= 0:
            for c in range(width):
                x = sign * table[place, c]
                extreme[c] = x if x < extreme[c] else extreme[c]
        else:
            expected_row(rows, place, table, mixed)
            for c in range(width):
                x = sign * mixed[c]
                extreme[c] = x if x < extreme[c] else extreme[c]
        r += 1
    for c in range(width):
        extreme[c] *= sign


@compiled
def robot_mean(model: Any, rows: Any, row: int, j: int, table: Any, pi_r: Any, mixed: Any, mean: Any) -> None:
    """For every human and goal, the mean over the robots' profiles; in order of the profiles."""
    width, n_robots = len(mean), model.profiles.shape[1]
    for c in range(width):
        mean[c] = 0.0
    r = 0
    while r < n_robots:
        if r + 4 <= n_robots and are_single(rows, row, model, j, r):
            first, second = rows.succ[row, model.profiles[j, r]], rows.succ[row, model.profiles[j, r + 1]]
            third, fourth = rows.succ[row, model.profiles[j, r + 2]], rows.succ[row, model.profiles[j, r + 3]]
            p, q, u, v = pi_r[r], pi_r[r + 1], pi_r[r + 2], pi_r[r + 3]
            for c in range(width):
                mean[c] = (((mean[c] + p * table[first, c]) + q * table[second, c]) + u * table[third, c]) + v * table[
                    fourth, c
                ]
            r += 4
            continue
        p, place = pi_r[r], rows.succ[row, model.profiles[j, r]]
        if place >= 0:
            for c in range(width):
                mean[c] += p * table[place, c]
        else:
            expected_row(rows, place, table, mixed)
            for c in range(width):
                mean[c] += p * mixed[c]
        r += 1


@compiled
def human_phase(
    model: Any,
    rows: Any,
    row: int,
    Wm: Any,
    attained: Any,
    q: Any,
    pi: Any,
    mixed: Any,
    extreme: Any,
    peak: Any,
    total: Any,
    Vm: Any,
) -> None:
    """Phase 1 of a row: Q [A, HG], the policies pi [A, HG] and V^m [HG]."""
    n_actions, n_goals, width = model.n_actions, model.n_goals, Wm.shape[1]
    n_joint = model.profiles.shape[0]
    q[:] = 0.0
    for j in range(n_joint):
        robot_extremes(model, rows, row, j, Wm, mixed, extreme)
        for h in range(model.n_humans):
            a = model.own[h, j]
            for c in range(h * n_goals, (h + 1) * n_goals):
                q[a, c] += extreme[c]
    n_others = float(n_joint // n_actions)
    for a in range(n_actions):
        for c in range(width):
            q[a, c] /= n_others
    for c in range(width):
        peak[c] = q[0, c]
    for a in range(1, n_actions):
        for c in range(width):
            peak[c] = q[a, c] if q[a, c] > peak[c] else peak[c]
    total[:] = 0.0
    for a in range(n_actions):
        if model.beta_h == math.inf:
            for c in range(width):
                pi[a, c] = 1.0 if q[a, c] == peak[c] else 0.0
        else:
            for c in range(width):
                pi[a, c] = exponential(model.beta_h * (q[a, c] - peak[c]))
        for c in range(width):
            total[c] += pi[a, c]
    Vm[:] = 0.0
    for a in range(n_actions):
        for c in range(width):
            pi[a, c] /= total[c]
        if model.nu > 0.0:
            for c in range(width):
                pi[a, c] = model.nu * model.habit[a] + (1.0 - model.nu) * pi[a, c]
        for c in range(width):
            Vm[c] += pi[a, c] * q[a, c]
    for h in range(model.n_humans):
        for g in range(n_goals):
            if attained[h, g]:
                c = h * n_goals + g
                Vm[c] = 0.0
                for a in range(n_actions):
                    pi[a, c] = 1.0 if a == 0 else 0.0


@compiled
def marginals(model: Any, pi: Any, m: Any) -> None:
    """Policies averaged over goals, m [H, A]."""
    for h in range(model.n_humans):
        total = 0.0
        for a in range(model.n_actions):
            mass = 0.0
            for g in range(model.n_goals):
                mass += model.weights[g] * pi[a, h * model.n_goals + g]
            m[h, a] = mass
            total += mass
        for a in range(model.n_actions):
            m[h, a] = m[h, a] / total if total > 0.0 else 1.0 / model.n_actions


@compiled
def joint_weights(model: Any, m: Any, joint: Any) -> None:
    """Probability of every joint action of the humans, [J]."""
    for j in range(len(joint)):
        p = 1.0
        for h in range(model.n_humans):
            p *= m[h, model.own[h, j]]
        joint[j] = p


@compiled
def power_law(model: Any, Qr: Any, pi_r: Any) -> None:
    """The robots' soft policy (-Q)^(-beta_r) / sum, in log space; uniform over exact maximisers where beta_r = inf."""
    n = len(Qr)
    best = -math.inf
    for r in range(n):
        pi_r[r] = Qr[r] if model.beta_r == math.inf else -model.beta_r * math.log(-Qr[r])
        best = pi_r[r] if pi_r[r] > best else best
    total = 0.0
    for r in range(n):
        if model.beta_r == math.inf:
            pi_r[r] = 1.0 if pi_r[r] == best else 0.0
        else:
            pi_r[r] = math.exp(pi_r[r] - best)
        total += pi_r[r]
    for r in range(n):
        pi_r[r] /= total


@compiled
def robot_phase(model: Any, rows: Any, row: int, Vr: Any, joint: Any, Qr: Any, pi_r: Any) -> None:
    """Q_r and pi_r of a row."""
    for r in range(len(Qr)):
        total = 0.0
        for j in range(len(joint)):
            place = rows.succ[row, model.profiles[j, r]]
            total += joint[j] * (Vr[place] if place >= 0 else expected_value(rows, place, Vr))
        Qr[r] = model.gamma_r * total
    power_law(model, Qr, pi_r)


@compiled
def effective_values(
    model: Any, rows: Any, row: int, We: Any, m: Any, pi: Any, pi_r: Any, mixed: Any, mean: Any, by_action: Any, Ve: Any
) -> None:
    """V^e of a row, [HG]."""
    n_goals, width = model.n_goals, We.shape[1]
    by_action[:] = 0.0
    for j in range(model.profiles.shape[0]):
        robot_mean(model, rows, row, j, We, pi_r, mixed, mean)
        for h in range(model.n_humans):
            others = 1.0
            for k in range(model.n_humans):
                if k != h:
                    others *= m[k, model.own[k, j]]
            a = model.own[h, j]
            for c in range(h * n_goals, (h + 1) * n_goals):
                by_action[a, c] += others * mean[c]
    Ve[:] = 0.0
    for a in range(model.n_actions):
        for c in range(width):
            Ve[c] += pi[a, c] * by_action[a, c]


@compiled
def powers(model: Any, Ve: Any, Xh: Any) -> int:
    """X_h of a row; returns the first human whose power is 0, -1 if there is none."""
    powerless = -1
    for h in range(model.n_humans):
        total = 0.0
        for g in range(model.n_goals):
            value = Ve[h * model.n_goals + g]
            if value == 0.0:
                continue
            if model.zeta == 2.0:
                value *= value
            elif model.zeta != 1.0:
                value = math.pow(value, model.zeta)
            total += model.weights[g] * value
        Xh[h] = total if total > model.power_floor else model.power_floor
        if Xh[h] == 0.0 and powerless < 0:
            powerless = h
    return powerless


@compiled
def intrinsic_reward(model: Any, Xh: Any) -> float:
    """U_r = -y^eta, y the mean (or sum) over humans of X_h^-xi."""
    y = 0.0
    for h in range(model.n_humans):
        y += 1.0 / Xh[h] if model.xi == 1.0 else math.pow(Xh[h], -model.xi)
    return -math.pow(y / model.aggregate, model.eta)


@compiled_entry
def backward_rows(
    model: Any,
    rows: Any,
    Wm: Any,
    We: Any,
    Vr_next: Any,
    human_cell: Any,
    attained: Any,
    Vm: Any,
    Ve: Any,
    Vr: Any,
    Xh: Any,
    Qr: Any,
    pi_r: Any,
    m_h: Any,
    pi_h: Any,
) -> int:
    """Values and policies of n rows from the values of their successors.

    Args:
        model: the theory.
        rows: transitions of the rows, `Rows`.
        Wm, We: f8 [n', HG], what entering a successor is worth (`entering_rows`).
        Vr_next: f8 [n'], robot value of the successors.
        human_cell: u2 [n, H], the rows' own cells.
        attained: bool [cells, G].
        Vm, Ve: f8 [n, HG], written.
        Vr: f8 [n], written.
        Xh: f8 [n, H], written.
        Qr, pi_r: f8 [n, R], written.
        m_h: f8 [n, H, A], written.
        pi_h: f8 [n, H, G, A], written; [0, H, G, A] where not wanted.

    Returns:
        -1, or row * H + h of the first row in which human h has no power.
    """
    n_humans, n_goals, n_actions, width = model.n_humans, model.n_goals, model.n_actions, Wm.shape[1]
    q, pi = np.empty((n_actions, width)), np.empty((n_actions, width))
    mixed, extreme, peak, total = np.empty(width), np.empty(width), np.empty(width), np.empty(width)
    joint = np.empty(model.profiles.shape[0])
    is_attained = np.empty((n_humans, n_goals), np.bool_)
    for row in range(rows.succ.shape[0]):
        for h in range(n_humans):
            for g in range(n_goals):
                is_attained[h, g] = attained[human_cell[row, h], g]
        human_phase(model, rows, row, Wm, is_attained, q, pi, mixed, extreme, peak, total, Vm[row])
        marginals(model, pi, m_h[row])
        joint_weights(model, m_h[row], joint)
        robot_phase(model, rows, row, Vr_next, joint, Qr[row], pi_r[row])
        effective_values(model, rows, row, We, m_h[row], pi, pi_r[row], mixed, extreme, q, Ve[row])
        powerless = powers(model, Ve[row], Xh[row])
        if powerless >= 0:
            return row * n_humans + powerless
        mean = 0.0
        for r in range(Qr.shape[1]):
            mean += pi_r[row, r] * Qr[row, r]
        Vr[row] = model.duration * intrinsic_reward(model, Xh[row]) + mean
        if len(pi_h) > 0:
            for h in range(n_humans):
                for g in range(n_goals):
                    for a in range(n_actions):
                        pi_h[row, h, g, a] = pi[a, h * n_goals + g]
    return -1


@compiled_entry
def entering_rows(V: Any, human_cell: Any, attained: Any, gamma: float, W: Any) -> None:
    """What entering a state is worth: W [n, HG] = 1 where the goal is attained there, else gamma V [n, HG]."""
    n_goals = attained.shape[1]
    for row in range(V.shape[0]):
        for h in range(human_cell.shape[1]):
            cell = human_cell[row, h]
            for g in range(n_goals):
                c = h * n_goals + g
                W[row, c] = 1.0 if attained[cell, g] else gamma * V[row, c]
