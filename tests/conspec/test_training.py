"""Trials: what they return, equal bits however they are stopped, and the nine hyper-parameters that steer them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from quintet.jobs.conspec import epsilon, gae, intrinsic_reward, train
from quintet.jobs.conspec.contrast_kernel import score
from quintet.jobs.conspec.metrics import COST, block_welford, episodes_to_90
from quintet.jobs.conspec.network import Sizes
from quintet.jobs.conspec.policy import Policy
from quintet.jobs.conspec.trial import Trial, TrialResult

SMALL = {"hidden_dim": 32, "lstm_hidden_size": 32, "num_prototypes": 3}
EAGER = {"criterion_margin": -2.0, "score_threshold": -1.0, "criterion_patience": 2}
"""Prototypes become active at once and pay for every match: what rarely happens in a short trial."""


def assert_equal(one: TrialResult, other: TrialResult, but: tuple[str, ...] = ()) -> None:
    for name in ("metrics", "episodes", "updates", "evaluations", "prototypes", "welford", "weights"):
        if name in but:
            continue
        left, right = getattr(one, name), getattr(other, name)
        assert left.keys() == right.keys()
        for key in left:
            if key not in COST:
                np.testing.assert_array_equal(left[key], right[key], err_msg=f"{name}.{key}")


def finished(trial: Trial) -> TrialResult:
    while trial.advance():
        pass
    return trial.result()


def test_result_has_the_documented_columns() -> None:
    result = train(SMALL, (0, 0, 0), world="single", episodes=45, agent={"num_envs": 10})
    metrics = (
        "mean_reward success_rate max_reward total_episodes positive_reward_rate mean_length_100 auc_reward auc_success"
        " episodes_to_90 mean_intrinsic_100 active_prototypes env_steps cpu_seconds wall_seconds peak_rss_mb attempts"
    )
    assert set(result.metrics) == set(metrics.split())
    kinds = {"reward": "f4", "intrinsic": "f4", "length": "u2", "success": "u1", "epsilon": "f4", "events": "u2"}
    assert {name: column.dtype for name, column in result.episodes.items()} == {
        n: np.dtype(k) for n, k in kinds.items()
    }
    assert all(len(column) == 45 for column in result.episodes.values())
    updates = result.updates
    assert updates["episode"].tolist() == [10, 20, 30, 40, 45]
    for name in ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm"):
        assert updates[name].dtype == np.float32 and np.isfinite(updates[name]).all()
    for name in ("success_score", "failure_score", "active"):
        assert updates[name].shape == (5, 3)
    assert np.isnan(updates["conspec_loss"]).all() and updates["active"].dtype == np.uint8
    assert (updates["n_success"] + updates["n_failure"]).tolist() == [10, 12, 12, 12, 12]
    assert result.evaluations["episode"].tolist() == [45]
    assert set(result.evaluations) == {
        "episode", "greedy_return", "greedy_success", "greedy_length", "mean_return", "success_rate", "mean_length"
    }  # fmt: skip
    np.testing.assert_allclose(result.episodes["epsilon"], epsilon(np.arange(45), decay=0.995), rtol=1e-6)
    assert result.metrics["total_episodes"] == 45
    assert result.metrics["env_steps"] == result.episodes["length"].sum()
    assert result.metrics["mean_reward"] == pytest.approx(result.episodes["reward"].mean())
    assert result.prototypes["event_counts"].shape == (3, 9)
    assert result.welford["reward_count"].sum() == 45


@pytest.mark.parametrize(("family", "world"), [("grid", "double"), ("delayed", "single")])
def test_restored_trial_ends_with_the_same_bits(family: str, world: str) -> None:
    def trial() -> Trial:
        agent = {"num_envs": 8, **EAGER}
        return Trial(SMALL, (5, 1, 2), world=world, episodes=84, family=family, agent=agent, eval_frequency=30)

    whole = finished(trial())
    assert whole.metrics["active_prototypes"] == (3 if family == "delayed" else whole.metrics["active_prototypes"])
    assert len(whole.evaluations["episode"]) == 3
    stopped = trial()
    for _ in range(9):
        stopped.advance()
        state = stopped.state()
        arrays = {key: value for key, value in state.items() if hasattr(value, "dtype")}
        values = json.loads(json.dumps({k: v for k, v in state.items() if k not in arrays}, allow_nan=False))
        stopped = trial()
        stopped.restore({**{key: value.copy() for key, value in arrays.items()}, **values})
    assert_equal(whole, finished(stopped))


def test_a_trial_is_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; from quintet.jobs.conspec import train\n"
        "r = train({'hidden_dim': 32, 'lstm_hidden_size': 32}, (1, 0, 3), world='single', episodes=40)\n"
        "print(r.weights['policy'].tobytes().hex()[:64], r.metrics['mean_reward'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    result = train({"hidden_dim": 32, "lstm_hidden_size": 32}, (1, 0, 3), world="single", episodes=40)
    expected = f"{result.weights['policy'].tobytes().hex()[:64]} {result.metrics['mean_reward']}"
    assert done.stdout.split() == expected.split()


def test_conspec_changes_nothing_before_the_first_activation() -> None:
    keywords: dict[str, Any] = {"world": "single", "family": "delayed", "episodes": 80}
    plain = train(SMALL, (2, 0, 0), agent={"conspec": False}, **keywords)
    late = train(SMALL, (2, 0, 0), **keywords)
    assert np.isfinite(late.updates["conspec_loss"]).any() and np.isnan(plain.updates["conspec_loss"]).all()
    assert late.metrics["active_prototypes"] == 0
    np.testing.assert_array_equal(plain.weights["policy"], late.weights["policy"])
    for name in plain.episodes:
        np.testing.assert_array_equal(plain.episodes[name], late.episodes[name])
    eager = train(SMALL, (2, 0, 0), agent={**EAGER, "score_threshold": 0.3}, **keywords)
    assert (eager.weights["policy"] != late.weights["policy"]).any()


def test_intrinsic_reward_is_that_of_the_scores_before_the_contrastive_steps() -> None:
    agent = {**EAGER, "score_threshold": 0.1, "num_envs": 10}
    trial = Trial(SMALL, (2, 0, 0), world="single", family="delayed", episodes=200, agent=agent, eval_frequency=1000)
    while not trial._conspec.active.all():
        trial.advance()
    before = trial._conspec.theta.copy()
    trial.advance()
    assert (before != trial._conspec.theta).any()
    record, rows = trial._sampler._record(10), trial._sampler._rows
    codes = rows.rows[: int(rows.count[0])]
    scores, scratch = np.zeros((len(codes), 3), np.float32), np.zeros(1_000_000, np.float32)
    score(before, trial.sizes.conspec, codes, np.ones(3, bool), scratch, scores)
    shown = torch.tensor(scores[record.slots])
    paid = intrinsic_reward(shown, torch.ones(3, dtype=torch.bool), scale=0.3, threshold=0.1).sum(0)
    assert paid.max() > 0
    np.testing.assert_allclose(trial.result().episodes["intrinsic"][-10:], paid, rtol=1e-5)


def test_evaluation_does_not_change_training() -> None:
    often, seldom = (
        finished(Trial(SMALL, (3, 1, 0), world="single", family="delayed", episodes=60, eval_frequency=frequency))
        for frequency in (20, 1000)
    )
    assert often.evaluations["episode"].tolist() == [20, 40, 60]
    assert seldom.evaluations["episode"].tolist() == [60]
    assert_equal(often, seldom, but=("evaluations",))


def test_divergence_is_a_failure_with_its_reason() -> None:
    trial = Trial(
        {**SMALL, "learning_rate": 1e30}, (0, 0, 0), world="single", episodes=60, agent={"max_grad_norm": 1e30}
    )
    result = finished(trial)
    assert result.failure is not None and "not finite" in result.failure
    assert result.metrics["total_episodes"] == trial.done < 60


def test_metrics_of_blocks_and_of_the_ninety_percent_mark() -> None:
    success = np.zeros(400, bool)
    success[150:] = True
    assert episodes_to_90(success) == 240
    assert episodes_to_90(np.ones(100, bool)) == 100
    assert episodes_to_90(np.ones(99, bool)) == 100
    assert episodes_to_90(np.zeros(300, bool)) == 301
    values = np.arange(120.0)
    blocks = block_welford({"reward": values})
    assert blocks["reward_count"].sum() == 120 and len(blocks["reward_count"]) == 50
    low, high = 7 * 120 // 50, 8 * 120 // 50
    assert blocks["reward_mean"][7] == values[low:high].mean()
    assert blocks["reward_m2"][7] == pytest.approx(((values[low:high] - values[low:high].mean()) ** 2).sum())
    assert (blocks["reward_min"][7], blocks["reward_max"][7]) == (values[low], values[high - 1])


PAIRS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"num_prototypes": 3}, {"num_prototypes": 10}),
    ({"learning_rate": 1e-3}, {"learning_rate": 3e-3}),
    ({"intrinsic_reward_scale": 0.2}, {"intrinsic_reward_scale": 0.4}),
    ({"gamma": 0.95}, {"gamma": 0.99}),
    ({"epsilon_decay": 0.99}, {"epsilon_decay": 0.999}),
    ({"hidden_dim": 32}, {"hidden_dim": 48}),
    ({"lstm_hidden_size": 32}, {"lstm_hidden_size": 48}),
    ({"batch_size": 16}, {"batch_size": 64}),
    ({"memory_size": 130}, {"memory_size": 1000}),
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[next(iter(pair[0])) for pair in PAIRS])
def test_each_of_the_nine_changes_the_policy(one: dict[str, Any], other: dict[str, Any]) -> None:
    agent = {**EAGER, "score_threshold": 0.1}
    results = [
        train({**SMALL, **own}, (4, 0, 0), world="single", family="delayed", episodes=60, agent=agent)
        for own in (one, other)
    ]
    assert all(result.metrics["mean_intrinsic_100"] > 0 for result in results)
    left, right = (result.weights["policy"] for result in results)
    assert len(left) != len(right) or (left != right).any()


def test_parameter_counts_are_those_of_the_formulas() -> None:
    assert Sizes(49, 17, 128, 128, 7, 5).n_policy == 255_880
    assert Sizes(25, 9, 128, 128, 4, 5).n_policy == 177_669
    for hid, width, n_prototypes in ((64, 128, 3), (128, 64, 10)):
        params = {"hidden_dim": hid, "lstm_hidden_size": width, "num_prototypes": n_prototypes}
        trial = Trial(params, (0, 0, 0), world="single", episodes=1)
        D, C, A = 49, 17, 7
        policy = D * C * hid + hid + hid**2 + hid + 4 * width * (hid + width + 1) + (A + 1) * (width + 1)
        assert len(trial.result().weights["policy"]) == policy
        conspec = D * C * hid + hid + n_prototypes * (2 * hid**2 + hid)
        assert len(trial.result().weights["conspec"]) == conspec


def test_intrinsic_return_is_bounded_in_mode_once() -> None:
    agent = {**EAGER, "score_threshold": 0.1}
    params = {**SMALL, "intrinsic_reward_scale": 0.7}
    result = train(params, (4, 0, 0), world="single", family="delayed", episodes=60, agent=agent)
    assert 0 < result.episodes["intrinsic"].max() <= 0.7 * 3 + 1e-6


def test_intrinsic_reward_scales_exactly() -> None:
    scores = torch.rand(30, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    active = torch.ones(3, dtype=torch.bool)
    for mode in ("once", "peaks", "potential"):
        one, two = (intrinsic_reward(scores, active, scale=scale, mode=mode, gamma=0.9) for scale in (0.2, 0.4))
        assert (two == 2 * one).all() and (one != 0).any()


def test_first_step_of_adam_moves_by_the_learning_rate() -> None:
    for rate in (1e-4, 1e-2):
        trial = Trial(
            {**SMALL, "learning_rate": rate, "batch_size": 256}, (0, 0, 0), world="single", episodes=4,
            agent={"ppo_epochs": 1},
        )  # fmt: skip
        before = trial.result().weights
        trial.advance()
        after = trial.result().weights
        change = np.abs(after["policy"] - before["policy"])
        assert change.max() <= rate * 1.001 and change.max() >= 0.5 * rate
        assert (after["conspec"] == before["conspec"]).all()


def test_gamma_enters_the_advantages_by_the_formula() -> None:
    for gamma in (0.95, 0.99):
        found = gae([[0.0], [1.0]], [[0.2], [0.5]], [2], gamma=gamma).advantages[:, 0]
        np.testing.assert_allclose(found, [gamma * 0.5 - 0.2 + gamma * 0.95 * 0.5, 0.5], atol=1e-15)


@pytest.mark.parametrize(("batch_size", "steps"), [(32, 32), (64, 16), (128, 8), (256, 4)])
def test_batch_size_sets_the_number_of_gradient_steps(batch_size: int, steps: int) -> None:
    agent = {"num_envs": 19, "chunk_len": 32}
    params = {**SMALL, "batch_size": batch_size}
    trial = Trial(params, (0, 0, 0), world="single", episodes=19, agent=agent)  # 19 x 13 = 247 chunks
    trial.advance()
    assert trial.state()["policy_steps"] == steps
    assert isinstance(trial._policy, Policy)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"params": {"my_new_param": 1}}, "my_new_param: the agent has no such parameter; known"),
        ({"params": {"hidden_dim": 0}}, "hidden_dim: 0"),
        ({"params": {"gamma": 1.5}}, "gamma: 1.5"),
        ({"params": {}, "agent": {"window": 0}}, "window: 0"),
        ({"params": {}, "agent": {"epsilon_start": 0.1, "epsilon_min": 0.2}}, "epsilon_min 0.2 > epsilon_start 0.1"),
        ({"params": {}, "episodes": 0}, "episodes: 0"),
        ({"params": {}, "world": "quad"}, "exists only in family delayed"),
    ],
)
def test_bad_trials_are_refused_in_one_line(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        train(**{"seed_words": (0, 0, 0), "world": "single", **keywords})
    assert "\n" not in str(caught.value)


def test_nothing_but_a_trial_loads_torch() -> None:
    code = (
        "import sys; from quintet.jobs.conspec import (make_env, image, reference, analyse, ParameterGrid,"
        " sample_parameters, epsilon, gae); import quintet.jobs.conspec.config\n"
        "make_env('single').reset(); sys.exit('torch' in sys.modules or 'h5py' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_single_is_learnt() -> None:
    result = train({}, (101, 0, 0), world="single", episodes=1500)
    assert result.metrics["success_rate"] >= 0.9
    assert result.evaluations["greedy_success"][-1] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [102, 103])
def test_single_is_learnt_with_other_seeds(seed: int) -> None:
    assert train({}, (seed, 0, 0), world="single", episodes=1500).metrics["success_rate"] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("world", "episodes", "reward"), [("double", 3500, 2.7), ("triple", 2500, 3.0)])
def test_harder_worlds_are_learnt(world: str, episodes: int, reward: float) -> None:
    result = train({}, (101, 1 if world == "double" else 2, 0), world=world, episodes=episodes)
    assert result.metrics["success_rate"] >= 0.9 and result.metrics["mean_reward"] >= reward


@pytest.mark.parametrize("conspec", [True, False])
def test_one_key_with_delay_is_learnt_by_both_arms(conspec: bool) -> None:
    params = {"hidden_dim": 64, "lstm_hidden_size": 64, "gamma": 0.99}
    keywords: dict[str, Any] = {"world": "single", "family": "delayed", "episodes": 3000}
    assert train(params, (101, 0, 0), agent={"conspec": conspec}, **keywords).metrics["success_rate"] >= 0.9
