"""What a person gets: figures, films, tables and reports, by the verbs and by the drop-in command."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from quintet.jobs.induction import lowess
from quintet.merge.induction import sources
from quintet.merge.induction.growth import curve, expected, write_curve
from quintet.merge.induction.policy_map import policy_rows
from quintet.merge.induction.solved import solved_problems
from quintet.merge.induction.sweep_figures import draw_phase_diagram
from quintet.merge.induction.sweep_rendering import render_sweep, sweep_drawings
from quintet.merge.induction.sweep_report import sweep_report
from quintet.merge.induction.sweep_results import OUTCOME_WORDS, swept
from quintet.merge.induction.sweep_tables import sample_columns, sweep_summary, write_sweep_tables
from quintet.merge.page import report_markdown
from quintet.shard.context import Context
from scipy.stats import pearsonr

from ..house import House, payloads
from .runs import CONFIGS, complete, planned

REFERENCE_COLUMNS = (
    "max_steps,beta_h,beta_r,gamma_h,gamma_r,zeta,eta,xi,seed,p_left,n_states,computation_time,pi_r_turn_left,"
    "pi_r_turn_right,Q_r_turn_left,Q_r_turn_right,V_r,X_h1,X_h2,h1_pos,h2_pos"
)


@pytest.fixture(scope="module")
def dropped_in(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the drop-in command makes of the trivial world."""
    output = tmp_path_factory.mktemp("dropin") / "out"
    flags = ("-s", 3, "--beta_h", 5, "--rho-r", 0.05, "--rollouts", 2, "--keep_policies", "all", "--n-workers", 1)
    done = house("study", "induction", *flags, "--output-dir", output)
    assert str(output) in done.stdout
    return output


def test_the_drop_in_command_makes_the_named_files(dropped_in: Path) -> None:
    config = json.loads((dropped_in / "plan" / "run.json").read_text())["config"]
    assert (config["max_steps"], config["beta_h"], config["rho_r"], config["keep_policies"]) == (3, 5.0, 0.05, "all")
    for name in ("results.csv", "summary.json", "report.md"):
        link = dropped_in / name
        assert link.is_symlink() and not link.readlink().is_absolute() and link.stat().st_size > 0
    for name in ("value_map_0", "policy_map", "freed_first", "state_growth", "memory_time"):
        assert (dropped_in / "figures" / f"{name}.png").is_file()
        sidecar = json.loads((dropped_in / "figures" / f"{name}.json").read_text())
        assert {"run", "config_sha256", "code_sha256", "data_digest"} <= set(sidecar)
        if name != "memory_time":
            assert (dropped_in / "tables" / f"{name}.csv").is_file()
    with Image.open(dropped_in / "movies" / "rollouts.gif") as film:
        assert film.n_frames >= 4
        assert film.info["duration"] % 330 == 0 or film.info["duration"] == 333
    report = (dropped_in / "report" / "report.md").read_text()
    assert "Phase 2 against Phase 1" in report and "predicted MB" in report
    assert str(dropped_in) not in report


