"""A study of trivial units, and a copy of the suite that knows it.

The copy holds `MODULE` as `quintet/shard/bench.py`, so that the verbs find the study as they find any other; runs
are planned by the real `plan`, and elements run its snapshot.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("jobs", "shard", "merge", "slurm")
VERBS = {"submit": "quintet.slurm", "merge": "quintet.merge"}
MODULE = '''"""A study whose units are their own numbers."""

from __future__ import annotations

from .phases import Dataset, Once, Phase, Resources


class Config:
    """What the machinery asks of a config.  Not pydantic's, whose import costs as much as numpy's and h5py's together:
    the tables show what the machinery costs, a study adds what it imports.
    """

    model_fields = {"seed": int, "units": int}

    def __init__(self, seed=0, units=1):
        self.seed, self.units = seed, units

    def model_dump(self, mode):
        return vars(self)


def phases(config):
    resources = Resources(mem_mb=200, time_s=600, seconds_per_unit=0.01)
    datasets = (Dataset("rows/number", "i8"),)
    return (Phase("simulate", "map", config.units, reads=("units",), datasets=datasets, resources=resources),)


class Work:
    def block(self, units):
        return Once(lambda: {"rows/number": list(units)})


def start(context):
    return Work()
'''


@dataclass(frozen=True)
class House:
    """A copy of the suite with the study `bench` in it."""

    folder: Path

    @classmethod
    def built(cls, folder: Path) -> House:
        """Copy the packages below `folder/quintet`."""
        ignored = shutil.ignore_patterns("__pycache__")
        for name in PACKAGES:
            shutil.copytree(PROJECT / name, folder / "quintet" / name, ignore=ignored)
        (folder / "quintet" / "shard" / "bench.py").write_text(MODULE, encoding="utf-8")
        return cls(folder)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a verb: this copy's code, one thread, nothing of a surrounding job."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "QUINTET"))}
        return {**kept, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", **(more or {})}

    def command(self, verb: str, *arguments: object) -> list[str]:
        """Return the command line of a verb."""
        module = VERBS.get(verb, f"quintet.shard.commands.{verb}")
        return [sys.executable, "-m", module, *map(str, arguments)]

    def planned(self, run: Path, units: int, shards: int) -> Path:
        """Plan a run of trivial units, shared out evenly."""
        config = self.folder / f"{run.name}.yaml"
        config.write_text(
            f"study: bench\nunits: {units}\nphases:\n  simulate: {{shards: {shards}}}\n", encoding="utf-8"
        )
        command = self.command("plan", config, "--run", run, "--no-probe")
        subprocess.run(command, env=self.environment(), check=True, stdout=subprocess.DEVNULL)
        return run

    def element_environment(self, run: Path) -> dict[str, str]:
        """Return the environment of an element of a planned run: it runs the run's snapshot."""
        return self.environment({"PYTHONPATH": str(run / "plan" / "code")})
