"""A search's database may be damaged or lost at any byte: the trials come back from what was published."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from quintet.shard.commands.base import run_command
from quintet.shard.commands.verify import command as verify_command
from quintet.shard.context import Context, inputs_digest
from quintet.shard.errors import QuintetError
from quintet.shard.lock import study_lock
from quintet.shard.run import Run
from quintet.shard.trials import FinishedTrial, Owner, TrialStore
from quintet.shard.worker import open_store

from . import elements
from .elements import element, finish, forked, kill, merged_payload, planned, quiet_payload, run_element, waited

INPUT, UNAVAILABLE, CANNOT_WRITE = 65, 69, 73
NOBODY = 65534


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search that has come to its end."""
    run = planned(tmp_path_factory.mktemp("whole") / "run", "search")
    finish(run, "search")
    return run


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The payload of a search that nothing happened to."""
    return quiet_payload(tmp_path_factory.mktemp("quiet") / "run", "search")


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Run:
    shutil.copytree(whole.path, tmp_path / "run")
    return Run(tmp_path / "run")


def store_of(run: Run) -> TrialStore:
    context = Context.of(run, "search")
    return open_store(context, inputs_digest(run, context.plan), elements.start(context))


def truth(run: Run) -> list[FinishedTrial]:
    """Return the trials as an undamaged database has them."""
    return store_of(run).finished()


def verified(run: Run) -> int:
    with pytest.raises(SystemExit) as ended:
        run_command(verify_command, [str(run.path), "search", "--quarantine"])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("flips", [25, pytest.param(600, marks=pytest.mark.chaos)])
def test_a_flipped_byte_is_found_or_harmless_and_the_trials_are_equal(whole: Run, run: Run, flips: int) -> None:
    database, dice = run.store("search"), random.Random(flips)
    content, expected = database.read_bytes(), truth(whole)
    found = 0
    for _ in range(flips):
        changed = bytearray(content)
        for _ in range(dice.choice([1, 1, 4, 64])):
            position = dice.choice([dice.randrange(len(changed)), dice.randrange(200)])
            changed[position] = dice.randrange(256)
        database.write_bytes(changed)
        code = verified(run)
        assert code in {0, 1}
        found += code
        assert truth(run) == expected
        assert store_of(run).claim(Owner.of({})) == "done"
    assert found


@pytest.mark.parametrize("cuts", [12, pytest.param(100, marks=pytest.mark.chaos)])
def test_a_cut_database_is_65_until_it_is_set_aside_and_then_equal(whole: Run, run: Run, cuts: int) -> None:
    database, dice, expected = run.store("search"), random.Random(cuts), truth(whole)
    content = database.read_bytes()
    for _ in range(cuts):
        database.write_bytes(content[: dice.randrange(len(content))])
        assert run_element(run, "search", 0) == INPUT
        assert verified(run) == 1
        assert list(database.parent.glob("search.sqlite3.damaged-*"))
        assert run_element(run, "search", 0) == 0
        assert truth(run) == expected


def test_a_lost_database_and_folder_are_made_again(quiet: str, whole: Run, run: Run) -> None:
    expected = truth(whole)
    for lost in (run.store("search").unlink, lambda: shutil.rmtree(run.path / "store")):
        lost()
        finish(run, "search")
        assert truth(run) == expected
        assert merged_payload(run, "search") == quiet


def test_text_or_a_foreign_database_under_the_name_is_told_and_set_aside(whole: Run, run: Run) -> None:
    database, expected = run.store("search"), truth(whole)
    database.write_text("not a database\n" * 1000)
    assert run_element(run, "search", 0) == INPUT
    assert verified(run) == 1
    assert truth(run) == expected
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE foreign_one (x)")
        connection.commit()
    assert run_element(run, "search", 0) == INPUT
    assert verified(run) == 1
    assert truth(run) == expected


def test_a_holder_killed_in_a_transaction_leaves_the_last_commit(whole: Run, run: Run) -> None:
    expected, log = truth(whole), run.path / "held"

    def hold(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE trials SET state = 'FAIL'")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("DELETE FROM trial_params")
        log.touch()
        os.read(os.pipe()[0], 1)

    for _ in range(3):
        pid = forked(lambda: store_of(run)._transact(hold))
        while not log.exists():
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the holder ended"
        kill(pid)
        log.unlink()
        assert truth(run) == expected
        assert run_element(run, "search", 0) == 0


def test_eight_searchers_with_killed_holders_complete_each_trial_once(quiet: str, tmp_path: Path) -> None:
    run, dice = planned(tmp_path / "run", "search", shards=8, checkpoint_s=0.0), random.Random(8)
    with elements.staged(pause=0.01):
        crowd = [element(run, "search", shard) for shard in range(8)]
        for _ in range(4):
            kill(crowd.pop(dice.randrange(len(crowd))))
        assert [waited(pid) for pid in crowd] == [0] * 4
    assert merged_payload(run, "search") == quiet
    assert store_of(run).check() == []


def test_a_worker_that_waits_for_the_lock_in_vain_ends_69_and_names_the_holder(run: Run, tmp_path: Path) -> None:
    shutil.rmtree(run.path / "store")
    shutil.rmtree(run.path / "partials")
    (run.path / "store").mkdir()
    log = tmp_path / "log"

    def impatient() -> None:
        from quintet.shard.trials import store

        true = store.study_lock
        store.study_lock = lambda path, kind, timeout, stopping: true(path, kind, 0.3, stopping)  # type: ignore[assignment]

    with study_lock(run.store("search").with_suffix(".lock"), "flock"):
        assert run_element(run, "search", 0, impatient, log=log) == UNAVAILABLE
    assert f":{os.getpid()}" in log.read_text()
    assert len(log.read_text().strip().splitlines()) == 1
    assert run_element(run, "search", 0) == 0


def test_a_stale_strict_lock_is_never_stolen_and_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "search.lock"

    def hold() -> None:
        with study_lock(lock, "strict"):
            (tmp_path / "held").touch()
            os.read(os.pipe()[0], 1)

    pid = forked(hold)
    while not (tmp_path / "held").exists():
        continue
    kill(pid)
    with pytest.raises(QuintetError, match=rf":{pid} \(kind strict\)") as refused, study_lock(lock, "strict", 0.3):
        pass
    assert refused.value.code == UNAVAILABLE
    assert "bin/doctor --locks" in str(refused.value)


def test_a_store_in_a_read_only_folder_is_73_and_nothing_is_published() -> None:
    with tempfile.TemporaryDirectory() as place:
        run = planned(Path(place) / "run", "search")
        (run.path / "store").mkdir()
        for folder in (Path(place), run.path):
            folder.chmod(0o755)
        for name in ("attempts", "logs", "partials"):
            (run.path / name).mkdir()
            os.chown(run.path / name, NOBODY if os.geteuid() == 0 else -1, -1)
        (run.path / "store").chmod(0o555)

        def as_nobody() -> None:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)

        assert run_element(run, "search", 0, as_nobody) == CANNOT_WRITE
        assert not list((run.path / "partials").rglob("*"))
        (run.path / "store").chmod(0o755)
