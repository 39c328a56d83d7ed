"""The trial store's promises, kept by real processes on a real SQLite file, some of them killed."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.lock import study_lock
from quintet.shard.samplers import propose_grid, propose_random, propose_sobol, propose_tpe
from quintet.shard.trials import (
    Claim,
    FinishedTrial,
    LeaseLost,
    Owner,
    SearchSpec,
    TrialStore,
    choice,
    integer,
    read_space,
    uniform,
)
from quintet.shard.trials.records import Parameters

SPACE = (
    ("rate", uniform(1e-4, 1e-1, log=True)),
    ("share", uniform(0.0, 1.0)),
    ("width", integer(1, 64)),
    ("kind", choice(["small", "large", 3, True])),
    ("drop", uniform(0.0, 0.5, step=0.125)),
)
SEED = 7
HERE = Owner("here", 1)
fork = multiprocessing.get_context("fork")

Propose = Callable[[int, Sequence[FinishedTrial]], Parameters]


def a_spec(**changes: object) -> SearchSpec:
    """Return a small random search with the changes asked for."""
    spec = SearchSpec("search", 10, "maximize", SPACE, max_failures=10, lease_seconds=3.0, max_attempts=50)
    return replace(spec, **changes)  # type: ignore[arg-type]


class Folder:
    """A run's folder: the database and one JSON file per published trial, in the place of HDF5 partials."""

    def __init__(self, path: Path) -> None:
        """Use the folder `path`."""
        self.database = path / "store" / "search.sqlite3"
        self.partials = path / "partials"
        self.partials.mkdir(parents=True, exist_ok=True)

    def store(self, spec: SearchSpec, propose: Propose | None = None) -> TrialStore:
        """Return a store as one worker has it."""
        chosen = propose or propose_random(SPACE, SEED)
        return TrialStore(self.database, spec, published=self.published, propose=chosen)

    def published(self) -> Iterator[FinishedTrial]:
        """Read what was published."""
        for path in sorted(self.partials.glob("t*.json")):
            yield FinishedTrial(**json.loads(path.read_text()))

    def publish(self, trial: FinishedTrial) -> None:
        """Publish whole or not at all; the first one stands."""
        path = self.partials / f"t{trial.number:06d}.json"
        draft = self.partials / f".{trial.number}-{os.getpid()}"
        draft.write_text(json.dumps(asdict(trial)))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()


def ended(claim: Claim) -> FinishedTrial:
    """Return the deterministic result of a claimed trial."""
    value = float(claim.parameters["share"]) - float(claim.parameters["rate"])
    attributes = {"partial": f"t{claim.number:06d}.json", "digest": f"digest-{claim.number}"}
    return FinishedTrial(claim.number, "COMPLETE", value, claim.parameters, attributes)


def work(folder: Folder, spec: SearchSpec, propose: Propose | None, seconds: float, tells: Path) -> None:
    """Claim, compute, publish and tell until nothing is left; note each accepted tell as one file name."""
    store = folder.store(spec, propose)
    owner = Owner.of({})
    while (claim := store.claim(owner)) != "done":
        if claim == "wait":
            time.sleep(0.1)
            continue
        try:
            time.sleep(seconds)
            store.heartbeat(claim)
            finished = ended(claim)
            folder.publish(finished)
            store.tell(claim, finished)
        except LeaseLost:
            continue
        (tells / f"{claim.number}-{claim.token}").touch()


def run_workers(
    folder: Folder,
    spec: SearchSpec,
    count: int,
    kills: int = 0,
    propose: Propose | None = None,
    seconds: float = 0.02,
    between: Callable[[int], None] | None = None,
) -> list[FinishedTrial]:
    """Run workers to the end, killing and replacing random ones; return what the database then holds."""
    tells = folder.partials.parent / "tells"
    tells.mkdir(exist_ok=True)
    generator = random.Random(11)

    def start() -> BaseProcess:
        process = fork.Process(target=work, args=(folder, spec, propose, seconds, tells))
        process.start()
        return process

    workers = [start() for _ in range(count)]
    while kills and not folder.database.exists():
        time.sleep(0.01)
    for kill in range(kills):
        time.sleep(generator.uniform(0.02, 0.1))
        victim = generator.randrange(count)
        assert workers[victim].pid is not None
        os.kill(workers[victim].pid, signal.SIGKILL)  # type: ignore[arg-type]
        workers[victim].join()
        if between is not None:
            between(kill)
        workers[victim] = start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    told = [path.name.split("-")[0] for path in tells.iterdir()]
    assert len(told) == len(set(told)), "a trial was told twice"
    return folder.store(spec).finished()


