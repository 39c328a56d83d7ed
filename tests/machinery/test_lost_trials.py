"""Whatever happens to the files and the database of a search, its result is that of a run that nothing happened to."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quintet.merge.phase import Request, merge_run
from quintet.shard.commands.base import run_command
from quintet.shard.commands.local import missing_shards
from quintet.shard.commands.missing import command as missing_command
from quintet.shard.context import Context
from quintet.shard.errors import QuintetError
from quintet.shard.missing import is_merged, missing_of
from quintet.shard.partial import build, opened, read_arrays, read_card
from quintet.shard.phases import Phase
from quintet.shard.run import Run
from quintet.shard.samplers import propose_random
from quintet.shard.seal import sealed
from quintet.shard.verify import verify_phase

from . import elements
from .elements import (
    TRIALS,
    element,
    finish,
    kill,
    merged_payload,
    partials,
    planned,
    quiet_payload,
    run_element,
    staged,
    waited,
)

INCOMPLETE, INPUT, STOPPED = 3, 65, 75
LONGEST_S = 60


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The payload of a search that nothing happened to."""
    return quiet_payload(tmp_path_factory.mktemp("quiet") / "run", "search")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A search that has come to its end."""
    run = planned(tmp_path / "run", "search")
    finish(run, "search")
    return run


def worker(run: Run, log: Path | None = None) -> int:
    """Run a worker to its end; killed by a signal where it finds none."""
    return run_element(run, "search", 0, lambda: signal.alarm(LONGEST_S), **({} if log is None else {"log": log}))


def refusal(run: Run) -> QuintetError:
    """Return why a merge refuses."""
    with pytest.raises(QuintetError) as refused:
        merge_run(run, "search", Request(), lambda line: None)
    return refused.value


def replan(run: Run, **changes: Any) -> None:
    """Write the search's plan again."""
    plan = replace(run.plan("search"), **changes)
    (run.plan_folder / "search.json").write_bytes(sealed(plan.to_json()))


def sized(run: Run, trials: int) -> None:
    """Plan another number of trials."""
    replan(run, units=trials, blocks=trials, shards=((0, trials),) * 2)


def merged_numbers(run: Run) -> list[int]:
    with opened(run.merged("search")) as file:
        return list(file["rows/number"][()])


