"""What holds in every world: the twins agree, probabilities sum to 1, symmetries, and rollouts meet their values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quintet.jobs.induction import Params, World, build, freed_first, reference, rollouts, solve
from quintet.jobs.induction.episodes import drawn, state_values
from quintet.jobs.induction.expansion import expand

from .golden_files import golden, golden_world

PIECES = ["..", "..", "..", "We", "Ro", "Bl", "La", "Un", "Ki", "Pa", "dK", "dP"]


@st.composite
def small_worlds(draw: st.DrawFn) -> World:
    width, height = draw(st.integers(2, 4)), draw(st.integers(2, 3))
    cells = [draw(st.sampled_from(PIECES)) for _ in range(width * height)]
    agents = draw(st.sampled_from([["Ay"], ["Ay", "Ae"], ["Ae", "Ay", "Ay"], ["Ay", "Ae", "Ae"]]))
    places = draw(st.lists(st.integers(0, width * height - 1), min_size=3, max_size=3, unique=True))
    for agent, place in zip(agents, places, strict=False):
        cells[place] = agent
    return World.from_dict(
        {
            "map": [cells[y * width : (y + 1) * width] for y in range(height)],
            "orientations": [draw(st.integers(0, 3)) for _ in agents],
            "can_push_rocks": draw(st.sampled_from(["e", "ey", None])),
            "stumble_probability": draw(st.sampled_from([0.0, 0.3, 1.0])),
            "action_class": draw(st.sampled_from(["SmallActions", "ObjectActions"])),
            "possible_goals": [[0, 0, width - 1, height - 1], [0, 0], [width - 1, 0]],
        }
    )


def column(rows: Any, profile: int, row: int, states: list[Any]) -> dict[Any, float]:
    place = int(rows.succ[row, profile])
    if place >= 0:
        return {states[place]: 1.0}
    k = -1 - place - rows.first
    span = range(int(rows.exc_ptr[k]), int(rows.exc_ptr[k + 1]))
    return {states[rows.exc_succ[at]]: float(rows.exc_prob[at]) for at in span}


@settings(max_examples=60, deadline=None)
@given(small_worlds(), st.integers(0, 10**6))
@pytest.mark.filterwarnings("ignore:world")
def test_twins_agree_on_transitions(world: World, seed: int) -> None:
    packing = world.packing
    draws = np.random.default_rng(seed)
    state = world.initial_state
    for _ in range(4):
        key = packing.key(packing.vector(state))
        expansion = expand(packing, key[None, :])
        successors = [packing.state(state[0] + 1, vector) for vector in packing.vectors(expansion.keys)]
        for profile in draws.permutation(world.n_profiles)[:40]:
            plain = reference.transitions(world, state, int(profile))
            assert math.isclose(sum(p for p, _ in plain), 1.0, abs_tol=1e-12)
            found = world.transitions(state, int(profile))
            assert [successor for _, successor in found] == [successor for _, successor in plain]
            np.testing.assert_allclose([p for p, _ in found], [p for p, _ in plain], rtol=0, atol=1e-12)
            table = column(expansion.rows, int(profile), 0, successors)
            assert table.keys() == {successor for _, successor in plain}
            for p, successor in plain:
                assert abs(table[successor] - p) <= 1e-12
        state = draws.choice(np.array([None, *successors], object)[1:])


@settings(max_examples=12, deadline=None)
@given(
    small_worlds().filter(lambda world: world.n_profiles <= 64),
    st.sampled_from([0.0, 7.0, math.inf]),
    st.sampled_from([0.0, 20.0]),
    st.booleans(),
    st.sampled_from([0.0, 0.25]),
)
@pytest.mark.filterwarnings("ignore:world")
def test_twins_agree_on_values(world: World, beta_h: float, beta_r: float, optimistic: bool, nu: float) -> None:
    params = Params(beta_h=beta_h, beta_r=beta_r, optimistic=optimistic, nu=nu, zeta=1.5, xi=0.7, human_aggregate="sum")
    graph, plain = build(world, 2), reference.build(world, 2)
    assert (graph.level_sizes, graph.n_outcomes) == (plain.level_sizes, plain.n_outcomes)
    fast, slow = solve(graph, params, keep_policies="all"), reference.solve(plain, params, keep_policies="all")
    for t in range(2):
        order = [plain.row(state) for state in graph.states(t)]
        for name in ("Vm", "Ve", "Xh", "pi_r", "m_h", "pi_h"):
            np.testing.assert_allclose(getattr(fast, name)[t], getattr(slow, name)[t][order], rtol=0, atol=1e-12)
        for name in ("Vr", "Qr"):
            np.testing.assert_allclose(getattr(fast, name)[t], getattr(slow, name)[t][order], rtol=1e-11)


@pytest.mark.parametrize("name", ["asymmetric_freeing_simple", "g_three_humans", "g_two_robots", "g_unsteady_pair"])
def test_values_and_policies_are_in_range(name: str) -> None:
    graph = build(golden_world(name), 3)
    found = solve(graph, Params(beta_r=0.0), keep_policies="all")
    for t in range(3):
        for values in (found.Vm[t], found.Ve[t]):
            assert values.min() >= 0.0
            assert values.max() <= 1.0 + 1e-12
        for policy in (found.pi_h[t], found.m_h[t], found.pi_r[t]):
            np.testing.assert_allclose(policy.sum(axis=-1), 1.0, rtol=0, atol=1e-12)
        assert (found.Vr[t] < 0.0).all()
        np.testing.assert_array_equal(found.pi_r[t], 1.0 / found.pi_r[t].shape[1])
    np.testing.assert_allclose(freed_first(graph, found).sum(axis=1), 1.0, rtol=0, atol=1e-12)


def test_the_last_policy_of_an_unerring_robot_is_uniform() -> None:
    stumbling = World.from_dict(
        {
            "map": ["Un Un Un", ".. Ae Ay", "Un Ay .."],
            "stumble_probability": 0.3,
            "orientations": [3, 3, 2],
        }
    )
    graph, params = build(stumbling, 2), Params(beta_r=math.inf)
    found = solve(graph, params)
    assert len(np.unique(found.Qr[1])) > 1
    np.testing.assert_array_equal(found.pi_r[1], 0.25)
    np.testing.assert_array_equal(reference.solve(reference.build(stumbling, 2), params).pi_r[1], 0.25)
    for row in range(graph.level_sizes[1]):
        np.testing.assert_array_equal(state_values(graph, found, 1, row).pi_r, 0.25)


def test_level_rows_stay_within_the_next_level() -> None:
    graph = build(golden_world("g_kill_pause"), 4)
    for t in range(4):
        for _, rows in graph.transitions.pieces(0, graph.level_sizes[t], 1000):
            assert rows.succ.max() < graph.level_sizes[t + 1]


def test_hopeful_humans_expect_at_least_as_much() -> None:
    graph = build(golden_world("asymmetric_freeing_simple"), 6)
    cautious = solve(graph, Params(beta_h=math.inf))
    hopeful = solve(graph, Params(beta_h=math.inf, optimistic=True))
    for low, high in zip(cautious.Vm, hopeful.Vm, strict=True):
        assert (high >= low - 1e-15).all()


def test_mirrored_world_swaps_left_and_right() -> None:
    mapping = golden("worlds")["worlds"]["asymmetric_freeing_simple"]
    width = len(mapping["map"][0].split())
    mirrored = {
        **mapping,
        "map": [" ".join(reversed(row.split())) for row in mapping["map"]],
        "possible_goals": [
            f"{width - 1 - int(x)},{y}" for x, y in (goal.split(",") for goal in mapping["possible_goals"])
        ],
    }
    one, other = (solve(build(World.from_dict(world), 7), Params()).root_by_horizon for world in (mapping, mirrored))
    np.testing.assert_allclose(other["Vr"], one["Vr"], rtol=1e-12)
    np.testing.assert_allclose(other["pi_r"], one["pi_r"][:, [0, 2, 1, 3]], rtol=0, atol=1e-12)


def test_goal_order_permutes_columns() -> None:
    mapping = golden("worlds")["worlds"]["trivial"]
    order = [3, 0, 5, 1, 4, 2]
    permuted = {**mapping, "possible_goals": [mapping["possible_goals"][g] for g in order]}
    one, other = (solve(build(World.from_dict(world), 5), Params()) for world in (mapping, permuted))
    np.testing.assert_allclose(other.Ve[0], one.Ve[0][:, :, order], rtol=0, atol=1e-12)
    np.testing.assert_allclose(other.Vr[0], one.Vr[0], rtol=1e-12)


def test_sum_and_unit_weights_only_rescale_the_reward() -> None:
    graph = build(golden_world("asymmetric_freeing_simple"), 6)
    mean, total = (solve(graph, Params(human_aggregate=how)) for how in ("mean", "sum"))
    unit = solve(graph, Params(goal_weights="unit"))
    np.testing.assert_allclose(total.pi_r[0], mean.pi_r[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(total.Vr[0], mean.Vr[0] * 2**1.1, rtol=1e-6)
    np.testing.assert_allclose(unit.pi_r[0], mean.pi_r[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(unit.Vr[0], mean.Vr[0] * 11**-1.1, rtol=1e-6)


def test_rollouts_attain_goals_as_often_as_their_values_say() -> None:
    graph = build(golden_world("trivial"), 4)
    solution = solve(graph, Params(gamma_h=1.0, beta_h=3.0, beta_r=2.0))
    played = rollouts(graph, solution, 2000, seed=5)
    for g, value in enumerate(solution.Ve[0][0, 0]):
        hits = [episode.attained[0] is not None for episode in played if episode.goals[0] == g]
        assert abs(np.mean(hits) - value) <= 4.5 * math.sqrt(max(value * (1 - value), 1e-9) / len(hits)) + 1e-9


def test_rollouts_are_a_function_of_seed_and_number() -> None:
    graph = build(golden_world("g_kill_pause"), 3)
    kept = solve(graph, Params(), keep_policies="all")
    usual = solve(graph, Params())
    assert rollouts(graph, usual, 3) == rollouts(graph, kept, 3)
    episode = rollouts(graph, usual, 1, human_always_toggles=True)[0]
    for state, profile, following in zip(episode.states, episode.profiles, episode.states[1:], strict=False):
        assert graph.world.joint_action(profile)[graph.world.humans[0]] == 6
        assert following in [successor for _, successor in graph.world.transitions(state, profile)]
    for t, row in ((0, 0), (1, 5), (2, 11)):
        np.testing.assert_array_equal(state_values(graph, usual, t, row).pi_h[0], kept.pi_h[t][row])


def test_draws_map_to_the_first_index_above() -> None:
    weights = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    assert [drawn(u, weights) for u in (0.0, 0.49, 0.5, 0.999999)] == [1, 1, 3, 3]
