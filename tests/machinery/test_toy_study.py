"""The toy study moves in without touching the machinery, and nothing that happens to it changes a bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import h5py
import pytest

from ..house import TOY, House, merged_all, payloads

MORE = ("--set", "levels=2", "--set", "search.n_trials=8", "--set", "search.sampler=random")
SMALL = ("levels=2", "search.n_trials=8", "search.sampler=random")


@pytest.fixture(scope="module")
def quiet(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    run = house.planned(tmp_path_factory.mktemp("quiet") / "run", *SMALL)
    merged_all(house, run)
    return run


def test_a_whole_run_stands_after_one_command(quiet: Path) -> None:
    names = {"search", "select", "simulate", "level-00", "level-01", "walk"}
    assert set(payloads(quiet)) == names
    assert {path.stem for path in (quiet / "merged").glob("*.done")} == names
    with h5py.File(quiet / "merged" / "simulate.h5") as file:
        assert file["stats"].shape[-2:] == (3, 5)
        samples = file["rows/largest"][()]
        least, greatest = file["extrema/value"][()]
        assert (least < greatest).all() and greatest.max() == samples.max()


@pytest.mark.parametrize("shards", [1, pytest.param(3, marks=pytest.mark.slow), 7])
def test_the_number_of_shards_changes_no_bit(house: House, quiet: Path, tmp_path: Path, shards: int) -> None:
    settings = (f"phases.simulate.shards={shards}", f"phases.walk.shards={min(shards, 2)}")
    run = house.planned(tmp_path / "run", *SMALL, *settings, "phases.level-00.shards=3")
    assert merged_all(house, run) == payloads(quiet)


def test_a_finished_run_is_a_look(house: House, quiet: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in quiet.rglob("*.h5")}
    done = house("local", quiet)
    assert {path: path.stat().st_mtime_ns for path in quiet.rglob("*.h5")} == before
    assert "unchanged" in done.stdout


def test_planning_again_changes_nothing(house: House, quiet: Path) -> None:
    before = {path: path.read_bytes() for path in (quiet / "plan").glob("*.json")}
    house.planned(quiet, *SMALL)
    assert {path: path.read_bytes() for path in (quiet / "plan").glob("*.json")} == before


def test_another_config_is_refused_where_partials_stand(house: House, quiet: Path) -> None:
    done = house(
        "plan", TOY / "demo.yaml", "--run", quiet, "--no-probe", "--set", "simulate.samples=51", *MORE, code=None
    )
    assert done.returncode == 78, done.stderr
    assert "simulate" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_killed_shards_resume_bit_identically(house: House, quiet: Path, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run", *SMALL, "simulate.seconds=0.05", "walk.step_seconds=0.03", "walk.steps=40")
    dice = random.Random(7)
    house("local", run, "--phase", "search", "--jobs", 2)
    house("merge", run, "search")
    house("local", run, "--phase", "select")
    house("merge", run, "select")
    for _ in range(6):
        house.killed(dice.uniform(0.2, 0.9), "shard", run, "simulate", "--index", dice.randrange(4))
        house.killed(dice.uniform(0.3, 1.5), "shard", run, "walk", "--index", 0)
    for path in run.glob("partials/**/*.h5"):
        with h5py.File(path, locking=False) as file:
            assert "meta" in file
    assert merged_all(house, run) == payloads(quiet)


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_a_stopped_shard_loses_no_finished_block(house: House, quiet: Path, tmp_path: Path, name: str) -> None:
    run = house.planned(tmp_path / "run", "walk.steps=40", "walk.step_seconds=0.05", *SMALL)
    process = house.start("shard", run, "walk", "--index", 0)
    deadline = time.monotonic() + 60
    while not list((run / "checkpoints").rglob("u*.h5")) and time.monotonic() < deadline:
        time.sleep(0.01)
    begun = time.monotonic()
    process.send_signal(getattr(signal, name))
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 75
    assert time.monotonic() - begun < 10
    assert list((run / "checkpoints").rglob("*.h5")) or list((run / "partials").rglob("*.ckpt.h5"))
    house("shard", run, "walk", "--index", 0)
    assert not list((run / "checkpoints").rglob("*.h5")) and not list((run / "partials").rglob("*.ckpt.h5"))
    house("merge", run, "walk")
    assert payloads(run)["walk"] == payloads(quiet)["walk"]


def test_eight_processes_on_one_shard_publish_one_partial(house: House, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run", *SMALL)
    crowd = [house.start("shard", run, "walk", "--index", 0) for _ in range(8)]
    told = [process.communicate(timeout=60)[1] for process in crowd]
    assert [process.returncode for process in crowd] == [0] * 8, told
    assert len(list((run / "partials" / "walk").rglob("*.h5"))) == 1
    assert not list((run / "partials").rglob("*.tmp"))


def test_another_payload_for_the_same_blocks_is_a_conflict(house: House, tmp_path: Path) -> None:
    from quintet.shard.errors import QuintetError
    from quintet.shard.partial import build, read_arrays, read_card, read_meta
    from quintet.shard.publish import publish

    run = house.planned(tmp_path / "run", *SMALL)
    house("shard", run, "walk", "--index", 0)
    (path,) = (run / "partials" / "walk").rglob("*.h5")
    arrays = {name: array + 1.0 for name, array in read_arrays(path).items()}
    content, card = build(read_card(path), arrays, read_meta(path))
    with pytest.raises(QuintetError) as caught:
        publish(path, content, card, run / "quarantine")
    assert caught.value.code == 76
    assert len(list((run / "partials" / "walk").rglob("*.h5"))) == 2
    assert house("missing", run, "walk", code=1).stdout.strip()


def test_a_grown_run_equals_one_planned_so(house: House, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "grown", *SMALL)
    house("local", run, "--phase", "search", "--jobs", 2)
    kept = {path.name: path.read_bytes() for path in (run / "partials" / "search").rglob("*.h5")}
    house.planned(run, *SMALL, "search.n_trials=12")
    grown = merged_all(house, run)
    assert all((run / "partials" / "search" / "0000" / name).read_bytes() == data for name, data in kept.items())
    fresh = house.planned(tmp_path / "fresh", *SMALL, "search.n_trials=12")
    assert grown == merged_all(house, fresh)


def test_failed_trials_are_replaced_so_that_n_complete(house: House, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run", *SMALL, "search.fail_every=4")
    house("local", run, "--phase", "search", "--jobs", 2)
    house("merge", run, "search")
    with h5py.File(run / "merged" / "search.h5") as file:
        assert (file["rows/failed"][()] == 0).sum() == 8
        assert (file["rows/failed"][()] == 1).sum() == 2


def test_tpe_trials_do_not_depend_on_the_workers(house: House, tmp_path: Path) -> None:
    digests = []
    for workers in (1, 3):
        run = house.planned(
            tmp_path / f"run{workers}", "levels=1", "search.n_trials=16", f"phases.search.shards={workers}"
        )
        house("local", run, "--phase", "search", "--jobs", workers)
        house("merge", run, "search")
        digests.append(payloads(run)["search"])
    assert digests[0] == digests[1]


def test_a_lost_database_is_made_again(house: House, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run", *SMALL)
    house("local", run, "--phase", "search", "--jobs", 1)
    before = house("merge", run, "search") and payloads(run)
    (run / "store" / "search.sqlite3").unlink()
    house.planned(run, *SMALL, "search.n_trials=10")
    house("local", run, "--phase", "search", "--jobs", 2)
    house("merge", run, "search")
    with h5py.File(run / "merged" / "search.h5") as file:
        assert file["rows/number"][()].tolist() == list(range(10))
    assert payloads(run) != before


def test_runs_from_anywhere_with_spaces_and_no_home(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "a run with späces"
    run = house.planned(folder / "run", *SMALL)
    environment = {key: value for key, value in house.environment().items() if key != "HOME"}
    done = subprocess.run(
        house.command("shard", os.path.relpath(run, "/"), "walk", "--index", 0),
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("walk",), 64, "no task number"),
        (("walk", "--index", "9"), 64, "shards 0 to"),
        (("nowhere", "--index", "0"), 64, "phases:"),
        (("simulate", "--index", "0"), 65, "select"),
        (("../walk", "--index", "0"), 2, "name"),
        (("walk", "--index", "-1"), 2, "--index"),
    ],
)
def test_wrong_calls_give_one_line_and_their_code(
    house: House, tmp_path_factory: pytest.TempPathFactory, arguments: tuple[str, ...], code: int, word: str
) -> None:
    run = tmp_path_factory.getbasetemp() / "calls"
    if not run.exists():
        house.planned(run, *SMALL)
    done = house("shard", run, *arguments, code=code)
    assert word in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_start_up_imports_no_heavy_package(house: House, quiet: Path) -> None:
    heavy = ("optuna", "pandas", "matplotlib", "scipy", "pydantic", "yaml", "rich", "torch", "numba", "sqlalchemy")
    for arguments in (("--help",), (str(quiet), "walk", "--index", "0")):
        command = house.command("shard", *arguments)
        command.insert(1, "-Ximporttime")
        done = subprocess.run(command, capture_output=True, text=True, env=house.environment())
        assert done.returncode == 0, done.stderr
        imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
        assert not imported & set(heavy), imported & set(heavy)
