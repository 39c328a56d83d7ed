"""Cost of a trivial array task on a real, private Slurm, and the time from submitting 64 of them to the last one's end.

    python bench/tasks.py [--tasks 64] [--slots 8] [--workflows .peers/bin]

The same work handed in five ways: by `bin/submit` with one unit a shard and packed eight and all to a shard, as a plain
array of a Python that imports numpy and h5py and writes one file, and by submitit's `map_array`, with and without srun.
`--workflows` names the programs of Snakemake and signac-flow, which then hand in the plain array's work, too.
CPU seconds are those of everything that Slurm starts for a task: its step daemon, the batch script, the process.
Without Slurm (Debian: slurm-wlm munge) only the local runners are compared.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.process import BARE_WRITING, cost_of
from common.study import PROJECT, House
from common.table import Row, arguments, show
from common.workflows import with_signac, with_snakemake

sys.path.append(str(PROJECT))
from tests.slurm.cluster import Cluster, absent, running_cluster

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
PACKED = 8
QUIET_S = 0.7
LOCAL_TASKS = 16


@dataclass(frozen=True)
class Measured:
    """One way: CPU seconds per unit, files per unit, seconds from submitting to the last task's end."""

    cpu_s: float
    files: float
    wall_s: float


def reaped() -> tuple[int, float]:
    """Take the ended processes that were handed to this one; return how many, and their CPU seconds."""
    count, seconds = 0, 0.0
    while True:
        try:
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return count, seconds
            _, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return count, seconds
        count, seconds = count + 1, seconds + usage.ru_utime + usage.ru_stime


def files_below(*folders: Path) -> int:
    """Return the number of files below folders."""
    return sum(path.is_file() for folder in folders for path in folder.rglob("*"))


def on_slurm(cluster: Cluster, units: int, hand_in: Callable[[], str], folders: tuple[Path, ...]) -> Measured:
    """Hand in, wait for the end and the step daemons; `hand_in` returns the job to wait for, empty: all there are."""
    reaped()
    begun = time.monotonic()
    job = hand_in()
    seconds = 0.0
    wanted = ("-j", job) if job else ()
    while cluster.command("squeue", "-h", *wanted, check=False).strip():
        seconds += reaped()[1]
        time.sleep(0.05)
    wall = time.monotonic() - begun
    last = time.monotonic()
    while time.monotonic() - last < QUIET_S:
        count, more = reaped()
        seconds += more
        last = time.monotonic() if count else last
        time.sleep(0.05)
    return Measured(seconds / units, files_below(*folders) / units, wall)


def ours(cluster: Cluster, house: House, run: Path, slots: int) -> Callable[[], str]:
    """Return the function that submits a planned run and takes its merge back."""
    environment = {**house.environment(), **{key: cluster.environment[key] for key in ("SLURM_CONF", "PATH")}}

    def hand_in() -> str:
        command = house.command("submit", run, "--throttle", slots)
        subprocess.run(command, env={**environment, "QUINTET_PYTHON": sys.executable}, check=True, capture_output=True)
        lines = (run / "submissions.jsonl").read_text(encoding="utf-8").splitlines()
        jobs = {entry["kind"]: entry["job"] for entry in map(json.loads, lines)}
        cluster.command("scancel", jobs["merge"])
        return str(jobs["array"])

    return hand_in


def plain(cluster: Cluster, folder: Path, tasks: int, slots: int) -> Callable[[], str]:
    """Return the function that submits an array of bare processes."""
    folder.mkdir()
    script = folder / "plain.sbatch"
    (folder / "bare.py").write_text(BARE_WRITING, encoding="utf-8")
    (folder / "files").mkdir()
    body = f'{sys.executable} {folder}/bare.py "{folder}/files/$SLURM_ARRAY_TASK_ID.h5"\n'
    script.write_text(f"#!/bin/bash\n#SBATCH --output=/dev/null\n{body}", encoding="utf-8")
    return lambda: cluster.sbatch(f"--array=0-{tasks - 1}%{slots}", str(script))


def with_submitit(folder: Path, tasks: int, slots: int, srun: bool) -> Callable[[], str]:
    """Return the function that submits by submitit's map_array."""
    import submitit

    def hand_in() -> str:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
        executor.update_parameters(timeout_min=5, slurm_array_parallelism=slots, slurm_use_srun=srun)
        return str(executor.map_array(lambda number: number, range(tasks))[0].job_id).partition("_")[0]

    return hand_in


