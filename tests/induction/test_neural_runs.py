"""Runs in mode neural hold what the notebook calls give, whatever way they are run, killed, grown or merged."""

from __future__ import annotations

import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.jobs.induction import Params, build, freed_first, rollouts, solve
from quintet.jobs.induction.neural import (
    Ensemble,
    Training,
    accumulate,
    errors,
    fit,
    fitted_rollouts,
    fresh_states,
    residuals,
    rollout_check,
    spot_truth,
    tabulate,
)
from quintet.jobs.induction.neural.network import Parameters
from quintet.merge.induction.neural_errors import exceeded, overall
from quintet.merge.induction.neural_results import fitted_problems, mixed_machines
from quintet.shard.checkpoints import Checkpoints
from quintet.shard.context import Context, inputs_digest
from quintet.shard.induction import outcome, start
from quintet.shard.induction.checks import played_goals
from quintet.shard.induction.train_phase import TrainTask, trained
from quintet.shard.run import Run

from ..house import House, payloads
from .golden_files import golden_world
from .neural_problems import TABLES, TINY, ExactValues, golden_problem, label, same_tensors, solved
from .neural_stores import WORLD, neural_run, problem_of
from .runs import CONFIGS, complete, compute, merge, planned
from .test_induction_runs import LAVA


def test_a_run_holds_the_bits_of_the_notebook_calls(small: Run) -> None:
    world, problem = golden_world(WORLD), problem_of(small)
    graph = build(world, 4)
    exact = solve(graph, Params(), keep_policies="all")
    members = [fit(world, Params(), 4, TINY, seed=seed) for seed in (0, 1)]
    assert [check.name for check in problem.checks] == ["seed 0", "seed 1", "ensemble"]
    for unit, member in enumerate(members):
        assert same_tensors(trained(problem.context, unit), member)
        np.testing.assert_array_equal(problem.trainings[unit].curve["loss"], member.curve["loss"])
    for check, fitted in zip(problem.checks, [*members, Ensemble(members)], strict=True):
        table = tabulate(fitted, graph)
        for name, column in errors(table, exact, graph).items():
            np.testing.assert_array_equal(check.levels[name], column)
        np.testing.assert_array_equal(check.root["first"], freed_first(graph, table))
        for name, array in fitted.root_by_horizon.items():
            np.testing.assert_array_equal(check.root[name], array)
        fresh = fresh_states(fitted, 12)
        estimate = accumulate([residuals(fitted, fresh[t]) for t in (1, 2, 3)], 0.95)
        np.testing.assert_array_equal(check.levels["accumulated_Ve"][1:], estimate["Ve"])
        for name, column in spot_truth(fitted, fresh[2][:3]).items():
            np.testing.assert_array_equal(check.spot[name], column)
        played = rollout_check(fitted, 8, seed=0 if check.is_ensemble else check.seed, goals=played_goals(fitted, 1))
        assert check.rollout["return_mean"] == played["return_mean"]
        np.testing.assert_array_equal(check.rollout["p_first"], played["p_first"])
        assert check.goals["mean"].tolist() == [row["mean"] for row in played["goals"]]


