"""Searches end with exactly their trials, and with the same bits, however they are run, killed or stopped."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from quintet.jobs.conspec import sample_parameters
from quintet.jobs.conspec.config import Config
from quintet.jobs.conspec.trial import Trial
from quintet.merge.conspec import material_of
from quintet.merge.conspec.stored import Study
from quintet.merge.phase import Request, merge_run
from quintet.shard.cleaning import remove_checkpoints
from quintet.shard.conspec.models import Models
from quintet.shard.context import Context
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.missing import missing_of
from quintet.shard.partial import opened, read_arrays, read_datasets, read_meta
from quintet.shard.run import Run

from ..machinery.elements import assert_nothing_corrupt, element, kill, run_element, waited
from .study_runs import (
    BROKEN,
    SPACE,
    assert_equal_payloads,
    config,
    ended,
    merge,
    payloads,
    planned,
    reduced,
    run_phase,
    searched,
    trials_of,
    wait_for,
)

SEARCH = "search-single"


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search of six trials by one worker, and its ablation."""
    run = planned(tmp_path_factory.mktemp("calm") / "run", phases={SEARCH: {"shards": 1}})
    run_phase(run, SEARCH)
    reduced(run, SEARCH)
    run_phase(run, "ablation")
    merge(run)
    return run


def test_trials_have_their_numbers_parameters_and_what_the_science_gives(calm: Run) -> None:
    trials = trials_of(calm)
    assert [trial.number for trial in trials] == list(range(6))
    assert all(trial.state.name == "COMPLETE" for trial in trials)
    for trial, arrays in zip(trials, payloads(calm).values(), strict=True):
        assert trial.params == sample_parameters(SPACE, 0, "single", trial.number)
        assert trial.value == arrays["rows/value"][0] == arrays["rows/trial/mean_reward"][0]
        assert trial.user_attrs["success_rate"] == arrays["rows/trial/success_rate"][0]
        assert trial.user_attrs["partial"] == f"t{trial.number:06d}.h5"
    model = Config(**{key: value for key, value in config().items() if key != "study"})
    direct = Trial(**model.trial_arguments(trials[3].params, "single", 3))
    while direct.advance():
        pass
    result, stored = direct.result(), payloads(calm)["t000003.h5"]
    for name, values in result.episodes.items():
        np.testing.assert_array_equal(stored[f"rows/episodes/{name}"], values)
    for name, values in result.updates.items():
        np.testing.assert_array_equal(stored[f"rows/updates/{name}"], values.reshape(-1))
    np.testing.assert_array_equal(stored["rows/prototypes/vectors"], result.prototypes["vectors"].reshape(-1))
    np.testing.assert_array_equal(stored["rows/prototypes/event_counts"], result.prototypes["event_counts"])


def test_workers_and_static_shards_in_any_order_give_the_same_result(calm: Run, tmp_path: Path) -> None:
    many = planned(tmp_path / "many", phases={SEARCH: {"shards": 3}})
    run_phase(many, SEARCH)
    assert reduced(many, SEARCH) == reduced(calm, SEARCH)
    assert_equal_payloads(many, calm)
    static = planned(tmp_path / "static", search={"n_trials": 6, "static": True}, phases={SEARCH: {"shards": 4}})
    run_phase(static, SEARCH, [2, 0, 3, 1, 0])
    assert reduced(static, SEARCH) == reduced(calm, SEARCH)
    assert [(t.number, t.value, t.params) for t in trials_of(static)] == [
        (t.number, t.value, t.params) for t in trials_of(calm)
    ]


