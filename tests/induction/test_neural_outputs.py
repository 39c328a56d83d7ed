"""What a person gets of a run in mode neural: the sentence that states the error, tables, figures, the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from quintet.merge.induction import sources
from quintet.merge.induction.neural_cost import costs_of, crossing, draw_cost
from quintet.merge.induction.neural_figures import draw_spot
from quintet.merge.induction.neural_rendering import fitted_policy, problem_drawings, write_episodes
from quintet.merge.induction.neural_report import neural_report, sentence
from quintet.merge.induction.neural_results import FittedProblem
from quintet.merge.induction.neural_tables import write_maps, write_neural_tables
from quintet.merge.page import report_markdown
from quintet.shard.context import Context
from quintet.shard.run import Run

from .neural_stores import neural_run, problem_of
from .runs import complete


def page(problem: FittedProblem, stamp: str | None = None) -> str:
    """The report of a problem without its figures."""
    sentences = {0: sentence(problem)}
    facts = sources(problem.context)
    return report_markdown(neural_report([problem], {}, {}, costs_of([problem]), sentences, facts, stamp), Path())


def test_the_sentence_states_the_largest_measured_error(small: Run) -> None:
    problem = problem_of(small)
    text = sentence(problem)
    largest = max(float(check.levels["Ve_max"].max()) for check in problem.seeds)
    states = sum(problem.seeds[0].levels["n_states"])
    assert f"{largest:.4g} in V^e" in text and f"validated on {states:,} states, worst of 2 trainings" in text
    assert text in page(problem)


def test_without_truth_the_sentence_says_so_and_gives_the_estimates(tmp_path: Path) -> None:
    run = neural_run(tmp_path / "run", section="validate_limit: 500, root_limit: 400, seeds: 2")
    complete(run)
    problem = problem_of(run)
    text = sentence(problem)
    spot = max(float(check.spot["Ve_mean"].mean()) for check in problem.seeds)
    assert "no exact truth at this horizon" in text and f"mean |dV^e| {spot:.4g}" in text
    assert "exact root for k up to 3" in text and "an estimate and no bound" in text
    report = page(problem)
    assert "more than 389 states" in report and "cannot be compared" in report
    level, policy = fitted_policy(problem)
    for draw in {**problem_drawings(problem, level, policy), "cost": lambda: draw_cost(costs_of([problem]))}.values():
        assert draw().axes


def test_only_spot_checks_that_were_made_are_counted(small: Run) -> None:
    problem = problem_of(small)
    fewer = [replace(check, spot={name: rows[:2] for name, rows in check.spot.items()}) for check in problem.checks]
    assert "3 of 3" in page(problem)
    found = page(replace(problem, checks=fewer))
    assert "2 of 3" in found and "3 of 3" not in found


def test_every_figure_is_drawn(small: Run, tmp_path: Path) -> None:
    problem = problem_of(small)
    level, policy = fitted_policy(problem)
    drawings = problem_drawings(problem, level, policy)
    named = {"error_by_level", "calibration", "root_by_horizon", "learning", "goals", "value_map_0", "policy_map"}
    assert named <= set(drawings)
    for draw in (*drawings.values(), lambda: draw_spot([problem]), lambda: draw_cost(costs_of([problem]))):
        assert draw().axes
    titles = [drawings[name]().get_suptitle() for name in ("value_map_0", "value_map_1")]
    assert all(title.startswith("Fitted") for title in titles)
    assert drawings["policy_map"]().axes[0].get_title().startswith("Fitted")
    config = problem.context.config.model_copy(update={"rollouts": 1})
    film = write_episodes(replace(problem, context=replace(problem.context, config=config)), tmp_path)
    assert film is not None and film.read_bytes().startswith(b"GIF")


def test_the_tables_can_be_read_and_agree_with_the_run(small: Run, tmp_path: Path) -> None:
    problem = problem_of(small)
    _, policy = fitted_policy(problem)
    write_maps(tmp_path, problem, policy, None)
    write_neural_tables(tmp_path, [problem], {0: sentence(problem)}, sources(problem.context), None)
    errors = pd.read_csv(tmp_path / "errors.csv")
    assert len(errors) == 3 * 4 and errors["seed"].astype(str).tolist()[::4] == ["0", "1", "ensemble"]
    np.testing.assert_array_equal(errors["Ve_mean"][:4], problem.seeds[0].levels["Ve_mean"])
    np.testing.assert_array_equal(errors["accumulated_Vm"][:4], problem.seeds[0].levels["accumulated_Vm"])
    roots = pd.read_csv(tmp_path / "root_by_horizon.csv")
    assert problem.exact is not None
    np.testing.assert_array_equal(roots.query("seed == 'exact'")["V_r"], problem.exact.root["Vr"])
    calibration = pd.read_csv(tmp_path / "calibration.csv").query("seed == '0' and quantity == 'log_Vr'")
    assert calibration["count"].sum() == problem.n_states
    assert len(pd.read_csv(tmp_path / "spot.csv")) == 3 * 3
    assert len(pd.read_csv(tmp_path / "learning.csv")) == 2 * 2 * 3
    for name in ("goals", "cost", "value_map_0", "policy_map"):
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) > 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    (row,) = summary["problems"]
    worst = max(check.levels["Vm_max"].max() for check in problem.seeds)
    assert row["over_seeds"]["Vm_max"]["largest"] == worst and row["validated"]
    assert set(row["checks"]) == {"seed 0", "seed 1", "ensemble"}
    assert row["exact"]["V_r"] == problem.exact.root["Vr"].tolist()


def test_the_report_says_that_the_exact_solver_wins_where_its_tables_fit(small: Run) -> None:
    costs = costs_of([problem_of(small)])
    assert "The exact solver wins wherever its tables fit" in crossing(costs)
    cheap = [replace(cost, cpu_s=1e-9) if cost.method == "training" else cost for cost in costs]
    assert "cheaper than the exact solve for 1 problem" in crossing(cheap)


def test_a_stamp_and_no_path_or_host_stand_in_the_report(small: Run) -> None:
    text = page(problem_of(small), "INCOMPLETE 1 of 2 blocks (train)")
    assert "**INCOMPLETE 1 of 2 blocks (train)**" in text
    assert str(small.path) not in text
    assert Context.of(small, "check").plan.config_sha256 in text
