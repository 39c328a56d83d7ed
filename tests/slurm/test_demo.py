"""The complementarity demo on a real Slurm as a user runs it: submitted as a chain, by hand, and without a Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from quintet.shard.attempts import read_attempts
from quintet.shard.errors import Exit
from quintet.shard.partial import read_card
from quintet.shard.run import Run
from quintet.slurm.journal import Entry, Journal

from ..house import PROJECT, payloads
from .cluster import Cluster

pytestmark = pytest.mark.slurm
CONFIG = PROJECT / "configs" / "complementarity" / "demo.yaml"
SCRIPT = PROJECT / "slurm" / "complementarity.sbatch"
SHARDS = 4


class User:
    """The commands of `bin/` in the project's folder, with the private Slurm in reach."""

    def __init__(self, slurm: Cluster) -> None:
        """Keep the environment of a login shell without a job around it."""
        self._environment = {
            **{key: value for key, value in slurm.environment.items() if not key.startswith("QUINTET")},
            "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}",
        }

    def __call__(self, verb: str, *arguments: object, code: int = 0) -> str:
        """Run a verb to its end and return what it printed."""
        done = subprocess.run(
            [PROJECT / "bin" / verb, *map(str, arguments)],
            cwd=PROJECT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{verb} {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def user(slurm: Cluster) -> User:
    return User(slurm)


@pytest.fixture(scope="module")
def local(user: User, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo run without Slurm."""
    run = tmp_path_factory.mktemp("local") / "run"
    user("plan", CONFIG, "--run", run, "--no-probe")
    user("local", run, "--jobs", 2)
    yield run


def before_simulate(local: Path, run: Path) -> Path:
    """Copy the run as it stood when select was merged and simulate had not begun."""
    shutil.copytree(local, run)
    for folder in ("partials", "attempts", "logs"):
        shutil.rmtree(run / folder / "simulate", ignore_errors=True)
    for name in ("simulate.h5", "simulate.done"):
        (run / "merged" / name).unlink()
    return run


def published(run: Path) -> dict[int, str]:
    """Return the payload digest of every published shard of simulate."""
    files = [Run(run).shard_file("simulate", shard) for shard in range(SHARDS)]
    return {shard: read_card(path).pd for shard, path in enumerate(files) if path.exists()}


def entries(run: Path, kind: str) -> list[Entry]:
    return [entry for entry in Journal(Run(run)).entries if entry.kind == kind]


def wait_for_attempts(run: Path, count: int) -> None:
    """Wait until so many shards of simulate have begun."""
    end = time.monotonic() + 60
    while len(list((run / "attempts" / "simulate").rglob("*.jsonl"))) < count:
        assert time.monotonic() < end, "no attempt began"
        time.sleep(0.05)


def test_submitted_chain_gives_the_payloads_and_the_report_of_a_local_run(
    user: User, slurm: Cluster, local: Path, tmp_path: Path
) -> None:
    run = tmp_path / "first"
    user("plan", CONFIG, "--run", run, "--no-probe")
    said = user("submit", run)
    assert [line.split(":")[0] for line in said.splitlines()] == ["search", "select", "simulate"]
    slurm.wait(*(entry.job for entry in Journal(Run(run)).entries), timeout=240)
    merges = {entry.phase: slurm.states(entry.job)[-1][:2] for entry in entries(run, "merge")}
    assert merges == dict.fromkeys(("search", "select", "simulate"), ("COMPLETED", "0:0"))
    assert payloads(run) == payloads(local)
    figure = "figures/aggregated_complementarity.png"
    assert (run / figure).read_bytes() == (local / figure).read_bytes()
    assert (run / "report" / "report.html").is_file()
    looked = json.loads(user("status", run, "--json"))
    assert [phase["merged"] for phase in looked["phases"]] == [True] * 3
    assert looked["next"].startswith("complete")
    assert user("submit", run).split() == ["search:", "complete", "select:", "complete", "simulate:", "complete"]
    assert not list((run / "logs").rglob("*.log"))


def test_hand_submitted_elements_with_one_cancelled_and_one_requeued_give_the_same_partials(
    slurm: Cluster, user: User, local: Path, tmp_path: Path
) -> None:
    run = before_simulate(local, tmp_path / "by hand, ü")
    job = slurm.sbatch(f"--array=0-{SHARDS - 1}", "--mem=300M", str(SCRIPT), str(run), "simulate", cwd=PROJECT)
    wait_for_attempts(run, 2)
    slurm.command("scancel", f"{job}_0")
    slurm.command("scancel", "--signal=USR1", "--batch", f"{job}_1", check=False)
    slurm.wait(job)
    assert {1, 2, 3} <= set(published(run))
    again = slurm.sbatch("--array=0", "--mem=300M", str(SCRIPT), str(run), "simulate", cwd=PROJECT)
    slurm.wait(again)
    assert published(run) == published(local)
    assert user("missing", run, "simulate") == ""


def test_lost_node_and_a_second_array_over_the_same_shards_leave_one_partial_each(
    slurm: Cluster, local: Path, tmp_path: Path
) -> None:
    run = before_simulate(local, tmp_path / "run")
    script = [str(SCRIPT), str(run), "simulate"]
    here = slurm.sbatch(f"--array=0-{SHARDS - 1}", "--mem=300M", "--nodelist=n2", *script, cwd=PROJECT)
    wait_for_attempts(run, 1)
    slurm.kill_node("n2")  # its processes go on unseen while the elements come back elsewhere
    try:
        there = slurm.sbatch(f"--array=0-{SHARDS - 1}", "--mem=300M", "--nodelist=n1", *script, cwd=PROJECT)
        slurm.wait(there)
    finally:
        slurm.revive_node("n2")
    slurm.wait(here)
    assert {state for state, _, _ in slurm.states(there).values()} == {"COMPLETED"}
    # The node that comes back may end with TERM what was started on it anew: 75, and nothing is lost.
    assert {code for _, code, _ in slurm.states(here).values()} <= {"0:0", f"{int(Exit.STOPPED)}:0"}
    tried = [list(read_attempts(Run(run).attempt_file("simulate", shard))) for shard in range(SHARDS)]
    assert max(map(len, tried)) >= 2
    assert published(run) == published(local)
    assert not list((run / "partials" / "simulate").rglob("*conflict*"))


def test_an_element_without_a_fit_python_says_so_with_78_and_writes_nothing_else(
    slurm: Cluster, local: Path, tmp_path: Path
) -> None:
    run = before_simulate(local, tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"  # no .venv here
    programs = tmp_path / "programs"
    for folder in (elsewhere, programs):
        folder.mkdir()
    old = programs / "python3"
    old.write_text("#!/bin/sh\necho Python 3.11, h5py\n")
    old.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    named = [
        ({"PATH": path}, "'python3'", "it lacks Python 3.11, h5py"),
        ({"QUINTET_PYTHON": "/no/such/python"}, "'/no/such/python'", "no such program"),
    ]
    for extra, program, why in named:
        job = slurm.sbatch("--array=0", "--mem=100M", str(SCRIPT), str(run), "simulate", cwd=elsewhere, extra=extra)
        slurm.wait(job)
        assert slurm.states(job)[0][1] == f"{int(Exit.MISMATCH)}:0"
        lines = (run / "logs" / "simulate" / "0000" / f"{job}_0.log").read_text().splitlines()
        assert len(lines) == 1
        assert program in lines[0]
        assert why in lines[0]
    assert published(run) == {}
    assert not (run / "attempts" / "simulate").exists()


def test_level_script_reduces_the_shards_of_a_phase_ahead_of_its_merge(
    slurm: Cluster, local: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(local, run)
    job = slurm.sbatch(
        "--array=0", "--mem=300M", str(PROJECT / "slurm" / "level.sbatch"), str(run), "simulate", cwd=PROJECT
    )
    slurm.wait(job)
    assert slurm.states(job)[0][:2] == ("COMPLETED", "0:0")
    card, whole = (read_card(run / "merged" / name) for name in ("simulate.level/r000000.h5", "simulate.h5"))
    assert (card.lo, card.hi, card.units, card.inp) == (0, whole.hi, whole.units, whole.inp)
    assert not list((run / "logs").rglob("level-*"))


def test_status_says_why_an_element_never_came_to_an_attempt(
    user: User, slurm: Cluster, local: Path, tmp_path: Path
) -> None:
    run = before_simulate(local, tmp_path / "run")
    job = slurm.sbatch(
        "--array=2",
        "--mem=100M",
        str(SCRIPT),
        str(run),
        "simulate",
        cwd=PROJECT,
        extra={"QUINTET_PYTHON": "/no/python"},
    )
    slurm.wait(job)
    looked = json.loads(user("status", run, "--json"))["phases"][2]
    assert (looked["shards"]["failed"], looked["failed_shards"]) == (1, [2])
    assert [item["failure"] for item in looked["failures"]] == ["launch"]
    assert "cannot run with '/no/python'" in looked["failures"][0]["example"]
    assert "== simulate/2: config: rc 78" in user("status", run, "--failed")
    assert f"# logs/simulate/0000/{job}_2.log" in user("status", run, "--log", "simulate/2")
    assert "--failed and mend that" in user("status", run)


def test_more_seeds_keep_every_partial_and_submit_only_the_shards_behind_them(
    user: User, local: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(local, run)
    more = ("--set", "simulate.n_seeds=400", "--set", "simulate.seed_block=200")
    user("plan", CONFIG, "--run", run, "--no-probe", *more)
    assert user("missing", run, "simulate", code=int(Exit.CHECK)) == "4-7\n"
    assert published(run) == published(local)
    lines = user("submit", run, "--dry-run").splitlines()
    assert [line for line in lines if line.startswith("#")] == ["# search: complete", "# select: complete"]
    assert [line.split()[2] for line in lines if "--array" in line] == ["--array=0-3"]
    assert "nothing changed" in user("plan", CONFIG, "--run", run, "--no-probe", *more)
