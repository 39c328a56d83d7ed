"""How good a direction is: random directions, open texts, gates, and the search's objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quintet.jobs.society import PersonaVectors, RunConfig, Steering
from quintet.jobs.society.contrast import eval_items
from quintet.jobs.society.evaluation import GATES, Evaluation, evaluate, gates, judge_z, random_shifts
from quintet.jobs.society.judge import judge_questions, judge_systems
from quintet.jobs.society.tuning import tuned_layers, tuning_score
from quintet.shard.configs import config_sha256
from quintet.shard.society.model_phases import evaluation_rows, tuning_trial
from quintet.shard.society.table import eval_sites, phases

from .golden_files import golden

pytest.importorskip("torch")
RECORDED = golden("steering_smollm2")


def test_a_direction_of_the_small_model_is_evaluated_whole(tiny: Any, tiny_vectors: Any) -> None:
    items = {trait: entries[:2] for trait, entries in eval_items().items()}
    found = evaluate(tiny, tiny_vectors, items, "A", 2)
    assert found.gaps.shape == (7, 2) and found.bleed.shape == (5,) and found.judge.shape == (2, 12)
    assert found.bleed[1] == pytest.approx(found.gaps[5].mean() - found.gaps[1].mean())
    assert set(gates(found, "A", 0.5, found.bleed)) == set(GATES)
    score = tuning_score(tiny, items, Steering(tiny_vectors, [2]))
    assert score.value == pytest.approx(score.shift - 2 * score.loss - 0.5 * score.bleed)


def test_gates_are_those_of_a_usable_direction() -> None:
    doses = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    good = Evaluation(
        np.tile(0.4 * doses[:, None], (1, 8)),
        np.array([0.8, 0.1, -0.2, 0.0, 0.3]),
        np.array([0.1, -0.2, 0.3]),
        np.array([0.1, 0.2]),
        np.stack([np.linspace(-1, 0, 12), np.linspace(0.5, 2, 12)]),
    )
    assert all(gates(good, "E").values())
    assert not gates(good, "A")["bleed"]
    wrong = Evaluation(-good.gaps, good.bleed, good.random, np.array([0.6, 0.0]), -good.judge)
    assert gates(wrong, "E") == {
        "monotone": False,
        "shift": False,
        "beyond_random": True,
        "wrong_way": False,
        "bleed": True,
        "fluency": False,
        "judge": False,
    }
    assert np.isnan(judge_z(np.full((2, 12), np.nan)))
    assert not gates(good, "E", 0.3)["stable"] and gates(good, "E", 0.4)["stable"]


def test_no_other_direction_may_move_a_trait_more_than_its_own() -> None:
    """On the recorded model the direction of N moves A more than A's own does (-1.03 against 0.91)."""
    recorded = RECORDED["bleed_c1_minus_cm1"]
    table = np.array([[recorded[steered][measured] for measured in "EACON"] for steered in "EACON"])
    blank = Evaluation(np.zeros((7, 8)), np.zeros(5), np.zeros(3), np.zeros(2), np.zeros((2, 12)))
    passed = {trait: gates(blank, trait, column=table[:, own])["column"] for own, trait in enumerate("EACON")}
    assert passed == {"E": True, "A": False, "C": True, "O": True, "N": True}
    assert "column" not in gates(blank, "E")


def steered_by(study: dict[str, Any] | None = None, **steering: Any) -> RunConfig:
    return RunConfig(
        run_id="e",
        model_name="tiny-random",
        steering={"layers": [2], **steering},
        study=study or {"single_traits": ["E"], "doses": [-1.0, 1.0], "tune": {"trials": 1}},
    )


