"""`doctor` passes a sound place, and says what is wrong with an unsound one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quintet.shard.commands.base import run_command
from quintet.shard.commands.doctor import command
from quintet.shard.doctor import Check, Level, contest, environment, filesystem, locks, slurm
from quintet.shard.lock import study_lock

from .grid_study import planned, store_of, tell_trials


def code_of(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        run_command(command, [str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_sound_place_has_no_failure_and_nothing_is_left_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("--run", tmp_path / "not" / "yet", "--json") == 0
    checks = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    for name in (
        "space",
        "clock",
        "fsync",
        "HDF5",
        "rename",
        "O_EXCL",
        "link",
        "lock flock",
        "lock strict",
        "SQLite",
        "Python",
    ):
        assert checks[name]["level"] in {"PASS", "WARN"}, checks[name]
    assert all(item["advice"] for item in checks.values() if item["level"] != "PASS")
    assert list(tmp_path.iterdir()) == []


def test_failed_check_is_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(filesystem, "LOW_SPACE_BYTES", 1 << 60)
    assert code_of("--run", tmp_path) == 1
    assert "FAIL  space" in capsys.readouterr().out


def test_lock_that_keeps_nobody_apart_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counter").write_text("40")
    assert contest.verdict("flock", tmp_path, [0, 0], 50).level is Level.FAIL
    assert contest.verdict("flock", tmp_path, [0, 0], 40).level is Level.PASS
    monkeypatch.setattr(contest, "claim_exclusively", lambda path: 0)
    (tmp_path / "race").mkdir()
    assert contest.check_exclusive_names(tmp_path / "race")[0].level is Level.FAIL


def test_reader_that_sees_half_a_file_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: str, number: int, until: float) -> int:
        while time.monotonic() < until:
            with Path(path).open("wb") as stream:
                stream.write(bytes([65 + number]) * (contest.RACE_BYTES // 2))
                stream.flush()
                time.sleep(0.001)
                stream.write(bytes([65 + number]) * (contest.RACE_BYTES // 2))
        return 0

    monkeypatch.setattr(contest, "replace_often", careless)
    assert contest.check_replace(tmp_path).level is Level.FAIL


def test_counter_runs_as_a_program_of_its_own(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "quintet.shard.doctor.contest", "flock", str(tmp_path), "5"]
    pair = [subprocess.Popen(program) for _ in range(2)]
    assert [process.wait(60) for process in pair] == [0, 0]
    assert (tmp_path / "counter").read_text() == "10"


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
40 22 0:40 / /home rw - nfs4 server:/home rw,vers=4.2,local_lock=none
41 22 0:41 / /scratch rw - lustre mds:/scratch rw,localflock
42 22 0:42 / /old rw - nfs server:/old rw,vers=3,nolock
43 22 0:43 / /with\\040space ro - xfs /dev/sdb ro
"""


@pytest.mark.parametrize(
    ("folder", "kind", "local"),
    [
        ("/home/me/runs", "nfs4", False),
        ("/scratch/x", "lustre", True),
        ("/old", "nfs", True),
        ("/homely", "ext4", False),
    ],
)
def test_mount_of_a_folder_and_its_lock_options(folder: str, kind: str, local: bool) -> None:
    mount = filesystem.mount_of(Path(folder), MOUNTS)
    assert mount.kind == kind
    assert bool(mount.options & filesystem.LOCAL_LOCKS) is local


def test_mount_with_a_space_in_its_name() -> None:
    assert filesystem.mount_of(Path("/with space/run"), MOUNTS).kind == "xfs"


CONFIG = """\
AccountingStorageType   = accounting_storage/none
ClusterName             = tiny
JobRequeue              = 0
KillWait                = 5 sec
MaxArraySize            = 11
MaxJobCount             = 10000
PreemptMode             = CANCEL
SLURM_VERSION           = 22.05.8
"""


def test_slurm_settings_that_a_chain_depends_on_get_advice() -> None:
    levels = {check.name: check.level for check in slurm.check_settings(slurm.settings(CONFIG))}
    assert levels == dict.fromkeys(("arrays", "KillWait", "requeue", "preemption"), Level.WARN)


def test_slurm_that_works_passes() -> None:
    found = slurm.settings(CONFIG) | {
        "JobRequeue": "1",
        "KillWait": "30 sec",
        "MaxArraySize": "1001",
        "PreemptMode": "REQUEUE",
    }
    assert all(check.level is Level.PASS for check in slurm.check_settings(found))


def test_packages_are_compared_with_the_lock_file(tmp_path: Path) -> None:
    import numpy

    (tmp_path / "requirements.lock").write_text(
        f"numpy=={numpy.__version__} \\\n    --hash=sha256:ab\nnot-installed==1.0\n"
    )
    assert environment.check_packages(tmp_path) == Check(
        "packages", Level.PASS, "1 as in requirements.lock, 1 not installed"
    )
    (tmp_path / "requirements.lock").write_text("numpy==1.0.0\n")
    assert environment.check_packages(tmp_path).level is Level.WARN


def test_locks_names_a_living_and_a_dead_holder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = planned(tmp_path / "run", ("search",))
    tell_trials(run, 1)
    lock = run.store("search").with_suffix(".lock")
    with study_lock(lock, "flock"):
        assert code_of("--run", run.path, "--locks") == 0
        out = capsys.readouterr().out
        assert f":{os.getpid()}, which lives" in out and "WARN  lock store/search.lock" in out
    assert code_of("--run", run.path, "--locks") == 0
    assert "PASS  lock store/search.lock" in capsys.readouterr().out


def test_lease_of_a_dead_worker_is_named(tmp_path: Path) -> None:
    from quintet.shard.trials import Owner

    run = planned(tmp_path / "run", ("search",))
    process = subprocess.Popen(["true"])
    process.wait()
    store_of(run).claim(Owner(os.uname().nodename, process.pid))
    (found,) = [check for check in locks.check_run_locks(run) if check.name == "leases search"]
    assert found.level is Level.WARN and "trial 0" in found.found and "which is gone" in found.found


def test_damaged_database_of_a_run_fails(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", ("search",))
    tell_trials(run, 1)
    assert [check.level for check in locks.check_stores(run)] == [Level.PASS]
    database = run.store("search")
    database.write_bytes(database.read_bytes()[:-700])
    assert [check.level for check in locks.check_stores(run)] == [Level.FAIL]


def test_locks_without_a_run_is_exit_2() -> None:
    assert code_of("--locks") == 2
