"""What must hold for every config, whatever the golden runs say; kernel and twin on random configs."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from quintet.jobs.complementarity import Params, objective, reference, simulate_pairs
from quintet.jobs.complementarity.client import Client, utility_matrix
from quintet.jobs.complementarity.kernel import run_client
from quintet.jobs.complementarity.params import MECHANISMS, PATTERNS, U_MATRICES
from quintet.jobs.complementarity.simulation import simulate_batch
from quintet.jobs.complementarity.strategies import V2

INTEGERS = (
    "category",
    "v2_success",
    "baseline_success",
    "v2_dropout",
    "baseline_dropout",
    "v2_sessions",
    "baseline_sessions",
    "fork_session",
    "v2_first_success",
    "baseline_first_success",
)
SATISFACTIONS = ("initial_rs", "v2_final_rs", "baseline_final_rs")
BONDS = ("v2_final_bond", "baseline_final_bond")


def random_params(rng: np.random.Generator, **fixed: Any) -> Params:
    """A draw from a space wider than the search's; often one in which the strategic therapist acts."""
    drawn: dict[str, Any] = {
        "baseline_accuracy": rng.uniform(0.15, 1.0),
        "threshold": rng.uniform(0.6, 1.0),
        "bond_alpha": rng.uniform(1.0, 15.0),
        "bond_offset": rng.uniform(0.1, 0.95),
        "recency_weighting_factor": rng.uniform(1.0, 10.0),
        "max_sessions": int(rng.integers(20, 120)),
        "perception_window": int(rng.integers(1, 51)),
        "seeding_benefit_scaling": rng.uniform(0.1, 5.0),
        "abort_consecutive_failures_threshold": int(rng.integers(1, 9)),
        "entropy": rng.uniform(0.1, 4.0),
        "history_weight": rng.uniform(-0.5, 3.0),
        "bond_power": rng.uniform(0.5, 2.0),
        "u_matrix": rng.choice([None, None, None, *U_MATRICES]),
        "smoothing_alpha": rng.uniform(0.05, 0.5),
    }
    return Params(**{**drawn, **fixed})


def check_against_twin(params: Params, seeds: list[int], horizon: int, stops_at_success: bool) -> None:
    batch = simulate_batch(params, np.array(seeds, np.uint32), horizon, stops_at_success, True)
    for i, seed in enumerate(seeds):
        pair = reference.run_pair(params, seed, horizon, stops_at_success)
        for name in INTEGERS:
            assert getattr(batch, name)[i] == getattr(pair, name), (name, params, seed)
        for name in SATISFACTIONS:
            assert getattr(batch, name)[i] == getattr(pair, name), (name, params, seed)
        for name in BONDS:
            assert_allclose(getattr(batch, name)[i], getattr(pair, name), rtol=1e-12)
        for therapist, kind in product(("v2", "baseline"), ("client", "enacted", "perceived")):
            found = getattr(getattr(batch, therapist), kind)(i)
            assert_array_equal(found, getattr(getattr(pair, therapist), kind), err_msg=f"{params} {seed}")
        assert_allclose(batch.distance(i), pair.distance, rtol=1e-12)


COMBINATIONS = list(product(MECHANISMS, ("v1", "v2"), (True, False)))


@pytest.mark.parametrize("mechanism, version, parataxic", COMBINATIONS)
def test_kernel_equals_the_plain_program_on_random_configs(mechanism: str, version: str, parataxic: bool) -> None:
    rng = np.random.default_rng([COMBINATIONS.index((mechanism, version, parataxic)), 7])
    for number in range(10):
        params = random_params(
            rng,
            mechanism=mechanism,
            pattern=PATTERNS[number % len(PATTERNS)],
            therapist_version=version,
            enable_parataxic=parataxic,
        )
        check_against_twin(params, [int(rng.integers(2**32))], params.max_sessions, True)


