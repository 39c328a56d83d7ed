"""The compiled kernel reproduces every golden run of the reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from quintet.jobs.complementarity import Params, objective, simulate_pairs
from quintet.jobs.complementarity.kernel import beginning
from quintet.jobs.complementarity.params import PATTERNS
from quintet.jobs.complementarity.simulation import simulate_batch
from quintet.jobs.complementarity.summation import recency_weights

from .golden_files import THERAPISTS, digits, golden, settings_of

TIGHT = 1e-12
OUTCOMES = golden("outcomes")
VARIETY = golden("variety")
OBJECTIVE = golden("objective")
INPUTS = golden("rng_and_inputs")


@pytest.mark.parametrize("entry", INPUTS["seeds"], ids=lambda entry: str(entry["seed"]))
def test_words_doubles_matrix_and_memories_of_a_seed_are_the_reference_s(entry: dict[str, Any]) -> None:
    for pattern in PATTERNS:
        start = beginning(entry["seed"], pattern)
        assert start.words[:8].tolist() == entry["first_words_uint32"]
        assert start.doubles[:6].tolist() == entry["first_doubles"]
        assert_allclose(start.u, entry["u_matrix"], rtol=TIGHT)
        assert_array_equal(start.client, digits(entry["memory"][pattern]["client"]))
        assert_array_equal(start.perceived, digits(entry["memory"][pattern]["therapist"]))


@pytest.mark.parametrize("entry", INPUTS["memory_weights"], ids=lambda entry: str(entry["recency_weighting_factor"]))
def test_recency_weights_are_the_reference_s(entry: dict[str, Any]) -> None:
    assert_allclose(recency_weights(entry["recency_weighting_factor"]), entry["weights"], rtol=TIGHT)


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcomes_of_thousands_of_pairs_are_the_reference_s(name: str) -> None:
    entry = OUTCOMES[name]
    first, last = entry["seeds"]
    seeds = np.arange(first, last + 1)
    batch = simulate_pairs(Params(**entry["params"]), seeds, trajectories=True)
    assert_array_equal(batch.category, digits(entry["category"]))
    for therapist in ("v2", "baseline"):
        assert_array_equal(getattr(batch, f"{therapist}_success"), digits(entry[f"{therapist}_success"]).astype(bool))
        assert_array_equal(getattr(batch, f"{therapist}_sessions"), entry[f"{therapist}_sessions"])
        assert seeds[getattr(batch, f"{therapist}_dropout")].tolist() == entry[f"{therapist}_dropout_seeds"]
        assert_allclose(getattr(batch, f"{therapist}_final_rs")[:50], entry[f"{therapist}_final_rs"], rtol=TIGHT)
        assert_allclose(getattr(batch, f"{therapist}_final_bond")[:50], entry[f"{therapist}_final_bond"], rtol=TIGHT)
    assert_allclose(batch.initial_rs[:50], entry["initial_rs"], rtol=TIGHT)
    for trajectory in entry["trajectories"]:
        i = trajectory["seed"] - first
        for therapist in ("v2", "baseline"):
            for kind in ("client", "enacted", "perceived"):
                found = getattr(getattr(batch, therapist), kind)(i)
                assert_array_equal(found, digits(trajectory[therapist][kind]))
        if "v2_enacted_distance_window10" in trajectory:
            assert_allclose(batch.distance(i), trajectory["v2_enacted_distance_window10"], rtol=1e-11)


@pytest.mark.parametrize("version", THERAPISTS)
@pytest.mark.parametrize("name", VARIETY)
def test_every_setting_and_therapist_is_the_reference_s(name: str, version: str) -> None:
    entry = VARIETY[name]
    batch = simulate_pairs(
        Params(**entry["params"]),
        entry["seeds"],
        therapist_version=THERAPISTS[version],
        trajectories=True,
        **settings_of(entry),
    )
    for field, therapist in (("v2", version), ("baseline", "complementary")):
        expected = entry["therapists"][therapist]
        assert_array_equal(getattr(batch, f"{field}_success"), digits(expected["success"]).astype(bool))
        assert_array_equal(getattr(batch, f"{field}_dropout"), digits(expected["dropout"]).astype(bool))
        assert_array_equal(getattr(batch, f"{field}_sessions"), expected["sessions"])
        assert_allclose(getattr(batch, f"{field}_final_rs"), expected["final_rs"], rtol=TIGHT)
        for trajectory in expected.get("trajectories", []):
            i = entry["seeds"].index(trajectory["seed"])
            for kind in ("client", "enacted", "perceived"):
                if kind in trajectory:
                    assert_array_equal(getattr(getattr(batch, field), kind)(i), digits(trajectory[kind]))


@pytest.mark.parametrize("name", OBJECTIVE)
def test_objective_in_mode_reference_is_the_reference_s(name: str) -> None:
    entry = OBJECTIVE[name]
    params = Params(**entry["params"])
    found = objective(params, entry["n_seeds"], "reference")
    assert found["advantage"] == pytest.approx(entry["advantage"], abs=1e-15)
    for therapist in ("omniscient", "complementary"):
        assert found[therapist] == pytest.approx(entry[therapist], rel=TIGHT)
        assert found[f"{therapist}_success"] == pytest.approx(entry[therapist]["success_rate"])
        assert found[f"{therapist}_dropout"] == pytest.approx(entry[therapist]["dropout_rate"])
    batch = simulate_batch(params, np.arange(entry["n_seeds"], dtype=np.uint32), 100, False, False)
    for field, key in (("v2", "omni"), ("baseline", "comp")):
        first = [session or 0 for session in entry["per_seed"][f"{key}_first"]]
        assert_array_equal(getattr(batch, f"{field}_first_success"), first)
        assert_array_equal(getattr(batch, f"{field}_success"), np.array(entry["per_seed"][f"{key}_success"], bool))
        assert_array_equal(getattr(batch, f"{field}_dropout"), np.array(entry["per_seed"][f"{key}_drop"], bool))


def test_benchmark_configs_have_the_reference_s_outcomes() -> None:
    bench = golden("bench_configs")
    for config in bench["configs"]:
        batch = simulate_pairs(Params(**config["params"]), bench["seeds"])
        for therapist in ("v2", "baseline"):
            assert_array_equal(getattr(batch, f"{therapist}_success"), np.array(config[f"{therapist}_success"], bool))
            assert_array_equal(getattr(batch, f"{therapist}_sessions"), config[f"{therapist}_sessions"])


def test_categories_of_the_small_study_are_the_reference_s() -> None:
    study = golden("aggregate_end_to_end")
    categories = list(study["breakdown"])
    for config in study["per_config"]:
        trial = study["study_trials_in_order"][config["trial_number"]]
        batch = simulate_pairs(Params(**trial["params"]), range(study["n_seeds"]))
        for number, category in enumerate(categories):
            assert np.flatnonzero(batch.category == number).tolist() == sorted(config[category])
        sessions = [config["v2_sessions"][str(seed)] for seed in range(study["n_seeds"])]
        assert_array_equal(batch.v2_sessions, sessions)


def test_category_sizes_of_one_config_are_the_reference_s() -> None:
    entry = golden("aggregate_one_config")
    first, last = entry["seeds"]
    batch = simulate_pairs(Params(**OUTCOMES[entry["config"]]["params"]), range(first, last + 1))
    for number, category in enumerate(("v2_advantage", "baseline_advantage", "both_success", "both_fail")):
        members = np.flatnonzero(batch.category == number)
        aggregate = entry["aggregates"][category]
        assert len(members) == aggregate["n"]
        lengths = batch.v2_sessions[members]
        counts = [(lengths > x).sum() for x in range(aggregate["session_axis"]["length"])]
        assert counts == aggregate["session_axis"]["count"]
