"""Values, policies and chain probabilities are those of the reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from quintet.jobs.induction import World, build, deactivation, freed_first, reference, solve

from .golden_files import as_tuple, golden, golden_params, golden_world

TABLES = golden("tables_tiny")["tables"]
ROOTS = golden("roots")["cases"]
STORAGE = golden("float_storage")["cases"]
COLUMNS = ("Vm", "Ve", "Xh", "pi_r", "Vr", "pi_h")
AT_ROOT = {
    "Vm": "Vm",
    "Ve": "Ve",
    "X": "Xh",
    "Q_r": "Qr",
    "pi_r": "pi_r",
    "V_r": "Vr",
    "marginal_human_policy": "m_h",
}
RELATIVE = {"Vr", "Qr"}
QUICK_STATES = 10_000


def assert_close(found: Any, expected: Any, tolerance: float, *, relative: bool = False) -> None:
    expected = np.array(expected, np.float64)
    scale = np.abs(expected) if relative else 1.0
    assert (np.abs(np.array(found) - expected) <= tolerance * scale).all()


def label(case: dict[str, Any]) -> str:
    world = case["world"] if isinstance(case["world"], str) else case["world"]["name"]
    return f"{world}-{case['horizon']}"


@pytest.mark.parametrize("twin", ["kernel", "plain"])
@pytest.mark.parametrize("case", TABLES, ids=label)
def test_whole_tables_of_tiny_problems(case: dict[str, Any], twin: str) -> None:
    if twin == "plain" and len(case["rows"]) > 150:
        pytest.skip("too large for the plain twin")
    world = World.from_dict(case["world"])
    build_with, solve_with = (build, solve) if twin == "kernel" else (reference.build, reference.solve)
    graph: Any = build_with(world, case["horizon"])
    solution = solve_with(graph, golden_params(case), keep_policies="all")
    assert graph.n_states == len(case["rows"])
    for state, *values in case["rows"]:
        t, row = state[0], graph.row(as_tuple(state))
        assert bool(values) == (t < case["horizon"])
        for name, expected in zip(COLUMNS, values, strict=False):
            assert_close(getattr(solution, name)[t][row], expected, 1e-9, relative=name in RELATIVE)


def level_sums(solution: Any, t: int) -> dict[str, NDArray[np.float64]]:
    Ve, Vr = solution.Ve[t], solution.Vr[t]
    return {
        "n": np.array(len(Vr)),
        "sum_Vm": solution.Vm[t].sum(),
        "sum_Ve": Ve.sum(),
        "sum_Ve2": (Ve**2).sum(),
        "sum_Vr": Vr.sum(),
        "sum_log_negVr": np.log(-Vr).sum(),
        "sum_pir": solution.pi_r[t].sum(axis=0),
        "sum_X": solution.Xh[t].sum(axis=0),
    }


def check_root(case: dict[str, Any]) -> None:
    graph = build(World.from_dict(case["world"]), case["horizon"])
    assert graph.level_sizes == case["levels"]
    assert graph.n_outcomes == case["n_transition_outcomes_distinct_configs"]
    assert graph.world.goals.tolist() == case["goals"]
    solution = solve(graph, golden_params(case))
    is_tied = case["params"]["beta_h"] == "inf"
    for key, name in AT_ROOT.items():
        found = solution.root_by_horizon[name][-1]
        assert_close(found, case["root"][key], 1e-8 if is_tied else 1e-9, relative=name in RELATIVE)
    for expected in case["checksums"]:
        sums = level_sums(solution, expected["t"])
        for key, found in sums.items():
            assert_close(found, expected[key], 1e-4 if is_tied else 1e-8, relative=True)


@pytest.mark.parametrize("case", [case for case in ROOTS if case["n_states"] <= QUICK_STATES], ids=label)
def test_roots_and_checksums(case: dict[str, Any]) -> None:
    check_root(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in ROOTS if case["n_states"] > QUICK_STATES], ids=label)
def test_roots_and_checksums_of_larger_problems(case: dict[str, Any]) -> None:
    check_root(case)


@pytest.mark.parametrize("case", golden("goal_weights")["cases"])
def test_explicit_goal_weights(case: dict[str, Any]) -> None:
    graph = build(World.from_dict(case["world"]), case["horizon"])
    params = golden_params(case, goal_weights=case["goal_weights"])
    for solution in (solve(graph, params), reference.solve(reference.build(graph.world, case["horizon"]), params)):
        for key, name in AT_ROOT.items():
            assert_close(solution.root_by_horizon[name][-1], case["root"][key], 1e-9, relative=name in RELATIVE)


@pytest.mark.parametrize("case", golden("chain")["deactivation"], ids=label)
def test_deactivation_by_horizon(case: dict[str, Any]) -> None:
    graph = build(World.from_dict(case["world"]), case["horizon"])
    solution = solve(graph, golden_params(case))
    found = deactivation(graph, solution)
    assert found.shape == (case["horizon"], 2)
    assert_close(found, case["by_horizon"], 1e-9)
    assert_close(solution.root_by_horizon["pi_r"][-1], case["pi_r"], 1e-9)


@pytest.mark.parametrize("case", golden("chain")["freed_first"], ids=label)
def test_who_is_freed_first_by_horizon(case: dict[str, Any]) -> None:
    graph = build(golden_world(case["world"]), case["horizon"])
    solution = solve(graph, golden_params(case))
    assert_close(freed_first(graph, solution), case["by_horizon"], 1e-9)
    assert_close(solution.root_by_horizon["pi_r"], case["pi_r_root_by_horizon"], 1e-9)
    assert_close(solution.root_by_horizon["Vr"], case["V_r_root_by_horizon"], 1e-9, relative=True)
    assert_close(solution.root_by_horizon["Xh"], case["X_root_by_horizon"], 1e-9)


BOUNDS = {
    "float32": {"V_m_abs": 5e-7, "V_e_abs": 5e-7, "V_r_rel": 3e-7, "pi_r_abs": 1e-6, "pi_h_abs": 2e-6},
    "float16": {"V_m_abs": 5e-3, "V_e_abs": 5e-3, "V_r_rel": 2e-3, "pi_r_abs": 5e-3, "pi_h_abs": 1e-2},
}
ERRORS = {"V_m_abs": "Vm", "V_e_abs": "Ve", "V_r_rel": "Vr", "pi_r_abs": "pi_r", "pi_h_abs": "pi_h"}


def storage_errors(exact: Any, rounded: Any, horizon: int) -> dict[str, float]:
    worst = dict.fromkeys(ERRORS, 0.0)
    for t in range(horizon):
        for key, name in ERRORS.items():
            truth = getattr(exact, name)[t]
            error = np.abs(getattr(rounded, name)[t].astype(np.float64) - truth)
            worst[key] = max(worst[key], float((error / np.abs(truth) if name == "Vr" else error).max()))
    return worst


def check_storage(case: dict[str, Any]) -> None:
    graph = build(golden_world(case["world"]), case["horizon"])
    params = golden_params(case, optimistic=case["optimistic"])
    exact = solve(graph, params, keep_policies="all")
    rounded = solve(graph, params, keep_policies="all", storage_dtype=case["storage"])
    assert rounded.Vm[0].dtype == rounded.Ve[0].dtype == case["storage"]
    assert rounded.Vr[0].dtype == np.float64
    errors = storage_errors(exact, rounded, case["horizon"])
    for key, bound in BOUNDS[case["storage"]].items():
        if case["params"]["beta_h"] != "inf" and case["params"]["beta_h"] <= 30:
            assert errors[key] <= bound
        assert errors[key] <= 3.0 * case["max_error"][key] + 1e-15


@pytest.mark.filterwarnings("ignore:float16 storage")
@pytest.mark.parametrize("case", [c for c in STORAGE if c["horizon"] <= 8], ids=lambda c: f"{label(c)}-{c['storage']}")
def test_storage_errors_are_within_bounds(case: dict[str, Any]) -> None:
    check_storage(case)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:float16 storage")
@pytest.mark.parametrize("case", [c for c in STORAGE if c["horizon"] > 8], ids=lambda c: f"{label(c)}-{c['storage']}")
def test_storage_errors_of_longer_horizons(case: dict[str, Any]) -> None:
    check_storage(case)


def test_float16_is_warned_of() -> None:
    graph = build(golden_world("trivial"), 2)
    with pytest.warns(UserWarning, match="float16"):
        solve(graph, golden_params({"params": {}}), storage_dtype="float16")
