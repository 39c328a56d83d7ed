"""A world file is read in all its forms; a bad one is refused with one line that says why."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.jobs.induction import Params, World, WorldError, build, solve
from quintet.jobs.induction.world import TRIVIAL

MAP = ["We We We We We", "We Ay .. Ae We", "We We We We We"]
GOALS = ["1,1", "2,1", "3,1"]


def world(**changes: Any) -> World:
    return World.from_dict({"map": MAP, "max_steps": 3, "possible_goals": GOALS, **changes})


def mapped(row: str) -> list[str]:
    return ["We " * len(row.split()), row, "We " * len(row.split())]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"map": []}, "world: key 'map' is empty"),
    ({"map": "\n \n"}, "world: key 'map' is empty"),
    ({"map": 7}, "world: key 'map' is 7"),
    ({"map": ["We We", "We W"]}, r"world: map row 1 'We W' has an odd number of characters \(3\)"),
    ({"map": ["We We", "We"]}, "world: map row 1 has 1 cells, row 0 has 2"),
    ({"map": mapped("We Ay Zz We")}, r"world: unknown cell code 'Zz' at \(2,1\)"),
    ({"map": mapped("We Ay Kr We")}, r"^world: cell \(2,1\) 'Kr' \(key\) is not supported by the induction study$"),
    ({"map": mapped("We Ay Kr Bu Mn")}, r"cell \(2,1\) 'Kr' \(key\), cell \(3,1\) 'Bu' \(bush\), cell \(4,1\) 'Mn'"),
    ({"rocks_can_kill": True}, "^world: unsupported key 'rocks_can_kill' would change the dynamics$"),
    ({"map": mapped("We .. Ae We"), "possible_goals": ["1,1,2,1"]}, "world: no human"),
    ({"map": mapped("We Ay Ar We"), "possible_goals": ["1,1,2,1"]}, r"agent 1 \(colour 'r'\) is neither human"),
    ({"orientations": 4}, "'orientations' holds 4"),
    ({"orientations": ["e", "q"]}, "'orientations' holds 'q'"),
    ({"orientations": ["e", "e", "e"]}, "'orientations' has 3 entries for 2 agents"),
    ({"can_push_rocks": "ex"}, "'can_push_rocks' is 'ex'"),
    ({"max_steps": 0}, "'max_steps' is 0"),
    ({"max_steps": 2.5}, "'max_steps' is 2.5"),
    ({"max_steps": True}, "'max_steps' is True"),
    ({"possible_goals": ["1"]}, "goal '1' is neither"),
    ({"possible_goals": ["1,2,3"]}, "goal '1,2,3' is neither"),
    ({"possible_goals": [[1, 2, 3, 4, 5]]}, "is neither a cell nor a rectangle"),
    ({"possible_goals": ["1,a"]}, "goal '1,a' is neither"),
    ({"possible_goals": [[[1, 1], 2, 3]]}, "is neither a cell nor a rectangle"),
    ({"possible_goals": ["1,1"]}, r"^goals do not cover walkable cells: \(2,1\), \(3,1\)$"),
    ({"action_class": "MinimalActions"}, "not supported: the study needs a 'still' action 0"),
    ({"action_class": "Actions"}, "SmallActions or ObjectActions"),
    ({"stumble_probability": 1.5}, "'stumble_probability' is 1.5"),
    ({"stumble_probability": "often"}, "'stumble_probability' is 'often'"),
    ({"stumble_probability": True}, "'stumble_probability' is True"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_worlds_are_refused_with_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorldError, match=message) as error:
        world(**changes)
    assert "\n" not in str(error.value)


def test_world_without_map_or_file(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="key 'map' is missing"):
        World.from_dict({"max_steps": 3})
    with pytest.raises(FileNotFoundError, match="does not exist"):
        World.from_yaml(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("map: [1, 2\n")
    with pytest.raises(WorldError, match=r"bad\.yaml is neither JSON nor YAML"):
        World.from_yaml(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(WorldError, match="not a mapping"):
        World.from_yaml(str(tmp_path / "list.yaml"))


def test_agent_numbers_are_checked() -> None:
    mapping = {"map": MAP, "possible_goals": GOALS}
    for humans, robots, message in (
        ([2], None, "human_agents holds 2"),
        (None, [-1], "robot_agents holds -1"),
        ([0, 1], [1], "are in human_agents and in robot_agents"),
        ([1], None, "agent 0 .* is neither"),
    ):
        with pytest.raises(WorldError, match=message):
            World.from_dict(mapping, human_agents=humans, robot_agents=robots)
    both = World.from_dict(mapping, human_agents=[1, 0], robot_agents=[])
    assert (both.humans, both.robots) == ((1, 0), ())
    assert solve(build(both, 2), Params()).pi_r[0].shape == (1, 1)


def test_a_world_too_wide_for_its_keys_is_refused() -> None:
    rows = ["Ay" + "Ro" * 39, "Ro" * 40, ".." * 40]
    with pytest.raises(WorldError, match="at most 4 words"):
        World.from_dict({"map": rows})


def test_wide_keys_work() -> None:
    wide = World.from_dict({"map": ["Ay .. Ro .. Ro .. Ae", *[" ".join([".."] * 7)] * 3, " ".join(["Bl"] * 7)] * 2})
    assert wide.packing.n_words >= 2
    graph = build(wide, 1)
    for state in graph.states(1):
        assert graph.states(1)[graph.row(state)] == state


def test_unknown_keys_can_be_allowed() -> None:
    with pytest.warns(UserWarning, match="rocks_can_kill"):
        World.from_dict({"map": MAP, "rocks_can_kill": True}, allow_unknown_keys=True)


def test_coverage_check_can_be_skipped() -> None:
    found = World.from_dict({"map": MAP, "possible_goals": ["3, 1, 2,1"]}, coverage_check=False)
    assert found.goals.tolist() == [[2, 1, 3, 1]]


def test_all_forms_of_map_goals_and_text(tmp_path: Path) -> None:
    listed = world(map=[row.split() for row in MAP], possible_goals=[[1, 1], [[3, 1], [2, 1]], " 3 , 1 "])
    assert listed.goals.tolist() == [[1, 1, 1, 1], [2, 1, 3, 1], [3, 1, 3, 1]]
    block = World.from_yaml("map: |\n" + "".join(f"  {row}\n" for row in MAP) + "max_steps: 3\n")
    assert block.initial_state == listed.initial_state
    as_json = json.dumps({"map": MAP, "orientations": "n", "metadata": {"name": "from metadata"}}, indent=1)
    found = World.from_yaml(as_json)
    assert (found.name, found.max_steps) == ("from metadata", 100)
    assert [direction for *_, direction in found.agents] == [3, 3]
    (tmp_path / "stem.yaml").write_text("map: ['Ay .. Ae']\norientations: [w]\n")
    stem = World.from_yaml(str(tmp_path / "stem.yaml"))
    assert stem.name == "stem"
    assert [direction for *_, direction in stem.agents] == [2, 0]


@pytest.mark.parametrize("indent", [None, 1, "\t"])
def test_json_keeps_small_numbers_and_every_character(indent: Any) -> None:
    mapping = {"map": MAP, "stumble_probability": 1e-5, "name": "yard \N{EARTH GLOBE EUROPE-AFRICA}"}
    found = World.from_yaml(json.dumps(mapping, indent=indent) + "\n")
    assert (found.stumble, found.name) == (1e-5, mapping["name"])


def test_yaml_may_write_a_number_without_a_point() -> None:
    assert World.from_yaml("map: ['Ay .. Ae']\nstumble_probability: 1e-5\n").stumble == 1e-5


def test_a_world_without_goals_has_every_free_cell_with_unit_weights() -> None:
    found = World.from_dict({"map": ["Ay Ro ..", ".. We Ae"]})
    assert found.goals.tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [2, 0, 2, 0], [2, 1, 2, 1]]
    assert Params().weights(4, found.has_goal_list).tolist() == [1.0] * 4
    assert Params(goal_weights="uniform").weights(4, found.has_goal_list).tolist() == [0.25] * 4


def test_a_kill_button_alone_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="kill button"):
        assert World.from_dict({"map": ["Ay Ki Ae"]}).actions == "SmallActions"
    assert World.from_dict({"map": ["Ay Pa Ae"]}).actions == "ObjectActions"


def test_profiles_and_states_are_checked() -> None:
    trivial = World.from_dict(TRIVIAL)
    with pytest.raises(ValueError, match="profile 16"):
        trivial.transitions(trivial.initial_state, 16)
    with pytest.raises(ValueError, match="not a state"):
        trivial.transitions((0, ((1, 1, 0, 0, 0),), (), ()), 0)
    graph = build(trivial, 2)
    assert graph.row(trivial.initial_state) == 0
    with pytest.raises(KeyError):
        graph.row((1, ((4, 1, 0, 0, 0), (2, 2, 0, 0, 0)), (("rock", 2, 1),), ()))
    with pytest.raises(KeyError):
        graph.row((0, ((1, 1, 0, 1, 0), (2, 2, 0, 0, 0)), (("rock", 2, 1),), ()))


def test_a_human_without_power_is_named() -> None:
    dead_end = World.from_dict({"map": ["Ay La", ".. .."], "possible_goals": ["0,0", "0,1", "1,1"]})
    graph = build(dead_end, 3)
    with pytest.raises(ValueError, match=r"human 0 has power X_h = 0 in state .*\(1,0\).*power_floor") as error:
        solve(graph, Params())
    assert "\n" not in str(error.value)
    assert solve(graph, Params(power_floor=1e-6)).Xh[2].min() == 1e-6


BAD_PARAMS: list[tuple[dict[str, Any], str]] = [
    ({"gamma_h": 0.9, "rho_h": 0.1}, "exclude each other"),
    ({"gamma_h": 1.0, "rho_h": 0}, "exclude each other"),
    ({"rho_r": 800}, "the discount 0"),
    ({"gamma_r": 0.0}, "gamma_r"),
    ({"gamma_h": 1.1}, "gamma_h"),
    ({"rho_r": -0.1}, "rho_r"),
    ({"terminal_Vr": 0.0}, "terminal_Vr"),
    ({"zeta": 0.0}, "zeta"),
    ({"xi": -1.0}, "xi"),
    ({"eta": 0.0}, "eta"),
    ({"nu": 1.1}, "nu"),
    ({"beta_h": -1.0}, "beta_h"),
    ({"beta_r": float("nan")}, "beta_r"),
    ({"goal_weights": [1.0, -1.0]}, "goal_weights"),
    ({"goal_weights": [0.0, 0.0]}, "all zero"),
    ({"pi0": [0.5, 0.4]}, "pi0"),
    ({"beta": 1.0}, "beta"),
]


@pytest.mark.parametrize(("values", "message"), BAD_PARAMS, ids=str)
def test_bad_parameters_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Params(**values)


def test_parameters_are_checked_against_the_world() -> None:
    graph = build(world(), 2)
    with pytest.raises(ValueError, match="goal_weights has 2 numbers; the world has 3 goals"):
        solve(graph, Params(goal_weights=[1, 2]))
    with pytest.raises(ValueError, match="pi0 has 2 numbers"):
        solve(graph, Params(pi0=[0.5, 0.5]))
    for settings in ({"row_chunk": 0}, {"threads": 0}, {"storage_dtype": "f8"}, {"keep_policies": "some"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            solve(graph, Params(), **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_steps is 0"):
        build(world(), 0)


def test_rho_is_a_discount() -> None:
    found = Params(rho_h=0.1, rho_r=0.0)
    assert (found.gamma_h, found.gamma_r) == (math.exp(-0.1), 1.0)
    assert Params(**found.model_dump()) == found
    for rho in ("0.1", np.float32(0.1), np.float64(0.1), 1, np.int64(1)):
        given: Any = rho
        assert Params(rho_h=given).gamma_h == math.exp(-float(rho))
