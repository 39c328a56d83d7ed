"""SmolLM2-135M: the recorded prompts, choices, greedy texts and gaps; vectors and the full sanity bar are slow."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from quintet.jobs.society import (
    Row,
    RunConfig,
    Simulation,
    Steering,
    answer_gaps,
    compute_vectors,
    load_backend,
    load_contrast_items,
    sample_residents,
)
from quintet.jobs.society.evaluation import LEAST_SPLIT_HALF
from quintet.jobs.society.prompts import persona_words, resident_block

from .golden_files import golden

pytest.importorskip("torch")
RECORDED = golden("steering_smollm2")
EVAL = {trait: [item for item in items if item.split == "eval"] for trait, items in load_contrast_items().items()}


def test_prompts_have_the_recorded_ids(smollm2: Any) -> None:
    check = RECORDED["prompt_check"]
    assert smollm2.prompt(f"{check['stem']} What do you do?") == check["ids"]
    assert smollm2.sha256 == RECORDED["model"]["gguf_sha256"]


def test_what_the_self_test_says_of_company_holds(smollm2: Any, smollm2_steering: Steering) -> None:
    recorded, verbs = golden("greedy_steered")["rows"], ["help gladly", "argue loudly"]
    rows = [Row(smollm2.prompt(f"{row['stem']} Really?"), row["coeffs"], 1) for row in recorded]
    rows = (rows * 32)[:32]
    together = smollm2.choose(rows, verbs, smollm2_steering).logprobs
    for company in (1, 5, 15, 20):
        found = smollm2.choose(rows[:company], verbs, smollm2_steering).logprobs
        if smollm2.invariance == "bitwise":
            assert np.array_equal(found, together[:company])
        np.testing.assert_allclose(found, together[:company], atol=1e-4)


@pytest.mark.parametrize("form", ["none", "labels", "description"])
@pytest.mark.parametrize("env", ["research", "policy", "nav"])
def test_the_resident_stays_within_its_fifty_tokens(smollm2: Any, env: str, form: str) -> None:
    words = [persona_words(persona, form) for persona in itertools.product((-0.9, 0.9), repeat=5)]
    residents = sample_residents(RunConfig(run_id="x", env=env, population=24))
    blocks = [resident_block(resident, told) for resident in residents for told in dict.fromkeys(words)]
    assert max(len(smollm2.tokenizer.encode(block)) for block in blocks) <= 50


def test_vectors_have_the_recorded_norms_and_angles(smollm2_vectors: Any) -> None:
    for trait, norms in RECORDED["norms"].items():
        found = [smollm2_vectors.norms[trait][block] for block in range(29)]
        np.testing.assert_allclose(found, norms[:29], rtol=1e-3)
        vector = smollm2_vectors.directions[trait][16][:8] * smollm2_vectors.norms[trait][16]
        np.testing.assert_allclose(vector, RECORDED["vec_head_layer16"][trait], atol=2e-3)
    for pair, cosine in RECORDED["cos_layer16"].items():
        a, b = (smollm2_vectors.directions[trait][16] for trait in pair)
        assert float((a * b).sum()) == pytest.approx(cosine, abs=2e-3)


def test_greedy_steered_texts_are_exact(smollm2: Any, smollm2_steering: Steering) -> None:
    recorded = golden("greedy_steered")["rows"]
    rows = [Row(smollm2.prompt(f"{row['stem']} What do you do?"), row["coeffs"], 1, 24) for row in recorded]
    texts = smollm2.generate(rows, smollm2_steering, temperature=0)
    assert [text.token_ids for text in texts] == [row["token_ids"] for row in recorded]
    assert [text.text for text in texts] == [row["text"] for row in recorded]


def test_choices_have_the_recorded_log_probabilities(smollm2: Any, smollm2_steering: Steering) -> None:
    recorded = golden("action_choice")

    def rows(coefficients: dict[str, float]) -> list[Row]:
        return [Row([*recorded["prefix_ids"], *ids], coefficients, 4) for ids in recorded["row_ids"]]

    plain = smollm2.choose(rows({}), recorded["verbs"])
    np.testing.assert_allclose(plain.logprobs, recorded["row_logprobs_0"], atol=2e-3)
    prior = plain.logprobs.mean(axis=0)
    np.testing.assert_allclose(prior, recorded["prior"], atol=2e-3)
    steered = smollm2.choose(rows({"E": 1.0}), recorded["verbs"], smollm2_steering, prior=prior)
    np.testing.assert_allclose(steered.logprobs, recorded["row_logprobs_E+1"], atol=2e-3)
    np.testing.assert_allclose(steered.probabilities.mean(axis=0), recorded["E+1"], atol=5e-3)
    strong = smollm2.choose(rows({"N": 2.0}), recorded["verbs"], smollm2_steering, prior=prior)
    np.testing.assert_allclose(strong.probabilities.mean(axis=0), recorded["N+2"], atol=5e-3)


def test_gaps_are_the_recorded_ones(smollm2: Any, smollm2_steering: Steering) -> None:
    recorded = dict(zip(RECORDED["coefs"], RECORDED["gap"]["O"], strict=True))
    for coefficient in (-1.0, 1.0):
        gaps = answer_gaps(smollm2, EVAL["O"], {"O": coefficient}, smollm2_steering)
        assert gaps.mean() == pytest.approx(recorded[coefficient], abs=5e-3)


def test_a_short_town_speaks_and_is_the_same_in_parts(smollm2: Any, smollm2_vectors: Any) -> None:
    config = RunConfig(
        run_id="s",
        population=4,
        steps=2,
        inference={"max_new_tokens": 12},
        probes={"enabled": False},
        # everybody in company is made to talk, so that there is something to measure
        meta_orchestrator={"silence_ticks": 0},
        policy={"planner_weight": 50.0},
    )
    prior = np.full(13, -6.0)
    history = Simulation(config, smollm2, vectors=smollm2_vectors, prior=prior).run()
    assert all(history.utterances) and (history.columns["actions/tokens_in"] < 230).all()
    parts = Simulation(config, smollm2, vectors=smollm2_vectors, prior=prior)
    parts.run(1)
    rest = Simulation.restore(parts.checkpoint(), smollm2, vectors=smollm2_vectors, prior=prior).run()
    assert rest.utterances == [
        text for text, action in zip(history.utterances, history.actions, strict=True) if action.tick == 1
    ]
    assert np.isfinite(history.metrics["fluency"]).any()


@pytest.mark.slow
def test_extraction_finds_the_recorded_vectors(smollm2: Any, smollm2_vectors: Any) -> None:
    fresh = compute_vectors(smollm2, load_contrast_items(), layers=[16])
    for trait in "EACON":
        np.testing.assert_allclose(fresh.directions[trait][16], smollm2_vectors.directions[trait][16], atol=1e-5)
        agreement = fresh.quality[trait][16]["agreement"]
        np.testing.assert_allclose(agreement, RECORDED["train_agreement_layer16"][trait], atol=1e-3)
        assert fresh.quality[trait][16]["split_half"] >= LEAST_SPLIT_HALF


@pytest.mark.slow
@pytest.mark.parametrize("trait", list("EACON"))
def test_the_sanity_bar_of_steering_holds(smollm2: Any, smollm2_steering: Steering, trait: str) -> None:
    gaps = [answer_gaps(smollm2, EVAL[trait], {trait: c}, smollm2_steering) for c in RECORDED["coefs"]]
    means = np.array([gap.mean() for gap in gaps])
    np.testing.assert_allclose(means, RECORDED["gap"][trait], atol=5e-3)
    assert (np.diff(means) > 0).all()
    shift = gaps[5] - gaps[1]
    assert shift.mean() >= 0.4 and (shift < 0).mean() <= 0.25
    bleed = [
        abs(
            answer_gaps(smollm2, EVAL[other], {trait: 1.0}, smollm2_steering).mean()
            - answer_gaps(smollm2, EVAL[other], {trait: -1.0}, smollm2_steering).mean()
        )
        for other in "EACON"
    ]
    np.testing.assert_allclose(bleed, [abs(RECORDED["bleed_c1_minus_cm1"][trait][o]) for o in "EACON"], atol=1e-2)
    assert int(np.argmax(bleed)) == "EACON".index(trait)


@pytest.mark.slow
def test_action_shares_are_the_recorded_ones(smollm2: Any, smollm2_steering: Steering) -> None:
    recorded = golden("action_choice")
    base = [[*recorded["prefix_ids"], *ids] for ids in recorded["row_ids"]]
    for trait in "EACON":
        for level in ("-2", "-1", "+1", "+2"):
            rows = [Row(ids, {trait: float(level)}, 4) for ids in base]
            prior = np.array(recorded["row_logprobs_0"]).mean(axis=0)
            choice = smollm2.choose(rows, recorded["verbs"], smollm2_steering, prior=prior)
            np.testing.assert_allclose(choice.probabilities.mean(axis=0), recorded[trait + level], atol=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind, limit", [("nf4", 0.34), ("int8", 0.44)])
def test_quantized_models_are_small_and_can_still_be_steered(
    smollm2_vectors: Any, smollm2_steering: Steering, kind: Any, limit: float
) -> None:
    pytest.importorskip("bitsandbytes")
    backend = load_backend(quantization=kind)
    module = backend.module
    names = {type(part).__name__ for part in module.modules()}
    assert ("Linear4bit" if kind == "nf4" else "Linear8bitLt") in names
    assert module.get_memory_footprint() <= limit * 538_060_032
    text = backend.generate(
        [Row(backend.prompt("What is the capital of France?", "You are a helpful assistant."), {}, 1, 16)],
        temperature=0,
    )[0]
    assert text.token_ids and (kind == "nf4" or "Paris" in text.text)
    items = EVAL["N"][:3]
    gaps = [answer_gaps(backend, items, {"N": c}, smollm2_steering).mean() for c in (-1.0, 0.0, 1.0)]
    assert gaps[0] < gaps[1] < gaps[2]
