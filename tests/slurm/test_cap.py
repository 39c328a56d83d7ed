"""The cap on a run's CPU hours counts every attempt, and holds for what merges submit."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.run import Run
from quintet.slurm.cap import untold_seconds
from quintet.slurm.queue import Ending
from quintet.slurm.retry import attempts_of
from quintet.slurm.submission import Wishes, submit

from .desk import Desk, quiet
from .planned import plan, planned, record_attempt

BEGAN = 1.6e9


@pytest.mark.parametrize(("cap", "site", "refused"), [(None, 1.0, True), (1.5, 1.0, False), (0.9, 2, True)])
def test_a_run_that_used_its_cpu_hours_is_not_handed_in_again_and_what_is_queued_stays(
    tmp_path: Path, cap: float | None, site: float, refused: bool
) -> None:
    run = planned(tmp_path / "run", plan("simulate", 3), site=f"max_cpu_hours: {site}\n")
    desk = Desk()
    submit(run, desk, Wishes(max_cpu_hours=5), quiet)
    queued = dict(desk.alive)
    for shard in range(2):
        record_attempt(run, "simulate", shard, None)
        ended = {"attempt": "t0", "event": "end", "rc": 75, "reason": "", "cpu_s": 1800.0}
        with run.attempt_file("simulate", shard).open("a") as file:
            file.write(json.dumps(ended) + "\n")
    if refused:
        with pytest.raises(QuintetError, match=r"1 CPU hours are used of at most .*--max-cpu-hours") as caught:
            submit(run, desk, Wishes(max_cpu_hours=cap), quiet)
        assert caught.value.code is Exit.CHECK
    else:
        submit(run, desk, Wishes(max_cpu_hours=cap), quiet)
    assert (desk.alive, desk.cancelled) == (queued, [])


def lost_attempt(run: Run, shard: int, began: float, element: str = "7_0") -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(began))
    record_attempt(run, "simulate", shard, None, element=element, time=stamp)


def test_attempts_that_were_lost_count_against_the_cap(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 2)), Desk()
    for number in range(3):
        lost_attempt(run, 0, BEGAN + 3600 * number)  # 600 s each, the time limit
    submit(run, desk, Wishes(max_cpu_hours=0.51), quiet)
    with pytest.raises(QuintetError, match=r"0.5 CPU hours .* of at most 0.49 .up to 0.5 of them by attempts without"):
        submit(run, desk, Wishes(max_cpu_hours=0.49), quiet)
    desk.ended["7_0"] = Ending("PENDING", 0.0)  # it was requeued
    with pytest.raises(QuintetError, match=r"0.5 CPU hours"):
        submit(run, desk, Wishes(max_cpu_hours=0.49), quiet)
    desk.ended["7_0"] = Ending("NODE_FAIL", 60.0)  # sacct knows the last start only
    submit(run, desk, Wishes(max_cpu_hours=0.36), quiet)
    with pytest.raises(QuintetError, match=r"0.35 CPU hours"):
        submit(run, desk, Wishes(max_cpu_hours=0.34), quiet)


def test_a_lost_attempt_lasted_until_the_first_sign_of_its_end(tmp_path: Path) -> None:
    resources = {"cpus": 3, "mem_mb": 100, "time_s": 600}
    run = planned(tmp_path / "run", plan("simulate", 4, resources=resources))

    def seconds(shard: int) -> float:
        tried = attempts_of(run, "simulate", shard)
        return untold_seconds(run, run.plan("simulate"), shard, tried, {}) / 3

    lost_attempt(run, 0, BEGAN)
    lost_attempt(run, 0, BEGAN + 40)
    assert seconds(0) == 40 + 600
    lost_attempt(run, 1, BEGAN, "8_1")
    log = run.log_folder("simulate", 1) / "8_1.log"
    log.parent.mkdir(parents=True)
    log.write_text("begun\n")
    os.utime(log, (BEGAN + 25, BEGAN + 25))
    assert seconds(1) == 600, "a script that was killed with its Python says nothing"
    log.write_text("quintet: element 8_1 ended with rc 137\n")
    os.utime(log, (BEGAN + 25, BEGAN + 25))
    assert seconds(1) == 25
    lost_attempt(run, 2, time.time() - 100)
    assert 100 <= seconds(2) < 130, "one that runs has used no more than its time so far"
    record_attempt(run, "simulate", 3, None)
    assert seconds(3) == 600, "a record without a time"


def test_an_incomplete_merge_submits_under_the_wishes_of_its_own_submission(tmp_path: Path) -> None:
    run, desk, called = planned(tmp_path / "run", plan("simulate", 2)), Desk(), tmp_path / "called"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{called}\n[ "$2" != quintet.merge ] || exit 3\n')
    python.chmod(stat.S_IRWXU)
    surroundings = {"PATH": os.environ["PATH"], "QUINTET_PYTHON": str(python), "TMPDIR": str(tmp_path)}
    told = []
    for wishes in (
        Wishes(rounds=2),
        Wishes(rounds=1, throttle=7, max_cpu_hours=0.5),
        Wishes(phase="simulate", rounds=1),
    ):
        submit(run, desk, wishes, quiet)
        script = run.path / "slurm" / f"simulate.merge-{len(told) + 1}.sbatch"
        assert subprocess.run(["bash", script], env=surroundings, timeout=60).returncode == 3
        told.append(called.read_text().splitlines()[-1])
        desk.end(*desk.jobs)
    assert told == [
        f"-m quintet.slurm {run.path} --missing-only --auto-resubmit 1",
        f"-m quintet.slurm {run.path} --missing-only --auto-resubmit 0 --throttle 7 --max-cpu-hours 0.5",
        f"-m quintet.slurm {run.path} --missing-only --auto-resubmit 0 --phase simulate",
    ]
