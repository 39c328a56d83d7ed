"""The numbers of one config in the form that the kernel reads, and the arrays it works in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..octants import named_matrix
from ..params import MECHANISMS, MEMORY_SIZE, PATTERNS, Params
from ..summation import pairwise_sum, recency_weights
from .beginnings import TABLE_SIZE
from .client import NOW_SIZE
from .mersenne import N_STATE
from .therapists import STRATEGY_SIZE

NEVER = 2.0**40
"""More sessions than any run has: a need that cannot be met."""


class Settings(NamedTuple):
    """The scalars of one config."""

    mechanism: int
    pattern: int
    is_v2: bool
    parataxic: bool
    stops_at_success: bool
    horizon: int
    max_sessions: int
    perception_window: int
    abort_threshold: int
    baseline_accuracy: float
    threshold: float
    bond_alpha: float
    bond_offset: float
    benefit_scaling: float
    entropy: float
    history_weight: float
    bond_power: float
    smoothing: float
    weights_sum: float
    weights_running_sum: float
    recent_weight: float
    is_named: bool


class Workspace(NamedTuple):
    """Arrays of the kernel: tables of the config, and what is reused for every seed; `b_` marks the baseline's run.

    `weights` f8[50] are the recency weights, `lead_needs` f8[52] the expected seeds that make up a lead of that many
    counts, `named` f8[64] the named utility matrix, if there is one.
    """

    weights: NDArray[np.float64]
    lead_needs: NDArray[np.float64]
    named: NDArray[np.float64]
    state: NDArray[np.uint32]
    words: NDArray[np.uint32]
    generated: NDArray[np.int64]
    table: NDArray[np.float64]
    client: NDArray[np.int64]
    perceived: NDArray[np.int64]
    utility: NDArray[np.float64]
    now: NDArray[np.float64]
    b_client: NDArray[np.int64]
    b_perceived: NDArray[np.int64]
    b_utility: NDArray[np.float64]
    b_now: NDArray[np.float64]
    strategy: NDArray[np.int64]
    needs: NDArray[np.float64]
    conditional: NDArray[np.float64]


def settings_of(params: Params, horizon: int, stops_at_success: bool) -> Settings:
    """Settings of `params` for the kernel; `horizon` is the session that the V2 therapist plans to."""
    weights = recency_weights(params.recency_weighting_factor)
    running = 0.0
    for weight in weights:
        running += weight
    return Settings(
        mechanism=MECHANISMS.index(params.mechanism),
        pattern=PATTERNS.index(params.pattern),
        is_v2=params.therapist_version == "v2",
        parataxic=params.enable_parataxic,
        stops_at_success=stops_at_success,
        horizon=horizon,
        max_sessions=params.max_sessions,
        perception_window=params.perception_window,
        abort_threshold=params.abort_consecutive_failures_threshold,
        baseline_accuracy=params.baseline_accuracy,
        threshold=params.threshold,
        bond_alpha=params.bond_alpha,
        bond_offset=params.bond_offset,
        benefit_scaling=params.seeding_benefit_scaling,
        entropy=params.entropy,
        history_weight=params.history_weight,
        bond_power=params.bond_power,
        smoothing=params.smoothing_alpha,
        weights_sum=pairwise_sum(weights),
        weights_running_sum=running,
        recent_weight=(pairwise_sum(weights[40:]) / 10.0) / 50.0,
        is_named=params.u_matrix is not None,
    )


def workspace(params: Params) -> Workspace:
    """Arrays for runs of `params`."""
    memory = MEMORY_SIZE + params.max_sessions
    blocks = max(2, -(-(4 * params.max_sessions + 4) // N_STATE) + 1)
    leads = [min(lead / params.baseline_accuracy, NEVER) for lead in range(MEMORY_SIZE + 2)]
    return Workspace(
        weights=np.array(recency_weights(params.recency_weighting_factor)),
        lead_needs=np.ceil(leads),
        named=named_matrix(params.u_matrix).ravel() if params.u_matrix else np.zeros(64),
        state=np.empty(N_STATE, np.uint32),
        words=np.empty(blocks * N_STATE, np.uint32),
        generated=np.zeros(1, np.int64),
        table=np.empty(TABLE_SIZE),
        client=np.empty(memory, np.int64),
        perceived=np.empty(memory, np.int64),
        utility=np.empty(memory),
        now=np.zeros(NOW_SIZE),
        b_client=np.empty(memory, np.int64),
        b_perceived=np.empty(memory, np.int64),
        b_utility=np.empty(memory),
        b_now=np.zeros(NOW_SIZE),
        strategy=np.zeros(STRATEGY_SIZE, np.int64),
        needs=np.zeros(8),
        conditional=np.zeros(64),
    )
