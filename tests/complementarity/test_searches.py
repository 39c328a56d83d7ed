"""The search of the study as its users start it: samplers, first trials, time limits, kills, analyses."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import optuna
import pytest
from quintet.jobs.complementarity.config import Config
from quintet.jobs.complementarity.search_analysis import clients_per_trial, covering
from quintet.merge.complementarity import analyse
from quintet.merge.complementarity.findings import findings_of_trials
from quintet.shard.commands.base import run_command
from quintet.shard.commands.study import local
from quintet.shard.complementarity import finished_trials, from_flags, read_database, resolved, space_of
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.run import Run
from quintet.shard.samplers import propose_sobol
from quintet.shard.trials.space import checked, read_space
from scipy.stats import qmc

from ..house import House, payloads

STUDY = "freq_amp_v2_optimization"


def searched(house: House, output: Path, *flags: object, code: int = 0) -> Any:
    """Run the drop-in search."""
    return house("study", "complementarity", "search", "--output-dir", output, "--n-seeds", 5, *flags, code=code)


def parameters_of(run: Path) -> list[dict[str, Any]]:
    """Parameters of all trials of a merged search."""
    with h5py.File(run / "merged" / "search.h5", locking=False) as file:
        return [dict(trial.parameters) for trial in finished_trials(file)]


@pytest.fixture(scope="module")
def base(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of 10 trials by one worker."""
    output = tmp_path_factory.mktemp("base") / "run"
    searched(house, output, "-n", 10, "--n-startup-trials", 6, "--n-workers", 1, "--top-k", 4)
    return output


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of another search: one value that is NaN-like is stored as none, one trial failed."""
    path = tmp_path_factory.mktemp("foreign") / "old.db"
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name=STUDY, direction="maximize")
    ranges = {"threshold": (0.8, 0.99), "bond_offset": (0.5, 0.95), "bond_alpha": (1.0, 15.0)}
    distributions = {name: optuna.distributions.FloatDistribution(*ends) for name, ends in ranges.items()}
    dice = random.Random(3)
    for number in range(24):
        params = {name: dice.uniform(*ends) for name, ends in ranges.items()}
        rates = {"omniscient_success": dice.randrange(51) / 50, "complementary_success": dice.randrange(51) / 50}
        value = float("inf") if number == 5 else rates["omniscient_success"] - rates["complementary_success"]
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=value, user_attrs=rates)
        )
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    study.storage = None
    return path


def test_a_search_leaves_its_best_trials_figures_and_page(base: Path) -> None:
    best = json.loads((base / "top_trials.json").read_text())
    assert len(best) == 4
    assert [trial["value"] for trial in best] == sorted((trial["value"] for trial in best), reverse=True)
    for name in ("history", "importance", "parallel", "success", "contrast", "power", "negative"):
        assert (base / "figures" / f"search_{name}.png").stat().st_size > 0
    page = (base / "report" / "search" / "report.md").read_text()
    assert "convergence score" in page
    assert "| TIGHT |" in page or "| MODERATE |" in page or "| WIDE |" in page
    attributes = read_database(base / "store" / "search.sqlite3", STUDY)[0].user_attrs
    assert {
        "omniscient_success",
        "complementary_success",
        "advantage",
        "omniscient_dropout",
        "complementary_dropout",
        "pattern",
    } <= set(attributes)


def test_a_search_out_of_time_keeps_what_is_finished(house: House, base: Path, tmp_path: Path) -> None:
    config = tmp_path / "search.yaml"
    config.write_text("study: complementarity\nsearch: {n_trials: 500000, n_seeds: 5, n_startup_trials: 6}\n")
    house("plan", config, "--run", tmp_path / "run", "--no-probe", "--set", "phases.search.shards=2")
    assert local(Run(tmp_path / "run"), 2, "search", 5.0) == Exit.STOPPED
    house("merge", tmp_path / "run", "search", "--allow-missing")
    found = parameters_of(tmp_path / "run")
    assert 0 < len(found) < 500_000
    assert found[: min(6, len(found))] == parameters_of(base)[: min(6, len(found))]


@pytest.mark.slow
def test_the_search_command_ends_in_time_with_a_page_that_says_so(house: House, tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = searched(house, output, "-n", 500_000, "--n-startup-trials", 6, "--n-workers", 2, "--timeout", 5)
    assert "stopped by SIGTERM" in done.stderr
    assert "INCOMPLETE" in (output / "report" / "search" / "report.md").read_text()


def test_a_search_that_is_out_of_time_at_once_ends_75_and_says_so(house: House, tmp_path: Path) -> None:
    done = searched(house, tmp_path / "run", "-n", 500_000, "--n-workers", 1, "--timeout", 0.02, code=75)
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run" / "merged").glob("*.h5"))


def test_the_sobol_sweep_is_the_sequence_in_the_wider_space_whoever_asks_first() -> None:
    space = space_of(Config(search={"space": "across"}))  # type: ignore[arg-type]
    distributions = read_space(space)
    assert next(iter(distributions)) == "initial_memory_pattern"
    propose = propose_sobol(space, 42)
    asked = {number: propose(number, ()) for number in (15, 3, 0, 7)}
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((42,))))
    points = qmc.Sobol(len(distributions), scramble=True, bits=30, rng=generator).random(16)
    for number, parameters in asked.items():
        expected = [d.at(float(u)) for d, u in zip(distributions.values(), points[number], strict=True)]
        assert list(parameters.values()) == expected
        checked(parameters, distributions, "trial", Exit.USAGE)


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "space"), [("sobol", "across"), ("random", "base")])
def test_trials_of_a_sampler_do_not_depend_on_the_workers(
    house: House, tmp_path: Path, sampler: str, space: str
) -> None:
    config = tmp_path / "search.yaml"
    config.write_text(
        f"study: complementarity\nsearch: {{n_trials: 6, n_seeds: 5, sampler: {sampler}, space: {space}}}\n"
    )
    found = []
    for workers in (1, 2):
        run = tmp_path / str(workers)
        house("plan", config, "--run", run, "--no-probe", "--set", f"phases.search.shards={workers}")
        house("local", run, "--phase", "search", "--jobs", 2)
        house("merge", run, "search")
        found.append(parameters_of(run))
    assert found[0] == found[1]
    assert len({json.dumps(parameters, sort_keys=True) for parameters in found[0]}) == 6
    patterns = {parameters.get("initial_memory_pattern") for parameters in found[0]}
    assert patterns <= ({"cold_stuck", "dominant_stuck", "submissive_stuck"} if space == "across" else {None})


def test_the_best_trials_of_another_study_are_tried_first_with_defaults_for_what_they_lack(foreign: Path) -> None:
    settings = from_flags({"inputs": {"enqueue_from": f"{foreign}:{STUDY}"}, "search": {"enqueue_top_k": 3}})
    usable = [trial for trial in read_database(foreign, STUDY) if trial.value is not None and trial.value < 2]
    best = sorted(usable, key=lambda trial: (trial.value, trial.number))[-3:][::-1]
    for space, pattern in (("base", None), ("across", "cold_stuck")):
        settings["search"]["space"] = space
        tried = resolved(Config(**settings)).search.enqueued
        assert len(tried) == 3
        for parameters, wanted in zip(tried, best, strict=True):
            assert {name: parameters[name] for name in wanted.params} == wanted.params
            assert parameters["abort_consecutive_failures_threshold"] == 4
            assert parameters["max_sessions"] == 300
            assert parameters.get("initial_memory_pattern") == pattern


def test_flags_win_over_a_config_file_that_chooses_in_the_other_way() -> None:
    chosen = from_flags({"select": {"top_n": 5}})["select"]
    assert Config(select={"n_configs": 1000, **chosen}).select.n_configs == 5
    chosen = from_flags({"select": {"n_configs": 7}})["select"]
    assert Config(select={"top_n": 3, **chosen}).select.top_n is None
    metrics = from_flags({"simulate": {"metrics": "rs_percentile, rate_enacted"}})["simulate"]["metrics"]
    assert metrics == ["distance_enacted", "rs_percentile", "rate_enacted"]


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--enqueue-from", "old.db"), "--enqueue-from"),
        (("--enqueue-from", "/nowhere.db:study"), "--enqueue-from"),
        (("-n", 0), "--n-trials"),
        (("--timeout", 0), "--timeout"),
        (("--objective-mode", "fast"), "--objective-mode"),
    ],
)
def test_a_wrong_flag_is_named_in_one_line(house: House, tmp_path: Path, flags: tuple[object, ...], word: str) -> None:
    done = searched(house, tmp_path / "run", *flags, code=2)
    assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_study_to_enqueue_from_that_is_not_there_is_named_with_those_that_are(foreign: Path) -> None:
    settings = from_flags({"inputs": {"enqueue_from": f"{foreign}:other"}})
    with pytest.raises(QuintetError, match=f"^inputs.enqueue_from: found 'other'.*{STUDY}") as refused:
        resolved(Config(**settings))
    assert refused.value.code == Exit.USAGE


def test_the_number_of_clients_is_read_off_the_rates_of_a_foreign_database(foreign: Path) -> None:
    findings = findings_of_trials(read_database(foreign, STUDY))
    assert (len(findings.frame), findings.n_seeds, findings.skipped) == (23, 50, 1)
    assert set(findings.importances) == {"threshold", "bond_offset", "bond_alpha"}
    assert clients_per_trial(findings.frame.assign(omniscient_success=0.1234567)) is None


def database_of(path: Path, trials: list[dict[str, Any]], name: str = STUDY) -> Path:
    """A database of trials with these parameters, in ranges that hold anything."""
    wide = {int: optuna.distributions.IntDistribution(-1_000_000, 1_000_000)}
    wide |= {float: optuna.distributions.FloatDistribution(-1e6, 1e6)}
    wide |= {str: optuna.distributions.CategoricalDistribution(["dominant_stuck", "love"])}
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name=name, direction="maximize")
    for number, params in enumerate(trials):
        distributions = {name: wide[type(value)] for name, value in params.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=number / 10))
    return path


@pytest.mark.parametrize(
    ("params", "mode", "said"),
    [
        ({"baseline_accuracy": 0.0}, "fixed", "baseline_accuracy: found 0.0; .*greater than 0"),
        ({"threshold": 1.2}, "fixed", "threshold: found 1.2; .*less than or equal to 1"),
        ({"perception_window": 0}, "fixed", "perception_window: found 0; .*equal to 1"),
        ({"initial_memory_pattern": "love"}, "fixed", "initial_memory_pattern: found 'love'; .*'cold_stuck'"),
        ({"foo_param": 1.0}, "fixed", "foo_param: unknown key"),
        ({"max_sessions": 70_000}, "trial", "max_sessions: found 70000; .*65535"),
    ],
)
def test_a_foreign_trial_that_cannot_be_simulated_is_refused_unless_it_is_not_selected(
    tmp_path: Path, params: dict[str, Any], mode: str, said: str
) -> None:
    database = database_of(tmp_path / "old.db", [params, {"threshold": 0.9, "max_sessions": 90}])
    settings = {"inputs": {"database": str(database)}, "simulate": {"max_sessions_mode": mode}}
    with pytest.raises(QuintetError, match=f"^inputs.database: trial 0: {said}") as refused:
        resolved(Config(**settings))
    assert refused.value.code == Exit.USAGE and "\n" not in str(refused.value)
    best = resolved(Config(**settings, select={"top_n": 1}))
    assert best.simulate.axis_sessions == (90 if mode == "trial" else 300)


def test_a_foreign_study_may_have_any_name_and_an_own_search_may_not(tmp_path: Path) -> None:
    database = database_of(tmp_path / "old.db", [{"threshold": 0.9}], "my study / 1")
    named = {"study_name": "my study / 1"}
    assert resolved(Config(inputs={"database": str(database)}, search=named)).search.study_name == "my study / 1"
    with pytest.raises(QuintetError, match=r"^search.study_name: found 'my study / 1'; allowed is ") as refused:
        resolved(Config(search=named))
    assert refused.value.code == Exit.USAGE


def test_importance_covers_values_and_ranges_that_a_foreign_search_changed_on_its_way() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial({"threshold": 0.7, "perception_window": 30})

    def objective(trial: optuna.Trial) -> float:
        threshold = trial.suggest_float("threshold", 0.8, 0.99)
        return threshold * trial.suggest_int("perception_window", 7 if trial.number < 12 else 9, 20)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.optimize(objective, n_trials=20)
    assert study.trials[0].params == {"threshold": 0.7, "perception_window": 30}
    assert set(findings_of_trials(study.trials).importances) == {"threshold", "perception_window"}
    shared = [optuna.distributions.FloatDistribution(0.8, 0.99)] * 2
    assert covering(shared, [0.8, 0.9]) is shared[0]
    assert covering(shared, [0.7, 0.9]) == optuna.distributions.FloatDistribution(0.7, 0.99)
    assert covering([shared[0], optuna.distributions.CategoricalDistribution([0.8])], [0.8, 0.8]) is None


@pytest.mark.slow
def test_a_foreign_database_is_analysed(house: House, foreign: Path, tmp_path: Path) -> None:
    output = tmp_path / "analysis"
    house("study", "complementarity", "analyse", foreign, "--output-dir", output, "--top-k", 3)
    page = (output / "report" / "report.md").read_text()
    assert "23 trials with 50 clients each" in page
    assert "1 complete trials without a finite value were skipped" in page
    assert len(json.loads((output / "tables" / "top_trials.json").read_text())) == 3


@pytest.mark.parametrize(
    ("flags", "word"), [((), "--output-dir"), (("--study-name", "x", "--output-dir", "analysis"), "--study-name")]
)
def test_a_database_needs_a_folder_for_its_analysis_and_a_known_study(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], word: str
) -> None:
    given = [str(tmp_path / flag) if flag == "analysis" else flag for flag in flags]
    with pytest.raises(SystemExit) as ended:
        run_command(analyse.command, [str(foreign), *given], "bin/complementarity analyse")
    assert ended.value.code == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "analysis").exists()


@pytest.mark.slow
def test_a_search_with_twenty_kills_and_a_lost_database_has_exactly_its_trials(house: House, tmp_path: Path) -> None:
    config = tmp_path / "search.yaml"
    config.write_text(
        "study: complementarity\n"
        "search: {n_trials: 200, n_seeds: 20, n_startup_trials: 40, lease_seconds: 3.0}\n"
        "phases: {search: {shards: 8}}\n"
    )
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    for run in (quiet, killed):
        house("plan", config, "--run", run, "--no-probe")
    house("shard", quiet, "search", "--index", 0)
    house("merge", quiet, "search")
    dice = random.Random(8)
    workers = {index: house.start("shard", killed, "search", "--index", index) for index in range(8)}
    for kill in range(20):
        time.sleep(dice.uniform(0.3, 1.5))
        if kill == 10:
            (killed / "store" / "search.sqlite3").unlink(missing_ok=True)
        index = dice.randrange(8)
        workers[index].send_signal(signal.SIGKILL)
        workers[index].communicate()
        workers[index] = house.start("shard", killed, "search", "--index", index)
    for process in workers.values():
        process.communicate(timeout=300)
    house("local", killed, "--phase", "search", "--jobs", 2)
    house("merge", killed, "search")
    assert payloads(killed) == payloads(quiet)
    with closing(sqlite3.connect(killed / "store" / "search.sqlite3")) as connection:
        states = connection.execute("select state, count(*), count(distinct number) from trials group by state")
        assert {state: counts for state, *counts in states}["COMPLETE"] == [200, 200]
    shutil.rmtree(killed / "store")
    house("local", killed, "--phase", "search", "--jobs", 1)
    house("merge", killed, "search")
    assert payloads(killed) == payloads(quiet)
