"""The run's copy of the code: believed by its files' sizes and times, read where those are others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from quintet.shard.snapshot import KEPT_DIGEST, code_sha256, package_folders, take_snapshot

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
