"""Exact quantities along the Markov chain that the humans' marginal policies and the robots' policy induce.

C(s) = R(s) + gamma sum_s' P(s'|s) C(s'), C = R at the horizon. Source: the reference implementation's value function on
its Markov chain; first-passage probabilities by the same recursion with absorbing states.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .cells import KILL_BUTTON, PAUSE_SWITCH
from .graph import StateGraph
from .kernel.backward import Model, Rows
from .kernel.chain import chain_rows
from .levels import model_of
from .solution import Solution

CHUNK = 65536


def chain_step(
    model: Model,
    rows: Rows,
    pi_r: NDArray[np.float64],
    m_h: NDArray[np.float64],
    table: NDArray[np.float64],
    is_absorbed: NDArray[np.bool_],
    out: NDArray[np.float64],
) -> None:
    """Write the expected next value of n rows, f8 [n, d]; absorbed rows stay as they are.

    Args:
        model, rows: as for `levels.backward`.
        pi_r: f8 [n, R].
        m_h: f8 [n, H, A].
        table: f8 [n', d], values of the successors.
        is_absorbed: bool [n].
        out: f8 [n, d].
    """
    chain_rows(model, rows, pi_r, m_h, table, is_absorbed, out)


def chain_values(
    graph: StateGraph,
    solution: Solution,
    reward: NDArray[np.float64],
    *,
    terminal: NDArray[np.float64] | None = None,
    discount: float = 1.0,
) -> Iterator[NDArray[np.float64]]:
    """Yield C of every level from t = T - 1 down to 0, f8 [n, d].

    Args:
        graph, solution: the solved problem.
        reward: R of every configuration before the horizon, f8 [C, d].
        terminal: R at the horizon, f8 [C, d]; None: the same.
        discount: gamma.

    Raises:
        ValueError: the policies were not kept.
    """
    solution.require_policies()
    model = model_of(graph.world, solution.params)
    table = np.ascontiguousarray(reward if terminal is None else terminal, np.float64)
    for t in range(solution.max_steps - 1, -1, -1):
        n = graph.level_sizes[t]
        out = np.empty((n, table.shape[1]))
        nothing = np.zeros(n, np.bool_)
        _level(graph, solution, model, t, table, nothing, out)
        if discount != 1.0:
            out *= discount
        out += reward[:n]
        yield out
        table = out


def _level(
    graph: StateGraph,
    solution: Solution,
    model: Model,
    t: int,
    table: NDArray[np.float64],
    is_absorbed: NDArray[np.bool_],
    out: NDArray[np.float64],
) -> None:
    for first, rows in graph.transitions.pieces(0, graph.level_sizes[t], CHUNK):
        stop = first + len(rows.succ)
        pi_r = np.ascontiguousarray(solution.level_rows("pi_r", t, first, stop))
        m_h = np.ascontiguousarray(solution.level_rows("m_h", t, first, stop))
        chain_step(model, rows, pi_r, m_h, table, is_absorbed[first:stop], out[first:stop])


def first_passage(freed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Outcome of configurations in which somebody is freed, and "neither" elsewhere: f8 [n, H + 2]."""
    n_humans = freed.shape[1]
    outcome = np.zeros((len(freed), n_humans + 2))
    count = freed.sum(axis=1)
    alone = np.where(count == 1, freed.argmax(axis=1), n_humans)
    outcome[np.arange(len(freed)), np.where(count == 0, n_humans + 1, alone)] = 1.0
    return outcome


def freed_first(graph: StateGraph, solution: Solution) -> NDArray[np.float64]:
    """Return who is freed first, f8 [T, H + 2]: item k - 1 is for k steps to go.

    Columns: human 0, 1, ... first, several in the same step, neither by the end. A human is freed when it can reach
    more cells than at the start (`StateGraph.freed`).

    Raises:
        ValueError: the policies were not kept.
    """
    solution.require_policies()
    model = model_of(graph.world, solution.params)
    horizon = solution.max_steps
    freed = graph.freed[: graph.level_sizes[horizon]]
    is_absorbed: NDArray[np.bool_] = np.any(freed, axis=1)
    table = first_passage(freed)
    result = np.empty((horizon, table.shape[1]))
    for t in range(horizon - 1, -1, -1):
        n = graph.level_sizes[t]
        out = table[:n].copy()
        _level(graph, solution, model, t, table, is_absorbed[:n], out)
        result[horizon - 1 - t] = out[0]
        table = out
    return result


def disabled(graph: StateGraph) -> NDArray[np.float64]:
    """Whether a pause switch, and a kill button, is disabled: f8 [C, 2] of zeros and ones."""
    world, packing = graph.world, graph.world.packing
    result = np.zeros((graph.n_configs, 2))
    for column, kind in enumerate((PAUSE_SWITCH, KILL_BUTTON)):
        for x, y in world.cells(kind):
            field = int(packing.tables.enabled_field[packing.cell(x, y)])
            result[packing.field(graph.keys, field) == 0, column] = 1.0
    return result


def deactivation(graph: StateGraph, solution: Solution) -> NDArray[np.float64]:
    """Return the probabilities that a pause switch, and a kill button, is disabled at the end, f8 [T, 2].

    Item k - 1 is for k steps to go; 0 where the world has no such device.

    Raises:
        ValueError: the policies were not kept.
    """
    terminal = disabled(graph)[: graph.level_sizes[solution.max_steps]]
    values = chain_values(graph, solution, np.zeros_like(terminal), terminal=terminal)
    return np.array([level[0] for level in values])


def compare_phases(
    Vm: NDArray[np.float64], Ve: NDArray[np.float64], *, threshold: float = 1e-6, top: int = 5
) -> dict[str, object]:
    """Compare effective with cautious values of one state, both f8 [H, G].

    Returns:
        mean, max, min of V^e - V^m; counts `greater`, `equal`, `less` (equal: within the threshold); `gains` and
        `losses`, the largest differences as (human, goal, V^m, V^e), at most `top` each.
    """
    difference = np.asarray(Ve, np.float64) - np.asarray(Vm, np.float64)
    order = np.argsort(-difference, axis=None, kind="stable")
    cells = [tuple(int(i) for i in np.unravel_index(k, difference.shape)) for k in order]

    def rows(chosen: list[tuple[int, ...]]) -> list[tuple[int, int, float, float]]:
        return [(h, g, float(Vm[h, g]), float(Ve[h, g])) for h, g in chosen]

    return {
        "mean": float(difference.mean()),
        "max": float(difference.max()),
        "min": float(difference.min()),
        "greater": int((difference > threshold).sum()),
        "equal": int((np.abs(difference) <= threshold).sum()),
        "less": int((difference < -threshold).sum()),
        "gains": rows([cell for cell in cells if difference[cell] > threshold][:top]),
        "losses": rows([cell for cell in reversed(cells) if difference[cell] < -threshold][:top]),
    }


def power_in_bits(Xh: NDArray[np.float64]) -> NDArray[np.float64]:
    """W_h = log2 X_h."""
    return np.log2(Xh)
