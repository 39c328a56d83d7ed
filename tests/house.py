"""A copy of the suite with the toy study in it, and its verbs as processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import h5py

PROJECT = Path(__file__).resolve().parent.parent
TOY = PROJECT / "tests" / "toy"
VERBS = {"submit": "quintet.slurm", "merge": "quintet.merge", "pack": "quintet.merge.pack"}


def build_house(folder: Path) -> Path:
    """Copy the packages and move the toy study in: its config, its phases, and nothing else."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("jobs", "shard", "merge", "slurm"):
        shutil.copytree(PROJECT / name, folder / "quintet" / name, ignore=ignored)
    shutil.copytree(TOY / "jobs" / "toy", folder / "quintet" / "jobs" / "toy", ignore=ignored)
    shutil.copy(TOY / "shard" / "toy.py", folder / "quintet" / "shard" / "toy.py")
    return folder


@dataclass(frozen=True)
class House:
    """Where the packages lie, and how their verbs are started."""

    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a verb: this house's code, no Slurm variables."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "QUINTET"))}
        return {**kept, "PYTHONPATH": str(self.folder), **more}

    def command(self, verb: str, *arguments: object) -> list[str]:
        """Return the command line of a verb."""
        module = VERBS.get(verb, f"quintet.shard.commands.{verb}")
        return [sys.executable, "-m", module, *map(str, arguments)]

    def __call__(self, verb: str, *arguments: object, code: int | None = 0, **more: str) -> subprocess.CompletedProcess:
        """Run a verb to its end; hold it to an exit code unless that is None."""
        done = subprocess.run(
            self.command(verb, *arguments), capture_output=True, text=True, env=self.environment(**more), timeout=300
        )
        if code is not None:
            assert done.returncode == code, f"{verb} {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, verb: str, *arguments: object, **more: str) -> subprocess.Popen:
        """Start a verb in the background."""
        return subprocess.Popen(
            self.command(verb, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(**more),
        )

    def planned(
        self, run: Path, *settings: str, config: Path = TOY / "demo.yaml", options: tuple[str, ...] = ()
    ) -> Path:
        """Plan a run of the toy study."""
        sets = [part for setting in settings for part in ("--set", setting)]
        self("plan", TOY / "demo.yaml", "--run", run, "--no-probe", *sets)
        return run

    def killed(self, delay: float, verb: str, *arguments: object) -> int:
        """Start a verb and kill it after a while; return its exit code, negative where the kill came first."""
        process = self.start(verb, *arguments)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return process.returncode


def payloads(run: Path) -> dict[str, str]:
    """Return the payload digest of every merged phase, recomputed from the datasets."""
    from quintet.shard.partial import stored_payload_digest

    digests = {}
    for path in sorted((run / "merged").glob("*.h5")):
        with h5py.File(path, locking=False) as file:
            digests[path.stem] = stored_payload_digest(file)
    return digests


def merged_all(house: House, run: Path) -> dict[str, str]:
    """Run what is missing of a run, merge it, and return its payloads."""
    house("local", run, "--jobs", 2)
    return payloads(run)
