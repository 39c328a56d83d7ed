"""The config: defaults, a round trip through sorted JSON, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from quintet.jobs.conspec import sample_parameters
from quintet.jobs.conspec.config import DEFAULT_SPACE, Config
from quintet.jobs.conspec.settings import NINE, Settings
from quintet.jobs.conspec.trial import Trial
from quintet.shard.configs import parsed


def space(name: str, **entry: Any) -> dict[str, Any]:
    return {"hyperparameters": {name: entry}}


def fixed(value: Any) -> dict[str, Any]:
    return {"type": "fixed", "value": value}


def test_numbers_with_exponents_are_numbers() -> None:
    text = "{learning_rate: {type: loguniform, min: 1e-4, max: 1e-2}, adam_eps: {type: fixed, value: 1E-6}}"
    axes = Config(hyperparameters=parsed(text, "here")).hyperparameters
    assert axes == {
        "learning_rate": {"type": "loguniform", "min": 0.0001, "max": 0.01},
        "adam_eps": {"type": "fixed", "value": 0.000001},
    }
    assert parsed('[.5e2, -1.E+3, 7, 1e, 1e3x, "1e-3"]', "here") == [50.0, -1000.0, 7, "1e", "1e3x", "1e-3"]


def test_the_two_epsilons_are_compared_where_they_stand() -> None:
    searched = {"epsilon_min": fixed(0.001), "epsilon_start": fixed(0.005)}
    assert Config(hyperparameters=searched).parameters("single", 0) == {"epsilon_min": 0.001, "epsilon_start": 0.005}
    assert Config(hyperparameters={"epsilon_min": fixed(0.001)}, agent={"epsilon_start": 0.005})


def test_defaults_are_those_of_the_study() -> None:
    config = Config()
    assert tuple(config.hyperparameters) == NINE == tuple(DEFAULT_SPACE)
    assert config.environments == ("single", "double", "triple")
    assert (config.training.episodes, config.search.n_trials, config.ablation.trials) == (5000, 50, 5)
    assert config.max_failures == 50
    settings = Settings()
    nine = (5, 1e-3, 0.3, 0.98, 0.995, 128, 128, 64, 5000)
    assert tuple(getattr(settings, name) for name in NINE) == nine


def test_declared_order_survives_sorted_json() -> None:
    config = Config(**{"agent": {"chunk_len": 64}, "seed": 7})
    again = Config(**json.loads(json.dumps(config.model_dump(mode="json"), sort_keys=True)))
    assert again == config and tuple(again.hyperparameters) == NINE
    assert again.parameters("double", 3) == sample_parameters(DEFAULT_SPACE, 7, "double", 3)


def test_trials_take_what_the_config_says() -> None:
    config = Config(
        environments=["double"], training={"episodes": 30, "max_steps_per_episode": 50}, agent={"num_envs": 10}
    )
    arguments = config.trial_arguments({"hidden_dim": 16, "lstm_hidden_size": 16}, "double", 4, with_conspec=False)
    assert arguments["seed_words"] == (0, 1, 4)
    trial = Trial(**arguments)
    trial.advance()
    assert trial.done == 10 and not trial.settings.conspec
    assert trial.result().metrics["env_steps"] <= 500


def test_grids_have_no_more_trials_than_points() -> None:
    small = {"gamma": {"type": "choice", "values": [0.9, 0.99]}}
    config = Config(hyperparameters=small, search={"method": "grid", "grid_order": "lexicographic"})
    assert config.trials_per_world == 2
    assert [config.parameters("single", k)["gamma"] for k in range(2)] == [0.9, 0.99]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"environments": ["quadruple"]}, "'single', 'double', 'triple' or 'quad'"),
        ({"environments": ["quad"]}, "world 'quad' exists only in family delayed"),
        ({"environments": []}, "at least one"),
        (space("my_new_param", type="fixed", value=1), "hyperparameters.my_new_param: the agent has no such parameter"),
        (space("gamma", type="normal"), "hyperparameters.gamma.type: 'normal'; allowed choice, uniform, loguniform"),
        (space("gamma", type="choice", values=[]), "gamma.values: "),
        (space("gamma", type="uniform", min=0.5, max=0.1), "min 0.5 > max 0.1"),
        (space("learning_rate", type="loguniform", min=0.0, max=0.1), "loguniform needs min > 0"),
        (space("gamma", type="uniform", min=0.5, max=float("nan")), "not a finite number"),
        (space("gamma", type="uniform", min=0.5, max=float("inf")), "not a finite number"),
        (space("num_prototypes", type="fixed", value=0), "num_prototypes: 0"),
        (space("hidden_dim", type="uniform", min=16, max=32), "hidden_dim: 16"),
        (space("batch_size", type="choice", values=[1, 32]), "batch_size: 1"),
        (space("memory_size", type="int", min=0, max=10), "memory_size: 0"),
        (space("gamma", type="fixed", value=1.5), "gamma: 1.5"),
        (space("epsilon_decay", type="fixed", value=0.0), "epsilon_decay: 0.0"),
        (space("learning_rate", type="fixed", value=0.0), "learning_rate: 0.0"),
        (
            {**space("window", type="fixed", value=2), "agent": {"window": 4}},
            "hyperparameters.window: stands under agent",
        ),
        ({"agent": {"gae_lambda": 1.5}}, "agent.gae_lambda"),
        ({"agent": {"epsilon_min": 0.5, "epsilon_start": 0.1}}, "epsilon_min 0.5 > epsilon_start 0.1"),
        (
            {"hyperparameters": {"epsilon_min": fixed(0.5), "epsilon_start": fixed(0.1)}},
            "hyperparameters.epsilon_min 0.5 > epsilon_start 0.1",
        ),
        (
            {
                "hyperparameters": {
                    "epsilon_start": {"type": "choice", "values": [0.1, 1.0]},
                    "epsilon_min": {"type": "uniform", "min": 0.0, "max": 0.2},
                }
            },
            "> epsilon_start 0.1",
        ),
        (
            {**space("epsilon_min", type="fixed", value=0.5), "agent": {"epsilon_start": 0.1}},
            "hyperparameters.epsilon_min 0.5 > epsilon_start 0.1",
        ),
        (space("learning_rate", type="fixed", value="1e-3"), "learning_rate: '1e-3'"),
        (space("gamma", type="fixed", value=True), "gamma: True"),
        ({"agent": {"clip": "0.2"}}, "agent.clip"),
        ({"agent": {"value_coef": True}}, "agent.value_coef"),
        ({"agent": {"score_threshold": "0.6"}}, "agent.score_threshold"),
        ({"environment": {"rewards": {"key": True}}}, "rewards.key"),
        ({"store": {"lease_seconds": "60"}}, "store.lease_seconds"),
        ({"store": {"wait_seconds": True}}, "store.wait_seconds"),
        ({"agent": {"intrinsic_mode": "twice"}}, "'once', 'peaks' or 'potential'"),
        ({"agent": {"chunk_len": 0}}, "agent.chunk_len"),
        ({"environment": {"size": 9}}, "size 9"),
        ({"environment": {"size": 12}}, "triple needs size 10"),
        ({"environment": {"family": "delayed", "ruleset": "reference"}}, "has no meaning in family delayed"),
        ({"environment": {"family": "delayed", "reward_mode": "sparse"}}, "has no meaning in family delayed"),
        ({"environment": {"rewards": {"key": -1.0}}}, "rewards.key: -1.0"),
        ({"environment": {"rewards": {"goal": float("inf")}}}, "rewards.goal"),
        ({"environment": {"size": 22}}, "size 22"),
        ({"environment": {"size": 6}}, "size 6"),
        ({"environment": {"family": "tree"}}, "'grid' or 'delayed'"),
        ({"environment": {"ruleset": "house"}}, "'standard' or 'reference'"),
        ({"environment": {"reward_mode": "none"}}, "'shaped', 'sparse' or 'delayed'"),
        ({"search": {"method": "annealing"}}, "'random', 'grid' or 'bayesian'"),
        ({"search": {"optimization_metric": "speed"}}, "'mean_reward', 'success_rate', 'max_reward'"),
        ({"search": {"optimization_direction": "up"}}, "'maximize' or 'minimize'"),
        ({"search": {"n_trials": 0}}, "search.n_trials"),
        ({"logging": {"tracker": "paper"}}, "'none', 'jsonl', 'tensorboard' or 'wandb'"),
        ({"training": {"eval_frequency": 0}}, "training.eval_frequency"),
        ({"training": {"checkpoint_frequency": 0}}, "training.checkpoint_frequency"),
        ({"training": {"max_steps_per_episode": 0}}, "training.max_steps_per_episode"),
        ({"agent": {"ppo_epochs": 0}}, "agent.ppo_epochs"),
        ({"agent": {"num_envs": 0}}, "agent.num_envs"),
        ({"agent": {"window": 0}}, "agent.window"),
        (space("hidden_dim", type="fixed", value=0), "hidden_dim: 0"),
        (space("hidden_dim", type="fixed", value=32.5), "hidden_dim: 32.5"),
        ({"search": {"grid_levels": 1}}, "search.grid_levels"),
        ({"search": {"method": "grid", "grid_levels": 1000}}, "grid has"),
        ({"search": {"method": "bayesian", "static": True}}, "static needs method random or grid"),
        ({"training": {"episodes": 0}}, "training.episodes"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"trainin": {}}, "did you mean training"),
    ],
)
def test_bad_configs_are_refused_by_name(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config(**section)
    first = caught.value.errors()[0]
    assert message in ".".join(map(str, first["loc"])) + ": " + first["msg"]
