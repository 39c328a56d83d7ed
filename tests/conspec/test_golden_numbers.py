"""Golden numbers of the arithmetic, the search and the analysis."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from quintet.jobs.conspec import (
    ParameterGrid,
    analyse,
    contrastive_loss,
    epsilon,
    gae,
    intrinsic_reward,
    policy_loss,
    prototype_scores,
    sample_parameters,
)

from .golden_files import golden, space_of

MATH, TRAINING, SAMPLES, ANALYSIS = (
    golden(name) for name in ("conspec_math", "training_math", "search_samples", "analysis_case")
)


def tensor(values: object, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize("case", MATH["cases"])
def test_scores_and_contrastive_loss(case: dict) -> None:
    scores = prototype_scores(*(tensor(case[key]) for key in ("hidden", "W1", "W2", "prototypes")))
    np.testing.assert_allclose(scores, case["cos_scores"], atol=1e-9, rtol=0)
    loss = contrastive_loss(scores, case["n_success"])
    np.testing.assert_allclose(loss.cos, case["cos_loss_per_prototype"], atol=1e-9, rtol=0)
    np.testing.assert_allclose(loss.success_score, case["success_score"], atol=1e-9, rtol=0)
    np.testing.assert_allclose(loss.failure_score, case["failure_score"], atol=1e-9, rtol=0)
    assert loss.diversity.item() == pytest.approx(case["diversity_sum"], abs=1e-9)
    reference = loss.cos.sum() + 0.2 * loss.diversity / case["P"]
    assert reference.item() == pytest.approx(case["total_loss_reference_normalisation"], abs=1e-9)
    total = loss.cos.sum() + 0.2 * 16 / case["n_success"] * loss.diversity
    assert loss.total.item() == pytest.approx(total.item(), abs=1e-12)


@pytest.mark.parametrize("mode", ["peaks", "once"])
@pytest.mark.parametrize("case", MATH["intrinsic"])
def test_intrinsic_reward(case: dict, mode: str) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        active = torch.tensor(case["active"]).bool()
        paid = intrinsic_reward(
            tensor(case["scores"], dtype), active, scale=case["scale"], mode=mode, threshold=case["threshold"]
        )
        assert paid.dtype == dtype
        np.testing.assert_allclose(paid, case[mode], atol=tolerance, rtol=0)


def test_potential_telescopes_and_padding_pays_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.rand(20, 3, 2, dtype=torch.float64, generator=generator)
    valid = torch.arange(20)[:, None] < torch.tensor([20, 7, 1])
    active = torch.tensor([True, False])
    paid = intrinsic_reward(scores, active, scale=0.5, mode="potential", gamma=0.9, valid=valid)
    a = torch.where(scores[:, :, 0] > 0.6, 0.5 * scores[:, :, 0], 0.0) * valid
    discounts = 0.9 ** torch.arange(20, dtype=torch.float64)
    np.testing.assert_allclose((paid * discounts[:, None]).sum(0), -a[0], atol=1e-12)
    assert (paid[~valid] == 0).all()
    short = intrinsic_reward(scores[:7, 1:2], active, scale=0.5)
    np.testing.assert_allclose(intrinsic_reward(scores, active, scale=0.5, valid=valid)[:7, 1:2], short, atol=0)
    with pytest.raises(ValueError, match="gamma"):
        intrinsic_reward(scores, active, scale=0.5, mode="potential")


def test_padding_does_not_change_the_contrastive_loss() -> None:
    generator = torch.Generator().manual_seed(2)
    scores = torch.rand(6, 4, 3, dtype=torch.float64, generator=generator)
    padded = torch.cat([scores, torch.ones(5, 4, 3, dtype=torch.float64)])
    valid = torch.arange(11)[:, None] < torch.full((4,), 6)
    for one, other in zip(contrastive_loss(scores, 2), contrastive_loss(padded, 2, valid=valid), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("case", TRAINING["epsilon"])
def test_epsilon_table(case: dict) -> None:
    episodes = np.array([int(episode) for episode in case["values"]])
    values = epsilon(episodes, decay=case["decay"], start=case["start"], minimum=case["min"])
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, list(case["values"].values()), atol=1e-9, rtol=0)


@pytest.mark.parametrize("case", TRAINING["gae"])
def test_advantages_of_ragged_episodes(case: dict) -> None:
    result = gae(case["rewards"], case["values"], case["lengths"], gamma=case["gamma"], gae_lambda=case["lam"])
    for name in ("advantages", "returns", "normalised"):
        np.testing.assert_allclose(getattr(result, name), case[name], atol=1e-9, rtol=0)


@pytest.mark.parametrize("case", TRAINING["ppo"])
def test_policy_loss_of_the_mixture(case: dict) -> None:
    names = ("epsilon", "old_log_mix", "advantage")
    result = policy_loss(tensor(case["logits"]), torch.tensor(case["actions"]), *(tensor(case[k]) for k in names))
    np.testing.assert_allclose(result.log_mix, case["log_mix"], atol=1e-9, rtol=0)
    np.testing.assert_allclose(result.ratio, case["ratio"], atol=1e-9, rtol=0)
    assert result.loss.item() == pytest.approx(case["policy_loss"], abs=1e-9)
    assert result.entropy.item() == pytest.approx(case["entropy_of_pi"], abs=1e-9)


def assert_same(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert type(found[name]) is type(value)
        assert found[name] == pytest.approx(value, rel=1e-15, abs=0)


def test_random_trials_are_those_of_the_definition_in_any_order() -> None:
    space = space_of(SAMPLES["space"])
    cases = [(world, entry) for world, entries in SAMPLES["random"].items() for entry in entries]
    random.Random(0).shuffle(cases)
    for world, entry in cases:
        assert_same(sample_parameters(space, SAMPLES["seed"], world, entry["trial"]), entry["params"])
    small = SAMPLES["small_space"]
    for trial, expected in enumerate(small["random"]):
        assert_same(sample_parameters(space_of(small["space"]), SAMPLES["seed"], "single", trial), expected)


def test_grid_points_and_their_shuffled_order() -> None:
    space = space_of(SAMPLES["space"])
    for world, case in SAMPLES["grid"].items():
        grid = ParameterGrid(space, levels=case["grid_levels"])
        assert len(grid) == case["grid_size"]
        order = grid.order(SAMPLES["seed"], world)
        assert order.dtype == np.int64 and sorted(order) == list(range(len(grid)))
        assert order[:8].tolist() == case["shuffled_first8"]
        for point in case["points"]:
            assert_same(grid[point["grid_index"]], point["params"])
    small = SAMPLES["small_space"]
    grid = ParameterGrid(space_of(small["space"]), levels=small["grid_levels"])
    assert len(grid) == small["grid_size"]
    for index, expected in enumerate(small["lexicographic"]):
        assert_same(grid[index], expected)
    with pytest.raises(IndexError):
        grid[len(grid)]


def test_log_integers_and_fixed_values() -> None:
    space = {
        "a": {"type": "int", "min": 1, "max": 1000, "log": True},
        "b": {"type": "fixed", "value": 7},
        "c": {"type": "uniform", "min": 0.0, "max": 1.0},
    }
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([3, 1, 5])))
    u = generator.random(3)
    expected = {"a": int(np.floor(np.exp(u[0] * np.log(1001)))), "b": 7, "c": u[2]}
    assert sample_parameters(space, 3, "double", 5) == expected
    whole = {"a": {"type": "uniform", "min": 2, "max": 2}, "b": {"type": "int", "min": 5, "max": 5, "log": True}}
    found = sample_parameters(whole, 0, "single", 0)
    assert found == {"a": 2.0, "b": 5} and [type(value) for value in found.values()] == [float, int]
    with pytest.raises(ValueError, match=r"a\.type: 'normal'"):
        sample_parameters({"a": {"type": "normal"}}, 0, "single", 0)
    with pytest.raises(ValueError, match="grid has"):
        ParameterGrid({str(k): {"type": "uniform", "min": 0, "max": 1} for k in range(5)}, levels=100)


def assert_statistics(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_statistics(found[name], value)
        elif isinstance(value, float):
            assert found[name] == pytest.approx(value, abs=1e-12), name
        else:
            assert found[name] == value, name


@pytest.mark.parametrize("case", [ANALYSIS, ANALYSIS["edge_case"]])
def test_analysis_in_any_order(case: dict) -> None:
    results = list(case["results"])
    for seed in range(3):
        found = analyse(results)
        assert list(found) == ["single", "double", "triple"]
        assert_statistics(found, case["expected"])
        random.Random(seed).shuffle(results)
    assert_statistics(analyse([*results[::2], *results]), case["expected"])


def test_analysis_of_few_trials_and_of_bad_records() -> None:
    record = ANALYSIS["results"][0]
    found = analyse([record])["single"]
    assert found["mean_reward_std"] is None and found["success_std"] is None
    assert set(found["pearson"].values()) == {None} and found["importance_order"] == []
    worst = analyse(ANALYSIS["results"], direction="minimize")["single"]
    assert worst["best_trial"] != ANALYSIS["expected"]["single"]["best_trial"]
    with pytest.raises(ValueError, match="record 1: hyperparameters: missing"):
        analyse([record, {"environment": "single", "trial": 1}])