@pytest.mark.slow
def test_twelve_trials_are_the_same_for_one_three_and_eight_workers_pulled_or_static(tmp_path: Path) -> None:
    found, products = set(), set()
    for workers, static in ((1, False), (3, False), (8, False), (3, True), (8, True)):
        sections = {"search": {"n_trials": 12, "static": static}, "phases": {SEARCH: {"shards": workers}}}
        run = planned(tmp_path / f"{workers}{static}", **sections)
        order = np.random.default_rng(workers).permutation(workers).tolist()
        run_phase(run, SEARCH, [*order, order[0]], side_by_side=workers)
        found.add(reduced(run, SEARCH))
        run_phase(run, "ablation")
        merge(run)
        names = ("tables/trials.csv", "tables/correlations.csv", "figures/learning_curves.png", "figures/ablation.png")
        products.add(tuple((run.path / name).read_bytes() for name in names))
    assert len(found) == len(products) == 1


def test_ablation_is_the_same_trial_without_conspec(calm: Run) -> None:
    with opened(calm.merged("ablation")) as file:
        assert not file["rows/failed"][()].any() and file["rows/number"][()].tolist() == [0, 1]
        assert not file["rows/trial/active_prototypes"][()].any()
        rewards = file["rows/welford/reward_mean"][()]
    model = Config(**{key: value for key, value in config().items() if key != "study"})
    twin = Trial(**model.trial_arguments(trials_of(calm)[1].params, "single", 1, with_conspec=False))
    while twin.advance():
        pass
    np.testing.assert_array_equal(rewards[1], twin.result().welford["reward_mean"])


