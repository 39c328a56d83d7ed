"""With exact values behind it, one exact step is the exact solver; the level before the horizon is exact in any fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quintet.jobs.induction import Params, World, build, freed_first, reference, solve
from quintet.jobs.induction.neural import Ensemble, Fitted, beam, bound, errors, fit, spot_truth, tabulate
from quintet.jobs.induction.neural import stepping as steps_module

from .golden_files import golden, golden_params, golden_world
from .neural_problems import COLUMNS, TABLES, TINY, ExactValues, golden_problem, label, solved

WORLDS = sorted(golden("worlds")["worlds"])


@pytest.mark.parametrize("case", TABLES, ids=label)
def test_exact_values_give_the_exact_solvers_rows_bit_for_bit(case: dict[str, Any]) -> None:
    graph, exact = solved(*golden_problem(case))
    source = ExactValues(graph, exact)
    table = tabulate(source, graph)
    for t in range(graph.max_steps):
        found = source.expand(graph.states(t))
        for name in COLUMNS:
            assert np.array_equal(getattr(found, name), getattr(exact, name)[t]), (name, t)
            assert np.array_equal(getattr(table, name)[t], getattr(exact, name)[t]), (name, t)
    for name, array in exact.root_by_horizon.items():
        assert np.array_equal(source.root_by_horizon[name], array)
        assert np.array_equal(table.root_by_horizon[name], array)


def test_any_object_with_values_can_be_expanded_and_tabulated() -> None:
    graph, exact = solved(*golden_problem(TABLES[0]))
    inner = ExactValues(graph, exact)
    source = SimpleNamespace(world=graph.world, params=exact.params, max_steps=graph.max_steps, values=inner.values)
    assert np.array_equal(Fitted.expand(source, graph.states(1)).Qr, exact.Qr[1])  # type: ignore[arg-type]
    assert np.array_equal(tabulate(source, graph).Ve[0], exact.Ve[0])  # type: ignore[arg-type]


def test_chunks_of_rows_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    world, params = golden_world("g_rock_chain"), Params()
    fitted = fit(world, params, 3, TINY)
    states = build(world, 3).states(1)
    whole = fitted.expand(states)
    monkeypatch.setattr(steps_module, "ROW_CHUNK", 7)
    assert all(np.array_equal(a, b) for a, b in zip(whole, fitted.expand(states), strict=True))
    single = [fitted.expand([state]) for state in states]
    assert all(np.array_equal(whole.Ve[row], found.Ve[0]) for row, found in enumerate(single))


@pytest.mark.parametrize("name", WORLDS)
def test_the_level_before_the_horizon_is_exact_in_any_fit(name: str) -> None:
    world, params, horizon = golden_world(name), Params(), 3
    graph, exact = solved(world, params, horizon)
    fitted = fit(world, params, horizon, TINY)
    table = tabulate(fitted, graph)
    for column in COLUMNS:
        found, expected = getattr(table, column)[horizon - 1], getattr(exact, column)[horizon - 1]
        assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()
        assert all(np.isfinite(level).all() for level in getattr(table, column))
    for t in range(1, horizon):
        states = graph.states(t)
        Vm, Ve, Vr = fitted.values(states)
        upper = bound(world, params, states, horizon)
        assert (Vm >= 0).all() and (Vm <= upper).all() and (Ve >= 0).all() and (Ve <= upper).all() and (Vr < 0).all()


@pytest.mark.parametrize("name", WORLDS)
def test_no_exact_value_is_above_the_bound(name: str) -> None:
    world, params = golden_world(name), Params(gamma_h=0.9)
    horizon = min(world.max_steps, 6 if world.n_profiles <= 64 else 3)
    graph, exact = solved(world, params, horizon)
    for t in range(horizon):
        upper = bound(world, params, graph.states(t), horizon)
        is_attained = graph.attained[graph.human_cell[: graph.level_sizes[t]]]
        assert (upper[is_attained] == 0.0).all()
        for values in (exact.Vm[t], exact.Ve[t]):
            assert (values[~is_attained] <= upper[~is_attained] * (1 + 1e-12)).all()


def brute_force_steps(world: World, human_at: tuple[int, int, int], goal: int) -> int | None:
    """Fewest steps of one agent alone into a goal, by its rules in plain Python, mobiles taken away; None: never."""
    x1, y1, x2, y2 = world.goals[goal]
    reached, seen, steps = {human_at}, {human_at}, 0
    while reached:
        steps += 1
        following = set()
        for x, y, direction in reached:
            headings = [direction]
            if world.ground[x, y] == 3:
                headings += [(direction + 1) % 4, (direction - 1) % 4]
            following |= {(x, y, (direction + turn) % 4) for turn in (-1, 1)}
            for heading in headings:
                ax, ay = x + (1, 0, -1, 0)[heading], y + (0, 1, 0, -1)[heading]
                if 0 <= ax < world.width and 0 <= ay < world.height and world.ground[ax, ay] in (0, 2, 3):
                    following.add((ax, ay, heading))
        if any(x1 <= x <= x2 and y1 <= y <= y2 for x, y, _ in following):
            return steps
        reached = following - seen
        seen |= reached
    return None


@pytest.mark.parametrize("name", ["trivial", "g_unsteady_pair", "g_lava", "asymmetric_freeing_simple"])
def test_the_bound_counts_steps_and_turns(name: str) -> None:
    world, params = golden_world(name), Params(gamma_h=0.5)
    graph = build(world, 2)
    for state in graph.states(1)[:20]:
        for horizon in (2, 5, 9):
            found = bound(world, params, [state], horizon)[0]
            for h, agent in enumerate(world.humans):
                x, y, direction = state[1][agent][:3]
                for g, (x1, y1, x2, y2) in enumerate(world.goals):
                    d = None if x1 <= x <= x2 and y1 <= y <= y2 else brute_force_steps(world, (x, y, direction), g)
                    assert found[h, g] == (0.5 ** (d - 1) if d is not None and d <= horizon - 1 else 0.0)


@pytest.mark.parametrize("name", ["g_unsteady_pair", "trivial", "g_kill_pause"])
def test_a_beam_wider_than_the_levels_is_the_state_set(name: str) -> None:
    graph = build(golden_world(name), 3)
    levels = beam(graph.world, 3, 10**6)
    assert [len(level) for level in levels] == graph.level_sizes
    for t, level in enumerate(levels):
        assert set(level) == set(graph.states(t))


def test_the_beam_holds_the_counted_states_of_the_freeing_world() -> None:
    case = next(case for case in golden("state_counts")["cases"] if case["world"] == "asymmetric_freeing_11x6")
    levels = beam(golden_world("asymmetric_freeing_11x6"), 9, 2000)
    assert [len(level) for level in levels] == case["level_sizes"][:10]


def test_a_narrow_beam_keeps_rare_positions_of_rocks() -> None:
    world = golden_world("asymmetric_freeing_11x6")
    narrow = beam(world, 10, 300, seed=1)
    assert all(len(level) <= 300 for level in narrow) and narrow == beam(world, 10, 300, seed=1)
    assert narrow != beam(world, 10, 300, seed=2)
    everything = beam(world, 10, 10**6)
    assert len({state[2] for state in narrow[10]}) > 0.9 * len({state[2] for state in everything[10]})
    assert set(narrow[10]) < set(everything[10])


def test_spot_truth_is_the_error_against_the_large_solve() -> None:
    world, params, horizon = golden_world("asymmetric_freeing_simple"), Params(beta_r=20.0), 5
    graph, exact = solved(world, params, horizon)
    fitted = fit(world, params, horizon, TINY)
    for t in (0, 2, 4):
        states = graph.states(t)[:: max(1, graph.level_sizes[t] // 12)]
        rows = [graph.row(state) for state in states]
        spot = spot_truth(fitted, states)
        found = fitted.expand(states)
        assert np.abs(np.abs(found.Vm - exact.Vm[t][rows]).mean(axis=(1, 2)) - spot["Vm_mean"]).max() <= 1e-12
        assert np.abs(np.abs(found.Ve - exact.Ve[t][rows]).max(axis=(1, 2)) - spot["Ve_max"]).max() <= 1e-12
        log_Vr = np.abs(np.log(-found.Vr) - np.log(-exact.Vr[t][rows]))
        assert np.abs(log_Vr - spot["log_Vr_mean"]).max() <= 1e-12
    assert spot_truth(fitted, graph.states(0))["n_states"].tolist() == [graph.n_states]
    exactly = spot_truth(ExactValues(graph, exact), graph.states(1))
    assert all((np.nan_to_num(column) == 0.0).all() for name, column in exactly.items() if name != "n_states")


def test_a_spot_too_large_to_solve_is_nan_and_counted() -> None:
    world, params = golden_world("asymmetric_freeing_simple"), Params()
    fitted = fit(world, params, 4, TINY)
    spot = spot_truth(fitted, [world.initial_state], max_states=20)
    assert np.isnan(spot["Ve_mean"]).all() and spot["n_states"][0] > 20


def test_errors_of_the_exact_table_are_zero_and_those_of_a_wrong_one_are_found() -> None:
    graph, exact = solved(golden_world("trivial"), Params(), 4)
    none = errors(exact, exact, graph)
    assert all((np.nan_to_num(column) == 0.0).all() and len(column) == 4 for column in none.values())
    wrong = tabulate(ExactValues(graph, exact), graph)
    t, row = 2, 3
    wrong.Ve[t][row, 0, 1] += 0.25
    wrong.pi_r[t][row] = np.roll(exact.pi_r[t][row], 1)
    found = errors(wrong, exact, graph)
    n = graph.level_sizes[t]
    assert found["Ve_max"][t] == pytest.approx(0.25)
    assert found["Ve_mean"][t] == pytest.approx(0.25 / (n * len(graph.world.goals)))
    moved = 0.5 * np.abs(wrong.pi_r[t][row] - exact.pi_r[t][row]).sum()
    assert found["tv_pi_r"][t] == pytest.approx(moved / n)
    upper = bound(graph.world, exact.params, graph.states(t), 4)
    if upper[row, 0, 1] > 0:
        assert found["Ve_possible"][t] == pytest.approx(0.25 / (upper > 0).sum())
    chances = reached(graph, exact, t)
    assert found["Ve_mean_visited"][t] == pytest.approx(chances[row] * 0.25 / len(graph.world.goals))
    assert found["Ve_mean"][[0, 1, 3]].max() == 0.0


def reached(graph: Any, solution: Any, level: int) -> Any:
    """Probability of every state of a level, in plain Python."""
    world = graph.world
    chances = {world.initial_state: 1.0}
    for t in range(level):
        following: dict[Any, float] = {}
        for state, p in chances.items():
            row = graph.row(state)
            for profile in range(world.n_profiles):
                actions = world.joint_action(profile)
                weight = p
                for h, agent in enumerate(world.humans):
                    weight *= solution.m_h[t][row, h, actions[agent]]
                robot = 0
                for agent in world.robots:
                    robot = robot * world.n_actions + actions[agent]
                weight *= solution.pi_r[t][row, robot]
                for q, successor in world.transitions(state, profile):
                    following[successor] = following.get(successor, 0.0) + weight * q
        chances = following
    result = np.zeros(graph.level_sizes[level])
    for state, p in chances.items():
        result[graph.row(state)] = p
    return result


def test_a_fitted_table_is_read_by_the_exact_studys_functions() -> None:
    graph, exact = solved(golden_world("asymmetric_freeing_simple"), Params(), 5)
    table = tabulate(ExactValues(graph, exact), graph)
    assert np.array_equal(freed_first(graph, table), freed_first(graph, exact))
    smaller = tabulate(fit(graph.world, Params(), 5, TINY), graph.up_to(3))
    last = solve(graph.up_to(3), Params(), keep_policies="all")
    assert np.array_equal(smaller.Ve[2], last.Ve[2])


def test_an_ensemble_of_one_is_its_member_and_of_two_their_mean() -> None:
    world, params = golden_world("trivial"), Params()
    one, other = (fit(world, params, 4, TINY, seed=seed) for seed in (0, 1))
    states = build(world, 4).states(2)
    assert np.array_equal(Ensemble([one]).expand(states).Ve, one.expand(states).Ve)
    both = Ensemble([one, other])
    (Vm, Ve, Vr), first, second = both.values(states), one.values(states), other.values(states)
    assert np.allclose(Vm, (first[0] + second[0]) / 2) and np.allclose(Ve, (first[1] + second[1]) / 2)
    assert np.allclose(np.log(-Vr), (np.log(-first[2]) + np.log(-second[2])) / 2)
    spread = both.spread(states)
    assert np.allclose(spread["Vm"], np.abs(first[0] - second[0]) / np.sqrt(2))
    assert np.allclose(spread["log_Vr"], np.abs(np.log(first[2] / second[2])) / np.sqrt(2))
    assert both.root_by_horizon["Vr"].shape == (4,)


def test_the_plain_twin_agrees_with_a_spot_solve_rooted_at_a_state() -> None:
    world, params = golden_world("trivial"), golden_params(TABLES[0])
    graph, exact = solved(world, params, 4)
    state = graph.states(2)[5]
    rooted = build(world, 2, root=state)
    assert np.array_equal(solve(rooted, params).Ve[0][0], exact.Ve[2][5])
    assert set(rooted.states(1)) == {
        (1, *successor[1:])
        for profile in range(world.n_profiles)
        for _, successor in reference.transitions(world, state, profile)
    }
