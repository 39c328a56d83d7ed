"""Runs of the study: what solve and sweep publish, and that nothing about how they are run changes a bit."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.jobs.induction import Params, World, build, freed_first, grid_parameters, solve, sweep, sweep_parameters
from quintet.merge.induction.solved import solved_problems
from quintet.merge.induction.sweep_results import swept
from quintet.shard.context import Context
from quintet.shard.induction import outcome
from quintet.shard.partial import read_arrays
from quintet.shard.run import Run

from .golden_files import WORLDS, golden_world
from .runs import complete, compute, merge, planned

SIMPLE = ("inputs.world=asymmetric_freeing_simple",)
TWO = "problems=[{world: g_two_robots, max_steps: 3, storage_dtype: float32}, {world: trivial, max_steps: 4, xi: 2}]"
SWEEP = ("sweep.n_samples=40", "sweep.max_steps_min=4", "sweep.max_steps_max=6")


def world_of(name: str) -> World:
    return World.from_yaml(WORLDS / f"{name}.yaml")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two problems of different worlds and storage types."""
    run = planned(tmp_path_factory.mktemp("mixed") / "run", "seed", TWO, "max_steps=null", "phases.solve.shards=2")
    complete(run)
    return run


def test_a_run_holds_the_bits_of_the_solve_for_every_problem(mixed: Run) -> None:
    settings: list[tuple[str, int, dict[str, Any], dict[str, Any]]] = [
        ("g_two_robots", 3, {}, {"storage_dtype": "float32"}),
        ("trivial", 4, {"xi": 2}, {}),
    ]
    for solved, (name, steps, theory, how) in zip(solved_problems(Context.of(mixed, "solve")), settings, strict=True):
        graph = build(world_of(name), steps)
        expected = solve(graph, Params(**theory), **how)
        assert solved.level_sizes == graph.level_sizes
        for table, array in expected.root_by_horizon.items():
            np.testing.assert_array_equal(solved.root[table], array)
        np.testing.assert_array_equal(solved.root["first"], freed_first(graph, expected))
        for table in ("Vm", "Ve", "Vr", "Xh", "Qr", "pi_r"):
            for t in range(steps):
                np.testing.assert_array_equal(getattr(solved.solution, table)[t], getattr(expected, table)[t])


def test_the_build_is_stored_as_documented(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "seed", "max_steps=4")
    compute(run, "build")
    arrays = read_arrays(run.shard_file("build", 0))
    graph = build(golden_world("asymmetric_freeing_11x6"), 4)
    for name, array in graph.arrays().items():
        stored = arrays[f"rows/config/{name}" if name in ("key", "depth_offsets", "human_cell") else f"rows/{name}"]
        np.testing.assert_array_equal(stored, array)
        assert stored.dtype == array.dtype


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_and_their_order_change_no_bit_of_a_solve(tmp_path: Path, shards: int) -> None:
    settings = (*SIMPLE, "max_steps=5", "grid={eta: [1.0, 1.5], storage_dtype: [float64, float16]}")
    quiet = complete(planned(tmp_path / "quiet", "seed", *settings, "phases.solve.shards=2"))
    run = planned(tmp_path / "run", "seed", *settings, f"phases.solve.shards={shards}")
    assert complete(run, random.Random(shards)) == quiet


@pytest.mark.parametrize(
    "setting", ["spill=always", "row_chunk=7", "compression=gzip", "phases.solve.threads=2", "spill=never"]
)
def test_how_a_problem_is_solved_changes_no_bit(tmp_path: Path, setting: str) -> None:
    settings = (*SIMPLE, "max_steps=5", f"spill_dir={tmp_path / 'spilled'}")
    one = complete(planned(tmp_path / "one", "seed", *settings))
    extra = ("spill=always",) if setting.startswith("compression") else ()
    other = complete(planned(tmp_path / "other", "seed", *settings, setting, *extra))
    assert one == other
    assert not list((tmp_path / "spilled").rglob("*"))


