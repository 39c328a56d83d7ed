"""The study's public interface: what it accepts, what it refuses and how it says so."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pydantic import ValidationError
from quintet.jobs.complementarity import PairBatch, Params, objective, reference, select, simulate_pairs
from quintet.jobs.complementarity.self_check import EXPECTED, kernel_fingerprint

from .golden_files import golden

BAD = [
    ("baseline_accuracy", 0.0),
    ("baseline_accuracy", 1.01),
    ("baseline_accuracy", float("nan")),
    ("threshold", -0.01),
    ("threshold", 1.01),
    ("bond_alpha", float("nan")),
    ("bond_offset", float("nan")),
    ("recency_weighting_factor", 0.99),
    ("perception_window", 0),
    ("perception_window", 51),
    ("abort_consecutive_failures_threshold", 0),
    ("entropy", 0.0),
    ("entropy", float("nan")),
    ("history_weight", float("inf")),
    ("max_sessions", 0),
    ("max_sessions", 65536),
    ("window_size", 0),
    ("window_size", 256),
    ("n_seeds", 0),
    ("n_configs", 0),
    ("top_n", 0),
    ("n_bins", 1),
    ("seed_offset", -1),
    ("smoothing_alpha", 0.0),
    ("mechanism", "frequency"),
    ("pattern", "warm_stuck"),
    ("u_matrix", "random"),
    ("therapist_version", "v3"),
    ("no_such_parameter", 1),
]


@pytest.mark.parametrize("name, value", BAD)
def test_a_parameter_out_of_bounds_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        Params(**{name: value})
    assert refusal.value.errors()[0]["loc"] == (name,)


def test_seeds_beyond_32_bits_are_refused() -> None:
    with pytest.raises(ValidationError, match="4294967295"):
        Params(seed_offset=2**32 - 10, n_seeds=11)
    assert Params(seed_offset=2**32 - 10, n_seeds=10).n_seeds == 10
    for seeds in ([-1], [2**32], [0, 5, 2**40]):
        with pytest.raises(ValueError, match="is not in 0"):
            simulate_pairs(Params(), seeds)
    with pytest.raises(ValueError, match="whole numbers"):
        simulate_pairs(Params(), [0.5])  # type: ignore[list-item]


def test_a_trial_s_parameters_are_a_config() -> None:
    trial = {"initial_memory_pattern": "dominant_stuck", "threshold": 0.8, "max_sessions": 90, "bond_alpha": 3.0}
    params = Params(**trial)  # type: ignore[arg-type]
    assert (params.pattern, params.threshold, params.max_sessions) == ("dominant_stuck", 0.8, 90)
    assert params.baseline_accuracy == 0.4477
    assert Params().max_sessions == 300
    beside = Params(**trial, pattern="cold_warm")  # type: ignore[arg-type]
    assert (beside, beside.initial_memory_pattern) == (params, "dominant_stuck")
    assert Params(pattern="cold_warm").initial_memory_pattern == "cold_warm"


def test_a_keyword_that_is_given_wins_over_the_params() -> None:
    params = Params(u_matrix="cold_trap", mechanism="bond_only", max_sessions=50, entropy=2.0)
    given = simulate_pairs(
        params,
        range(5),
        mechanism="conditional_amplifier",
        pattern="mixed_random",
        u_matrix=None,
        therapist_version="v1",
        enable_parataxic=False,
        entropy=1.5,
        history_weight=2.0,
        bond_power=3.0,
        max_sessions=70,
    )
    assert given.params.mechanism == "conditional_amplifier"
    assert given.params.u_matrix is None
    assert not given.params.enable_parataxic
    assert (given.params.entropy, given.params.history_weight, given.params.bond_power) == (1.5, 2.0, 3.0)
    assert (given.params.max_sessions, given.params.therapist_version) == (70, "v1")
    assert simulate_pairs(params, range(5)).params == params
    with pytest.raises(ValidationError):
        simulate_pairs(params, range(5), entropy=0.0)


def test_a_batch_has_the_documented_arrays() -> None:
    batch = simulate_pairs(Params(max_sessions=40), [3, 1, 2], trajectories=True)
    assert isinstance(batch, PairBatch)
    assert len(batch) == 3
    types = {
        "category": np.uint8,
        "v2_success": np.bool_,
        "baseline_success": np.bool_,
        "v2_dropout": np.bool_,
        "baseline_dropout": np.bool_,
        "v2_sessions": np.uint16,
        "baseline_sessions": np.uint16,
        "fork_session": np.uint16,
        "initial_rs": np.float64,
        "v2_final_rs": np.float64,
        "baseline_final_rs": np.float64,
        "v2_final_bond": np.float64,
    }
    for name, dtype in types.items():
        array = getattr(batch, name)
        assert (array.dtype, array.shape) == (np.dtype(dtype), (3,)), name
    assert batch.v2 is not None
    assert batch.v2.packed.dtype == np.uint8
    assert batch.v2.row_start.dtype == np.uint64
    assert len(batch.v2.packed) == batch.v2_sessions.sum() == batch.v2.row_start[-1]
    assert_array_equal(batch.v2.client(-1), batch.v2.client(2))
    for kind in ("client", "enacted", "perceived"):
        rows = [getattr(batch.v2, kind)(i) for i in range(3)]
        assert all(row.dtype == np.uint8 for row in rows)
        assert_array_equal(np.concatenate(rows), getattr(batch.v2, f"flat_{kind}")())
    with pytest.raises(IndexError, match="run 3 of 3"):
        batch.v2.row(3)
    with pytest.raises(ValueError, match="trajectories=True"):
        simulate_pairs(Params(max_sessions=40), [3]).distance(0)


def test_no_seeds_give_an_empty_batch() -> None:
    batch = simulate_pairs(Params(), [], trajectories=True)
    assert len(batch) == 0
    assert batch.v2 is not None
    assert len(batch.v2) == 0


def test_the_longest_runs_fit() -> None:
    params = Params(threshold=1.0, max_sessions=65535, bond_offset=0.9)
    batch = simulate_pairs(params, [0], trajectories=True)
    assert batch.v2 is not None
    assert len(batch.v2.perceived(0)) == batch.v2_sessions[0]


def test_the_twin_takes_the_same_keywords() -> None:
    params = Params(max_sessions=30)
    pair = reference.simulate_pair(params, 5, mechanism="bond_only", u_matrix="average", trajectories=True)
    batch = simulate_pairs(params, [5], mechanism="bond_only", u_matrix="average", trajectories=True)
    assert pair.params == batch.params
    assert_array_equal(pair.distance, batch.distance(0))


def test_objective_refuses_an_unknown_mode_and_no_seeds() -> None:
    with pytest.raises(ValueError, match="aligned, reference"):
        objective(Params(), 5, "fast")
    with pytest.raises(ValueError, match="n_seeds"):
        objective(Params(), 0, "aligned")


def test_a_sampling_of_no_success_has_no_session_statistics() -> None:
    found = objective(Params(threshold=1.0, max_sessions=3), 5, "aligned")
    assert found["omniscient"]["success_sessions_mean"] is None
    assert found["advantage"] == 0.0


def test_reading_params_does_not_load_the_compiler() -> None:
    program = "import sys, quintet.jobs.complementarity.params; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_kernel_has_the_expected_fingerprint() -> None:
    assert kernel_fingerprint() == EXPECTED


@pytest.mark.slow
def test_a_processor_without_wide_registers_computes_the_same_bits(tmp_path: Path) -> None:
    program = (
        "from quintet.jobs.complementarity.self_check import EXPECTED, kernel_fingerprint\n"
        "raise SystemExit(kernel_fingerprint() != EXPECTED)"
    )
    plain = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", program], env=plain, check=False).returncode == 0


@dataclass(frozen=True)
class Trial:
    number: int
    value: float | None
    state: str = "COMPLETE"


SELECTION = golden("selection")
TRIALS = [Trial(number, value) for number, value in enumerate(SELECTION["advantage_by_trial_number"])]


@pytest.mark.parametrize("case", SELECTION["cases"], ids=lambda case: str(case["request"]))
def test_selection_is_the_reference_s(case: dict[str, Any]) -> None:
    unusable = [Trial(90, 0.5, "FAIL"), Trial(91, None, "PRUNED"), Trial(92, float("nan")), Trial(93, float("inf"))]
    chosen = select([*unusable, *reversed(TRIALS)], **case["request"])
    assert [trial.number for trial in chosen] == case["selected_trial_order"]


def test_selection_of_the_small_study_is_the_reference_s() -> None:
    study = golden("aggregate_end_to_end")
    trials = [
        Trial(number, trial.get("value"), trial["state"]) for number, trial in enumerate(study["study_trials_in_order"])
    ]
    chosen = select(trials, n_configs=study["n_configs_requested"])
    assert [trial.number for trial in chosen] == [config["trial_number"] for config in study["selected"]]


def test_selection_by_value_takes_each_trial_once_and_the_extremes() -> None:
    chosen = select(TRIALS, n_configs=6, sampling="value")
    values = [trial.value for trial in chosen]
    assert len({trial.number for trial in chosen}) == 6
    assert (values[0], values[-1]) == (-0.2, 0.27)
    assert values == sorted(values)  # type: ignore[type-var]


def test_selection_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="no usable trial"):
        select([Trial(0, None, "FAIL")])
    with pytest.raises(ValueError, match="exclude"):
        select(TRIALS, n_configs=3, top_n=2)
    with pytest.raises(ValueError, match="n_configs: 0"):
        select(TRIALS, n_configs=0)
    with pytest.raises(ValueError, match="rank, value"):
        select(TRIALS, sampling="random")
