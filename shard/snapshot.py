"""The code snapshot of a run: what queued and requeued elements run, whatever the working tree holds by then."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

KEPT_DIGEST = ".digest.json"  # in a snapshot
PACKAGES = ("jobs", "shard", "merge", "slurm")


def package_folders() -> dict[str, Path]:
    """Return where the running packages lie."""
    shard = Path(__file__).resolve().parent
    return {name: shard.parent / name for name in PACKAGES if (shard.parent / name).is_dir()}


def code_files(folders: dict[str, Path]) -> list[tuple[str, str]]:
    """Return (name below quintet/, path) of every source file, sorted by name."""
    return sorted((name, path) for top, folder in folders.items() for name, path in files_below(folder, top))


def files_below(folder: Path | str, name: str) -> Iterator[tuple[str, str]]:
    """Yield (name, path) of the source files of a folder that bears a name; strings, since every element does this."""
    for entry in os.scandir(folder):
        below = f"{name}/{entry.name}"
        if entry.name.startswith(".") or entry.name.endswith((".pyc", ".nbi", ".nbc")):
            continue
        if entry.is_file():
            yield below, entry.path
        elif entry.name != "__pycache__" and entry.is_dir(follow_symlinks=False):
            yield from files_below(entry.path, below)


def code_sha256(folders: dict[str, Path]) -> str:
    """Return the sha256 over the sorted file list: names and contents."""
    digest = hashlib.sha256()
    for name, path in code_files(folders):
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            content = file.read()
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


@cache
def running_code_sha256() -> str:
    """Return the digest of the code that this process runs.

    A snapshot remembers its own beside the sizes and times of its files; where those are as they were, the files are
    not read: an element of a second would open hundreds of them on the cluster's file system.
    """
    folders = package_folders()
    try:
        kept = json.loads((folders["shard"].parent / KEPT_DIGEST).read_bytes())
        if kept["files"] == files_sha256(folders):
            return str(kept["code"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a checkout or an image
    return code_sha256(folders)


def files_sha256(folders: dict[str, Path]) -> str:
    """Return the sha256 over names, sizes and times of change of the source files."""
    digest = hashlib.sha256()
    for name, path in code_files(folders):
        status = os.stat(path)  # noqa: PTH116
        digest.update(f"{name}\0{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def keep_snapshot(plan_folder: Path) -> None:
    """Let `code` in a plan's folder be a copy of the running packages; one that is so already is left alone.

    `code` is a link to a folder of that code's own, which never changes and stays: a process that resolved the link
    when it started goes on importing the code that it started with, and partials keep the code that made them.
    """
    link, code = plan_folder / "code", running_code_sha256()
    if snapshot_sha256(link) == code:
        return
    token = os.urandom(4).hex()
    folder, fresh = plan_folder / f"code-{code[:16]}", plan_folder / f".code-{token}"
    if snapshot_sha256(folder) != code:
        take_snapshot(fresh)
        if folder.exists():  # somebody edited it, and elements may run it
            folder = plan_folder / f"{folder.name}.{token}"
        fresh.rename(folder)
    if link.exists() and not link.is_symlink():  # of a copied run: copying followed the link
        link.rename(plan_folder / f"code-{snapshot_sha256(link)[:16]}.{token}")
    fresh.symlink_to(folder.name)
    fresh.replace(link)


def runs_snapshot_of(plan_folder: Path) -> bool:
    """Whether this process runs a snapshot of that plan's, unchanged since it was taken."""
    own = package_folders()["shard"].parents[1]
    return own.parent == plan_folder.resolve() and own.name.startswith(f"code-{running_code_sha256()[:16]}")


def snapshot_sha256(folder: Path) -> str:
    """Return the digest of the code in a snapshot, read anew; empty where there is none."""
    packages = {name: folder / "quintet" / name for name in PACKAGES if (folder / "quintet" / name).is_dir()}
    return code_sha256(packages) if packages else ""


def take_snapshot(target: Path) -> None:
    """Copy the running packages to `target/quintet/`, where nothing is yet."""
    import compileall
    import shutil

    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", "*.nbi", "*.nbc", ".*")
    folder = target / "quintet"
    for name, path in package_folders().items():
        shutil.copytree(path, folder / name, ignore=skipped)
    # once here, not in every element of an array that starts at the same moment
    compileall.compile_dir(folder, stripdir=str(folder), prependdir="quintet", quiet=2)
    copied = {name: folder / name for name in package_folders()}
    kept = {"code": code_sha256(copied), "files": files_sha256(copied)}
    (folder / KEPT_DIGEST).write_text(json.dumps(kept), encoding="utf-8")


def git_facts() -> dict[str, Any]:
    """Return the commit of the running checkout and whether it has changes; `unknown` outside git.

    An image holds no repository: there the file IMAGE names the commit that it was built from.
    """
    import subprocess

    folder = package_folders()["shard"].parent
    if (folder / "IMAGE").is_file():
        _, built_from = (folder / "IMAGE").read_text().splitlines()
        return {"git_commit": built_from.removesuffix("-dirty"), "git_dirty": built_from.endswith("-dirty")}
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
