"""Bad input of mode neural is refused by the plan in one line, with exit 2, before anything is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from quintet.jobs.induction.config import Config
from quintet.jobs.induction.neural import NeuralConfig
from quintet.jobs.induction.neural.comparison import COLUMNS, MEANS
from quintet.jobs.induction.neural.run_settings import ERROR_COLUMNS, NeuralRun
from quintet.shard.errors import QuintetError
from quintet.shard.induction import from_flags

from .runs import planned
from .test_induction_inputs import WORLD, refused

SIMPLE = {"mode": "neural", "inputs": {"world": "asymmetric_freeing_simple"}, "max_steps": 4}

BAD: list[tuple[dict[str, Any], str]] = [
    ({"neural": {"beam": 100}}, "beam is 100; at least half of rows (4096) is needed"),
    ({"neural": {"rows": 63}}, "neural.rows"),
    ({"neural": {"steps": 0}}, "neural.steps"),
    ({"neural": {"passes": 0}}, "neural.passes"),
    ({"neural": {"batch": 15}}, "neural.batch"),
    ({"neural": {"learning_rate": 0.0}}, "neural.learning_rate"),
    ({"neural": {"robot_weight": 0.0}}, "neural.robot_weight"),
    ({"neural": {"hidden": []}}, "neural.hidden"),
    ({"neural": {"features": ["window"]}}, "cells"),
    ({"neural": {"mix": [0.5, 0.5, 0.5]}}, "shares must sum to 1"),
    ({"neural": {"mix": [1.2, -0.2, 0.0]}}, "neural.mix"),
    ({"neural": {"rollouts": 0}}, "neural.rollouts"),
    ({"neural": {"seeds": 0}}, "neural.seeds"),
    ({"neural": {"seeds": [1, 1]}}, "different seeds"),
    ({"neural": {"seeds": []}}, "different seeds"),
    ({"neural": {"check_rows": 0}}, "neural.check_rows"),
    ({"neural": {"check_rollouts": 0}}, "neural.check_rollouts"),
    ({"neural": {"validate_limit": 0}}, "neural.validate_limit"),
    ({"neural": {"spot_steps": [3, 2], "spot_rows": [1, 1]}}, "must increase"),
    ({"neural": {"spot_steps": [2, 3]}}, "one row each"),
    ({"neural": {"validate": True, "spot_steps": [2, 4], "spot_rows": [1, 1]}}, "neural.spot_steps: found 4"),
    ({"neural": {"max_error": {"nonsense": 1.0}}}, "max_error.nonsense: no such error"),
    ({"neural": {"max_error": {"Ve_mean": 1.0}}}, "needs validate: true"),
    ({"neural": {"max_error": {"root_log_Vr": 1.0}}}, "needs validate: true"),
    ({"neural": {"max_error": {"freed": 1.0}}}, "needs validate: true"),
    ({"neural": {"max_error": {"spot_Ve": -1.0}}}, "max_error"),
    ({"neural": {"width": 3}}, "neural.width: unknown key"),
    ({}, "mode solve gives the exact answer"),
    ({"neural": {"validate": True, "validate_limit": 100}}, "passes neural.validate_limit (100 states) at level 2"),
    ({"storage_dtype": "float32"}, "storage_dtype: found 'float32'"),
    ({"spill": "always"}, "spill: found 'always'"),
    ({"problems": [{"keep_policies": "all"}]}, "keep_policies: found 'all'"),
    ({"mode": "solve", "neural": {"seeds": 1}}, "neural: belongs to mode neural; mode is solve"),
    ({"gamma_h": 1.5}, "gamma_h"),
    ({"beta_h": -1.0}, "beta_h"),
    ({"inputs": {"world": "asymmetric_freeing_simple", "exact_run": "nowhere"}}, "inputs.exact_run"),
]


@pytest.mark.parametrize(("changes", "word"), BAD, ids=str)
def test_a_bad_config_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], word: str
) -> None:
    refused(tmp_path, capsys, {**SIMPLE, **changes}, word)


def test_a_problem_that_the_exact_solver_can_do_is_refused_with_the_number_of_its_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"mode": "neural", "inputs": {"world": "asymmetric_freeing_11x6"}, "max_steps": 15}
    refused(tmp_path, capsys, config, "has 70333 states, within neural.validate_limit (2000000)")


def test_keys_of_several_words_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["We " * 14, "We Ay " + ".. " * 11 + "We", *(["We " + "Ro " * 4 + ".. " * 8 + "We"] * 3), "We " * 14]
    world = {**WORLD, "map": rows}
    (tmp_path / "world.yaml").write_text(yaml.safe_dump(world))
    refused(tmp_path, capsys, {"mode": "neural", "inputs": {"world": "world.yaml"}}, "needs wide keys")


def test_an_exact_run_belongs_to_a_comparison_and_must_be_a_finished_solve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = planned(tmp_path / "exact", "seed", "max_steps=3")
    inputs = {"world": "asymmetric_freeing_11x6", "exact_run": str(exact.path)}
    config = {"mode": "neural", "max_steps": 3, "neural": {"validate": True}, "inputs": inputs}
    refused(tmp_path, capsys, config, "inputs.exact_run")
    assert not exact.merged("solve").exists()


def test_names_of_errors_are_the_columns_that_are_measured() -> None:
    assert set(ERROR_COLUMNS) == {*COLUMNS, *(f"{name}_visited" for name in MEANS)}


def test_settings_of_a_run_hold_those_of_a_training_and_survive_the_plan() -> None:
    config = Config(mode="neural", neural={"validate": True, "seeds": [4, 2], "rows": 128, "beam": 64})  # type: ignore[arg-type]
    assert config.neural is not None
    assert config.neural.training == NeuralConfig(rows=128, beam=64) and config.neural.seed_list == (4, 2)
    assert Config(**config.model_dump()) == config and Config(**config.model_dump(mode="json")) == config
    assert config.model_dump(mode="json")["neural"]["validate"] is True
    assert NeuralRun().spots(6) == ((3, 30), (5, 12)) and NeuralRun().spots(30) == ((3, 30), (5, 12), (7, 3))


def test_flags_of_trainings() -> None:
    given = {"mode": "neural", "slab": {"rows": 256}, "neural": {"seeds": "0,4", "beam": 512}}
    assert from_flags(given) == {"mode": "neural", "neural": {"rows": 256, "seeds": [0, 4], "beam": 512}}
    assert from_flags({"neural": {"seeds": "5"}}) == {"neural": {"seeds": 5}}
    with pytest.raises(QuintetError, match="--seeds: found 'many'"):
        from_flags({"neural": {"seeds": "many"}})


def test_the_network_library_is_loaded_only_where_a_network_is_used(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "seed", "max_steps=2")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from quintet.jobs.induction.config import Config\n"
        "from quintet.shard.induction import phases, resolved\n"
        "from quintet.shard.array_element import attempt_shard\n"
        "from quintet.shard.run import Run\n"
        "import quintet.merge.induction.rendering, quintet.merge.induction.sweep_rendering\n"
        "config = resolved(Config(mode='neural', max_steps=3, neural={'validate': True}))\n"
        "assert [phase.name for phase in phases(config)] == ['build', 'solve', 'train', 'check']\n"
        "run = Run(Path(sys.argv[1]))\n"
        "assert attempt_shard(run, 'build', 0, drift=True) == 0\n"
        "assert 'torch' not in sys.modules, sorted(name for name in sys.modules if 'torch' in name)[:3]\n"
        "import quintet.shard.induction.train_phase\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True)
