"""A town on a real Slurm: killed at random ticks and requeued, it goes on to the same bits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from quintet.shard.partial import read_card
from quintet.shard.run import Run

from ..house import PROJECT, House
from ..society.town_runs import DEMO, complete, planned
from .cluster import Cluster
from .requeues import run_with_requeues

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
    run_with_requeues(slurm, SCRIPT, run, "simulate", random.Random(11))
    ours, other = (read_card(Run(folder).shard_file("simulate", 0)) for folder in (run, quiet))
    assert ours.pd == other.pd