@pytest.fixture(scope="module")
def small_sweep(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = planned(tmp_path_factory.mktemp("sweep") / "run", "sweep_demo", *SWEEP, "phases.sweep.shards=1")
    complete(run)
    return run


def test_a_sweep_holds_the_columns_of_the_notebook_call(small_sweep: Run) -> None:
    result = swept(Context.of(small_sweep, "sweep"))
    prior = result.config.sweep.prior  # type: ignore[union-attr]
    expected = sweep(result.world, sweep_parameters(range(1000, 1040), prior))
    for name, column in expected.items():
        np.testing.assert_array_equal(result.columns[name], column)


def test_statistics_extrema_and_counts_are_those_of_the_rows(small_sweep: Run) -> None:
    result = swept(Context.of(small_sweep, "sweep"))
    triples, ends = result.metric("p_first")
    steps, first = result.columns["max_steps"], result.columns["p_first"]
    assert triples[0, 0, :, 0].tolist() == [40] * 4 + [(steps >= 5).sum(), (steps >= 6).sum()]
    for s, horizon in enumerate(result.strata, start=1):
        rows = first[steps == horizon]
        np.testing.assert_allclose(triples[s, 1, horizon - 1], rows.mean(axis=0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(triples[s, 2, horizon - 1], ((rows - rows.mean(0)) ** 2).sum(0), atol=1e-12)
        np.testing.assert_array_equal(ends[0, s, horizon - 1], rows.min(axis=0))
        np.testing.assert_array_equal(ends[1, s, horizon - 1], rows.max(axis=0))
        assert result.counts[s - 1].sum() == len(rows)
    assert np.isinf(ends[0, 1, 5]).all()  # nobody of horizon 4 has six steps to go


@pytest.mark.parametrize("shards", [2, 5])
def test_shards_and_their_order_change_no_bit_of_a_sweep(small_sweep: Run, tmp_path: Path, shards: int) -> None:
    run = planned(tmp_path / "run", "sweep_demo", *SWEEP, f"phases.sweep.shards={shards}")
    digests = complete(run, random.Random(shards))
    assert digests["sweep"] == merge(small_sweep, "sweep")


def test_a_grown_sweep_keeps_what_is_published_and_equals_one_planned_so(small_sweep: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(small_sweep.path, run.path)
    more = (*SWEEP[1:], "sweep.n_samples=70")
    planned(run.path, "sweep_demo", *more)
    compute(run, "sweep")
    fresh = planned(tmp_path / "fresh", "sweep_demo", *more, "phases.sweep.shards=3")
    assert merge(run, "sweep") == complete(fresh)["sweep"]


def test_a_grid_takes_the_rest_of_the_theory_from_the_config(tmp_path: Path) -> None:
    settings = ("max_steps=5", "grid={zeta: [1.0, 2.0], xi: [1.0, 1.5, 2.0]}", "beta_h=20", "optimistic=true")
    run = planned(tmp_path / "run", "phase_diagram", *settings, "phases.sweep.shards=1")
    complete(run)
    result = swept(Context.of(run, "sweep"))
    parameters = grid_parameters({"zeta": [1.0, 2.0], "xi": [1.0, 1.5, 2.0]}, 1000, 5)
    np.testing.assert_array_equal(result.columns["xi"], parameters["xi"])
    assert set(result.columns["beta_h"]) == {20.0}
    graph = build(result.world, 5)
    expected = solve(graph, Params(zeta=2.0, xi=2.0, beta_h=20, beta_r=50, optimistic=True))
    assert result.columns["V_r"][-1] == expected.root_by_horizon["Vr"][-1]


LAVA = """
name: pit
map: |
  We We We We
  We Ay La We
  We Ae .. We
  We We We We
max_steps: 2
possible_goals: ["1,1", "1,2", "2,2"]
"""


def test_a_problem_without_a_solution_is_a_published_row_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "pit.yaml").write_text(LAVA)
    config = tmp_path / "config.yaml"
    config.write_text("study: induction\ninputs: {world: pit.yaml}\ngrid: {power_floor: [0.0, 1.0e-6]}\n")
    run = planned(tmp_path / "run", config)
    complete(run)
    failed, solved = solved_problems(Context.of(run, "solve"))
    assert "human 0 has power X_h = 0" in failed.error and "--power-floor" in failed.error
    assert not solved.error and len(solved.root["Vr"]) == 2
    lines, code = outcome(run)
    assert code == 2 and len(lines) == 1 and "X_h = 0" in lines[0]


def test_a_sweep_names_its_failures_and_fails_only_where_all_fail(tmp_path: Path) -> None:
    (tmp_path / "pit.yaml").write_text(LAVA)
    config = tmp_path / "config.yaml"
    config.write_text("study: induction\nmode: sweep\ninputs: {world: pit.yaml}\nsweep: {quick: true}\n")
    run = planned(tmp_path / "run", config)
    complete(run)
    lines, code = outcome(run)
    assert len(lines) == 3 and code == 1
    assert swept(Context.of(run, "sweep")).n == 0


def test_infinite_temperatures_survive_the_plan(tmp_path: Path) -> None:
    run = planned(
        tmp_path / "run", "demo", "inputs.world=trivial", "max_steps=2", "grid={beta_h: [.inf, 5], beta_r: [.inf]}"
    )
    complete(run)
    first, _ = solved_problems(Context.of(run, "solve"))
    expected = solve(build(world_of("trivial"), 2), Params(beta_h=np.inf, beta_r=np.inf))
    np.testing.assert_array_equal(first.root["Ve"], expected.root_by_horizon["Ve"])


def test_a_world_that_changed_after_planning_changes_nothing(tmp_path: Path) -> None:
    world = tmp_path / "mine.yaml"
    shutil.copy(WORLDS / "trivial.yaml", world)
    config = tmp_path / "config.yaml"
    config.write_text("study: induction\ninputs: {world: mine.yaml}\nmax_steps: 2\n")
    run = planned(tmp_path / "run", config)
    world.write_text("map: nonsense")
    complete(run)
    (solved,) = solved_problems(Context.of(run, "solve"))
    np.testing.assert_array_equal(solved.level_sizes, build(world_of("trivial"), 2).level_sizes)


def test_without_a_world_the_trivial_one_is_solved_with_unit_weights(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("study: induction\nmax_steps: 3\n")
    run = planned(tmp_path / "run", config)
    complete(run)
    (solved,) = solved_problems(Context.of(run, "solve"))
    assert solved.case.params.goal_weights == "unit"
    assert solved.case.world.goals[:, :2].tolist() == [[1, 1], [2, 1], [3, 1], [4, 1], [2, 2]]
    assert solved.root["Xh"].max() > 1.0