def slurm_rows(house: House, folder: Path, tasks: int, slots: int, workflows: Path | None) -> list[Row]:
    """Measure every way on one cluster."""
    found: dict[str, Measured] = {}
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with running_cluster(folder / "slurm") as cluster:
        os.environ.update({key: cluster.environment[key] for key in ("SLURM_CONF", "PATH")})
        for name, pack in (("unpacked", 1), (f"packed x{PACKED}", PACKED), (f"packed x{tasks}", tasks)):
            run = house.planned(folder / name.replace(" ", "-"), tasks, tasks // pack)
            places = tuple(run / part for part in ("partials", "attempts", "logs"))
            found[name] = on_slurm(cluster, tasks, ours(cluster, house, run, slots), places)
            done = len(list((run / "partials").rglob("*.h5")))
            if done != tasks // pack:
                raise SystemExit(f"{name}: {done} of {tasks // pack} partials")
        bare = folder / "bare"
        found["plain"] = on_slurm(cluster, tasks, plain(cluster, bare, tasks, slots), (bare / "files",))
        for name, srun in (("submitit", True), ("submitit without srun", False)):
            place = folder / name.replace(" ", "-")
            found[name] = on_slurm(cluster, tasks, with_submitit(place, tasks, slots, srun), (place,))
        if workflows is not None:
            script = bare / "bare.py"
            place = folder / "snakemake"
            found["Snakemake"] = on_slurm(
                cluster, tasks, with_snakemake(workflows, script, place, tasks, slots), (place,)
            )
            place = folder / "signac-flow"
            found["signac-flow"] = on_slurm(cluster, tasks, with_signac(workflows, script, place, tasks), (place,))
    return [*table_of(found, tasks, slots), *workflow_rows(found)]


def table_of(found: dict[str, Measured], tasks: int, slots: int) -> list[Row]:
    """Return the rows."""
    peer, eight, one = found["submitit without srun"], found[f"packed x{PACKED}"], found["unpacked"]
    all_in_one = found[f"packed x{tasks}"]
    done = f"submit to done, {tasks} tasks, {slots} slots"
    return [
        Row(f"a unit, packed x{PACKED}", eight.cpu_s, "CPU s", peer.cpu_s, 0.025),
        Row(f"a unit, packed x{tasks}", all_in_one.cpu_s, "CPU s", peer.cpu_s, None, 0.005),
        Row("a unit, unpacked; peer: submitit without srun", one.cpu_s, "CPU s", peer.cpu_s),
        Row("a unit, unpacked; peer: submitit with srun", one.cpu_s, "CPU s", found["submitit"].cpu_s),
        Row("a unit, unpacked; peer: plain array", one.cpu_s, "CPU s", found["plain"].cpu_s),
        Row(f"files a unit, packed x{PACKED}; peer: submitit", eight.files, "files", peer.files, 0.15),
        Row("files a unit, unpacked; peer: submitit", one.files, "files", peer.files),
        Row(f"{done}; peer: plain array", one.wall_s, "s", found["plain"].wall_s, 1.1, of_peer=True),
        Row(f"{done}; peer: submitit without srun", one.wall_s, "s", peer.wall_s),
        Row(f"{done}; peer: submitit with srun", one.wall_s, "s", found["submitit"].wall_s),
        Row(f"the same, packed x{PACKED}; peer: plain array", eight.wall_s, "s", found["plain"].wall_s, None, 3.0),
    ]


def workflow_rows(found: dict[str, Measured]) -> list[Row]:
    """Return the rows beside the workflow tools that were measured; one unit a shard, as they have one a task."""
    ours, rows = found["unpacked"], []
    for name in [name for name in ("Snakemake", "signac-flow") if name in found]:
        peer = found[name]
        rows += [
            Row(f"a unit, unpacked; peer: {name}", ours.cpu_s, "CPU s", peer.cpu_s),
            Row(f"files a unit, unpacked; peer: {name}", ours.files, "files", peer.files),
            Row(f"submit to done; peer: {name}", ours.wall_s, "s", peer.wall_s),
        ]
    return rows


def local_rows(house: House, folder: Path) -> list[Row]:
    """Compare `bin/local` with submitit's local executor."""
    import submitit

    costs: dict[int, float] = {}
    for pack in (1, PACKED):
        run = house.planned(folder / f"local-{pack}", LOCAL_TASKS, LOCAL_TASKS // pack)
        command = house.command("local", run, "--jobs", 2, "--phase", "simulate")
        costs[pack] = cost_of(command, house.environment()).cpu_s / LOCAL_TASKS
    before = children_cpu_s()
    executor: Any = submitit.AutoExecutor(folder=folder / "local-submitit", cluster="local")
    executor.update_parameters(timeout_min=5)
    for job in executor.map_array(lambda number: number, range(LOCAL_TASKS)):
        job.result()
        job._process.wait()
    peer = (children_cpu_s() - before) / LOCAL_TASKS
    return [
        Row("a unit without Slurm, unpacked; peer: submitit local", costs[1], "CPU s", peer),
        Row(f"a unit without Slurm, packed x{PACKED}; peer: submitit local", costs[PACKED], "CPU s", peer),
    ]


def children_cpu_s() -> float:
    """Return the CPU seconds of ended children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print the table."""
    parser = arguments("Cost of a trivial array task.")
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--workflows", type=Path, help="folder with snakemake and the Python of signac-flow")
    given = parser.parse_args()
    logging.getLogger("submitit").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="quintet-") as scratch:
        folder = Path(scratch)
        house = House.built(folder)
        rows, notes = local_rows(house, folder), []
        reason = absent()
        if reason is None:
            workflows = given.workflows and given.workflows.resolve()
            rows = slurm_rows(house, folder, given.tasks, given.slots, workflows) + rows
        else:
            notes.append(f"no Slurm here: {reason}")
    show("A trivial array task", rows, notes)


if __name__ == "__main__":
    main()