def assert_all_complete(trials: list[FinishedTrial], spec: SearchSpec, propose: Propose) -> None:
    """Each number from 0 on is COMPLETE once, with the parameters that one worker would give it."""
    assert [trial.number for trial in trials] == list(range(spec.n_trials))
    assert all(trial.state == "COMPLETE" for trial in trials)
    for trial in trials:
        start = trial.number // spec.sync_batch * spec.sync_batch
        assert trial.parameters == propose(trial.number, trials[:start] if spec.adaptive else ())


def take(store: TrialStore, owner: Owner = HERE) -> Claim:
    """Claim a trial that must be there."""
    claim = store.claim(owner)
    assert isinstance(claim, Claim)
    return claim


def takeovers(folder: Folder) -> int:
    """Return how many trials ended in a later attempt than their first."""
    with contextlib.closing(sqlite3.connect(folder.database)) as connection:
        query = "SELECT COUNT(*) FROM quintet_reservations WHERE attempt > 1"
        return int(connection.execute(query).fetchone()[0])


def age_lease(store: TrialStore, number: int, seconds: float) -> None:
    """Make a lease look as if its worker had been silent for `seconds`."""
    lease = store.path.parent / "leases" / store.path.stem / f"{number:05d}.json"
    old = lease.stat().st_mtime - seconds
    os.utime(lease, (old, old))


def test_killed_workers_leave_exactly_n_trials_complete_and_none_twice(tmp_path: Path) -> None:
    spec = a_spec(n_trials=200)
    found = run_workers(Folder(tmp_path), spec, 8, kills=20, seconds=0.15)
    assert takeovers(Folder(tmp_path)) > 0
    assert_all_complete(found, spec, propose_random(SPACE, SEED))
    assert Folder(tmp_path).store(spec).check() == []


def test_adaptive_search_tries_the_same_points_with_killed_workers_as_with_one(tmp_path: Path) -> None:
    spec = a_spec(n_trials=20, adaptive=True, sync_batch=4, lease_seconds=1.0)
    propose = propose_tpe(SPACE, SEED, 4, "maximize")
    alone = run_workers(Folder(tmp_path / "alone"), spec, 1, propose=propose, seconds=0.0)
    many = run_workers(Folder(tmp_path / "many"), spec, 4, 3, propose=propose, seconds=0.05)
    assert many == alone
    assert_all_complete(many, spec, propose)
    assert many[10].parameters != propose_random(SPACE, SEED)(10, ())


