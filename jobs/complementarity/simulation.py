"""Simulation of pairs: the strategic and the always complementary therapist on the same clients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .params import LARGEST_SEED, Params
from .trajectories import Trajectories

CATEGORIES = ("v2_advantage", "baseline_advantage", "both_success", "both_fail")
"""Names of the categories 0..3 of a pair."""


@dataclass(frozen=True)
class PairBatch:
    """Outcomes of n pairs; all arrays have shape [n] and follow the order of `seeds`.

    `v2` stands for the strategic therapist of the run, whichever version it is. `fork_session` is the first
    session with an answer of it that is not complementary, 0 where there is none. `params` holds what the
    pairs were run with, keywords applied. `v2` and `baseline` are None without trajectories.
    """

    params: Params
    seeds: NDArray[np.uint32]
    category: NDArray[np.uint8]
    v2_success: NDArray[np.bool_]
    baseline_success: NDArray[np.bool_]
    v2_dropout: NDArray[np.bool_]
    baseline_dropout: NDArray[np.bool_]
    v2_sessions: NDArray[np.uint16]
    baseline_sessions: NDArray[np.uint16]
    fork_session: NDArray[np.uint16]
    initial_rs: NDArray[np.float64]
    v2_final_rs: NDArray[np.float64]
    baseline_final_rs: NDArray[np.float64]
    v2_final_bond: NDArray[np.float64]
    baseline_final_bond: NDArray[np.float64]
    v2_first_success: NDArray[np.uint16]
    baseline_first_success: NDArray[np.uint16]
    v2: Trajectories | None = None
    baseline: Trajectories | None = None

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.seeds)

    def distance(self, i: int) -> NDArray[np.float64]:
        """Overall enacted complementarity distance of the strategic run `i` in the tracker's window, 0..4.

        Returns:
            float64[v2_sessions[i]], one value per executed session.

        Raises:
            ValueError: the batch was simulated without trajectories.
        """
        if self.v2 is None:
            raise ValueError("distance: the batch holds no trajectories; simulate with trajectories=True")
        return self.v2.distance(i, self.params.window_size)


def seed_array(seeds: Iterable[int] | NDArray[Any]) -> NDArray[np.uint32]:
    """Seeds as u4[n].

    Raises:
        ValueError: a seed is not a whole number in 0 .. 2^32 - 1.
    """
    given = np.asarray(seeds if isinstance(seeds, np.ndarray | range) else list(seeds))
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"seeds: whole numbers in one dimension are needed, found {given.dtype} {given.shape}")
    wrong = [int(seed) for seed in (given.min(), given.max()) if not 0 <= seed <= LARGEST_SEED] if given.size else []
    if wrong:
        raise ValueError(f"seeds: {wrong[0]} is not in 0 .. {LARGEST_SEED}")
    return np.ascontiguousarray(given, np.uint32)


def params_with(params: Params, **given: Any) -> Params:
    """`params` with the keywords that are given: those that are not None, and `u_matrix` unless it is `...`.

    Raises:
        pydantic.ValidationError: a value is not allowed.
    """
    changed = {name: value for name, value in given.items() if value is not None and value is not ...}
    if given.get("u_matrix", ...) is None:
        changed["u_matrix"] = None
    return Params(**{**params.model_dump(), **changed}) if changed else params


def simulate_pairs(
    params: Params,
    seeds: Iterable[int] | NDArray[Any],
    *,
    mechanism: str | None = None,
    pattern: str | None = None,
    u_matrix: str | EllipsisType | None = ...,
    therapist_version: str | None = None,
    enable_parataxic: bool | None = None,
    entropy: float | None = None,
    history_weight: float | None = None,
    bond_power: float | None = None,
    max_sessions: int | None = None,
    trajectories: bool = False,
) -> PairBatch:
    """Simulate the strategic and the complementary therapist on the client of every seed.

    A run stops at success, at the dropout test of session 10 or after `max_sessions`, which is also the session
    that the V2 therapist plans to. A keyword that is given wins over `params`; one that is left out (None, or
    `...` for `u_matrix`, where None means matrices drawn per seed) comes from `params`.

    Args:
        params: one config.
        seeds: n whole numbers in 0 .. 2^32 - 1, in any order.
        mechanism: how the client's expectations depend on its memory, one of `MECHANISMS`.
        pattern: initial memory, one of `PATTERNS`.
        u_matrix: named utility matrix, one of `U_MATRICES`, or None.
        therapist_version: strategic therapist, "v1" or "v2".
        enable_parataxic: whether clients misread the therapist.
        entropy: temperature of the client's choice, above 0.
        history_weight: weight of the remembered frequencies.
        bond_power: exponent of the bond in the bond-weighted mechanisms.
        max_sessions: 1 .. 65535.
        trajectories: whether the octants of all sessions are kept, one byte per session and therapist.

    Returns:
        The outcomes in the order of `seeds`.

    Raises:
        pydantic.ValidationError: a keyword's value is not allowed.
        ValueError: a seed is not allowed.
    """
    params = params_with(
        params,
        mechanism=mechanism,
        pattern=pattern,
        u_matrix=u_matrix,
        therapist_version=therapist_version,
        enable_parataxic=enable_parataxic,
        entropy=entropy,
        history_weight=history_weight,
        bond_power=bond_power,
        max_sessions=max_sessions,
    )
    return simulate_batch(params, seed_array(seeds), params.max_sessions, True, trajectories)


def simulate_batch(
    params: Params, seeds: NDArray[np.uint32], horizon: int, stops_at_success: bool, trajectories: bool
) -> PairBatch:
    """Simulate with a horizon of the V2 therapist and a stopping rule of their own; see `simulate_pairs`."""
    from . import kernel
    from .kernel import pairs as column

    outcome = kernel.simulate(params, seeds, horizon, stops_at_success, trajectories)
    counts, flags, reals = outcome.counts, outcome.flags, outcome.reals
    v2_success = counts[:, column.FIRST_SUCCESS] > 0
    baseline_success = counts[:, column.B_FIRST_SUCCESS] > 0

    def paths(packed: NDArray[np.uint8], sessions: NDArray[np.int64]) -> Trajectories | None:
        if not trajectories:
            return None
        row_start = np.concatenate(([0], np.cumsum(sessions))).astype(np.uint64)
        return Trajectories(packed, row_start, seeds, params.pattern)

    return PairBatch(
        params=params,
        seeds=seeds,
        category=np.where(v2_success, np.where(baseline_success, 2, 0), np.where(baseline_success, 1, 3)).astype(
            np.uint8
        ),
        v2_success=v2_success,
        baseline_success=baseline_success,
        v2_dropout=flags[:, column.DROPOUT].copy(),
        baseline_dropout=flags[:, column.B_DROPOUT].copy(),
        v2_sessions=counts[:, column.SESSIONS].astype(np.uint16),
        baseline_sessions=counts[:, column.B_SESSIONS].astype(np.uint16),
        fork_session=counts[:, column.FORK].astype(np.uint16),
        initial_rs=reals[:, column.INITIAL_RS].copy(),
        v2_final_rs=reals[:, column.FINAL_RS].copy(),
        baseline_final_rs=reals[:, column.B_FINAL_RS].copy(),
        v2_final_bond=reals[:, column.FINAL_BOND].copy(),
        baseline_final_bond=reals[:, column.B_FINAL_BOND].copy(),
        v2_first_success=counts[:, column.FIRST_SUCCESS].astype(np.uint16),
        baseline_first_success=counts[:, column.B_FIRST_SUCCESS].astype(np.uint16),
        v2=paths(outcome.packed, counts[:, column.SESSIONS]),
        baseline=paths(outcome.baseline_packed, counts[:, column.B_SESSIONS]),
    )
