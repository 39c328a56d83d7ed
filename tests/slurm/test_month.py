"""The weeks after a first submission, on a real Slurm: a failed shard's log, more units, comparing, packing, a cap."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quintet.shard.attempts import read_attempts
from quintet.shard.errors import Exit
from quintet.shard.run import Run
from quintet.slurm.journal import Journal

from ..house import House, payloads
from .cluster import Cluster
from .test_chain import Site

pytestmark = pytest.mark.slurm
SMALL = ("levels=1", "search.n_trials=6", "search.sampler=random", "walk.steps=4")
LONGER = ("levels=1", "search.n_trials=9", "search.sampler=random", "walk.steps=4")
TWO_WALKS = ("phases.walk.shards=2",)
TINY_CAP = "0.000001"


@pytest.fixture(scope="module")
def site(house: House, slurm: Cluster) -> Site:
    return Site(house, slurm)


@pytest.fixture(scope="module")
def finished(house: House, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that Slurm has brought to its end."""
    run = house.planned(tmp_path_factory.mktemp("finished") / "run", *SMALL)
    site.submit(run)
    site.wait(run)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def compared(house: House, one: Path, other: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "quintet.merge.compare", str(one), str(other)]
    return subprocess.run(words, env=house.environment(), capture_output=True, text=True, timeout=120)


def status(house: House, run: Path) -> dict[str, object]:
    return dict(json.loads(house("status", run, "--json").stdout))


def test_the_log_of_a_failed_shard_is_shown_until_it_is_mended(house: House, site: Site, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run", *SMALL, *TWO_WALKS)
    code = run / "plan" / "code" / "quintet" / "shard" / "toy.py"
    sound = code.read_text()
    code.chmod(0o644)
    code.write_text(sound.replace("context.config.walk.steps\n", "context.config.walk.steps // (1 - unit)\n"))
    site.submit(run, "--phase", "walk", "--allow-code-drift")
    site.wait(run)
    (job,) = [entry.job for entry in Journal(Run(run)).entries if entry.kind == "array"]
    failed = house("status", run, "--failed").stdout
    (told,) = [line for line in failed.splitlines() if line.startswith("==")]
    assert told.startswith("== walk/1: bug: ") and told.endswith(f" by zero (logs/walk/0000/{job}_1.log)"), told
    log = house("status", run, "--log", "walk/1").stdout
    assert log.startswith(f"# logs/walk/0000/{job}_1.log")
    assert "ZeroDivisionError" in log and "toy.py" in log, "the traceback is there"
    code.write_text(sound)
    site.submit(run, "--phase", "walk")
    site.wait(run)
    assert house("status", run, "--failed").stdout == ""
    assert house("missing", run, "walk").stdout == ""


def test_a_finished_run_with_more_trials_equals_one_planned_so_from_the_start(
    house: House, site: Site, run: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in (run / "partials" / "search").rglob("t*.h5")}
    house.planned(run, *LONGER)
    site.submit(run, "--until-done", "--poll", "10")
    assert {name: (run / "partials" / "search" / "0000" / name).read_bytes() for name in before} == before
    other = house.planned(tmp_path / "other", *LONGER)
    house("local", other, "--jobs", 2)
    same = compared(house, run, other)
    assert same.returncode == 0, same.stdout + same.stderr
    assert same.stdout.count(": equal, payload ") == len(Run(run).phases())


def test_two_runs_that_differ_are_told_apart_by_first_phase_and_dataset(
    house: House, finished: Path, run: Path
) -> None:
    for name in ("partials", "attempts", "checkpoints"):
        shutil.rmtree(run / name / "walk", ignore_errors=True)
    (run / "merged" / "walk.h5").unlink()
    house.planned(run, *SMALL[:-1], "walk.steps=5")
    house("local", run, "--jobs", 2)
    told = compared(house, finished, run)
    lines = told.stdout.splitlines()
    assert told.returncode == int(Exit.CHECK), told.stderr
    assert [line.split(":")[0] for line in lines] == list(Run(run).phases())
    assert all(": equal, payload " in line for line in lines[:-1])
    assert lines[-1].startswith("walk: differs: /rows/position[0, 0] is ")


def test_a_packed_run_is_still_complete_for_every_verb(house: House, site: Site, finished: Path, run: Path) -> None:
    house("verify", run)
    many = len(list((run / "partials" / "simulate").rglob("*.h5")))
    house("pack", run)
    assert len(list((run / "partials" / "simulate").rglob("*.h5"))) == 1 < many
    looked = status(house, run)
    assert str(looked["next"]).startswith("complete")
    assert all(phase["merged"] and phase["complete"] for phase in looked["phases"])  # type: ignore[attr-defined]
    assert payloads(run) == payloads(finished)
    said = site.submit(run, "--missing-only").splitlines()
    assert [line.partition(": ")[2] for line in said] == ["complete"] * len(said)


def test_a_cap_on_cpu_hours_stops_submission_and_no_work(house: House, site: Site, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run", *SMALL[:-1], *TWO_WALKS, "walk.steps=30", "walk.step_seconds=0.1")
    site.submit(run, "--phase", "search")
    site.wait(run)
    site.submit(run, "--phase", "walk")
    handed_in = (run / "submissions.jsonl").read_bytes()
    wait_for_attempts(run, "walk", 2)
    site.submit(run, "--max-cpu-hours", TINY_CAP, code=int(Exit.CHECK))
    (run / "plan" / "site.yaml").write_text(f"max_cpu_hours: {TINY_CAP}\n")
    site.submit(run, "--missing-only", code=int(Exit.CHECK))
    assert (run / "submissions.jsonl").read_bytes() == handed_in
    site.wait(run)
    assert house("missing", run, "walk").stdout == "", "what ran has gone on to its end"
    assert set(payloads(run)) == {"search", "walk"}
    attempts = [list(read_attempts(Run(run).attempt_file("walk", shard))) for shard in range(2)]
    assert [[item["end"]["rc"] for item in items] for items in attempts] == [[0], [0]]
    assert "/select-1.sbatch" in site.submit(run, "--max-cpu-hours", "100", "--dry-run")


def wait_for_attempts(run: Path, phase: str, count: int) -> None:
    """Wait until so many shards of a phase have begun."""
    end = time.monotonic() + 60
    while len(list((run / "attempts" / phase).rglob("*.jsonl"))) < count:
        assert time.monotonic() < end, "no attempt began"
        time.sleep(0.05)
