"""Bad input is refused by the plan in one line, with exit 2, before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from quintet.shard.commands.base import run_command
from quintet.shard.commands.plan import command
from quintet.shard.context import Context
from quintet.shard.errors import QuintetError
from quintet.shard.induction import from_flags
from quintet.shard.induction.worlds import thawed

WORLD: dict[str, Any] = {
    "name": "room",
    "map": ["We We We We We", "We Ay .. .. We", "We .. .. Ae We", "We We We We We"],
    "max_steps": 3,
}
"""A world without a goal list: every walkable cell is a goal."""

BAD_WORLDS: list[tuple[dict[str, Any], str]] = [
    ({"map": ""}, "map"),
    ({"map": ["We We We", "We A"]}, "row 1"),
    ({"map": ["We We We We", "We Ay We"]}, "row 1"),
    ({"map": ["We We We", "We Zz We", "We Ay We"]}, "unknown cell code"),
    ({"map": ["We Kr We We", "We Ay Br We"]}, "not supported by the induction study"),
    ({"rocks_can_kill": True}, "rocks_can_kill"),
    ({"map": ["We We We", "We Ae We", "We We We"]}, "human"),
    ({"map": ["We We We We", "We Ay Ar We", "We We We We"]}, "agent"),
    ({"orientations": [4]}, "orientations"),
    ({"orientations": [0, 0, 0]}, "orientations"),
    ({"can_push_rocks": "ex"}, "can_push_rocks"),
    ({"max_steps": 0}, "max_steps"),
    ({"max_steps": 2.5}, "max_steps"),
    ({"possible_goals": ["1"]}, "goal"),
    ({"possible_goals": [[1, 1, 2]]}, "goal"),
    ({"possible_goals": ["1,1,2,2,3"]}, "goal"),
    ({"possible_goals": ["a,b"]}, "goal"),
    ({"possible_goals": ["1,1"]}, "goals do not cover walkable cells"),
    ({"action_class": "MinimalActions"}, "still"),
    ({"action_class": "Jumps"}, "action"),
]


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], word: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"study": "induction", **config}))
    with pytest.raises(SystemExit) as ended:
        run_command(command, [str(path), "--run", str(tmp_path / "run"), "--no-probe"], "bin/plan")
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert word in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("changes", "word"), BAD_WORLDS, ids=str)
def test_a_bad_world_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], word: str
) -> None:
    (tmp_path / "world.yaml").write_text(yaml.safe_dump({**WORLD, **changes}))
    refused(tmp_path, capsys, {"inputs": {"world": "world.yaml"}}, word)


@pytest.mark.parametrize(("text", "word"), [("- 1\n- 2\n", "mapping"), ("map: [", "YAML"), ("max_steps: 3\n", "map")])
def test_a_file_that_is_no_world_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, word: str
) -> None:
    (tmp_path / "world.yaml").write_text(text)
    refused(tmp_path, capsys, {"inputs": {"world": "world.yaml"}}, word)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"inputs": {"world": "nowhere"}}, "inputs.world"),
        ({"inputs": {"world": "../worlds/trivial"}}, "inputs.world"),
        ({"problems": [{"world": "nowhere"}]}, "nowhere"),
        ({"goal_weights": [1.0]}, "goal_weights"),
        ({"goal_weights": [1.0, -1.0, 1.0, 1.0, 1.0]}, "goal_weights"),
        ({"goal_weights": [0.0] * 5}, "all zero"),
        ({"pi0": [0.5, 0.5]}, "pi0"),
        ({"gamma_h": 0.9, "rho_h": 0.1}, "exclude each other"),
        ({"gamma_r": 0.0}, "gamma_r"),
        ({"gamma_r": 1.5}, "gamma_r"),
        ({"rho_r": -0.1}, "rho_r"),
        ({"terminal_Vr": 0.0}, "terminal_Vr"),
        ({"zeta": 0.0}, "zeta"),
        ({"xi": -1.0}, "xi"),
        ({"eta": 0.0}, "eta"),
        ({"nu": 1.1}, "nu"),
        ({"beta_h": -1.0}, "beta_h"),
        ({"beta_r": float("nan")}, "beta_r"),
        ({"human_agents": [9]}, "agent"),
        ({"human_agents": [0], "robot_agents": [0, 1]}, "agent"),
        ({"slab": {"rows": 5}}, "slab"),
        ({"mode": "slab", "slab": {"rows": 0}}, "slab.rows"),
        ({"mode": "slab", "grid": {"nu": [0.1]}}, "grid"),
        ({"mode": "sweep", "grid": {"zeta": [1.0]}}, "grid"),
        ({"mode": "sweep", "sweep": {"beta_h_min": 7.0, "beta_h_max": 6.0}}, "beta_h_min"),
        ({"rollouts": 3, "keep_policies": "none"}, "rollouts"),
        ({"human_always_toggles": True}, "toggle"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": "many"}, "max_steps"),
        ({"storage_dtype": "float8"}, "storage_dtype"),
        ({"betah": 3.0}, "beta_h"),
        ({"phases": {"sweep": {"shards": 2}}}, "phases"),
    ],
    ids=str,
)
def test_a_bad_config_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], word: str
) -> None:
    refused(tmp_path, capsys, {"max_steps": 2, **config}, word)


def test_a_key_wider_than_four_words_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["We " * 40, "We Ay " + ".. " * 37 + "We", *(["We " + "Ro " * 10 + ".. " * 28 + "We"] * 4), "We " * 40]
    world = {**WORLD, "map": rows}
    (tmp_path / "world.yaml").write_text(yaml.safe_dump(world))
    refused(tmp_path, capsys, {"inputs": {"world": "world.yaml"}}, "at most 4 words")


def test_a_plan_keeps_small_numbers_and_every_character_of_a_world(tmp_path: Path) -> None:
    from .runs import planned

    world = {**WORLD, "name": "yard \N{EARTH GLOBE EUROPE-AFRICA}", "stumble_probability": 0.00001}
    (tmp_path / "world.yaml").write_text(yaml.safe_dump(world))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"study": "induction", "inputs": {"world": "world.yaml"}}))
    run = planned(tmp_path / "run", tmp_path / "config.yaml")
    (frozen,) = Context.of(run, "build").config.worlds
    assert (thawed(frozen).name, thawed(frozen).stumble) == (world["name"], 1e-5)


def test_unknown_keys_and_uncovered_cells_are_allowed_where_asked(tmp_path: Path) -> None:
    from .runs import planned

    world = {**WORLD, "rocks_can_kill": True, "possible_goals": ["1,1"]}
    (tmp_path / "world.yaml").write_text(yaml.safe_dump(world))
    config = tmp_path / "config.yaml"
    settings = {"allow_unknown_keys": True, "coverage_check": False, "inputs": {"world": "world.yaml"}}
    config.write_text(yaml.safe_dump({"study": "induction", **settings}))
    with pytest.warns(UserWarning, match="rocks_can_kill"):
        planned(tmp_path / "run", config)
    assert (tmp_path / "run" / "plan" / "run.json").is_file()


def test_lists_are_read_from_flags() -> None:
    assert from_flags({"human_agents": "0,2", "goal_weights": "uniform", "pi0": "0.5,0.5"}) == {
        "human_agents": [0, 2],
        "goal_weights": "uniform",
        "pi0": [0.5, 0.5],
    }
    with pytest.raises(QuintetError, match="--goal-weights"):
        from_flags({"goal_weights": "a,b"})
