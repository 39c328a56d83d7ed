"""Chunks, threads, stores, slabs and interruptions change no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.jobs.induction import Params, Solution, Solver, StateGraph, World, build, deactivation, freed_first, solve
from quintet.jobs.induction.expansion import expand, resolve, sort_order
from quintet.jobs.induction.kernel.backward import Rows
from quintet.jobs.induction.levels import backward, entering_tables, model_of, terminal_tables
from quintet.jobs.induction.solution import AT_ROOT, KEPT

from .golden_files import golden_world
from .stores import DictStore, FileStore

HORIZONS = {"asymmetric_freeing_simple": 7, "g_kill_pause": 3, "g_unsteady_pair": 5, "g_two_robots": 4}
PARAMS = Params(zeta=1.7, xi=1.3, nu=0.1)


@pytest.fixture(scope="module", params=sorted(HORIZONS))
def graph(request: pytest.FixtureRequest) -> StateGraph:
    return build(golden_world(request.param), HORIZONS[request.param])


def assert_same(found: Solution, expected: Solution) -> None:
    for name in AT_ROOT:
        np.testing.assert_array_equal(found.root_by_horizon[name], expected.root_by_horizon[name])
    for name in KEPT[found.keep_policies]:
        for level, other in zip(getattr(found, name), getattr(expected, name), strict=True):
            np.testing.assert_array_equal(level, other)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_row_chunk_changes_no_bit(graph: StateGraph, chunk: int) -> None:
    assert_same(solve(graph, PARAMS, row_chunk=chunk, keep_policies="all"), solve(graph, PARAMS, keep_policies="all"))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(graph: StateGraph, threads: int) -> None:
    assert_same(solve(graph, PARAMS, threads=threads, row_chunk=50), solve(graph, PARAMS))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("keep", ["none", "robot", "all"])
def test_a_store_changes_no_bit(graph: StateGraph, keep: Any, dtype: Any, tmp_path: Path) -> None:
    expected = solve(graph, PARAMS, keep_policies=keep, storage_dtype=dtype)
    for store in (DictStore(), FileStore(tmp_path)):
        spilled = build(graph.world, graph.max_steps)
        found = solve(spilled, PARAMS, keep_policies=keep, storage_dtype=dtype, row_chunk=33, spill=store)
        assert_same(found, expected)
        assert found.Vm[0].dtype == dtype
        if keep != "none":
            np.testing.assert_array_equal(freed_first(spilled, found), freed_first(graph, expected))
            np.testing.assert_array_equal(deactivation(spilled, found), deactivation(graph, expected))


def test_a_graph_built_into_a_store_is_the_same(graph: StateGraph) -> None:
    stored = build(graph.world, graph.max_steps, spill=DictStore())
    assert stored.level_sizes == graph.level_sizes
    assert stored.n_outcomes == graph.n_outcomes
    for name, array in graph.arrays().items():
        np.testing.assert_array_equal(stored.arrays()[name], array)
    assert_same(solve(stored, PARAMS, row_chunk=10), solve(graph, PARAMS))


def test_a_graph_comes_back_from_its_arrays(graph: StateGraph) -> None:
    again = StateGraph.from_arrays(graph.world, graph.arrays())
    assert again.level_sizes == graph.level_sizes
    assert again.n_outcomes == graph.n_outcomes
    assert_same(solve(again, PARAMS), solve(graph, PARAMS))
    np.testing.assert_array_equal(again.human_cell, graph.arrays()["human_cell"])


def test_a_world_comes_back_from_its_source(graph: StateGraph) -> None:
    again = World.from_yaml(graph.world.source + "\n")
    assert again.initial_state == graph.world.initial_state
    assert build(again, 2).states(2) == build(graph.world, 2).states(2)


@pytest.mark.parametrize("storage", [False, True])
def test_a_solve_goes_on_from_its_state(graph: StateGraph, storage: bool) -> None:
    expected = solve(graph, PARAMS)
    store = DictStore() if storage else None
    part = build(graph.world, graph.max_steps)
    solver = Solver(part, PARAMS, row_chunk=40, spill=store)
    state, steps = solver.state(), 0
    while solver.advance():
        steps += 1
        if steps % 3 == 0:
            state = {name: np.array(array) for name, array in solver.state().items()}
            solver = Solver(part, PARAMS, row_chunk=40, spill=store)
            solver.restore(state)
            for _ in range(2):
                solver.advance()
            solver.restore(state)
            if steps > 200:
                break
    while solver.advance():
        pass
    assert_same(solver.solution(), expected)


def slab_graph(world: World, horizon: int, n_slabs: int) -> tuple[np.ndarray, list[int], list[Rows]]:
    """Expand each depth in parts that know nothing of each other, then join them."""
    packing = world.packing
    keys = packing.key(packing.vector(world.initial_state))[None, :]
    sizes, parts = [1], []
    for _ in range(horizon):
        new = keys[sizes[-2] if len(sizes) > 1 else 0 : sizes[-1]]
        expansions = [expand(packing, part) for part in np.array_split(new, n_slabs) if len(part)]
        found = {tuple(key) for expansion in expansions for key in expansion.keys} - {tuple(key) for key in keys}
        fresh = np.array(sorted(found), np.uint64).reshape(-1, packing.n_words)
        assert (fresh[sort_order(fresh)] == fresh).all()
        keys = np.concatenate([keys, fresh])
        sizes.append(len(keys))
        parts += expansions
    places = {tuple(key): row for row, key in enumerate(keys)}
    rows = [resolve(part.rows, np.array([places[tuple(key)] for key in part.keys], np.int32)) for part in parts]
    return keys, sizes, rows


@pytest.mark.parametrize("n_slabs", [1, 3, 8])
def test_slabs_give_the_bits_of_the_solve(graph: StateGraph, n_slabs: int) -> None:
    keys, sizes, parts = slab_graph(graph.world, graph.max_steps, n_slabs)
    np.testing.assert_array_equal(keys, graph.keys)
    assert sizes == graph.level_sizes
    expected, model = solve(graph, PARAMS), model_of(graph.world, PARAMS)
    cells, attained = graph.human_cell, graph.attained
    following = terminal_tables(cells, attained, PARAMS)
    for t in range(graph.max_steps - 1, -1, -1):
        levels, first = [], 0
        for rows in parts:
            n = min(len(rows.succ), sizes[t] - first)
            if n <= 0:
                break
            part = rows._replace(succ=rows.succ[:n])
            levels.append(backward(model, part, following, cells[first : first + n], attained))
            first += n
        Vm, Ve, Vr, pi_r = (np.concatenate([getattr(v, name) for v in levels]) for name in ("Vm", "Ve", "Vr", "pi_r"))
        for name, level in (("Vm", Vm), ("Ve", Ve), ("Vr", Vr), ("pi_r", pi_r)):
            np.testing.assert_array_equal(level, getattr(expected, name)[t])
        following = entering_tables(Vm, Ve, Vr, cells[: sizes[t]], attained, PARAMS)


def test_values_depend_on_steps_to_go_alone(graph: StateGraph) -> None:
    shorter = solve(graph.up_to(graph.max_steps - 1), PARAMS)
    longer = solve(graph, PARAMS)
    for t in range(graph.max_steps - 1):
        np.testing.assert_array_equal(shorter.Ve[t], longer.Ve[t + 1][: graph.level_sizes[t]])
        np.testing.assert_array_equal(shorter.pi_r[t], longer.pi_r[t + 1][: graph.level_sizes[t]])
    for name in AT_ROOT:
        np.testing.assert_array_equal(shorter.root_by_horizon[name], longer.root_by_horizon[name][:-1])
    part, whole = graph.up_to(graph.max_steps - 1), build(graph.world, graph.max_steps - 1)
    assert (part.n_outcomes, part.level_sizes) == (whole.n_outcomes, whole.level_sizes)
    assert part.states(part.max_steps) == whole.states(part.max_steps)