def test_without_ablation_or_conspec_there_is_no_unit_and_still_a_report(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", ablation={"trials": 0}, search={"n_trials": 2})
    assert run.plan("ablation").units == 0
    run_phase(run, "ablation")
    merge(run)
    assert "No trial was trained again" in (run.path / "report" / "report.md").read_text()
    without = planned(tmp_path / "without", agent={"conspec": False}, search={"n_trials": 2})
    assert without.plan("ablation").units == 0


def test_growth_keeps_every_partial_and_equals_a_run_planned_so(calm: Run, tmp_path: Path) -> None:
    run = searched(tmp_path / "run", search={"n_trials": 4})
    kept = {path: path.read_bytes() for path in run.path.rglob("partials/**/*.h5")}
    assert len(kept) == 4
    planned(run.path, search={"n_trials": 6})
    run_phase(run, SEARCH)
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert reduced(run, SEARCH) == reduced(calm, SEARCH)


def test_half_of_the_trials_can_be_merged_and_the_rest_later_gives_the_whole(calm: Run, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", phases={SEARCH: {"shards": 1}})
    run_phase(run, SEARCH)
    hidden = [run.trial_file(SEARCH, number) for number in (1, 2, 4)]
    for path in hidden:
        path.rename(path.with_suffix(".away"))
    with pytest.raises(QuintetError) as caught:
        merge_run(run, None, Request(), lambda line: None)
    assert caught.value.code is Exit.INCOMPLETE
    merge(run, allow_missing=True)
    assert "**INCOMPLETE 3 of 6 blocks (search-single)" in (run.path / "report" / "report.md").read_text()
    for path in hidden:
        path.with_suffix(".away").rename(path)
    reduced(run, SEARCH)
    run_phase(run, "ablation")
    merge(run)
    for name in ("tables/trials.csv", "tables/correlations.csv", "figures/parallel_coordinates.png"):
        assert (run.path / name).read_bytes() == (calm.path / name).read_bytes(), name


def test_a_changed_byte_and_a_changed_trial_are_named_and_refused(calm: Run, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", phases={SEARCH: {"shards": 1}})
    run_phase(run, SEARCH)
    path = run.trial_file(SEARCH, 3)
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    lines: list[str] = []
    with pytest.raises(QuintetError) as caught:
        merge_run(run, SEARCH, Request(), lines.append)
    assert caught.value.code is Exit.INCOMPLETE and any("t000003 bad-digest" in line for line in lines)
    path.write_bytes(content)
    import sqlite3

    with sqlite3.connect(run.store(SEARCH)) as connection:
        connection.execute("UPDATE trial_values SET value = value + 1 WHERE trial_id = 3")
    with pytest.raises(QuintetError, match="trial 2: value") as caught:
        merge_run(run, SEARCH, Request(), lambda line: None)
    assert caught.value.code is Exit.INPUT


def test_a_diverged_trial_is_replaced_by_the_next_number(tmp_path: Path) -> None:
    failures = {"store": {"max_failures": 40}, "ablation": {"trials": 1}}
    run = searched(tmp_path / "run", hyperparameters=BROKEN, search={"n_trials": 4}, **failures)
    trials = trials_of(run)
    states = [trial.state.name for trial in trials]
    assert Counter(states)["COMPLETE"] == 4 and "FAIL" in states
    assert [trial.number for trial in trials] == list(range(len(trials)))
    for trial in trials:
        assert (trial.params["learning_rate"] > 1) == (trial.state.name == "FAIL")
        assert trial.state.name == "COMPLETE" or "not finite" in trial.user_attrs["reason"]
    context = Context.of(run, SEARCH)
    assert len(material_of(context, Study.of(context)).failures) == states.count("FAIL")


def test_too_many_failures_end_the_search_with_their_reasons(tmp_path: Path) -> None:
    log = tmp_path / "log"
    sections = {"store": {"max_failures": 1}, "search": {"n_trials": 30}}
    run = planned(tmp_path / "run", hyperparameters=BROKEN, **sections)
    assert run_element(run, SEARCH, 0, log=log) == Exit.BUG
    assert "2 trials failed, allowed are 1" in log.read_text() and "not finite" in log.read_text()


def test_a_grid_with_a_failing_point_ends_with_one_trial_fewer(tmp_path: Path) -> None:
    space = {**BROKEN, "gamma": {"type": "fixed", "value": 0.98}}
    run = searched(tmp_path / "run", hyperparameters=space, search={"n_trials": 9, "method": "grid"})
    assert sorted(trial.state.name for trial in trials_of(run)) == ["COMPLETE", "FAIL"]
    assert missing_of(run, run.plan(SEARCH)).numbers == ()
    run_phase(run, "ablation")
    reduced(run, "ablation")
    with opened(run.merged("ablation")) as file:
        assert sorted(file["rows/failed"][()].tolist()) == [0, 1] and file["rows/number"][()].min() == -1


@pytest.mark.parametrize(
    ("n_trials", "batch", "most", "episodes"), [(12, 4, 4, 10), pytest.param(24, 8, 6, 20, marks=pytest.mark.slow)]
)
def test_bayesian_trials_do_not_depend_on_the_number_of_workers(
    n_trials: int, batch: int, most: int, episodes: int, tmp_path: Path
) -> None:
    search = {"n_trials": n_trials, "method": "bayesian", "sync_batch": batch, "n_startup_trials": batch}
    sections = {"search": search, "training": {"episodes": episodes}}
    runs = []
    for workers in (1, most):
        run = planned(tmp_path / str(workers), **sections, phases={SEARCH: {"shards": workers}})
        run_phase(run, SEARCH, side_by_side=workers)
        runs.append([(trial.number, trial.params, trial.value) for trial in trials_of(run)])
    assert runs[0] == runs[1]
    for number in (batch - 1, 2 * batch):
        assert (runs[0][number][1] == sample_parameters(SPACE, 0, "single", number)) == (number < batch)


def test_the_best_trials_weights_are_kept_and_equal_those_of_a_new_training(calm: Run) -> None:
    models = Models(Context.of(calm, SEARCH), "single")
    best = max(trials_of(calm), key=lambda trial: (trial.value, -trial.number))
    assert [path.name for path in models.path(0).parent.iterdir()] == [f"t{best.number:06d}.h5"]
    model = Config(**{key: value for key, value in config().items() if key != "study"})
    trial = Trial(**model.trial_arguments(best.params, "single", best.number))
    while trial.advance():
        pass
    weights = models.load(best.number)
    assert weights is not None
    for name, values in trial.result().weights.items():
        np.testing.assert_array_equal(weights[name], values)


def test_fifty_trials_survive_25_kills_of_six_workers(tmp_path: Path) -> None:
    sections = {
        "search": {"n_trials": 50},
        "training": {"episodes": 40, "eval_frequency": 40},
        "ablation": {"trials": 0},
    }
    quiet = planned(tmp_path / "quiet", **sections, phases={SEARCH: {"shards": 1}})
    run_phase(quiet, SEARCH)
    run = planned(tmp_path / "run", **sections, phases={SEARCH: {"shards": 6, "checkpoint_s": 0.0}})
    dice, kills, going = random.Random(25), 0, [element(run, SEARCH, shard) for shard in range(6)]
    while kills < 25:
        time.sleep(dice.uniform(0.02, 0.12))
        victim = going.pop(dice.randrange(len(going)))
        kills += kill(victim) == -signal.SIGKILL
        going.append(element(run, SEARCH, kills % 6))
    assert {waited(pid) for pid in going} == {0}
    assert_nothing_corrupt(run)
    trials = trials_of(run)
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": 50}
    assert [trial.number for trial in trials] == list(range(50)) == [trial.number for trial in trials_of(quiet)]
    assert_equal_payloads(run, quiet)
    assert any(read_datasets(path)["meta/trial/attempts"][0] > 1 for path in run.path.rglob("partials/**/t*.h5"))
    assert reduced(run, SEARCH) == reduced(quiet, SEARCH)
    list(remove_checkpoints(run, run.plan(SEARCH)))  # of workers that were killed between telling and removing
    assert not list((run.path / "checkpoints").rglob("*.h5"))


def long_trial(folder: Path, **phases: object) -> Run:
    """Plan one trial of 200 episodes of the grid world `single`."""
    return planned(
        folder,
        environment={"family": "grid"},
        training={"episodes": 200, "max_steps_per_episode": 60, "eval_frequency": 100, "checkpoint_frequency": 40},
        search={"n_trials": 1},
        ablation={"trials": 0},
        phases={SEARCH: {"shards": 1, **phases}},
    )


def test_a_trial_killed_at_random_points_and_stopped_by_signals_ends_with_the_same_bits(tmp_path: Path) -> None:
    quiet = long_trial(tmp_path / "quiet")
    began = time.monotonic()
    run_phase(quiet, SEARCH)
    duration = time.monotonic() - began
    run = long_trial(tmp_path / "run", checkpoint_s=0.0)
    dice, events = random.Random(12), [signal.SIGKILL] * 8 + [signal.SIGTERM, signal.SIGUSR1] * 2
    dice.shuffle(events)
    for number in events:
        pid = element(run, SEARCH)
        time.sleep(dice.uniform(0.1, 0.6) * duration)
        if ended([pid]):
            break
        os.kill(pid, number)
        assert waited(pid) in (-signal.SIGKILL, Exit.STOPPED, Exit.OK)
        assert_nothing_corrupt(run)
    run_phase(run, SEARCH)
    assert_equal_payloads(run, quiet)
    with opened(run.trial_file(SEARCH, 0)) as file:
        assert file["meta/trial/attempts"][0] >= 1


def test_checkpoints_come_every_so_many_episodes_and_a_stopped_trial_is_given_back(tmp_path: Path) -> None:
    run = long_trial(tmp_path / "run", checkpoint_s=1000.0)
    pid = element(run, SEARCH)
    wait_for(run.path / "checkpoints", "u000000.*.h5")
    os.kill(pid, signal.SIGTERM)
    assert waited(pid) in (Exit.STOPPED, Exit.OK)
    states = sorted((run.path / "checkpoints").rglob("u000000.*.h5"))
    if states:
        assert read_meta(states[0])["state"]["done"] % 10 == 0
        assert "token" not in read_meta(states[0])["state"]
    assert run_element(run, SEARCH) == 0
    arrays = read_arrays(run.trial_file(SEARCH, 0))
    assert arrays["rows/trial/episodes_done"][0] == 200