def test_database_deleted_while_workers_run_is_made_again_from_the_published_trials(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    spec = a_spec(n_trials=50)

    def lose(kill: int) -> None:
        if kill in (1, 3):
            folder.database.unlink(missing_ok=True)

    found = run_workers(folder, spec, 6, 5, between=lose, seconds=0.05)
    assert_all_complete(found, spec, propose_random(SPACE, SEED))
    assert folder.store(spec).check() == []


@pytest.mark.parametrize("event", ["deleted", "replaced"])
def test_database_lost_within_a_transaction_is_made_again_and_the_claim_repeated(tmp_path: Path, event: str) -> None:
    folder = Folder(tmp_path)
    spec = a_spec(n_trials=3)
    backup = folder.database.with_suffix(".backup-1")
    propose = propose_random(SPACE, SEED)
    proposed = []

    def propose_and_lose(number: int, trials: Sequence[FinishedTrial]) -> Parameters:
        proposed.append(number)
        if proposed.count(1) == 1 and number == 1:
            backup.replace(folder.database) if event == "replaced" else folder.database.unlink()
        return propose(number, trials)

    store = folder.store(spec, propose_and_lose)
    while (claim := store.claim(HERE)) != "done":
        assert isinstance(claim, Claim)
        folder.publish(ended(claim))
        store.tell(claim, ended(claim))
        if claim.number == 0:
            shutil.copyfile(folder.database, backup)
    assert proposed == [0, 1, 1, 2]
    assert_all_complete(store.finished(), spec, propose)
    assert store.check() == []


def test_rebuilt_database_keeps_running_trials_and_fills_gaps_in_number_order(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    spec = a_spec(n_trials=6)
    store = folder.store(spec)
    claims = [take(store) for _ in range(5)]
    for claim in (claims[0], claims[2], claims[4]):
        folder.publish(ended(claim))
        store.tell(claim, ended(claim))
    before = store.finished()
    store.give_back(claims[1])
    (store.path.parent / "leases" / "search" / "00001.json").unlink()
    store.path.unlink()
    assert store.check() == [f"{store.path}: missing; the next worker makes it again from the published trials"]
    store.rebuild()
    assert store.finished() == before
    again = [take(store) for _ in range(2)]
    assert [claim.number for claim in again] == [1, 5]
    assert again[0].parameters == claims[1].parameters
    assert store.claim(HERE) == "wait"
    for claim in (claims[3], *again):  # trial 3 ran on while its database was lost
        folder.publish(ended(claim))
        store.tell(claim, ended(claim))
    assert store.claim(HERE) == "done"
    assert [trial.number for trial in store.finished()] == list(range(6))
    assert store.check() == []


def test_tell_after_its_database_was_lost_is_accepted_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    store = folder.store(a_spec())
    claim = take(store)
    folder.publish(ended(claim))
    store.path.unlink()
    store.tell(claim, ended(claim))
    store.tell(claim, ended(claim))  # repeated after an error of the file system, say
    assert [trial.number for trial in store.finished()] == [0]
    with pytest.raises(LeaseLost):
        store.tell(claim, replace(ended(claim), user_attrs={"digest": "another"}))


@pytest.mark.parametrize("length", [0, 1, 99, 4096, 8192, -4096, -1])
def test_truncated_database_is_named_and_rebuilt_after_being_set_aside(tmp_path: Path, length: int) -> None:
    folder = Folder(tmp_path)
    spec = a_spec(n_trials=12)
    store = folder.store(spec)
    for _ in range(5):
        claim = take(store)
        folder.publish(ended(claim))
        store.tell(claim, ended(claim))
    before = store.finished()
    os.truncate(store.path, length if length >= 0 else store.path.stat().st_size + length)
    assert_damaged_then_rebuilt(store, before)


def test_overwritten_database_is_named_and_rebuilt_after_being_set_aside(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    store = folder.store(a_spec())
    claim = take(store)
    folder.publish(ended(claim))
    store.tell(claim, ended(claim))
    before = store.finished()
    with store.path.open("r+b") as stream:
        stream.seek(100)
        stream.write(os.urandom(3000))
    assert_damaged_then_rebuilt(store, before)


def assert_damaged_then_rebuilt(store: TrialStore, before: list[FinishedTrial]) -> None:
    """A damaged file gives one clear line and code 65; set aside, it is made again with equal trials."""
    with pytest.raises(QuintetError, match=r"search\.sqlite3: the database is damaged") as caught:
        store.claim(HERE)
    assert caught.value.code == Exit.INPUT
    assert "\n" not in str(caught.value)
    assert len(store.check()) == 1
    assert store.set_aside().name == "search.sqlite3.damaged-1"
    assert store.finished() == before
    assert store.check() == []


def test_flipped_value_is_found_by_the_cross_check(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    store = folder.store(a_spec())
    for _ in range(2):
        claim = take(store)
        folder.publish(ended(claim))
        store.tell(claim, ended(claim))
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        connection.execute("UPDATE trial_values SET value = value + 1 WHERE trial_id = 2")
        connection.commit()
    (folder.partials / "t000000.json").unlink()
    fresh = folder.store(a_spec())
    assert [line.split(":")[0] for line in fresh.check()] == ["trial 0", "trial 1"]
    assert "not published" in fresh.check()[0]
    assert "value" in fresh.check()[1]


def test_late_tell_heartbeat_and_return_are_refused(tmp_path: Path) -> None:
    store = Folder(tmp_path).store(a_spec(n_trials=1))
    late = take(store)
    assert store.claim(HERE) == "wait"
    age_lease(store, 0, 3.5)
    newer = take(store, Owner("there", 2))
    assert (newer.number, newer.parameters, newer.attempt) == (0, late.parameters, 2)
    for refused in (
        lambda: store.heartbeat(late),
        lambda: store.give_back(late),
        lambda: store.fail(late, "late"),
        lambda: store.tell(late, ended(late)),
    ):
        with pytest.raises(LeaseLost):
            refused()
    store.heartbeat(newer)
    store.tell(newer, ended(newer))
    with pytest.raises(LeaseLost):
        store.tell(late, ended(late))
    assert store.claim(HERE) == "done"


def test_stopped_worker_that_wakes_after_its_lease_writes_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    spec = a_spec(n_trials=3, lease_seconds=1.0)
    tells = tmp_path / "tells"
    tells.mkdir()
    sleeper = fork.Process(target=work, args=(folder, spec, None, 0.4, tells))
    sleeper.start()
    deadline = time.monotonic() + 20
    leases = folder.database.parent / "leases" / "search"
    while not list(leases.glob("0*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    with study_lock(folder.database.with_suffix(".lock"), "flock"):  # stopped while it holds the lock, it stops all
        os.kill(sleeper.pid, signal.SIGSTOP)  # type: ignore[arg-type]
    try:
        found = run_workers(folder, spec, 2)
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)  # type: ignore[arg-type]
    sleeper.join(20)
    assert sleeper.exitcode == 0
    assert folder.store(spec).finished() == found
    told = [path.name.split("-")[0] for path in tells.iterdir()]
    assert sorted(told) == ["0", "1", "2"]


def test_renewed_lease_keeps_its_trial(tmp_path: Path) -> None:
    store = Folder(tmp_path).store(a_spec(n_trials=1))
    claim = take(store)
    age_lease(store, 0, 100.0)
    store.heartbeat(claim)
    assert store.claim(HERE) == "wait"


def test_trial_given_back_is_taken_at_once_as_the_same_attempt(tmp_path: Path) -> None:
    store = Folder(tmp_path).store(a_spec())
    claim = take(store)
    store.give_back(claim)
    again = take(store, Owner("there", 2))
    assert (again.number, again.parameters, again.attempt) == (0, claim.parameters, 1)
    assert again.token != claim.token


def test_requeued_array_element_takes_its_own_trial_at_once(tmp_path: Path) -> None:
    store = Folder(tmp_path).store(a_spec())
    environ = {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3"}
    first = take(store, Owner.of(environ))
    assert take(store, Owner.of({**environ, "SLURM_ARRAY_TASK_ID": "4", "SLURM_RESTART_COUNT": "1"})).number == 1
    again = take(store, Owner.of({**environ, "SLURM_RESTART_COUNT": "1"}))
    assert (again.number, again.attempt) == (first.number, 2)


def test_shifted_wall_clock_of_a_worker_takes_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Folder(tmp_path).store(a_spec(n_trials=1))
    take(store)
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + 86400.0)
    assert store.claim(HERE) == "wait"


def test_failed_trials_are_replaced_by_the_next_numbers(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    store = folder.store(a_spec(n_trials=5))
    while (claim := store.claim(HERE)) != "done":
        assert isinstance(claim, Claim)
        if claim.number in (1, 4):
            store.fail(claim, "the loss is not finite")
        else:
            store.tell(claim, ended(claim))
    trials = store.finished()
    assert [trial.number for trial in trials if trial.state == "COMPLETE"] == [0, 2, 3, 5, 6]
    assert [trial.user_attrs["reason"] for trial in trials if trial.state == "FAIL"] == ["the loss is not finite"] * 2


def test_too_many_failures_end_the_search_with_their_reasons(tmp_path: Path) -> None:
    store = Folder(tmp_path).store(a_spec(max_failures=1))
    for reason in ("first reason", "second reason"):
        store.fail(take(store), reason)
    with pytest.raises(QuintetError, match="trial 0: first reason; trial 1: second reason") as caught:
        store.claim(HERE)
    assert caught.value.code == Exit.BUG == 70


def test_trial_lost_too_often_is_handed_out_to_be_failed_and_is_replaced(tmp_path: Path) -> None:
    store = Folder(tmp_path).store(a_spec(n_trials=1, max_attempts=2, max_failures=1))
    claims = [take(store)]
    for _ in range(2):
        age_lease(store, claims[-1].number, 100.0)
        claims.append(take(store))
    assert [(claim.number, claim.attempt) for claim in claims] == [(0, 1), (0, 2), (0, 3)]
    store.fail(claims[2], "lost 2 times")
    with pytest.raises(LeaseLost):
        store.tell(claims[1], ended(claims[1]))
    next_one = take(store)
    assert (next_one.number, next_one.attempt) == (1, 1)
    store.tell(next_one, ended(next_one))
    assert store.claim(HERE) == "done"


def test_complete_without_a_finite_value_is_refused(tmp_path: Path) -> None:
    store = Folder(tmp_path).store(a_spec())
    claim = take(store)
    for value in (None, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            store.tell(claim, replace(ended(claim), value=value))


def test_adaptive_generation_waits_for_the_earlier_one_and_sees_it_alone(tmp_path: Path) -> None:
    seen: dict[int, list[int]] = {}

    def propose(number: int, earlier: Sequence[FinishedTrial]) -> Parameters:
        seen[number] = [trial.number for trial in earlier]
        return propose_random(SPACE, SEED)(number, ())

    store = Folder(tmp_path).store(a_spec(adaptive=True, sync_batch=3), propose)
    first = [take(store) for _ in range(3)]
    store.tell(first[2], ended(first[2]))
    store.fail(first[0], "no luck")
    assert store.claim(HERE) == "wait"
    store.tell(first[1], ended(first[1]))
    second = [take(store) for _ in range(2)]
    store.tell(second[0], ended(second[0]))
    assert take(store).number == 5
    assert seen == {0: [], 1: [], 2: [], 3: [1, 2], 4: [1, 2], 5: [1, 2]}


def test_given_parameter_sets_are_the_first_trials(tmp_path: Path) -> None:
    given = {"rate": 0.01, "share": 0.5, "width": 8, "kind": True, "drop": 0.25}
    store = Folder(tmp_path).store(a_spec(enqueued=(given,)))
    assert take(store).parameters == given
    assert take(store).parameters == propose_random(SPACE, SEED)(1, ())
    with pytest.raises(QuintetError, match="enqueued parameter set 0: parameter width") as caught:
        Folder(tmp_path / "other").store(a_spec(enqueued=({**given, "width": 65},)))
    assert caught.value.code == Exit.USAGE


def test_given_whole_number_of_a_float_is_claimed_and_taken_over_as_the_same_bytes(tmp_path: Path) -> None:
    store = Folder(tmp_path).store(a_spec(space=(("x", uniform(0.0, 2.0)),), enqueued=({"x": 1},)))
    first = take(store)
    store.give_back(first)
    assert [json.dumps(claim.parameters) for claim in (first, take(store))] == ['{"x": 1.0}', '{"x": 1.0}']


def test_exhausted_grid_ends_the_search_with_one_trial_fewer(tmp_path: Path) -> None:
    space = (("kind", choice(["a", "b"])), ("width", integer(1, 2)))
    spec = a_spec(n_trials=4, space=space)
    store = Folder(tmp_path).store(spec, propose_grid(space, SEED, order="lexicographic"))
    claims = [take(store) for _ in range(4)]
    assert [tuple(claim.parameters.values()) for claim in claims] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    for claim in claims[:3]:
        store.tell(claim, FinishedTrial(claim.number, "COMPLETE", 1.0, claim.parameters))
    store.fail(claims[3], "the science says no")
    assert store.claim(HERE) == "done"


def test_more_trials_planned_later_continue_the_same_search(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    run_workers(folder, a_spec(n_trials=3), 1, seconds=0.0)
    grown = run_workers(folder, a_spec(n_trials=6), 1, seconds=0.0)
    assert_all_complete(grown, a_spec(n_trials=6), propose_random(SPACE, SEED))


def test_database_of_another_search_is_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    take(folder.store(a_spec()))
    with pytest.raises(QuintetError, match="holds the search") as caught:
        folder.store(a_spec(direction="minimize")).claim(HERE)
    assert caught.value.code == Exit.MISMATCH


def test_database_and_leases_of_another_config_are_set_aside_before_the_first_claim(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    old = folder.store(a_spec(origin="old"), propose_random(SPACE, 1))
    claims = [take(old) for _ in range(3)]
    old.tell(claims[0], ended(claims[0]))
    old.give_back(claims[1])
    assert folder.store(a_spec(origin="old")).set_foreign_aside() is None
    new = folder.store(a_spec(origin="new"))
    aside = new.set_foreign_aside()
    assert aside is not None and aside.name == "search.sqlite3.damaged-1"
    fresh = [take(new) for _ in range(3)]
    assert [(claim.number, claim.attempt) for claim in fresh] == [(0, 1), (1, 1), (2, 1)]
    assert [claim.parameters for claim in fresh] == [propose_random(SPACE, SEED)(number, ()) for number in range(3)]
    with pytest.raises(LeaseLost):
        old.heartbeat(claims[2])
    with pytest.raises(QuintetError, match="holds the search") as refused:  # a worker of the earlier plan that lives on
        old.claim(HERE)
    assert refused.value.code == Exit.MISMATCH
    assert new.set_foreign_aside() is None


def test_lease_of_another_config_is_not_taken_up_by_a_new_database(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    old = folder.store(a_spec(origin="old"), propose_random(SPACE, 1))
    old.give_back(take(old))
    old.path.unlink()
    claim = take(folder.store(a_spec(origin="new")))
    assert (claim.number, claim.attempt, claim.parameters) == (0, 1, propose_random(SPACE, SEED)(0, ()))


@pytest.mark.filterwarnings("ignore")
def test_optuna_reads_the_database_and_can_go_on_with_it(tmp_path: Path) -> None:
    import optuna

    folder = Folder(tmp_path)
    store = folder.store(a_spec())
    claims = [take(store) for _ in range(4)]
    for claim in (claims[2], claims[0]):
        store.tell(claim, ended(claim))
    store.fail(claims[1], "not finite")
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{store.path}")
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    trials = study.get_trials()
    assert [(trial.number, trial.state.name) for trial in trials] == [
        (0, "COMPLETE"),
        (1, "FAIL"),
        (2, "COMPLETE"),
        (3, "RUNNING"),
    ]
    assert [trial.params for trial in trials] == [claim.parameters for claim in claims]
    assert trials[0].distributions == {name: optuna.distributions.json_to_distribution(text) for name, text in SPACE}
    assert trials[2].value == ended(claims[2]).value
    assert trials[2].user_attrs == ended(claims[2]).user_attrs
    for trial in trials:
        trial._validate()
    study.sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=1)
    study.optimize(lambda trial: trial.suggest_float("share", 0.0, 1.0), n_trials=1)
    assert study.trials[-1].number == 4


def test_backup_is_kept_per_generation_and_only_two(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    run_workers(folder, a_spec(n_trials=12, sync_batch=3), 1, seconds=0.0)
    backups = sorted(path.name for path in folder.database.parent.glob("*.backup*"))
    assert backups == ["search.sqlite3.backup-1", "search.sqlite3.backup-2"]
    for name, expected in zip(backups, (12, 9), strict=True):
        with contextlib.closing(sqlite3.connect(folder.database.parent / name)) as connection:
            assert connection.execute("SELECT COUNT(*) FROM trials WHERE state='COMPLETE'").fetchone() == (expected,)


def test_worker_of_a_random_search_never_imports_optuna(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    take(folder.store(a_spec()))
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; import test_trial_store as t;"
        "s = t.Folder(Path(sys.argv[1])).store(t.a_spec()); c = t.take(s); s.tell(c, t.ended(c));"
        "sys.exit(any(m in sys.modules for m in ('optuna', 'sqlalchemy', 'scipy')))"
    )
    here = str(Path(__file__).parent)
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path), here], check=False).returncode == 0


def hold(lock: Path, seconds: float) -> None:
    """Hold a lock in another process."""
    with study_lock(lock, "flock"):
        (lock.parent / "held").touch()
        time.sleep(seconds)


@pytest.fixture
def held_lock(tmp_path: Path) -> Iterable[tuple[Path, BaseProcess]]:
    """A lock that another process holds."""
    lock = tmp_path / "search.lock"
    holder = fork.Process(target=hold, args=(lock, 60.0))
    holder.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    yield lock, holder
    holder.kill()
    holder.join()


def test_lock_timeout_names_the_lock_and_its_holder(held_lock: tuple[Path, BaseProcess]) -> None:
    lock, holder = held_lock
    with pytest.raises(QuintetError) as caught, study_lock(lock, "flock", timeout=0.3):
        pass
    assert caught.value.code == Exit.UNAVAILABLE == 69
    assert str(lock) in str(caught.value)
    assert f":{holder.pid}" in str(caught.value)
    assert lock.stat().st_mode & 0o777 == 0o660
    assert Path(f"{lock}.holder").stat().st_mode & 0o777 == 0o660


def test_lock_of_a_killed_holder_is_free(held_lock: tuple[Path, BaseProcess]) -> None:
    lock, holder = held_lock
    holder.kill()
    holder.join()
    started = time.monotonic()
    with study_lock(lock, "flock", timeout=5.0):
        pass
    assert time.monotonic() - started < 2.0


def test_worker_asked_to_stop_gives_up_waiting_for_the_lock(
    held_lock: tuple[Path, BaseProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintet.shard.lock.STOP_GRACE_SECONDS", 0.2)
    with pytest.raises(QuintetError) as caught, study_lock(held_lock[0], "flock", stopping=lambda: True):
        pass
    assert caught.value.code == Exit.STOPPED


def test_strict_lock_excludes_and_names_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "search.lock"
    held = pytest.raises(QuintetError, match=f":{os.getpid()}")
    with study_lock(lock, "strict"), held, study_lock(lock, "strict", timeout=0.2):
        pass
    with study_lock(lock, "strict", timeout=1.0):
        pass


def test_strict_lock_serves_a_whole_search(tmp_path: Path) -> None:
    spec = a_spec(n_trials=12, lock_kind="strict")
    assert_all_complete(run_workers(Folder(tmp_path), spec, 3), spec, propose_random(SPACE, SEED))


def try_lock_as_nobody(folder: str) -> None:
    """Exit with the error's code; as root the user is changed first, whom no permission would stop."""
    os.chdir(folder)
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        with study_lock(Path("search.lock"), "flock", timeout=1.0):
            os._exit(0)
    except QuintetError as error:
        os._exit(error.code if "search.lock: cannot write" in str(error) else 1)


def test_lock_in_a_folder_that_cannot_be_written_is_exit_73() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        process = fork.Process(target=try_lock_as_nobody, args=(folder,))
        process.start()
        process.join(10)
        assert process.exitcode == Exit.CANNOT_WRITE == 73
        Path(folder).chmod(0o755)


def test_proposals_depend_on_seed_and_number_alone() -> None:
    earlier = [FinishedTrial(n, "COMPLETE", n / 20, propose_random(SPACE, 1)(n, ())) for n in range(20)]
    for make in (
        lambda seed: propose_random(SPACE, seed),
        lambda seed: propose_sobol(SPACE, seed),
        lambda seed: propose_grid(SPACE, seed),
        lambda seed: propose_tpe(SPACE, seed, 10, "minimize"),
    ):
        one, other = make(SEED), make(SEED)
        forward = [one(number, earlier) for number in range(20, 26)]
        backward = [other(number, list(reversed(earlier))) for number in reversed(range(20, 26))]
        assert forward == backward[::-1]
        assert len({json.dumps(point) for point in forward}) > 1
        assert make((SEED, 1))(20, earlier) != forward[0]
        for point in forward:
            for name, distribution in read_space(SPACE).items():
                distribution.internal(point[name])


def test_tpe_moves_towards_good_values_in_the_direction_asked_for() -> None:
    space = (("x", uniform(0.0, 1.0)),)
    points = [propose_random(space, 1)(n, ()) for n in range(40)]
    earlier = [FinishedTrial(n, "COMPLETE", float(point["x"]), point) for n, point in enumerate(points)]
    high = [propose_tpe(space, 1, 10, "maximize")(n, earlier)["x"] for n in range(40, 50)]
    low = [propose_tpe(space, 1, 10, "minimize")(n, earlier)["x"] for n in range(40, 50)]
    assert sum(high) / 10 > 0.75
    assert sum(low) / 10 < 0.25


def test_first_sobol_points_fill_the_unit_interval_evenly() -> None:
    propose = propose_sobol((("x", uniform(0.0, 1.0)), ("y", uniform(0.0, 1.0))), SEED, skip=2)
    values = [float(propose(number, ())["x"]) for number in range(2, 18)]
    assert sorted(int(value * 16) for value in values) == list(range(16))


def test_grid_levels_have_both_ends_and_round_half_to_even() -> None:
    space = read_space(
        (
            ("a", uniform(0.1, 1.0)),
            ("b", uniform(1e-4, 1e-2, log=True)),
            ("c", integer(1, 4)),
            ("d", choice([1, 2])),
        )
    )
    assert space["a"].levels(3) == (0.1, 0.55, 1.0)
    assert space["b"].levels(3) == pytest.approx((1e-4, 1e-3, 1e-2))
    assert space["c"].levels(3) == (1, 2, 4)
    assert space["d"].levels(3) == (1, 2)
