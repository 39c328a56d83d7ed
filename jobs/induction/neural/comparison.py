"""Errors of a table of values against the exact one, per level, over all states and over those that are visited."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..graph import StateGraph
from ..kernel.backward import Model
from ..levels import model_of
from ..solution import Solution
from .distance import Bound
from .kernel.sums import occupancy_rows
from .stepping import ROW_CHUNK

MEANS = ("Vm_mean", "Ve_mean", "Vm_possible", "Ve_possible", "log_Vr_mean", "Xh_mean", "tv_pi_r", "tv_m_h", "regret")
LARGEST = ("Vm_max", "Ve_max", "log_Vr_max", "regret_max")
COLUMNS = (
    "Vm_mean",
    "Vm_max",
    "Ve_mean",
    "Ve_max",
    "Vm_possible",
    "Ve_possible",
    "log_Vr_mean",
    "log_Vr_max",
    "Xh_mean",
    "tv_pi_r",
    "tv_m_h",
    "regret",
    "regret_max",
)

Arrays = dict[str, NDArray[np.float64]]
TABLES = ("Vm", "Ve", "Vr", "Xh", "Qr", "pi_r", "m_h")
"""What errors are computed from."""


def mean_over(array: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Return the weighted mean over rows of the rows' means; nan without weight."""
    total = weight.sum()
    rows = array.reshape(len(array), -1).mean(axis=1)
    return float((weight * rows).sum() / total) if total > 0.0 else float("nan")


def mean_possible(error: NDArray[np.float64], is_possible: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """Return the weighted mean over entries with B > 0; nan if there are none."""
    entries = is_possible * weight[:, None, None]
    total = entries.sum()
    return float((entries * error).sum() / total) if total > 0.0 else float("nan")


def differences(table: Arrays, exact: Arrays) -> Arrays:
    """Return the errors of rows: Vm, Ve [n, H, G], log_Vr, Xh, tv_pi_r, regret [n], tv_m_h [n, H]."""
    best = exact["Qr"].max(axis=1)
    chosen = np.take_along_axis(exact["Qr"], table["Qr"].argmax(axis=1)[:, None], axis=1)[:, 0]
    return {
        "Vm": np.abs(table["Vm"] - exact["Vm"]),
        "Ve": np.abs(table["Ve"] - exact["Ve"]),
        "log_Vr": np.abs(np.log(-table["Vr"]) - np.log(-exact["Vr"])),
        "Xh": np.abs(table["Xh"] / exact["Xh"] - 1.0).max(axis=1),
        "tv_pi_r": 0.5 * np.abs(table["pi_r"] - exact["pi_r"]).sum(axis=1),
        "tv_m_h": 0.5 * np.abs(table["m_h"] - exact["m_h"]).sum(axis=2),
        "regret": 1.0 - best / chosen,
    }


def means(found: Arrays, is_possible: NDArray[np.bool_], weight: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean errors of weighted rows, by the names in MEANS."""
    result = {name: mean_over(found[name.removesuffix("_mean")], weight) for name in MEANS if "possible" not in name}
    for name in ("Vm", "Ve"):
        result[f"{name}_possible"] = mean_possible(found[name], is_possible, weight)
    return result


def row_errors(table: Arrays, exact: Arrays, is_possible: NDArray[np.bool_]) -> dict[str, float]:
    """Return all errors of rows, uniformly weighted, by the names in COLUMNS."""
    found = differences(table, exact)
    largest = {name: float(found[name.removesuffix("_max")].max()) for name in LARGEST}
    return means(found, is_possible, np.ones(len(exact["Vr"]))) | largest


def level_arrays(solution: Solution, t: int) -> Arrays:
    """Return a level of a solution in f8."""
    return {name: np.asarray(getattr(solution, name)[t], np.float64) for name in TABLES}


def occupancy(graph: StateGraph, solution: Solution) -> list[NDArray[np.float64]]:
    """Return the probability of every state at levels t = 0..T, f8 [N_t], under the solved policies.

    Raises:
        ValueError: the policies were not kept.
    """
    solution.require_policies()
    model: Model = model_of(graph.world, solution.params)
    joint = np.empty(model.profiles.shape[0])
    found = [np.ones(1)]
    for t in range(graph.max_steps):
        out = np.zeros(graph.level_sizes[t + 1])
        for first, rows in graph.transitions.pieces(0, graph.level_sizes[t], ROW_CHUNK):
            stop = first + len(rows.succ)
            policies = [np.ascontiguousarray(solution.level_rows(name, t, first, stop)) for name in ("pi_r", "m_h")]
            occupancy_rows(model, rows, *policies, found[t][first:stop], joint, out)
        found.append(out)
    return found


def errors(table: Solution, exact: Solution, graph: StateGraph) -> Arrays:
    """Return the errors of a table against the exact one, columns f8 [T], item t for level t.

    Over all states of a level: means of |dV^m|, |dV^e| over all humans and goals (`Vm_mean`, `Ve_mean`; `Vm_possible`,
    `Ve_possible` over entries with B > 0, nan where there is none), of |d log(-V_r)| (`log_Vr_mean`), of
    max_h |X / X_exact - 1| (`Xh_mean`), total variation of pi_r and, mean over humans, of m_h (`tv_pi_r`, `tv_m_h`),
    the greedy robot's relative regret 1 - max_a Q_r / Q_r(a_hat) (`regret`), and the largest of some (`..._max`). The
    means again with the suffix `_visited`, weighted by the probability of each state under the exact policies.

    Args:
        table, exact: two solutions of one problem with their policies.
        graph: its states.

    Raises:
        ValueError: solutions of another horizon than the graph's, or without policies.
    """
    for solution in (table, exact):
        solution.require_policies()
        if solution.max_steps != graph.max_steps:
            raise ValueError(f"a solution has horizon {solution.max_steps}; the graph's is {graph.max_steps}")
    bound = Bound(graph.world, exact.params, graph.max_steps)
    columns: dict[str, list[float]] = {name: [] for name in (*COLUMNS, *(f"{name}_visited" for name in MEANS))}
    for t, weight in enumerate(occupancy(graph, exact)[:-1]):
        found = differences(level_arrays(table, t), level_arrays(exact, t))
        is_possible = bound.at(t, graph.keys[: graph.level_sizes[t], 0]) > 0.0
        for name, value in means(found, is_possible, np.ones(len(weight))).items():
            columns[name].append(value)
        for name, value in means(found, is_possible, weight).items():
            columns[f"{name}_visited"].append(value)
        for name in LARGEST:
            columns[name].append(float(found[name.removesuffix("_max")].max()))
    return {name: np.array(column) for name, column in columns.items()}
