"""The run's copy of the code: believed by its files' sizes and times, read where those are others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from quintet.shard import snapshot as snapshots
from quintet.shard.errors import Exit
from quintet.shard.run import Run
from quintet.shard.snapshot import KEPT_DIGEST, code_sha256, keep_snapshot, package_folders, take_snapshot

from ..house import TOY, House, build_house

SAY_DIGEST = "from quintet.shard.snapshot import running_code_sha256; print(running_code_sha256())"


def digest_said_by(code: Path) -> str:
    """Return the digest that a process running the snapshot finds."""
    command = [sys.executable, "-c", SAY_DIGEST]
    environment = {**os.environ, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot that nobody changes."""
    folder = tmp_path_factory.mktemp("taken")
    take_snapshot(folder)
    return folder


@pytest.fixture
def snapshot(taken: Path, tmp_path: Path) -> Path:
    """A copy of a snapshot, with the times of its files."""
    return shutil.copytree(taken, tmp_path / "code")


def test_a_snapshot_has_the_digest_of_what_it_was_taken_from(snapshot: Path) -> None:
    assert digest_said_by(snapshot) == code_sha256(package_folders())


def test_a_snapshot_as_it_was_taken_is_not_read(snapshot: Path) -> None:
    kept = snapshot / "quintet" / KEPT_DIGEST
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "code": "as kept"}))
    assert digest_said_by(snapshot) == "as kept"


@pytest.mark.parametrize("change", ["content", "time", "new file"])
def test_a_changed_snapshot_is_read(snapshot: Path, change: str) -> None:
    folder = snapshot / "quintet" / "jobs"
    path = folder / ("new.py" if change == "new file" else "__init__.py")
    if change == "time":
        os.utime(path, (1, 1))
    else:
        path.write_bytes(b"#" + (path.read_bytes() if path.exists() else b""))
    unchanged = digest_said_by(snapshot) == code_sha256(package_folders())
    assert unchanged is (change == "time")


@pytest.fixture
def edited(house: House, tmp_path: Path) -> House:
    """The same suite with a line more."""
    folder = build_house(tmp_path / "edited")
    with (folder / "quintet" / "shard" / "toy.py").open("a") as file:
        file.write("\nMENDED = True\n")
    return House(folder)


def code_folders(run: Path) -> dict[str, int]:
    """Return the snapshots of a run, with their inodes."""
    return {path.name: path.stat().st_ino for path in sorted((run / "plan").glob("code-*"))}


def test_planning_again_leaves_the_snapshot_of_the_same_code_alone(house: House, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run")
    before = code_folders(run)
    assert len(before) == 1
    again = house("plan", TOY / "demo.yaml", "--run", run, "--no-probe", "--set", "phases.walk.mem_mb=77")
    assert Run(run).plan("walk").resources["mem_mb"] == 77
    assert code_folders(run) == before and not again.stderr.count("other code")


def test_a_snapshot_that_was_edited_or_copied_is_replaced_and_kept(tmp_path: Path) -> None:
    keep_snapshot(tmp_path)
    first = (tmp_path / "code").resolve()
    (first / "quintet" / "shard" / "new.py").touch()
    keep_snapshot(tmp_path)
    second = (tmp_path / "code").resolve()
    assert second != first and first.is_dir()
    assert digest_said_by(second) == code_sha256(package_folders())
    (tmp_path / "code").unlink()
    shutil.copytree(first, tmp_path / "code")
    keep_snapshot(tmp_path)
    assert (tmp_path / "code").resolve() not in {first, tmp_path / "code"}


def test_planning_with_edited_code_says_what_stands_and_moves_a_link(
    house: House, edited: House, tmp_path: Path
) -> None:
    run = house.planned(tmp_path / "run")
    old = Run(run).plan("walk").code["sha256"]
    house("shard", run, "walk", "--index", 0)
    started_before = (run / "plan" / "code").resolve()
    again = edited("plan", TOY / "demo.yaml", "--run", run, "--no-probe")
    new = Run(run).plan("walk").code["sha256"]
    (told,) = [line for line in again.stderr.splitlines() if "other code" in line]
    assert f"stand and count: 1 of {old[:12]} (commit " in told and f"now on run {new[:12]} (commit " in told
    assert "MENDED" in (run / "plan" / "code" / "quintet" / "shard" / "toy.py").read_text()
    assert "MENDED" not in (started_before / "quintet" / "shard" / "toy.py").read_text()
    assert sorted(code_folders(run)) == sorted([f"code-{old[:16]}", f"code-{new[:16]}"])
    edited("local", run, "--jobs", 2)
    assert digest_said_by(run / "plan" / "code") == new
    assert "other code" not in edited("plan", TOY / "demo.yaml", "--run", run, "--no-probe").stderr


def test_an_element_between_two_plans_starts_once_more(house: House, edited: House, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run")
    started_before = (run / "plan" / "code").resolve()
    edited("plan", TOY / "demo.yaml", "--run", run, "--no-probe")
    assert "planned again meanwhile" in House(started_before)("shard", run, "walk", "--index", 0, code=75).stderr
    house("shard", run, "walk", "--index", 0, code=Exit.MISMATCH)
    edited("shard", run, "walk", "--index", 0)


def test_the_link_is_never_absent_while_the_snapshot_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_snapshot(tmp_path)
    code = (tmp_path / "code").resolve()
    monkeypatch.setattr(snapshots, "running_code_sha256", lambda: "f" * 64)
    seen = []
    for name in ("rename", "replace", "symlink_to"):
        true = getattr(Path, name)

        def looked(path: Path, *arguments: object, true: object = true) -> object:
            seen.append((tmp_path / "code" / "quintet" / "shard").is_dir())
            return true(path, *arguments)  # type: ignore[operator]

        monkeypatch.setattr(Path, name, looked)
    keep_snapshot(tmp_path)
    assert seen == [True] * 3 and code.is_dir()
    assert (tmp_path / "code").resolve().name == "code-" + "f" * 16
