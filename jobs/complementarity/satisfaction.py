"""Satisfaction and bond of a client along a stored run, recomputed from its octants.

    RS_s   = sum_i w_i U[c_i][o_i]  over the 50 remembered pairs after session s, weights w of `summation`
    bond_s = 1 / (1 + exp(-2 alpha ((RS_s - u_min) / (u_max - u_min) - offset)))

given as percentiles 100 (RS_s - u_min) / (u_max - u_min) and 100 bond_s.  `satisfaction_percentiles` is the plain
program, equal to the simulation's to rounding; `flat_satisfaction` is compiled, for many runs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .client import initial_memory, utility_matrix
from .params import MEMORY_SIZE, Params
from .summation import recency_weights
from .trajectories import Trajectories


def satisfaction_percentiles(
    params: Params, seed: int, client: NDArray[np.uint8], perceived: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """RS and bond percentiles after every session of one run.

    Args:
        params: the config that the run was simulated with.
        seed: its seed.
        client: client's octants, u1[L].
        perceived: octants that the client perceived, u1[L].

    Returns:
        RS percentile and bond percentile, float64[L] each, 0..100.
    """
    u = np.array(utility_matrix(seed, params.u_matrix))
    remembered = np.array(initial_memory(seed, params.pattern))
    utilities = np.concatenate((u[remembered[:, 0], remembered[:, 1]], u[client, perceived]))
    weights = np.array(recency_weights(params.recency_weighting_factor))
    windows = np.lib.stride_tricks.sliding_window_view(utilities, MEMORY_SIZE)[1:]
    share = (windows @ (weights / weights.sum()) - u.min()) / (u.max() - u.min())
    bond = 1 / (1 + np.exp(-2 * params.bond_alpha * (share - params.bond_offset)))
    return 100 * share, 100 * bond


def flat_satisfaction(params: Params, runs: Trajectories) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """RS and bond percentiles after every session of all runs, one run after another.

    Args:
        params: the config that the runs were simulated with.
        runs: packed trajectories, none longer than `params.max_sessions`.

    Returns:
        RS percentile and bond percentile, float64[sum of sessions] each, 0..100.
    """
    from .kernel.settings import settings_of, workspace
    from .satisfaction_kernel import fill_satisfaction

    rs, bond = np.empty(len(runs.packed)), np.empty(len(runs.packed))
    fill_satisfaction(
        settings_of(params, params.max_sessions, True),
        np.ascontiguousarray(runs.packed),
        runs.flat_perceived(),
        runs.row_start.astype(np.int64),
        runs.seeds,
        workspace(params),
        rs,
        bond,
    )
    return rs, bond