def test_kernel_equals_the_plain_program_without_stop_at_success() -> None:
    rng = np.random.default_rng(8)
    for pattern in PATTERNS:
        params = random_params(rng, pattern=pattern, threshold=rng.uniform(0.3, 0.8))
        check_against_twin(params, [int(rng.integers(2**32))], 100, False)


def test_kernel_equals_the_plain_program_where_seeding_is_aborted_again_and_again() -> None:
    rng = np.random.default_rng(12)
    gave_up = 0
    for number in range(40):
        params = random_params(
            rng,
            mechanism=MECHANISMS[number % len(MECHANISMS)],
            pattern="cold_stuck",
            u_matrix=None,
            threshold=1.0,
            max_sessions=150,
            baseline_accuracy=rng.uniform(0.3, 0.6),
            perception_window=int(rng.integers(5, 20)),
            bond_offset=rng.uniform(0.5, 0.7),
            bond_alpha=rng.uniform(5.0, 15.0),
            seeding_benefit_scaling=rng.uniform(5.0, 20.0),
            abort_consecutive_failures_threshold=int(rng.integers(1, 3)),
            entropy=rng.uniform(1.0, 3.0),
            history_weight=1.0,
        )
        seed = int(rng.integers(2**32))
        check_against_twin(params, [seed], params.max_sessions, True)
        therapist = V2(params, params.max_sessions)
        reference.run_therapy(Client(params, seed, utility_matrix(seed, None)), therapist)
        gave_up += len(therapist.failed) >= 3
    assert gave_up >= 3


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_kernel_equals_the_plain_program_on_many_random_configs(pattern: str) -> None:
    rng = np.random.default_rng([PATTERNS.index(pattern), 9])
    for mechanism, version, parataxic in COMBINATIONS:
        for _ in range(10):
            params = random_params(
                rng, mechanism=mechanism, pattern=pattern, therapist_version=version, enable_parataxic=parataxic
            )
            check_against_twin(params, [int(rng.integers(2**32)) for _ in range(2)], params.max_sessions, True)


@pytest.fixture(scope="module")
def typical() -> list[Params]:
    rng = np.random.default_rng(10)
    return [random_params(rng, u_matrix=None, mechanism=mechanism) for mechanism in MECHANISMS * 2]


def test_baseline_is_always_complementary(typical: list[Params]) -> None:
    for params in typical:
        batch = simulate_pairs(params, range(50), trajectories=True)
        assert batch.baseline is not None
        assert all((batch.baseline.distance(i, 10) == 0.0).all() for i in range(50))


def test_a_therapist_that_expects_no_benefit_never_forks(typical: list[Params]) -> None:
    for params in typical:
        batch = simulate_pairs(params.model_copy(update={"seeding_benefit_scaling": 0.0}), range(50), trajectories=True)
        assert batch.v2 is not None
        assert batch.baseline is not None
        assert not batch.fork_session.any()
        assert_array_equal(batch.v2.packed, batch.baseline.packed)
        assert_array_equal(batch.v2_final_rs, batch.baseline_final_rs)


def test_nine_sessions_are_complementary_unless_the_client_starts_above_the_threshold(typical: list[Params]) -> None:
    for params in typical:
        batch = simulate_pairs(params, range(200), trajectories=True)
        for i, seed in enumerate(batch.seeds):
            u = np.array(utility_matrix(int(seed), None))
            if batch.initial_rs[i] < u.min() + params.threshold * (u.max() - u.min()):
                assert not 0 < batch.fork_session[i] < 10
    assert (batch.fork_session > 0).any()


def test_without_a_bond_there_is_no_strategy(typical: list[Params]) -> None:
    for params in typical:
        bondless = params.model_copy(update={"bond_alpha": 15.0, "bond_offset": 2.0})
        batch = simulate_pairs(bondless, range(50))
        assert not batch.fork_session.any()


