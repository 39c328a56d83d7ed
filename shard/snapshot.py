"""The code snapshot of a run: what queued and requeued elements run, whatever the working tree holds by then."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("jobs", "shard", "merge", "slurm")
SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.nbi", "*.nbc", ".*")


def package_folders() -> dict[str, Path]:
    """Return where the running packages lie."""
    shard = Path(__file__).resolve().parent
    return {name: shard.parent / name for name in PACKAGES if (shard.parent / name).is_dir()}


def code_files(folders: dict[str, Path]) -> list[tuple[str, Path]]:
    """Return (name below quintet/, path) of every source file, sorted by name."""
    files = []
    for name, folder in folders.items():
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".nbi", ".nbc"}:
                below = path.relative_to(folder).as_posix()
                if not any(part.startswith(".") for part in below.split("/")):
                    files.append((f"{name}/{below}", path))
    return sorted(files)


def code_sha256(folders: dict[str, Path]) -> str:
    """Return the sha256 over the sorted file list: names and contents."""
    digest = hashlib.sha256()
    for name, path in code_files(folders):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


@cache
def running_code_sha256() -> str:
    """Return the digest of the code that this process runs."""
    return code_sha256(package_folders())


def take_snapshot(target: Path) -> None:
    """Copy the running packages to `target/quintet/`, replacing an older snapshot."""
    folder = target / "quintet"
    fresh = target / f".quintet-{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    for name, path in package_folders().items():
        shutil.copytree(path, fresh / name, ignore=SKIPPED)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def git_facts() -> dict[str, Any]:
    """Return the commit of the running checkout and whether it has changes; `unknown` outside git."""
    folder = package_folders()["shard"].parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
        changes = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return {"git_commit": "unknown", "git_dirty": False}
    return {"git_commit": commit.stdout.strip(), "git_dirty": bool(changes.stdout.strip())}
