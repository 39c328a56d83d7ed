"""Planned runs for the tests of submission: real plan files, and where wanted a shard that does as its number says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quintet.shard.context import inputs_digest
from quintet.shard.partial import Card, build
from quintet.shard.run import Plan, Run

SHARD = '''\
"""A shard that ends as the file `behaviour/<shard>` says: one word a start, the last one for all later starts."""
import os, signal, sys, time
from pathlib import Path

run, phase = Path(sys.argv[1]), sys.argv[2]
task = int(os.environ["SLURM_ARRAY_TASK_ID"])
shard = task
if sys.argv[3]:
    shard = int(Path(sys.argv[3]).read_text().split()[int(sys.argv[4]) + task])
seen = run / "seen" / phase
seen.mkdir(parents=True, exist_ok=True)
starts = seen / f"{shard}.starts"
with starts.open("a") as file:
    file.write(f"{os.environ.get('SLURM_RESTART_COUNT', '0')}\\n")
(seen / f"{shard}.environment").write_text("\\n".join(f"{key}={value}" for key, value in sorted(os.environ.items())))
words = (run / "behaviour" / str(shard)).read_text().split() if (run / "behaviour" / str(shard)).exists() else ["0"]
word = words[min(len(starts.read_text().split()), len(words)) - 1]
print("the shard's last word", file=sys.stderr)
if word == "wait":
    stopped = []
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopped.append(number))
    (seen / f"{shard}.waiting").touch()
    while not stopped:
        time.sleep(0.05)
    time.sleep(0.3)
    (seen / f"{shard}.stopped").write_text(" ".join(signal.Signals(number).name for number in stopped))
    sys.exit(75)
if word == "sleep":
    (seen / f"{shard}.waiting").touch()
    time.sleep(600)
if word == "nap":
    time.sleep(0.5)
    sys.exit(0)
if word == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(word))
'''


def plan(phase: str, count: int = 3, **values: Any) -> Plan:
    """Return the plan of a phase of one-block shards."""
    usual: dict[str, Any] = {
        "study": "toy",
        "phase": phase,
        "kind": "map",
        "config_sha256": "c" * 64,
        "code": {"git_commit": "unknown", "git_dirty": False, "sha256": "0" * 64},
        "root_entropy": 1,
        "units": count,
        "block_size": 1,
        "blocks": count,
        "shards": tuple((shard, shard + 1) for shard in range(count)),
        "after": (),
        "inputs": (),
        "resources": {"cpus": 1, "mem_mb": 100, "gpus": 0, "time_s": 600, "threads": 1},
        "estimates": {"seconds_per_unit": 1.0},
    }
    return Plan(**(usual | values))


def planned(folder: Path, *plans: Plan, site: str = "{}\n", behaviour: Mapping[int, str] | None = None) -> Run:
    """Write a planned run; with `behaviour`, its snapshot holds the shard that does as it is told."""
    run = Run(folder)
    (folder / "plan").mkdir(parents=True)
    for item in plans:
        (folder / "plan" / f"{item.phase}.json").write_text(json.dumps(item.to_json()))
    overview = {"study": "toy", "phases": [item.phase for item in plans], "config": {"study": "toy", "phases": {}}}
    (folder / "plan" / "run.json").write_text(json.dumps(overview))
    (folder / "plan" / "site.yaml").write_text(site)
    if behaviour is not None:
        package = folder / "plan" / "code" / "quintet" / "shard"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "array_element.py").write_text(SHARD)
        (folder / "behaviour").mkdir()
        for shard, words in behaviour.items():
            (folder / "behaviour" / str(shard)).write_text(words)
    return run


def publish_shard(run: Run, phase: str, shard: int) -> None:
    """Write a valid partial of one shard."""
    item = run.plan(phase)
    low, high = item.shards[shard]
    card = Card("toy", phase, shard, low, high, item.config_sha256[:16], inputs_digest(run, item), units=high - low)
    path = run.shard_file(phase, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(build(card, {"rows/value": [1.0]}, {})[0])


def publish_merged(run: Run, phase: str) -> None:
    """Write a valid result of a phase."""
    item = run.plan(phase)
    card = Card(
        "toy", phase, 0, 0, item.blocks, item.config_sha256[:16], inputs_digest(run, item), units=item.units or 0
    )
    run.merged(phase).parent.mkdir(exist_ok=True)
    run.merged(phase).write_bytes(build(card, {"rows/value": [1.0]}, {})[0])


def record_attempt(
    run: Run, phase: str, shard: int, code: int | None, reason: str = "", element: str = "7_0", **facts: str
) -> None:
    """Append an attempt to a shard's record, without a last line where `code` is None."""
    path = run.attempt_file(phase, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    job, _, task = element.partition("_")
    token = f"t{path.stat().st_size if path.exists() else 0}"
    start = {"attempt": token, "event": "start", "slurm": {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": task}}
    start |= facts
    with path.open("a") as file:
        file.write(json.dumps(start) + "\n")
        if code is not None:
            file.write(json.dumps({"attempt": token, "event": "end", "rc": code, "reason": reason}) + "\n")