def test_blocks_that_are_steered_are_always_scored() -> None:
    swept = {"eval_layers": [0, 1], "overrides": {"early": {"layers": [1]}, "late": {"layers": [3]}}}
    sites = eval_sites(steered_by(swept, orthogonalize="soft"))
    assert sites == [("soft", 0), ("soft", 1), ("soft", 2), ("soft", 3)]
    config = steered_by({"overrides": {"plain": {}, "free": {"steering": {"orthogonalize": "gram_schmidt"}}}})
    assert eval_sites(config) == [("none", 2), ("gram_schmidt", 2)]
    evaluation = next(phase for phase in phases(config) if phase.name == "eval-vectors")
    assert evaluation.units == 10


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("orthogonalize", "gram_schmidt", {"eval-vectors", "tune", "simulate"}),
        ("layer_scale", "none", {"tune", "simulate"}),
        ("strength", 2.0, {"tune", "simulate"}),
        ("vector_norm", {"E": 2.0}, {"tune", "simulate"}),
    ],
)
def test_phases_have_new_hashes_where_the_steering_they_judge_changes(key: str, value: Any, changed: set[str]) -> None:
    def hashes(config: RunConfig) -> dict[str, str]:
        data = {**config.model_dump(mode="json"), "phases": {}}
        return {phase.name: config_sha256(data, phases(config), phase) for phase in phases(config)}

    before, after = hashes(steered_by()), hashes(steered_by(**{key: value}))
    assert {name for name in before if before[name] != after[name]} == changed


class Spoken:
    """The model and vectors of a process, without a run."""

    def __init__(self, backend: Any, vectors: Any) -> None:
        self.backend, self.vectors = backend, vectors


@pytest.fixture(scope="module")
def overlapping(tiny: Any, tiny_vectors: Any) -> Spoken:
    """Vectors of which every one has a good part of the first."""
    mixed = {
        trait: {block: own + 0.8 * tiny_vectors.directions["E"][block] for block, own in blocks.items()}
        for trait, blocks in tiny_vectors.directions.items()
    }
    return Spoken(tiny, PersonaVectors(mixed, tiny_vectors.norms, tiny.sha256))


def test_vectors_are_judged_as_simulate_adds_them(overlapping: Spoken, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {trait: entries[:2] for trait, entries in eval_items().items()}
    monkeypatch.setattr("quintet.jobs.society.contrast.eval_items", lambda: few)
    free = overlapping.vectors.orthogonalised("gram_schmidt")
    rows = evaluation_rows(overlapping, steered_by(orthogonalize="gram_schmidt"), range(1, 2))
    expected = evaluate(overlapping.backend, free, few, "A", 2)
    np.testing.assert_array_equal(rows["rows/gaps"][0], expected.gaps)
    assert not np.array_equal(evaluation_rows(overlapping, steered_by(), range(1, 2))["rows/gaps"][0], expected.gaps)
    parameters = {"first": 1, "blocks": 2, "stride": 2, **{f"gain_{trait}": 2.0 for trait in "EACON"}}
    config = steered_by(orthogonalize="gram_schmidt", layer_scale="none", strength=0.5, vector_norm={"E": 3.0})
    norms = {**dict.fromkeys("EACON", 2.0), "E": 6.0}
    added = Steering(free, [1, 3], strength=0.5, layer_scale="none", vector_norm=norms)
    assert tuning_trial(overlapping, config, parameters)["value"] == tuning_score(overlapping.backend, few, added).value


def test_tuned_blocks_stay_within_the_model() -> None:
    assert tuned_layers({"first": 10, "blocks": 3, "stride": 4}, 30) == [10, 14, 18]
    assert tuned_layers({"first": 24, "blocks": 3, "stride": 4}, 30) == [24]


def test_the_judge_asks_held_out_questions_of_two_persons() -> None:
    assert all(len(judge_questions(trait)) == 12 for trait in "EACON")
    assert len({text for trait in "EACON" for text in judge_systems(trait)}) == 10


@pytest.mark.slow
@pytest.mark.parametrize("trait", list("EACON"))
def test_random_directions_do_less_than_the_vector(smollm2: Any, smollm2_vectors: Any, trait: str) -> None:
    shifts = random_shifts(smollm2, smollm2_vectors, eval_items()[trait], trait, 16)
    np.testing.assert_allclose(shifts, RECORDED["random_control_c1_minus_cm1"][trait], atol=1e-2)
    assert np.abs(shifts).max() < abs(RECORDED["bleed_c1_minus_cm1"][trait][trait])


@pytest.mark.slow
@pytest.mark.parametrize("trait", list("EACON"))
def test_open_texts_read_like_the_steered_trait(smollm2: Any, smollm2_steering: Any, trait: str) -> None:
    from quintet.jobs.society.judge import judged_texts

    texts = np.stack([judged_texts(smollm2, trait, {trait: dose}, smollm2_steering) for dose in (-1.0, 1.0)])
    assert judge_z(texts) >= 3.0
