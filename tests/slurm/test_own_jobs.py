"""Which queued jobs are a run's: by user, script and run, never by number alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from quintet.shard.errors import Exit
from quintet.shard.scheduler import belongs
from quintet.slurm.queue import Queued, Slurm, of_run
from quintet.slurm.submission import Wishes, submit
from quintet.slurm.watch import until_done

from .desk import Desk, quiet
from .planned import plan, planned, publish_merged, publish_shard


def test_the_queue_is_asked_for_this_user_whatever_the_environment_calls_him(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    answer = "5_0\x1fPENDING\x1f/home\x1f/run/slurm/simulate-1.sbatch 0"
    squeue.write_text(f'#!/bin/sh\ncase "$*" in *"-u {os.getuid()} "*) echo "{answer}" ;; esac\n')
    squeue.chmod(stat.S_IRWXU)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "alice")
    queued = Slurm({"PATH": f"{tmp_path}:{os.environ['PATH']}"}).queued()
    assert queued == {"5_0": Queued("PENDING", "/home", "/run/slurm/simulate-1.sbatch 0")}


def test_a_reset_cluster_gives_a_runs_numbers_to_other_runs_whose_jobs_stay(tmp_path: Path) -> None:
    run, other = (planned(tmp_path / name, plan("simulate", 2)) for name in ("run", "other"))
    submit(run, Desk(), Wishes(), quiet)
    desk = Desk()
    assert submit(other, desk, Wishes(), quiet).jobs == ["100", "101"]
    outcome = submit(run, desk, Wishes(missing_only=True), quiet)
    assert (outcome.jobs, desk.cancelled) == (["102", "103"], [])
    desk.end("102", "103")
    publish_shard(run, "simulate", 0)
    publish_shard(run, "simulate", 1)
    publish_merged(run, "simulate")
    assert until_done(run, desk, Wishes(), 30.0, quiet, pytest.fail) == Exit.OK, "nobody waits for the other run's jobs"
    assert of_run(other, desk.queued()).keys() == desk.alive.keys() != set()


def test_a_reset_cluster_gives_a_phases_numbers_to_another_phase(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 2), plan("walk", 2)), Desk()
    submit(run, Desk(), Wishes(), quiet)
    submit(run, desk, Wishes(phase="walk"), quiet)
    submit(run, desk, Wishes(), quiet)
    assert [Path(desk.command(job).split(" ")[0]).name for job in ("100", "102")] == [
        "walk-2.sbatch",
        "simulate-2.sbatch",
    ]


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("{run}/slurm/simulate-1.sbatch 0", True),
        ("{run}/slurm/simulate.merge-1.sbatch", True),
        ("{run} too/slurm/simulate-1.sbatch 0", False),
        ("/project/slurm/toy.sbatch {run} simulate", True),
        ("/project/slurm/toy.sbatch a run simulate", True),
        ("/project/slurm/toy.sbatch ./a run simulate", True),
        ("/project/slurm/level.sbatch a run simulate", True),
        ("/project/slurm/level.sbatch {run} simulate", True),
        ("/project/slurm/toy.sbatch a run too simulate", False),
        ("/project/slurm/level.sbatch a run too simulate", False),
        ("/project/slurm/conspec.sbatch a run simulate", False),
        ("/project/mine.sbatch a run simulate", False),
        ("/project/slurm/toy.sbatch", False),
        ("(null)", False),
        ("", False),
    ],
)
def test_a_job_is_a_runs_by_its_script_or_by_the_run_that_a_script_was_given(
    tmp_path: Path, command: str, own: bool
) -> None:
    run = planned(tmp_path / "a run", plan("simulate", 1))
    assert belongs(run, str(tmp_path), command.format(run=run.path)) is own
