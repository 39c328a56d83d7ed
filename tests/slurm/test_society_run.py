"""A town on a real Slurm: killed at random ticks and requeued, it goes on to the same bits."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from quintet.shard.attempts import read_attempts
from quintet.shard.partial import read_card
from quintet.shard.run import Run

from ..house import PROJECT, House
from ..society.town_runs import DEMO, complete, planned
from .cluster import Cluster

pytestmark = pytest.mark.slurm
SCRIPT = PROJECT / "slurm" / "society.sbatch"
TOWN = (
    "population=12",
    "steps=400",
    "checkpoint_every_ticks=1",
    "study.single_traits=[]",
    "study.arms=[targeted]",
    "study.replicates=1",
    "phases.simulate.checkpoint_s=0",
)


def test_a_town_killed_at_random_ticks_and_requeued_goes_on_to_the_same_bits(
    slurm: Cluster, house: House, tmp_path: Path
) -> None:
    quiet = complete(house, planned(house, tmp_path / "quiet", *TOWN))
    run = tmp_path / "run"
    sets = [part for setting in TOWN for part in ("--set", setting)]
    house("plan", DEMO, "--run", run, "--no-probe", *sets)
    dice = random.Random(11)
    job = slurm.sbatch("--array=0", "--mem=400M", str(SCRIPT), str(run), "simulate", cwd=PROJECT)
    for attempt, killed_outright in enumerate((False, True, False)):
        going = saved_anew(run, attempt)
        time.sleep(dice.uniform(0.0, 0.5))
        if killed_outright:
            os.kill(going, signal.SIGKILL)
            slurm.wait(job)
        slurm.command("scontrol", "requeue", f"{job}_0")
    slurm.wait(job, timeout=400)
    ours, other = (read_card(Run(folder).shard_file("simulate", 0)) for folder in (run, quiet))
    assert ours.pd == other.pd
    assert len(list(read_attempts(Run(run).attempt_file("simulate", 0)))) == 4
    assert not list((run / "checkpoints").rglob("u*.h5"))


def saved_anew(run: Path, attempt: int) -> int:
    """Wait until an attempt has saved the town; return the attempt's process."""
    end = time.monotonic() + 200
    first = None
    while True:
        started = list(read_attempts(Run(run).attempt_file("simulate", 0)))[attempt:]
        if started:
            names = (path.name for path in (run / "checkpoints").rglob("u*.h5"))
            newest = max((int(name.split(".")[1]) for name in names), default=-1)
            first = newest if first is None else first
            if newest > first:
                return int(started[0]["attempt"].split("-")[-2])
        published = Run(run).shard_file("simulate", 0).is_file()
        assert not published and time.monotonic() < end, "no checkpoint was written"
        time.sleep(0.02)
