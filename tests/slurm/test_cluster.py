"""The generated scripts on a real Slurm: signals, requeue, logs, limits, lost nodes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from quintet.shard.errors import Exit
from quintet.shard.run import Run
from quintet.slurm.journal import Journal
from quintet.slurm.submission import Wishes, submit

from .cluster import Cluster, running_cluster
from .planned import plan, planned, publish_shard

pytestmark = pytest.mark.slurm
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_PYTHON", sys.executable)


def array_of(run: Run, phase: str = "simulate") -> str:
    return [entry.job for entry in Journal(run).entries if entry.kind == "array" and entry.phase == phase][-1]


def logs(run: Run, phase: str = "simulate") -> dict[str, str]:
    folder = run.path / "logs" / phase / "0000"
    return {path.name: path.read_text() for path in folder.glob("*.log")} if folder.is_dir() else {}


def starts(run: Run, shard: int, phase: str = "simulate") -> list[str]:
    path = run.path / "seen" / phase / f"{shard}.starts"
    return path.read_text().split() if path.exists() else []


def wait_for_file(path: Path, timeout: float = 30.0) -> None:
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def test_elements_tell_the_true_code_and_only_failures_leave_a_log(slurm: Cluster, tmp_path: Path) -> None:
    run = planned(tmp_path / "a run, with späces", plan("simulate", 5), behaviour={1: "70", 3: "kill"})
    submit(run, slurm.desk(), Wishes())
    job = array_of(run)
    slurm.wait(job)
    codes = {task: code for task, (_, code, _) in slurm.states(job).items()}
    assert codes == {0: "0:0", 1: "70:0", 2: "0:0", 3: "137:0", 4: "0:0"}
    kept = logs(run)
    assert sorted(kept) == [f"{job}_1.log", f"{job}_3.log"]
    assert "the shard's last word" in kept[f"{job}_1.log"]
    assert kept[f"{job}_3.log"].splitlines()[-1].endswith(f"element {job}_3 ended with rc 137")


def test_the_shard_sees_its_deadline_its_snapshot_and_local_caches(slurm: Cluster, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", plan("simulate", 1), site=f"scratch: {tmp_path}\n", behaviour={})
    before = time.time()
    submit(run, slurm.desk(), Wishes())
    slurm.wait(array_of(run))
    lines = (run.path / "seen" / "simulate" / "0.environment").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    assert before + 480 < float(seen["QUINTET_DEADLINE"]) < time.time() + 600
    assert seen["PYTHONPATH"].split(":")[0] == str(run.path / "plan" / "code")
    assert seen["OMP_NUM_THREADS"] == "1"
    for name in ("TMPDIR", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        assert seen[name].startswith(f"{tmp_path}/quintet.")
    assert not list(tmp_path.glob("quintet.*")), "the folder of caches outlived its element"


def test_usr1_stops_early_and_the_element_comes_back_in_the_same_array(slurm: Cluster, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", plan("simulate", 3), behaviour={0: "wait 0", 1: "75 75 0", 2: "0"})
    submit(run, slurm.desk(), Wishes())
    job = array_of(run)
    wait_for_file(run.path / "seen" / "simulate" / "0.waiting")
    slurm.command("scancel", "--signal=USR1", "--batch", f"{job}_0")
    slurm.wait(job)
    assert {task: state for task, (state, _, _) in slurm.states(job).items()} == dict.fromkeys(range(3), "COMPLETED")
    assert starts(run, 0) == ["0", "1"]
    assert starts(run, 1) == ["0", "1", "2"]
    assert (run.path / "seen" / "simulate" / "0.stopped").read_text() == "SIGUSR1"
    assert logs(run) == {}


def test_cancelled_element_stops_and_does_not_come_back(slurm: Cluster, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", plan("simulate", 2), behaviour={0: "wait", 1: "0"})
    submit(run, slurm.desk(), Wishes())
    job = array_of(run)
    wait_for_file(run.path / "seen" / "simulate" / "0.waiting")
    slurm.command("scancel", f"{job}_0")
    slurm.wait(job)
    time.sleep(7)  # longer than a requeued element takes to come back
    assert slurm.states(job)[0][0] == "CANCELLED"
    assert starts(run, 0) == ["0"]
    assert set((run.path / "seen" / "simulate" / "0.stopped").read_text().split()) == {"SIGTERM"}


def test_restarts_end_at_their_limit(slurm: Cluster, tmp_path: Path) -> None:
    resources = {"cpus": 1, "mem_mb": 100, "time_s": 600, "max_restarts": 1}
    run = planned(tmp_path / "run", plan("simulate", 1, resources=resources), behaviour={0: "75"})
    submit(run, slurm.desk(), Wishes())
    job = array_of(run)
    slurm.wait(job)
    assert slurm.states(job)[0] == ("FAILED", "75:0", 1)
    assert starts(run, 0) == ["0", "1"]


def test_lost_node_gives_its_elements_back(slurm: Cluster, tmp_path: Path) -> None:
    site = "extra: [--nodelist=n2]\n"
    run = planned(tmp_path / "run", plan("simulate", 1), site=site, behaviour={0: "sleep 0"})
    submit(run, slurm.desk(), Wishes())
    job = array_of(run)
    wait_for_file(run.path / "seen" / "simulate" / "0.waiting")
    slurm.kill_node("n2")
    try:
        time.sleep(0.5)
        assert slurm.desk().queued()[f"{job}_0"].state == "PENDING"
    finally:
        slurm.revive_node("n2")
    slurm.wait(job)
    assert slurm.states(job)[0][0] == "COMPLETED"
    assert starts(run, 0)[-1] == "1"


def test_an_array_never_holds_what_is_queued_published_or_another_arrays(slurm: Cluster, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", plan("simulate", 6), behaviour=dict.fromkeys(range(6), "wait 0"))
    publish_shard(run, "simulate", 4)
    submit(run, slurm.desk(), Wishes())
    first = array_of(run)
    assert run.path.joinpath("slurm/simulate-1.map").read_text().split() == ["0", "1", "2", "3", "5"]
    wait_for_file(run.path / "seen" / "simulate" / "5.waiting")
    again = submit(run, slurm.desk(), Wishes(missing_only=True))
    assert again.jobs == []
    slurm.command("scancel", f"{first}_1", f"{first}_4")
    time.sleep(4)
    healed = submit(run, slurm.desk(), Wishes(missing_only=True))
    assert len(healed.jobs) == 2
    assert run.path.joinpath("slurm/simulate-2.map").read_text().split() == ["1", "5"]
    slurm.command("scancel", first, *healed.jobs)
    slurm.wait(first, *healed.jobs)


def test_throttle_holds_and_the_merge_waits_for_the_whole_array(slurm: Cluster, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", plan("simulate", 6), behaviour=dict.fromkeys(range(6), "nap"))
    submit(run, slurm.desk(), Wishes(throttle=2))
    array, merge = (entry.job for entry in Journal(run).entries)
    most, states = 0, {"PENDING"}
    while True:
        queued = {name: job.state for name, job in slurm.desk().queued().items()}
        elements = [state for name, state in queued.items() if name.startswith(f"{array}_")]
        if not elements:
            break
        most = max(most, elements.count("RUNNING"))
        states.add(queued.get(merge, "ended"))
    assert most == 2
    assert states == {"PENDING"}, "the merge did not wait for the array"
    slurm.wait(merge)
    assert {state for state, _, _ in slurm.states(array).values()} == {"COMPLETED"}


def test_hand_script_runs_elements_and_keeps_only_the_logs_of_failures(slurm: Cluster, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", plan("simulate", 3), behaviour={2: "65", 1: "75 0"})
    script = str(PROJECT / "slurm" / "complementarity.sbatch")
    job = slurm.sbatch("--array=0-2", "--mem=100M", script, str(run.path), "simulate", cwd=PROJECT)
    slurm.wait(job)
    assert {task: code for task, (_, code, _) in slurm.states(job).items()} == {0: "0:0", 1: "0:0", 2: "65:0"}
    assert list(logs(run)) == [f"{job}_2.log"]
    assert starts(run, 1) == ["0", "1"]
    wrong = slurm.sbatch("--array=0", script, str(tmp_path), "simulate", cwd=tmp_path)
    slurm.wait(wrong)
    assert slurm.states(wrong)[0][1] == "64:0"
    assert "usage: sbatch" in next(tmp_path.glob("complementarity-*.log")).read_text()


@pytest.fixture(scope="module")
def small_cluster(slurm_is_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("small"), max_array_size=11) as cluster:
        yield cluster


def test_more_shards_than_an_array_may_have_become_several_arrays(small_cluster: Cluster, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", plan("simulate", 40), behaviour={})
    outcome = submit(run, small_cluster.desk(), Wishes(throttle=7))
    entries = [entry for entry in Journal(run).entries if entry.kind == "array"]
    assert [(entry.offset, entry.count) for entry in entries] == [(0, 10), (10, 10), (20, 10), (30, 10)]
    small_cluster.wait(*outcome.jobs)
    assert all(starts(run, shard) == ["0"] for shard in range(40))
    assert logs(run) == {}


@pytest.fixture(scope="module")
def limited_cluster(accounting_is_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("limited"), max_submit=12) as cluster:
        yield cluster


def test_limit_per_user_takes_what_fits_and_a_repetition_goes_on(limited_cluster: Cluster, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", plan("simulate", 30), behaviour={})
    desk = limited_cluster.desk()
    codes: list[int] = []
    while not codes or (codes[-1] == Exit.UNAVAILABLE and len(codes) < 12):
        outcome = submit(run, desk, Wishes())
        codes.append(outcome.code)
        limited_cluster.wait(*outcome.jobs)
        for shard in range(30):
            if starts(run, shard) and not run.shard_file("simulate", shard).exists():
                publish_shard(run, "simulate", shard)
    assert codes[0] == Exit.UNAVAILABLE
    assert codes[-1] == Exit.OK
    assert [len(starts(run, shard)) for shard in range(30)] == [1] * 30
    assert "pending" in [entry.kind for entry in Journal(run).entries]
    job = array_of(run)
    assert {ending.state for ending in desk.endings([job]).values()} == {"COMPLETED"}, (
        "the accounting is read where there is one"
    )
