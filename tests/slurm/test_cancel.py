"""`bin/cancel` on a real Slurm: all jobs of a run, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quintet.shard.run import Run
from quintet.slurm.submission import Wishes, submit

from .cluster import Cluster
from .planned import plan, planned

pytestmark = pytest.mark.slurm
PROJECT = Path(__file__).resolve().parents[2]


def cancel(slurm: Cluster, run: Run, cwd: Path = PROJECT) -> str:
    done = subprocess.run(
        [PROJECT / "bin" / "cancel", os.path.relpath(run.path, cwd)],
        cwd=cwd,
        env={**os.environ, **slurm.environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_job_of_the_run_ends_and_no_other(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_PYTHON", sys.executable)
    waits = dict.fromkeys(range(2), "wait")
    doomed = planned(tmp_path / "a run", plan("prepare", 2), plan("simulate", 2, after=("prepare",)), behaviour=waits)
    other = planned(tmp_path / "a run too", plan("prepare", 1), behaviour={0: "wait"})
    submit(doomed, slurm.desk(), Wishes(), lambda line: None)
    kept = submit(other, slurm.desk(), Wishes(), lambda line: None).jobs
    by_hand = [
        slurm.sbatch("--array=1", "--begin=now+1hour", hand_script(tmp_path, name), name_of, "prepare", cwd=tmp_path)
        for name in ("toy", "level")
        for name_of in ("a run", "a run too")
    ]
    seen = doomed.path / "seen" / "prepare"
    wait_for(seen, "*.waiting", 2)

    said = cancel(slurm, doomed)
    assert said.count(" cancelled: ") == 6, "two arrays, two merges, two arrays by hand"
    assert all(f"job {job} cancelled: " in said for job in by_hand[::2])
    slurm.wait(*by_hand[::2])
    left = {name.partition("_")[0] for name in slurm.desk().queued()}
    assert left == {*kept, *by_hand[1::2]}
    assert all(set(path.read_text().split()) == {"SIGTERM"} for path in wait_for(seen, "*.stopped", 2))
    assert cancel(slurm, doomed).startswith("nothing of ")
    cancel(slurm, other)


def wait_for(folder: Path, pattern: str, count: int) -> list[Path]:
    """Return the files of a pattern when there are so many."""
    end = time.monotonic() + 60
    while len(found := list(folder.glob(pattern))) < count:
        assert time.monotonic() < end, f"{pattern}: {len(found)} of {count}"
        time.sleep(0.05)
    return found


def hand_script(folder: Path, name: str) -> str:
    """Return a script for sbatch by hand, as it is typed."""
    path = folder / "slurm" / f"{name}.sbatch"
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nsleep 60\n")
    return f"slurm/{name}.sbatch"
