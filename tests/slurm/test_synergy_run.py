"""A training on a real Slurm: killed at random steps and requeued, it goes on to the same bits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from quintet.shard.partial import read_card
from quintet.shard.run import Run

from ..house import PROJECT, House
from ..synergy.study_sample import planned, with_data
from .cluster import Cluster
from .requeues import run_with_requeues

pytestmark = pytest.mark.slurm
SCRIPT = PROJECT / "slurm" / "synergy.sbatch"
TRAINING = (
    "sweep.dims=[4]",
    "sweep.synergy_scales=[1.0]",
    "sweep.runs_per_condition=1",
    "training.epochs=1500",
    "run.checkpoint_seconds=0",
)


def test_a_training_killed_at_random_steps_and_requeued_goes_on_to_the_same_bits(
    slurm: Cluster, house: House, tmp_path: Path
) -> None:
    quiet = with_data(house, planned(house, tmp_path / "quiet", *TRAINING))
    house("shard", quiet, "train", "--index", 0)
    run = with_data(house, planned(house, tmp_path / "run", *TRAINING), quiet)
    run_with_requeues(slurm, SCRIPT, run, "train", random.Random(7))
    ours, other = (read_card(Run(folder).shard_file("train", 0)) for folder in (run, quiet))
    assert ours.pd == other.pd