def searching(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Change the search of every run that is planned or worked on from now on."""
    before: Callable[[elements.Config], tuple[Phase, ...]] = elements.phases

    def phases(config: elements.Config) -> tuple[Phase, ...]:
        return tuple(
            replace(phase, search=replace(phase.search, **changes)) if phase.search else phase
            for phase in before(config)
        )

    monkeypatch.setattr(elements, "phases", phases)


def attempts(run: Run) -> list[int]:
    """Return the attempt that ended each trial, by number."""
    with closing(sqlite3.connect(run.store("search"))) as connection:
        rows = connection.execute("SELECT attempt FROM quintet_reservations ORDER BY number").fetchall()
    return [row[0] for row in rows]


def wait_for_a_claim(run: Run) -> None:
    """Wait until a worker's first claim stands in the database."""
    deadline = time.monotonic() + LONGEST_S
    while not (run.store("search").exists() and attempts(run)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def killed_in_a_trial(run: Run) -> None:
    """Kill a worker in the middle of its first trial."""
    with staged(pause=30.0):
        pid = element(run, "search", 0)
        wait_for_a_claim(run)
        kill(pid)


def test_a_copy_of_a_folder_of_trials_is_a_stray_and_counts_nothing(run: Run, quiet: str) -> None:
    folder = run.trial_file("search", 0).parent
    shutil.copytree(folder, folder.with_name("0000.bak"))
    assert merged_payload(run, "search") == quiet
    found = verify_phase(run, Context.of(run, "search")).bad
    assert [(bad.name, bad.reason) for bad in found] == [(path.name, "unknown") for path in sorted(folder.iterdir())]
    run.trial_file("search", 3).unlink()
    assert missing_of(run, run.plan("search")).trials_missing == 1
    assert worker(run) == 0
    assert merged_payload(run, "search") == quiet


def test_a_folder_of_trials_may_be_a_link(run: Run, quiet: str) -> None:
    folder = run.trial_file("search", 0).parent
    folder.symlink_to(folder.rename(run.path / "elsewhere"))
    assert missing_of(run, run.plan("search")).numbers == ()
    assert worker(run) == 0
    assert merged_payload(run, "search") == quiet


@pytest.mark.parametrize("damage", ["number", "value"])
def test_a_file_that_holds_another_trial_or_no_finite_value_is_refused_and_made_again(
    run: Run, quiet: str, damage: str
) -> None:
    path = run.trial_file("search", 3)
    arrays = read_arrays(run.trial_file("search", 1) if damage == "number" else path)
    if damage == "value":
        arrays["rows/value"][:] = float("inf")
    path.write_bytes(build(read_card(path), arrays, {})[0])
    assert missing_of(run, run.plan("search")).trials_missing == 1
    assert refusal(run).code == INPUT
    shutil.rmtree(run.path / "store")
    assert worker(run) == 0
    assert merged_payload(run, "search") == quiet


def test_a_failed_trial_that_is_lost_is_computed_again(tmp_path: Path) -> None:
    with staged(failing=2):
        run = planned(tmp_path / "run", "search")
        finish(run, "search")
        plan, expected = run.plan("search"), merged_payload(run, "search")
        inputs = read_card(run.merged("search")).inp
        assert is_merged(run, plan, inputs, "fast") and missing_shards(run, plan) == []
        run.trial_file("search", 2).unlink()
        assert missing_of(run, plan).trials_missing == 1
        assert not is_merged(run, plan, inputs, "card")
        assert missing_shards(run, plan) == [0, 1]
        assert refusal(run).code == INCOMPLETE
        assert worker(run) == 0
        assert merged_payload(run, "search") == expected


def test_a_lost_trial_is_not_replaced_by_one_that_more_were_asked_for(
    run: Run, quiet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elements, "TRIALS", 8)
    sized(run, 8)
    finish(run, "search")
    assert not list(run.path.glob("store/*damaged*"))  # the same search goes on
    monkeypatch.setattr(elements, "TRIALS", TRIALS)
    sized(run, TRIALS)
    assert merged_payload(run, "search") == quiet
    run.trial_file("search", 3).unlink()
    assert missing_of(run, run.plan("search")).trials_missing == 1
    assert not is_merged(run, run.plan("search"), read_card(run.merged("search")).inp, "fast")
    assert refusal(run).code == INCOMPLETE
    assert worker(run) == 0
    assert merged_payload(run, "search") == quiet


def test_a_plan_that_was_cut_short_asks_worker_and_merge_for_the_same_trials(run: Run) -> None:
    merged_payload(run, "search")
    sized(run, 8)  # the phase's plan is written before run.json, whose config still says 6
    plan, inputs = run.plan("search"), read_card(run.merged("search")).inp
    assert not is_merged(run, plan, inputs, "fast")
    assert refusal(run).code == INCOMPLETE
    assert worker(run) == 0
    merged_payload(run, "search")
    assert merged_numbers(run) == list(range(8))
    assert is_merged(run, plan, inputs, "fast")


def test_a_step_longer_than_the_lease_loses_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "TRIALS", 2)
    monkeypatch.setattr(elements, "STEPS", 1)
    searching(monkeypatch, lease_seconds=1.0)
    run = planned(tmp_path / "run", "search")
    with staged(pause=3.0):
        both = [element(run, "search", shard) for shard in range(2)]
        assert [waited(pid) for pid in both] == [0, 0]
    assert attempts(run) == [1, 1]


def test_a_worker_that_wakes_after_its_lease_writes_nothing(tmp_path: Path, quiet: str) -> None:
    run, log = planned(tmp_path / "run", "search"), tmp_path / "log"
    with staged(pause=0.2):
        sleeper = element(run, "search", 0, log=log)
        wait_for_a_claim(run)
        time.sleep(0.3)
        os.kill(sleeper, signal.SIGSTOP)
    assert worker(run) == 0
    before = [path.stat() for path in sorted(run.path.rglob("partials/**/*.h5"))]
    os.kill(sleeper, signal.SIGCONT)
    assert waited(sleeper) == 0
    assert [path.stat() for path in sorted(run.path.rglob("partials/**/*.h5"))] == before
    assert "taken over by another worker" in log.read_text()
    assert attempts(run)[0] == 2
    assert merged_payload(run, "search") == quiet


def test_a_worker_asked_to_stop_while_its_lease_is_lost_ends_75(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, log, true = planned(tmp_path / "run", "search"), tmp_path / "log", elements.Trial.state

    def state_and_lose(trial: elements.Trial) -> Any:
        next(run.path.glob("store/leases/search/0*.json")).unlink()
        return true(trial)

    monkeypatch.setattr(elements.Trial, "state", state_and_lose)
    with staged(pause=0.2):
        pid = element(run, "search", 0, log=log)
        wait_for_a_claim(run)
        os.kill(pid, signal.SIGTERM)
        assert waited(pid) == STOPPED, log.read_text()


def test_a_trial_lost_too_often_is_published_as_failed_and_stands_without_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching(monkeypatch, max_attempts=1)
    run = planned(tmp_path / "run", "search")
    killed_in_a_trial(run)
    assert worker(run) == 0
    expected = merged_payload(run, "search")
    with opened(run.merged("search")) as file:
        assert list(file["rows/failed"][()]) == [1] + [0] * TRIALS
        assert b"lost 1 times" in file["rows/attributes"][()].tobytes()
    shutil.rmtree(run.path / "store")
    assert worker(run) == 0
    assert len(partials(run, "search")) == TRIALS + 1
    assert merged_payload(run, "search") == expected


def test_a_trial_published_by_workers_that_died_before_they_told_it_is_complete(
    run: Run, quiet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching(monkeypatch, max_attempts=1)
    with closing(sqlite3.connect(run.store("search"))) as connection:
        connection.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 0")
        connection.execute("DELETE FROM trial_values WHERE trial_id = 1")
        connection.execute("DELETE FROM trial_user_attributes WHERE trial_id = 1")
        connection.commit()
    assert worker(run) == 0
    assert len(partials(run, "search")) == TRIALS
    assert merged_payload(run, "search") == quiet


def test_a_search_of_another_config_starts_anew(run: Run, tmp_path: Path) -> None:
    shutil.rmtree(run.path / "partials")
    replan(run, config_sha256="f" * 64)
    log = tmp_path / "log"
    assert worker(run, log) == 0
    lines = log.read_text().splitlines()
    expected = "search.sqlite3: of another config or other inputs; set aside as search.sqlite3.damaged-1"
    assert lines == [expected]
    merged_payload(run, "search")
    assert attempts(run) == [1] * TRIALS


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_a_failure_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    lost, true = propose_random(elements.SPACE, 7)(3, ())["x"], elements.Trial.result
    monkeypatch.setattr(
        elements.Trial, "result", lambda trial: {**true(trial), **({"value": value} if trial._x == lost else {})}
    )
    run = planned(tmp_path / "run", "search")
    assert worker(run) == 0
    merged_payload(run, "search")
    with opened(run.merged("search")) as file:
        assert list(file["rows/failed"][()]) == [0, 0, 0, 1, 0, 0, 0]
        assert f"value is {value}".encode() in file["rows/attributes"][()].tobytes()


def test_a_conflict_of_a_trial_stops_the_merge_until_both_files_are_set_aside(
    run: Run, quiet: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.trial_file("search", 1)
    shutil.copy(path, path.with_name("t000001.conflict-77.h5"))
    with pytest.raises(SystemExit):
        run_command(missing_command, [str(run.path), "search"])
    assert "trial 1: conflict another payload" in capsys.readouterr().err
    assert refusal(run).code == INCOMPLETE
    assert "t000001 conflict" in (run.path / "missing.txt").read_text()
    assert worker(run) == 0
    assert refusal(run).code == INCOMPLETE
    verify_phase(run, Context.of(run, "search"), quarantine=True)
    assert worker(run) == 0
    assert merged_payload(run, "search") == quiet