def test_order_and_chunks_of_seeds_do_not_matter(typical: list[Params]) -> None:
    for params in typical[:3]:
        whole = simulate_pairs(params, range(300), trajectories=True)
        backwards = simulate_pairs(params, range(299, -1, -1), trajectories=True)
        parts = [simulate_pairs(params, range(start, start + 60), trajectories=True) for start in range(0, 300, 60)]
        singles = [simulate_pairs(params, [seed], trajectories=True) for seed in range(300)]
        assert whole.v2 is not None
        for pieces in (parts, singles):
            for name in (*INTEGERS, *SATISFACTIONS, *BONDS):
                assert_array_equal(np.concatenate([getattr(piece, name) for piece in pieces]), getattr(whole, name))
            assert_array_equal(np.concatenate([piece.v2.packed for piece in pieces]), whole.v2.packed)  # type: ignore[union-attr]
        for name in (*INTEGERS, *SATISFACTIONS, *BONDS):
            assert_array_equal(getattr(backwards, name)[::-1], getattr(whole, name))


def test_trajectories_are_the_same_whether_kept_or_not_and_when_the_buffer_is_small(
    typical: list[Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = typical[1]
    whole = simulate_pairs(params, range(200), trajectories=True)
    without = simulate_pairs(params, range(200))
    monkeypatch.setattr("quintet.jobs.complementarity.kernel.PATH_BUFFER", 1)
    pieces = simulate_pairs(params, range(200), trajectories=True)
    for name in (*INTEGERS, *SATISFACTIONS, *BONDS):
        assert_array_equal(getattr(without, name), getattr(whole, name))
        assert_array_equal(getattr(pieces, name), getattr(whole, name))
    assert without.v2 is None
    for therapist in ("v2", "baseline"):
        assert_array_equal(getattr(pieces, therapist).packed, getattr(whole, therapist).packed)


def test_more_sessions_extend_the_baseline_s_trajectories(typical: list[Params]) -> None:
    for params in typical:
        short = simulate_pairs(params, range(50), max_sessions=60, trajectories=True)
        long = simulate_pairs(params, range(50), max_sessions=120, trajectories=True)
        assert short.baseline is not None
        assert long.baseline is not None
        for i in range(50):
            row = short.baseline.row(i)
            assert_array_equal(long.baseline.row(i)[: len(row)], row)
            assert len(row) == 60 or len(long.baseline.row(i)) == len(row)


def test_distances_follow_from_the_packed_bytes(typical: list[Params]) -> None:
    batch = simulate_pairs(typical[0], range(50), trajectories=True)
    assert batch.v2 is not None
    for i in range(50):
        c, t = batch.v2.client(i).astype(int), batch.v2.enacted(i).astype(int)
        steps = np.abs(t - (4 - c) % 8)
        distances = np.minimum(steps, 8 - steps)
        window = typical[0].window_size
        means = [distances[max(0, s - window + 1) : s + 1].mean() for s in range(len(distances))]
        assert_allclose(batch.distance(i), means, rtol=1e-15)
        assert len(means) == batch.v2_sessions[i]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_baseline_is_blind_to_the_unit_of_utility(mechanism: str) -> None:
    params = random_params(np.random.default_rng(11), mechanism=mechanism, u_matrix=None, max_sessions=100)
    doubled = params.model_copy(update={"entropy": 2.0 * params.entropy})
    for seed in range(20):
        u = np.array(utility_matrix(seed, None))
        assert_array_equal(run_client(params, seed, u), run_client(doubled, seed, 2.0 * u))


def test_aligned_objective_is_the_difference_of_the_categories(typical: list[Params]) -> None:
    for params in typical:
        batch = simulate_pairs(params, range(200))
        difference = (int((batch.category == 0).sum()) - int((batch.category == 1).sum())) / 200
        found = objective(params, 200, "aligned")
        assert found["advantage"] == pytest.approx(difference, abs=1e-15)
        assert found["pattern"] == params.pattern
