"""A search of the study conspec on a real Slurm, with workers that are requeued and killed in the middle."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from quintet.shard.attempts import read_attempts
from quintet.shard.partial import read_card
from quintet.shard.run import Run

from ..house import PROJECT, payloads
from .cluster import Cluster

pytestmark = pytest.mark.slurm
SCRIPT = PROJECT / "slurm" / "conspec.sbatch"
SEARCH = "search-single"
TRIALS, WORKERS = 8, 3
CONFIG = {
    "study": "conspec",
    "environments": ["single"],
    "environment": {"family": "delayed"},
    "hyperparameters": {
        "gamma": {"type": "choice", "values": [0.95, 0.99]},
        **{name: {"type": "fixed", "value": 16} for name in ("hidden_dim", "lstm_hidden_size", "batch_size")},
    },
    "training": {"episodes": 400},
    "search": {"n_trials": TRIALS},
    "ablation": {"trials": 1},
    "store": {"lease_seconds": 10.0, "heartbeat_seconds": 1.0, "max_attempts": 99},
    "phases": {SEARCH: {"shards": WORKERS, "checkpoint_s": 0.5, "mem_mb": 800}, "ablation": {"mem_mb": 800}},
}


def verb(name: str, *arguments: object, environment: dict[str, str] | None = None) -> str:
    """Run a verb of `bin/` to its end."""
    done = subprocess.run(
        [PROJECT / "bin" / name, *map(str, arguments)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def published(run: Path) -> dict[str, str]:
    """Return the payload digest of every published trial."""
    return {path.name: read_card(path).pd for path in sorted((run / "partials" / SEARCH).rglob("t*.h5"))}


def test_requeued_and_killed_workers_complete_every_trial_once_with_the_bits_of_a_local_run(
    slurm: Cluster, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    run, local = tmp_path / "run", tmp_path / "local"
    verb("plan", config, "--run", run, "--no-probe")
    shutil.copytree(run, local)
    environment = {**slurm.environment, "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}"}
    job = slurm.sbatch(f"--array=0-{WORKERS - 1}", "--mem=800M", str(SCRIPT), str(run), SEARCH, cwd=PROJECT)
    end = time.monotonic() + 90
    while not list((run / "checkpoints").rglob("*.h5")):
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.05)
    slurm.command("scontrol", "requeue", f"{job}_0")
    slurm.command("scancel", "--signal=KILL", f"{job}_1", check=False)
    slurm.command("scancel", "--signal=USR1", "--batch", f"{job}_2", check=False)
    slurm.wait(job, timeout=240)
    again = slurm.sbatch("--array=0-1", "--mem=800M", str(SCRIPT), str(run), SEARCH, cwd=PROJECT)
    slurm.wait(again, timeout=240)
    with closing(sqlite3.connect(Run(run).store(SEARCH))) as connection:
        states = Counter(state for (state,) in connection.execute("SELECT state FROM trials"))
    assert states == {"COMPLETE": TRIALS}
    attempts = [list(read_attempts(Run(run).attempt_file(SEARCH, shard))) for shard in range(WORKERS)]
    assert max(map(len, attempts)) >= 2
    verb("local", local, "--jobs", 2)
    assert published(run) == published(local)
    verb("merge", run, "--allow-missing")  # analysable before the ablation has run
    assert "INCOMPLETE 0 of 1 blocks (ablation)" in (run / "report" / "report.md").read_text()
    verb("submit", run, "--missing-only", environment=environment)
    end = time.monotonic() + 240
    while not (run / "merged" / "ablation.done").exists() or payloads(run) != payloads(local):
        assert time.monotonic() < end, "the chain did not end"
        time.sleep(1.0)