def test_the_summary_and_the_table_say_what_the_root_says(dropped_in: Path) -> None:
    from quintet.shard.run import Run

    (solved,) = solved_problems(Context.of(Run(dropped_in), "solve"))
    (row,) = list(csv.DictReader((dropped_in / "results.csv").read_text().splitlines()))
    assert float(row["V_r"]) == solved.root["Vr"][-1]
    assert float(row["X_h1"]) == solved.root["Xh"][-1][0]
    summary = json.loads((dropped_in / "summary.json").read_text())["problems"][0]
    np.testing.assert_array_equal(summary["root"]["Ve"], solved.root["Ve"][-1])
    assert summary["level_sizes"] == solved.level_sizes
    assert summary["memory"]["keys"]["predicted"] > 0
    level, rows = policy_rows(solved)
    assert level == 2 and all(abs(policy.sum() - 1.0) < 1e-12 for *_, policy in rows)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--zeta", "-1"), ("--zeta", "-1")),
        (("--goal-weights", "a"), ("--goal-weights", "'a'")),
        (("--rho-h", "0.1", "--gamma-h", "0.9"), ("gamma_h", "rho_h")),
        (("--world", "nowhere"), ("--world", "nowhere")),
        (("--rows", "5"), ("slab",)),
    ],
)
def test_a_wrong_flag_is_named(house: House, tmp_path: Path, flags: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = house("study", "induction", *flags, "--output-dir", tmp_path / "run", code=2)
    assert all(word in done.stderr for word in words), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_sweep_command_takes_the_flags_of_old(house: House, tmp_path: Path) -> None:
    flags = ("--n_samples", 12, "--max_steps_min", 3, "--max_steps_max", 4, "--xi_max", 1.5, "--beta_r", "inf")
    more = ("--beta_h_min", 2, "--gamma-h-max", 0.9, "--terminal_Vr", -0.5, "--n-workers", 1, "--submit")
    house(
        "study", "induction", "sweep", *flags, *more, "--output-dir", tmp_path / "run", code=None
    )  # submitted nowhere: planned is enough
    config = json.loads((tmp_path / "run" / "plan" / "run.json").read_text())["config"]
    sweep = config["sweep"]
    found = [sweep[name] for name in ("n_samples", "max_steps_max", "xi_max", "beta_r", "beta_h_min", "gamma_h_max")]
    assert found == [12, 4, 1.5, "inf", 2.0, 0.9] and config["terminal_Vr"] == -0.5


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Context:
    settings = ("sweep.n_samples=24", "sweep.max_steps_min=5", "sweep.max_steps_max=7", "sweep.max_steps_threshold=6")
    run = planned(tmp_path_factory.mktemp("sweep") / "run", "sweep_demo", *settings)
    complete(run)
    return Context.of(run, "sweep")


def test_the_exports_of_a_sweep_can_be_read(small: Context, tmp_path: Path) -> None:
    result = swept(small)
    write_sweep_tables(tmp_path, result, sources(small), None)
    table = pd.read_csv(tmp_path / "results.csv")
    assert ",".join(table.columns).startswith(REFERENCE_COLUMNS)
    assert table["h1_pos"][0] == "(2,1)" and len(table) == 24
    assert result.named(OUTCOME_WORDS["p_first_h1"]) == "P(left human freed first)"
    np.testing.assert_array_equal(table["V_r"], result.columns["V_r"])
    np.testing.assert_array_equal(table["n_states"], result.columns["n_states_nonterminal"])
    regressions = pd.read_csv(tmp_path / "regressions.csv")
    assert set(regressions["model"]) >= {"full", "univariate"}
    assert set(regressions["subsample"]) >= {"all"}
    model = result.full["p_left", "all", False]
    rows = regressions.query("outcome == 'p_left' and subsample == 'all' and model == 'full'")
    np.testing.assert_array_equal(rows["coef"], model.coef)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["samples"] == 24 and summary["duplicate_seeds"] == 0
    assert sum(map(sum, summary["freed_first_counts"].values())) == 24


def test_figures_show_shares_as_they_are_and_a_table_holds_what_is_drawn(small: Context, tmp_path: Path) -> None:
    result = swept(small)
    columns = {**result.columns, "xi": np.ones(result.n), "p_first": np.repeat(result.columns["seed"] * 1e-6, 4)}
    columns["p_first"] = columns["p_first"].reshape(-1, 4).astype(float)
    columns["p_first"][:2] = 0.5
    other = replace(result, columns=columns)
    np.testing.assert_array_equal(other.values("p_first_h1"), columns["p_first"][:, 0])
    write_sweep_tables(tmp_path, other, sources(small), None)
    table = pd.read_csv(tmp_path / "matrices.csv").query("x == 'zeta' and y == 'p_left'")
    assert float(table["r"].iloc[0]) == pearsonr(columns["zeta"], columns["p_left"]).statistic
    curve = pd.read_csv(tmp_path / "matrices_lowess.csv").query("x == 'zeta' and y == 'p_left'")
    np.testing.assert_array_equal(curve["lowess"], lowess(columns["zeta"], columns["p_left"])[1])
    model = other.fit("p_left")
    assert model is not None and model.skipped == other.constants == ("xi",)


def test_outcomes_at_the_bounds_of_the_models_are_in_no_figure(small: Context) -> None:
    result = swept(small)
    first = np.tile(np.linspace(0.0, 0.9, result.n)[:, None], 4)
    first[:14, 0] *= 1e-6
    other = replace(result, columns={**result.columns, "p_first": first})
    assert other.at_bounds == ("p_first_h1",) and "p_first_h1" in other.outcomes
    assert "p_first_h1" not in other.drawn_outcomes
    text = report_markdown(sweep_report(other, {}, {}, None), Path())
    assert "above 0.999, where the models clip them: p_first_h1." in text


def test_turns_of_several_robots_are_the_first_ones(small: Context) -> None:
    result = swept(small)
    pi_r = np.random.default_rng(0).dirichlet(np.ones(16), size=result.n)
    table = sample_columns(replace(result, columns={**result.columns, "pi_r": pi_r, "Q_r": -pi_r}))
    np.testing.assert_allclose(table["pi_r_turn_left"], pi_r[:, 4:8].sum(axis=1), rtol=1e-15)
    np.testing.assert_allclose(table["pi_r_turn_right"], pi_r[:, 8:12].sum(axis=1), rtol=1e-15)
    assert "Q_r_turn_left" not in table


def test_a_sweep_of_deactivation_explains_what_is_disabled(tmp_path: Path) -> None:
    bounds = {"n_samples": 12, "max_steps_min": 6, "max_steps_max": 7}
    config = {"study": "induction", "mode": "sweep", "sweep": {"profile": "deactivation", **bounds}}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    run = planned(tmp_path / "run", tmp_path / "config.yaml")
    complete(run)
    result = swept(Context.of(run, "sweep"))
    disabled = result.columns["p_disabled"]
    assert "p_disabled_pause" in result.outcomes and ("p_disabled_pause", "all", False) in result.full
    summary = sweep_summary(result, [])["outcomes"]["p_disabled"]
    np.testing.assert_array_equal(summary["mean"], disabled.mean(axis=0))
    text = report_markdown(sweep_report(result, {}, {}, None), Path())
    assert f"| P(pause switch disabled at the end) | {disabled[:, 0].mean():.4f} |" in text
    assert "p_disabled_pause" in sweep_drawings(result)


@pytest.mark.slow
def test_a_sweep_renders_every_figure_and_stamps_what_is_incomplete(small: Context, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("figures", "tables", "report")]
    drawn = render_sweep(small, *folders, "INCOMPLETE 1 of 2 blocks", sources(small))
    assert not drawn.failures
    assert {"coefficient_plot", "scatter_plots", "matrix_regressors_outcomes", "sweep_freed_first"} <= set(drawn.saved)
    assert "INCOMPLETE" in (folders[2] / "report.md").read_text()
    assert (folders[1] / "results.csv").read_text().startswith("# INCOMPLETE")


def test_a_phase_diagram_shows_every_point_of_its_grid(tmp_path: Path) -> None:
    settings = ("max_steps=4", "grid={zeta: [1.0, 2.0, 3.0], xi: [1.0, 1.5]}", "phases.sweep.shards=1")
    run = planned(tmp_path / "run", "phase_diagram", *settings)
    complete(run)
    result = swept(Context.of(run, "sweep"))
    (axes, _) = draw_phase_diagram(result).axes
    shown = axes.collections[0].get_array()
    np.testing.assert_array_equal(np.asarray(shown).reshape(2, 3).T.ravel(), result.columns["p_first"][:, 0])


def test_the_growth_curve_measures_in_processes_and_stops_where_it_would_cost_too_much(tmp_path: Path) -> None:
    points, stops = curve("trivial", [2], ["spilled"], 100.0, 4000.0)
    assert points[0]["states"] > 1 and points[0]["disk_mb"] > 0.0
    assert stops == ["spilled: all horizons up to 2 measured"]
    grown = [{**points[0], "horizon": 2, "user_s": 1.0}, {**points[0], "horizon": 3, "user_s": 4.0}]
    assert expected(grown, "user_s", 4) == pytest.approx(16.0)
    write_curve(tmp_path, "trivial", [*grown, points[0]], stops)
    assert len(pd.read_csv(tmp_path / "growth.csv")) == 3
    assert (tmp_path / "memory_time.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("spill", ["never", "always"])
def test_kills_inside_a_unit_change_no_bit(house: House, tmp_path: Path, spill: str) -> None:
    settings = ("max_steps=15", "row_chunk=200", f"spill={spill}", f"spill_dir={tmp_path / 'spilled'}")
    sets = [part for setting in settings for part in ("--set", setting)]
    run = tmp_path / "run"
    house("plan", CONFIGS / "seed.yaml", "--run", run, "--no-probe", *sets, "--set", "phases.solve.checkpoint_s=0.1")
    house("local", run, "--phase", "build")
    house("merge", run, "build")
    dice, resumed = random.Random(5), 0
    for _ in range(6):
        code = house.killed(dice.uniform(3.0, 6.0), "shard", run, "solve", "--index", 0)
        resumed += bool(list((run / "checkpoints").rglob("*.h5")))
        if code == 0:
            break
    house("shard", run, "solve", "--index", 0)
    quiet = planned(tmp_path / "quiet", "seed")
    digests = complete(quiet)
    house("merge", run, "solve", code=None)
    assert payloads(run)["solve"] == digests["solve"]
    assert not list((tmp_path / "spilled").rglob("*"))
    assert not list((run / "checkpoints").rglob("*.h5"))


def test_a_killed_sweep_goes_on_to_the_same_bits(house: House, tmp_path: Path) -> None:
    settings = ("sweep.n_samples=96", "sweep.max_steps_min=8", "sweep.max_steps_max=9", "phases.sweep.shards=1")
    run = planned(tmp_path / "run", "sweep_demo", *settings, "phases.sweep.checkpoint_s=0")
    complete_build = run.phases()[0]
    from .runs import compute, merge

    compute(run, complete_build)
    merge(run, complete_build)
    assert house.killed(3.5, "shard", run.path, "sweep", "--index", 0, "--allow-code-drift") in (0, -9)
    compute(run, "sweep")
    quiet = planned(tmp_path / "quiet", "sweep_demo", *settings[:3], "phases.sweep.shards=2")
    assert merge(run, "sweep") == complete(quiet)["sweep"]
    assert not list((run.path / "partials").rglob("*.ckpt.h5"))
