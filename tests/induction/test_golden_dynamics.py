"""Transitions and level sizes are those of the reference implementation."""

from __future__ import annotations

from typing import Any

import pytest
from quintet.jobs.induction import build, reference
from quintet.jobs.induction.world import World

from .golden_files import WORLDS, as_tuple, golden, golden_world

COUNTS = golden("state_counts")["cases"]
CASES = golden("transitions")["cases"]
SMALL = 40_000


def assert_transitions(found: list[tuple[float, Any]], expected: list[list[Any]]) -> None:
    probabilities = {state: p for p, state in found}
    assert probabilities.keys() == {as_tuple(state) for _, state in expected}
    for p, state in expected:
        assert probabilities[as_tuple(state)] == pytest.approx(p, abs=1e-12)
    assert [p for p, _ in found] == sorted((p for p, _ in found), reverse=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["world"]["name"])
@pytest.mark.parametrize("twin", ["kernel", "plain"])
def test_transitions_are_those_of_the_reference(case: dict[str, Any], twin: str) -> None:
    world = World.from_dict(case["world"])
    for state, action, profile, expected in case["rows"]:
        assert world.joint_action(profile) == tuple(action)
        state = as_tuple(state)
        found = world.transitions(state, profile)
        if twin == "plain":
            plain = reference.transitions(world, state, profile)
            assert [successor for _, successor in plain] == [successor for _, successor in found]
            found = plain
        assert_transitions(found, expected)


def check_counts(case: dict[str, Any], horizon: int) -> None:
    world = golden_world(case["world"])
    graph = build(world, horizon)
    assert list(graph.level_sizes) == case["level_sizes"][: horizon + 1]
    assert graph.n_states == case["cumulative_states"][horizon]
    assert graph.n_configs == case["level_sizes"][horizon]
    assert (world.actions, world.n_profiles) == (case["actions"], case["n_profiles"])
    assert (list(world.humans), list(world.robots)) == (case["humans"], case["robots"])
    assert len(world.goals) == case["n_goals"]
    if horizon == len(case["level_sizes"]) - 1:
        _, most = multi_outcomes(graph)
        assert multi_outcomes(graph)[0] == case["multi_outcome_profiles_in_all_nonterminal_configs"]
        assert most == case["max_outcomes"]


def multi_outcomes(graph: Any) -> tuple[int, int]:
    count, most = 0, 1
    for _, rows in graph.transitions.pieces(0, graph.n_expanded, 1 << 30):
        count += int((rows.succ < 0).sum())
        most = max([most, *(rows.exc_ptr[1:] - rows.exc_ptr[:-1])])
    return count, most


@pytest.mark.parametrize("case", COUNTS, ids=lambda case: case["world"])
def test_level_sizes_are_exact(case: dict[str, Any]) -> None:
    horizon = max(t for t, n in enumerate(case["cumulative_states"]) if n <= SMALL or t == 1)
    check_counts(case, horizon)


@pytest.mark.slow
@pytest.mark.parametrize("case", COUNTS, ids=lambda case: case["world"])
def test_level_sizes_are_exact_to_the_last_level(case: dict[str, Any]) -> None:
    check_counts(case, len(case["level_sizes"]) - 1)


@pytest.mark.parametrize("name", sorted(golden("worlds")["worlds"]))
def test_shipped_worlds_are_the_golden_ones(name: str) -> None:
    shipped, stored = World.from_yaml(WORLDS / f"{name}.yaml"), golden_world(name)
    assert shipped.name == name
    assert shipped.initial_state == stored.initial_state
    assert (shipped.max_steps, shipped.actions, shipped.pushers) == (stored.max_steps, stored.actions, stored.pushers)
    assert shipped.goals.tolist() == stored.goals.tolist()
    assert shipped.stumble == stored.stumble


def test_yard_grows_as_stated() -> None:
    graph = build(World.from_yaml(WORLDS / "yard_11x7.yaml"), 6)
    assert list(graph.level_sizes) == [1, 48, 400, 2484, 11160, 31008, 63680]
