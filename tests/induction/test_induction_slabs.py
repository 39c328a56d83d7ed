"""Mode slab: levels cut into parts that processes compute apart have the bits of the solve in one piece."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from quintet.jobs.induction import Params, World, build, deactivation, freed_first, solve
from quintet.merge.induction.solved import Solved, solved_problems
from quintet.shard.context import Context
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.induction.slab_keys import joined, places, without

from .golden_files import golden_world
from .runs import complete, compute, merge, planned

CASES = {
    "asymmetric_freeing_11x6": (5, 60, 2),
    "g_kill_pause": (3, 40, 1),
    "g_three_humans": (2, 50, 3),
    "g_unsteady_pair": (4, 7, 1),
}


def assert_bits(solved: Solved, world: World, horizon: int, params: Params | None = None) -> None:
    graph = build(world, horizon)
    expected = solve(graph, params or Params())
    assert solved.level_sizes == graph.level_sizes
    np.testing.assert_array_equal(solved.graph.keys, graph.keys)
    for name, array in expected.root_by_horizon.items():
        np.testing.assert_array_equal(solved.root[name], array)
    np.testing.assert_array_equal(solved.root["first"], freed_first(graph, expected))
    if len(solved.root["disabled"]):
        np.testing.assert_array_equal(solved.root["disabled"], deactivation(graph, expected))
    for name in ("Vm", "Ve", "Vr", "Xh", "Qr", "pi_r"):
        for t in range(horizon):
            np.testing.assert_array_equal(getattr(solved.solution, name)[t], getattr(expected, name)[t])


@pytest.mark.parametrize("name", sorted(CASES))
def test_slabs_have_the_bits_of_the_solve(tmp_path: Path, name: str) -> None:
    horizon, rows, head = CASES[name]
    settings = (f"inputs.world={name}", f"max_steps={horizon}", f"slab.rows={rows}", f"slab.head_levels={head}")
    run = planned(tmp_path / "run", "slab", *settings)
    assert [phase for phase in run.phases() if phase.startswith("back")] == [
        *(f"back-{t:02d}" for t in range(horizon - 1, head - 1, -1)),
        "back-head",
    ]
    complete(run)
    (solved,) = solved_problems(Context.of(run, "back-head"))
    assert_bits(solved, golden_world(name), horizon)


def test_shards_and_their_order_change_no_bit_of_a_slab_run(tmp_path: Path) -> None:
    settings = ("max_steps=4", "slab.rows=20", "slab.head_levels=1")
    quiet = complete(planned(tmp_path / "quiet", "slab", *settings))
    shards = [f"phases.{phase}.shards=3" for phase in ("expand-02", "expand-03", "resolve", "back-03", "back-02")]
    run = planned(tmp_path / "run", "slab", *settings, *shards)
    assert complete(run, random.Random(3)) == quiet


def test_a_horizon_of_head_levels_has_no_phase_for_each(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "slab", "inputs.world=g_unsteady_pair", "max_steps=2", "beta_r=.inf")
    assert run.phases() == ("expand-00", "expand-01", "resolve", "back-head")
    complete(run)
    (solved,) = solved_problems(Context.of(run, "back-head"))
    assert_bits(solved, golden_world("g_unsteady_pair"), 2, Params(beta_r=np.inf))


def test_too_many_states_stop_the_merge_with_65(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "slab", "max_steps=4", "max_states=200")
    for phase in ("expand-00", "expand-01"):
        compute(run, phase)
        merge(run, phase)
    compute(run, "expand-02")
    with pytest.raises(QuintetError, match=r"more than 200 states.*largest horizon that fits is 2") as error:
        merge(run, "expand-02")
    assert error.value.code is Exit.INPUT


@pytest.mark.parametrize("words", [1, 3])
def test_keys_are_joined_found_and_left_out(words: int) -> None:
    dice = np.random.default_rng(words)

    def run() -> np.ndarray:
        return np.unique(dice.integers(0, 4 if words > 1 else 60, (40, words)).astype(np.uint64), axis=0)

    one, other = run(), run()
    both = {tuple(key) for key in one} | {tuple(key) for key in other}
    assert [tuple(key) for key in joined(one, other)] == sorted(both)
    found = places(one, other)
    for key, place in zip(other, found, strict=True):
        assert (tuple(one[place]) == tuple(key)) if place >= 0 else tuple(key) not in {tuple(k) for k in one}
    assert {tuple(key) for key in without(other, one)} == {tuple(key) for key in other} - {tuple(key) for key in one}
    assert len(joined(one[:0], one[:0])) == 0 and (places(one[:0], other) < 0).all()
