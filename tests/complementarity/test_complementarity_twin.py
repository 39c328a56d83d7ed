"""The plain twin reproduces the golden runs too: 4 seeds of every entry, and all of them among the slow tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from quintet.jobs.complementarity import Params, reference
from quintet.jobs.complementarity.client import initial_memory, utility_matrix
from quintet.jobs.complementarity.params import PATTERNS

from .golden_files import THERAPISTS, digits, golden, settings_of

TIGHT = 1e-12
OUTCOMES = golden("outcomes")
VARIETY = golden("variety")
OBJECTIVE = golden("objective")
QUICK = 4


def check_octants(run: reference.Run, expected: dict[str, Any]) -> None:
    for kind in ("client", "enacted", "perceived"):
        if kind in expected:
            assert_array_equal(getattr(run, kind), digits(expected[kind]))


def check_outcomes(name: str, seeds: range) -> None:
    entry = OUTCOMES[name]
    first = entry["seeds"][0]
    trajectories = {trajectory["seed"]: trajectory for trajectory in entry["trajectories"]}
    for seed in seeds:
        i = seed - first
        pair = reference.simulate_pair(Params(**entry["params"]), seed)
        assert pair.category == int(entry["category"][i])
        for therapist in ("v2", "baseline"):
            assert getattr(pair, f"{therapist}_success") == (entry[f"{therapist}_success"][i] == "1")
            assert getattr(pair, f"{therapist}_sessions") == entry[f"{therapist}_sessions"][i]
            assert getattr(pair, f"{therapist}_dropout") == (seed in entry[f"{therapist}_dropout_seeds"])
            if i < 50:
                assert_allclose(getattr(pair, f"{therapist}_final_rs"), entry[f"{therapist}_final_rs"][i], rtol=TIGHT)
                bond = entry[f"{therapist}_final_bond"][i]
                assert_allclose(getattr(pair, f"{therapist}_final_bond"), bond, rtol=TIGHT)
            if seed in trajectories:
                check_octants(getattr(pair, therapist), trajectories[seed][therapist])
        if "v2_enacted_distance_window10" in trajectories.get(seed, {}):
            assert_allclose(pair.distance, trajectories[seed]["v2_enacted_distance_window10"], rtol=1e-11)


def check_setting(name: str, version: str, n_seeds: int) -> None:
    entry = VARIETY[name]
    for i, seed in enumerate(entry["seeds"][:n_seeds]):
        pair = reference.simulate_pair(
            Params(**entry["params"]), seed, therapist_version=THERAPISTS[version], **settings_of(entry)
        )
        for field, therapist in (("v2", version), ("baseline", "complementary")):
            expected = entry["therapists"][therapist]
            assert getattr(pair, f"{field}_success") == (expected["success"][i] == "1")
            assert getattr(pair, f"{field}_dropout") == (expected["dropout"][i] == "1")
            assert getattr(pair, f"{field}_sessions") == expected["sessions"][i]
            assert_allclose(getattr(pair, f"{field}_final_rs"), expected["final_rs"][i], rtol=TIGHT)
            for trajectory in expected.get("trajectories", []):
                if trajectory["seed"] == seed:
                    check_octants(getattr(pair, field), trajectory)


def check_objective(name: str, n_seeds: int) -> None:
    entry = OBJECTIVE[name]
    for seed in range(n_seeds):
        pair = reference.run_pair(Params(**entry["params"]), seed, 100, stops_at_success=False)
        for field, key in (("v2", "omni"), ("baseline", "comp")):
            assert getattr(pair, f"{field}_first_success") == (entry["per_seed"][f"{key}_first"][seed] or 0)
            assert getattr(pair, f"{field}_dropout") == bool(entry["per_seed"][f"{key}_drop"][seed])


@pytest.mark.parametrize("entry", golden("rng_and_inputs")["seeds"], ids=lambda entry: str(entry["seed"]))
def test_twin_s_matrix_and_memories_are_the_reference_s(entry: dict[str, Any]) -> None:
    assert_allclose(utility_matrix(entry["seed"], None), entry["u_matrix"], rtol=TIGHT)
    for pattern in PATTERNS:
        client, therapist = np.array(initial_memory(entry["seed"], pattern)).T
        assert_array_equal(client, digits(entry["memory"][pattern]["client"]))
        assert_array_equal(therapist, digits(entry["memory"][pattern]["therapist"]))


@pytest.mark.parametrize("name", OUTCOMES)
def test_twin_reproduces_the_first_outcomes(name: str) -> None:
    first = OUTCOMES[name]["seeds"][0]
    check_outcomes(name, range(first, first + QUICK))


@pytest.mark.parametrize("version", THERAPISTS)
@pytest.mark.parametrize("name", VARIETY)
def test_twin_reproduces_every_setting(name: str, version: str) -> None:
    check_setting(name, version, QUICK)


@pytest.mark.parametrize("name", OBJECTIVE)
def test_twin_reproduces_the_objective_s_runs(name: str) -> None:
    check_objective(name, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTCOMES)
def test_twin_reproduces_all_outcomes(name: str) -> None:
    first, last = OUTCOMES[name]["seeds"]
    check_outcomes(name, range(first, last + 1))


@pytest.mark.slow
@pytest.mark.parametrize("version", THERAPISTS)
@pytest.mark.parametrize("name", VARIETY)
def test_twin_reproduces_all_seeds_of_every_setting(name: str, version: str) -> None:
    check_setting(name, version, len(VARIETY[name]["seeds"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVE)
def test_twin_reproduces_all_of_the_objective_s_runs(name: str) -> None:
    check_objective(name, OBJECTIVE[name]["n_seeds"])