def test_spot_truth_where_tables_exist_is_the_exact_error(small: Run) -> None:
    problem, graph = problem_of(small), build(golden_world(WORLD), 4)
    exact = solve(graph, Params())
    check, fitted = problem.checks[0], trained(problem.context, 0)
    states = fresh_states(fitted, 12)[2][:3]
    Ve = fitted.expand(states).Ve
    rows = [graph.row(state) for state in states]
    found = np.abs(Ve - exact.Ve[2][rows])
    np.testing.assert_allclose(check.spot["Ve_mean"], found.mean(axis=(1, 2)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(check.spot["Ve_max"], found.max(axis=(1, 2)), rtol=0, atol=1e-12)


def test_the_last_level_is_exact_and_its_residual_is_not(small: Run) -> None:
    for check in problem_of(small).all:
        assert max(check.levels[name][-1] for name in ("Vm_max", "Ve_max", "log_Vr_max")) < 1e-12
        assert check.levels["residual_log_Vr"][-1] > 0.0
        assert np.isnan(check.levels["residual_Ve"][0])


def test_shards_and_their_order_change_no_bit(tmp_path: Path) -> None:
    section = "validate: true, seeds: 5, check_rows: 4, check_rollouts: 2"
    digests = [
        complete(
            neural_run(
                tmp_path / f"run{shards}",
                f"phases.train.shards={shards}",
                f"phases.check.shards={shards}",
                section=section,
            ),
            random.Random(shards),
        )
        for shards in (1, 2, 5)
    ]
    assert digests[0] == digests[1] == digests[2]


def test_a_grown_run_keeps_its_trainings_and_equals_one_planned_so(small: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(small.path, run.path)
    shutil.copy(small.path.with_suffix(".yaml"), tmp_path / "run.yaml")
    more = "neural.seeds=3"
    planned(run.path, tmp_path / "run.yaml", more)
    kept = run.shard_file("train", 0).stat().st_mtime_ns
    grown = complete(run)
    assert run.shard_file("train", 0).stat().st_mtime_ns == kept
    fresh = neural_run(tmp_path / "fresh", more)
    assert complete(fresh) == grown


def test_an_exact_run_stands_in_for_phases_of_its_own(small: Run, tmp_path: Path) -> None:
    exact = planned(tmp_path / "exact", "seed", "grid={max_steps: [3, 4]}")
    complete(exact)
    run = neural_run(tmp_path / "run", f"inputs.exact_run={exact.path}")
    assert run.phases() == ("train", "check")
    complete(run)
    mine, theirs = problem_of(run), problem_of(small)
    for one, other in zip(mine.all, theirs.all, strict=True):
        for name, column in one.levels.items():
            np.testing.assert_array_equal(column, other.levels[name])
    assert mine.exact is not None and theirs.exact is not None
    np.testing.assert_array_equal(mine.exact.root["first"], theirs.exact.root["first"])
    settings = ("max_steps=2", "neural.spot_steps=[1]", f"inputs.exact_run={exact.path}")
    with pytest.raises(Exception, match="holds no float64 solution of problem 0"):
        neural_run(tmp_path / "other", *settings)


def test_beyond_the_limit_the_root_is_known_as_far_as_its_states_allow(tmp_path: Path) -> None:
    run = neural_run(tmp_path / "run", section="validate_limit: 500, root_limit: 400, seeds: 1")
    assert run.phases() == ("root", "train", "check")
    complete(run)
    problem = problem_of(run)
    assert problem.counted == (1, 36, 128, 224) and problem.exact is not None
    assert problem.exact.steps == 3 and problem.ensemble is None
    expected = solve(build(golden_world(WORLD), 3), Params()).root_by_horizon
    for name, array in expected.items():
        np.testing.assert_array_equal(problem.exact.root[name], array)
    (check,) = problem.all
    assert np.isnan(check.levels["Ve_mean"]).all() and np.isfinite(check.levels["accumulated_Ve"][1:]).all()


def test_worlds_of_every_kind_stand_side_by_side(tmp_path: Path) -> None:
    names = ("g_two_robots", "g_three_humans", "g_unsteady_pair", "deactivate_pause_or_destroy")
    problems = ", ".join(f"{{world: {name}, max_steps: {2 + (k == 1)}}}" for k, name in enumerate(names))
    section = "validate: true, seeds: 1, spot_steps: [1]"
    run = neural_run(tmp_path / "run", f"problems=[{problems}]", "max_steps=null", section=section)
    complete(run)
    for problem, name in zip(fitted_problems(Context.of(run, "check")), names, strict=True):
        world, horizon = golden_world(name), problem.case.max_steps
        fitted = fit(world, problem.case.params, horizon, TINY)
        (check,) = problem.all
        np.testing.assert_array_equal(check.root["Vr"], fitted.root_by_horizon["Vr"])
        np.testing.assert_array_equal(check.root["Ve"], fitted.root_by_horizon["Ve"])
        graph = build(world, horizon)
        found = errors(tabulate(fitted, graph), solve(graph, problem.case.params, keep_policies="all"), graph)
        np.testing.assert_array_equal(check.levels["tv_pi_r"], found["tv_pi_r"])


@pytest.mark.parametrize("case", TABLES, ids=label)
def test_episodes_on_exact_values_are_those_of_the_exact_study(case: dict[str, Any]) -> None:
    world, params, horizon = golden_problem(case)
    graph, exact = solved(world, params, horizon)
    assert fitted_rollouts(ExactValues(graph, exact), 3, seed=7) == rollouts(graph, exact, 3, seed=7)


def checkpoints_of(run: Run, phase: str) -> tuple[Context, Checkpoints]:
    """The checkpoints of the first unit of a phase."""
    context = Context.of(run, phase)
    return context, Checkpoints(run, context.plan, inputs_digest(run, context.plan), 0, 1)


def finished(task: Any) -> dict[str, Any]:
    """What a task comes to, cost left out."""
    while task.advance():
        pass
    return {name: array for name, array in task.result().items() if not name.startswith("meta/")}


def same_payload(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two payloads have the same bits."""
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=np.asarray(one[name]).dtype.kind == "f") for name in one
    )


@pytest.mark.parametrize("phase", ["train", "check"])
def test_a_unit_restored_from_any_checkpoint_has_the_same_bits(small: Run, tmp_path: Path, phase: str) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(small.path, run.path)
    context, kept = checkpoints_of(run, phase)
    whole = finished(start(context).block(range(1)))
    first, more, resumed = start(context).block(range(1)), True, 0
    while more:
        more = first.advance()
        state = first.state()
        if state is None:
            continue
        kept.save(state)
        loaded = kept.load()
        assert loaded is not None
        second = start(context).block(range(1))
        second.restore(loaded)
        assert same_payload(finished(second), whole)
        resumed += 1
    assert resumed >= 5


def test_a_checkpoint_of_another_capability_starts_its_unit_afresh(
    small: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    context = Context.of(small, "train")
    task = start(context).block(range(1))
    while (state := task.state()) is None:
        task.advance()
    fresh = start(context).block(range(1))
    assert isinstance(fresh, TrainTask)
    fresh.restore({**state, "machine": "another"})
    assert "starts afresh" in capsys.readouterr().err
    whole = start(context).block(range(1))
    whole.advance()
    fresh.advance()
    assert fresh.state() is None and same_payload(finished(fresh), finished(whole))


def test_results_of_several_kinds_of_machine_are_stamped(small: Run) -> None:
    problem = problem_of(small)
    assert mixed_machines([problem]) == ""
    other = problem.trainings[0].machine.replace('"torch": "', '"torch": "9.9.')
    trainings = [replace(problem.trainings[0], machine=other), *problem.trainings[1:]]
    stamp = mixed_machines([replace(problem, trainings=trainings)])
    assert stamp.startswith("MIXED trainings from 2 kinds of machine") and "9.9." in stamp


def test_a_diverged_training_is_a_row_and_the_ensemble_is_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = neural_run(tmp_path / "run", "neural.seeds=3")
    drawn = Training.fresh_start

    def with_a_hole(training: Training) -> Parameters:
        parameters = drawn(training)
        if training.seed == 1:
            parameters[-1][0] = np.nan
        return parameters

    monkeypatch.setattr(Training, "fresh_start", with_a_hole)
    complete(run)
    problem = problem_of(run)
    assert [training.seed for training in problem.trainings if training.error] == [1]
    assert problem.failures[0].startswith("seed 1: pass 1: the loss is nan at level 3")
    assert [check.name for check in problem.all] == ["seed 0", "seed 2", "ensemble"]
    assert problem.ensemble is not None and problem.ensemble.members == 2
    lines, code = outcome(run)
    assert code == 0 and len(lines) == 1 and "the training failed: pass 1" in lines[0]


def test_a_world_without_power_fails_as_in_the_exact_study(tmp_path: Path) -> None:
    (tmp_path / "pit.yaml").write_text(LAVA)
    settings = ("max_steps=null", "neural.spot_steps=[1]")
    run = neural_run(tmp_path / "run", *settings, world="pit.yaml")
    complete(run)
    problem = problem_of(run)
    assert all("human 0 has power X_h = 0 in state" in training.error for training in problem.trainings)
    assert not problem.all and problem.best is None
    lines, code = outcome(run)
    assert code == 1 and len(lines) == 3


def test_an_error_above_its_bound_is_named_with_its_worst_level(small: Run) -> None:
    problem = problem_of(small)
    worst = max(overall(check, "Ve_mean").value for check in problem.seeds)
    level = int(np.argmax(problem.seeds[0].levels["tv_pi_r"]))
    neural = problem.settings.model_copy(update={"max_error": {"Ve_mean": worst, "tv_pi_r": 1e-9, "spot_Ve": 1e-12}})
    config = problem.context.config.model_copy(update={"neural": neural})
    lines = exceeded([replace(problem, context=replace(problem.context, config=config))])
    assert len(lines) == 2
    assert "tv_pi_r is" in lines[0] and "allowed 1e-09" in lines[0]
    assert f"worst at level {level}" in lines[0] or "seed 1" in lines[0]
    assert "spot_Ve is" in lines[1] and "worst at 2 steps to go" in lines[1]


def killed_inside(house: House, run: Run, shard: int, delay: float) -> int:
    """Start a shard of trainings and kill it a while after its next checkpoint; its exit code."""
    before = {path.name for path in (run.path / "checkpoints").rglob("u*.h5")}
    process = house.start("shard", run.path, "train", "--index", shard, "--allow-code-drift")
    deadline = time.monotonic() + 240
    while process.poll() is None and {path.name for path in (run.path / "checkpoints").rglob("u*.h5")} <= before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


def test_a_training_killed_inside_goes_on_to_the_same_bits(house: House, small: Run, tmp_path: Path) -> None:
    run = neural_run(tmp_path / "run", "phases.train.checkpoint_s=0", "phases.train.shards=1")
    assert killed_inside(house, run, 0, 0.0) == -signal.SIGKILL
    assert not run.shard_file("train", 0).exists()
    compute(run, "train")
    assert merge(run, "train") == payloads(small.path)["train"]
    assert not list((run.path / "checkpoints").rglob("*.h5"))


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2, 5])
def test_trainings_killed_at_random_moments_have_the_same_bits(house: House, tmp_path: Path, shards: int) -> None:
    section = "rows: 256, beam: 256, steps: 40, batch: 16, rollouts: 50, hidden: [64, 64], seeds: 5, validate: true"
    config = tmp_path / "config.yaml"
    config.write_text(
        f"study: induction\nmode: neural\ninputs: {{world: {WORLD}}}\nmax_steps: 5\nrollouts: 0\n"
        f"neural: {{{section}, check_rows: 12, check_rollouts: 8}}\n"
    )
    quiet = complete(planned(tmp_path / "quiet", config, "phases.train.shards=3"))
    run = planned(tmp_path / "run", config, f"phases.train.shards={shards}", "phases.train.checkpoint_s=0")
    dice = random.Random(shards)
    codes = [
        killed_inside(house, run, shard, dice.uniform(0.0, 0.6))
        for _ in range(3)
        for shard in dice.sample(range(shards), min(shards, 2))
    ]
    assert -signal.SIGKILL in codes
    assert complete(run) == quiet


@pytest.mark.slow
def test_a_run_whose_error_is_too_large_fails_after_writing_everything(house: House, tmp_path: Path) -> None:
    run, config = tmp_path / "run", tmp_path / "config.yaml"
    text = (CONFIGS / "neural_demo.yaml").read_text().replace("Ve_mean: 0.01", "Ve_mean: 1.0e-09")
    config.write_text(text.replace("  spot_rows: [10, 4, 2]", "  spot_steps: [2]\n  spot_rows: [4]"))
    flags = ("--neural", "--steps", 4, "--seeds", "3,1", "--n-workers", 1, "--config", config, "--output-dir", run)
    done = house("study", "induction", *flags, code=1)
    assert "errors above neural.max_error" in done.stderr and "Ve_mean is" in done.stderr
    for name in ("errors.csv", "summary.json", "report.md"):
        assert (run / name).is_symlink() and (run / name).stat().st_size > 0
    report = (run / "report.md").read_text()
    assert "Above the allowed error:" in report and "the largest error of a single state and goal is" in report
    assert str(run) not in report
    for name in ("error_by_level", "calibration", "root_by_horizon", "cost", "spot", "learning", "goals", "policy_map"):
        assert (run / "figures" / f"{name}.png").is_file()
    for name in ("errors", "spot", "root_by_horizon", "goals", "learning", "cost", "calibration", "value_map_0"):
        assert (run / "tables" / f"{name}.csv").is_file()
    assert (run / "movies" / "rollouts.gif").stat().st_size > 0
    again = house("merge", run, code=1)
    assert "errors above neural.max_error" in again.stderr
