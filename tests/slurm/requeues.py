"""An element of a long unit on a real Slurm that is requeued, killed outright, and requeued again."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from quintet.shard.attempts import read_attempts
from quintet.shard.run import Run

from ..house import PROJECT
from .cluster import Cluster

ATTEMPTS = 4


def run_with_requeues(slurm: Cluster, script: Path, run: Path, phase: str, dice: random.Random) -> None:
    """Run shard 0 of a phase to its end, in four attempts of which three are stopped at a random time.

    The requeue's signal stops the first and the third, SIGKILL the second; each has saved its unit by then.
    """
    job = slurm.sbatch("--array=0", "--mem=400M", str(script), str(run), phase, cwd=PROJECT)
    for attempt, killed_outright in enumerate((False, True, False)):
        going = saved_anew(run, phase, attempt)
        time.sleep(dice.uniform(0.0, 0.5))
        if killed_outright:
            os.kill(going, signal.SIGKILL)
            slurm.wait(job)
        slurm.command("scontrol", "requeue", f"{job}_0")
    slurm.wait(job, timeout=400)
    assert len(list(read_attempts(Run(run).attempt_file(phase, 0)))) == ATTEMPTS
    assert not list((run / "checkpoints").rglob("u*.h5"))


def saved_anew(run: Path, phase: str, attempt: int) -> int:
    """Wait until an attempt has saved its unit; return the attempt's process."""
    end = time.monotonic() + 200
    first = None
    while True:
        started = list(read_attempts(Run(run).attempt_file(phase, 0)))[attempt:]
        if started:
            names = (path.name for path in (run / "checkpoints").rglob("u*.h5"))
            newest = max((int(name.split(".")[1]) for name in names), default=-1)
            first = newest if first is None else first
            if newest > first:
                return int(started[0]["attempt"].split("-")[-2])
        published = Run(run).shard_file(phase, 0).is_file()
        assert not published and time.monotonic() < end, "no checkpoint was written"
        time.sleep(0.02)
