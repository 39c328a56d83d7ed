"""How good a direction is: random directions, open texts, gates, and the search's objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quintet.jobs.society.contrast import eval_items
from quintet.jobs.society.evaluation import GATES, Evaluation, evaluate, gates, judge_z, random_shifts
from quintet.jobs.society.judge import judge_questions, judge_systems
from quintet.jobs.society.tuning import tuned_layers, tuning_score

from .golden_files import golden

pytest.importorskip("torch")
RECORDED = golden("steering_smollm2")


def test_a_direction_of_the_small_model_is_evaluated_whole(tiny: Any, tiny_vectors: Any) -> None:
    items = {trait: entries[:2] for trait, entries in eval_items().items()}
    found = evaluate(tiny, tiny_vectors, items, "A", 2)
    assert found.gaps.shape == (7, 2) and found.bleed.shape == (5,) and found.judge.shape == (2, 12)
    assert found.bleed[1] == pytest.approx(found.gaps[5].mean() - found.gaps[1].mean())
    assert set(gates(found, "A")) == set(GATES)
    score = tuning_score(tiny, tiny_vectors, items, [2], dict.fromkeys("EACON", 1.0))
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
