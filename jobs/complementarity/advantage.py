"""The search's objective: by how much the strategic therapist's success rate exceeds the baseline's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .params import Params
from .simulation import simulate_batch

MODES = ("aligned", "reference")
REFERENCE_HORIZON = 100


def _statistics(
    first_success: NDArray[np.uint16],
    dropout: NDArray[np.bool_],
    final_rs: NDArray[np.float64],
    final_bond: NDArray[np.float64],
) -> dict[str, Any]:
    n = len(first_success)
    success = first_success > 0
    sessions = first_success[success].astype(np.float64)
    n_success, n_dropout = int(success.sum()), int(dropout.sum())
    return {
        "n_runs": n,
        "success_rate": n_success / n,
        "dropout_rate": n_dropout / n,
        "n_success": n_success,
        "n_dropout": n_dropout,
        "n_failure": int((~success & ~dropout).sum()),
        "success_sessions_mean": float(sessions.mean()) if n_success else None,
        "success_sessions_median": float(np.median(sessions)) if n_success else None,
        "success_sessions_std": float(sessions.std()) if n_success else None,
        "final_rs_mean": float(final_rs.mean()),
        "final_rs_std": float(final_rs.std()),
        "final_bond_mean": float(final_bond.mean()),
        "final_bond_std": float(final_bond.std()),
    }


def objective(params: Params, n_seeds: int, mode: str) -> dict[str, Any]:
    """Advantage of the strategic therapist over the seeds 0 .. n_seeds - 1.

    In mode "aligned" runs are those of `simulate_pairs`, so the advantage is the one that a simulation with these
    parameters measures. Mode "reference" is the objective of the reference implementation (NoahBio/ciit-tracey-model,
    commit 0fab927): no run stops at success, success is reaching the threshold in any session, the dropout test
    still ends a run, and the V2 therapist plans to session 100 whatever `max_sessions` is.

    Args:
        params: one config.
        n_seeds: number of clients, at least 1.
        mode: "aligned" or "reference".

    Returns:
        `advantage`; the user attributes of a trial `omniscient_success`, `complementary_success` (rates),
        `omniscient_dropout`, `complementary_dropout` (rates), `pattern`; and the statistics of both therapists
        under `omniscient` and `complementary` (sessions of the successful runs; standard deviations of the
        population; None where no run succeeded).

    Raises:
        ValueError: unknown mode, or n_seeds out of range.
    """
    if mode not in MODES:
        raise ValueError(f"objective mode: {mode!r} is none of {', '.join(MODES)}")
    if not 1 <= n_seeds <= 2**32:
        raise ValueError(f"n_seeds: {n_seeds} is not in 1 .. {2**32}")
    aligned = mode == "aligned"
    horizon = params.max_sessions if aligned else REFERENCE_HORIZON
    batch = simulate_batch(params, np.arange(n_seeds, dtype=np.uint32), horizon, aligned, False)
    omniscient = _statistics(batch.v2_first_success, batch.v2_dropout, batch.v2_final_rs, batch.v2_final_bond)
    complementary = _statistics(
        batch.baseline_first_success, batch.baseline_dropout, batch.baseline_final_rs, batch.baseline_final_bond
    )
    return {
        "advantage": omniscient["success_rate"] - complementary["success_rate"],
        "omniscient_success": omniscient["success_rate"],
        "complementary_success": complementary["success_rate"],
        "omniscient_dropout": omniscient["dropout_rate"],
        "complementary_dropout": complementary["dropout_rate"],
        "pattern": params.pattern,
        "omniscient": omniscient,
        "complementary": complementary,
    }
