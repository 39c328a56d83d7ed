"""What the Slurm of this place allows, and whether locks hold between two of its nodes."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .contest import TURNS, verdict
from .record import Check, fail, passed, warn

ANSWER_S = 20.0
TWO_NODES_S = 180.0
SHORT_KILL_WAIT_S = 15
DEFAULT_MAX_ARRAY_SIZE = 1001


def output_of(command: Sequence[str], seconds: float = ANSWER_S) -> tuple[int, str]:
    """Run a command and return its exit code and what it said."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer in {seconds:.0f} s"
    except OSError as error:
        return 127, str(error.strerror)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr.strip()


def settings(text: str) -> dict[str, str]:
    """Return what `scontrol show config` says, key by key."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def check_slurm() -> Iterator[Check]:
    """Check version, array limits, accounting, per-user limits, KillWait, requeue and preemption."""
    if shutil.which("scontrol") is None:
        yield passed("Slurm", "none here; bin/local runs the same elements")
        return
    code, text = output_of(["scontrol", "show", "config"])
    if code != 0:
        yield warn(
            "Slurm", f"does not answer: {' '.join(text.split())[:120]}", "bin/local runs the same elements without it"
        )
        return
    found = settings(text)
    yield passed(
        "Slurm", f"{found.get('SLURM_VERSION', 'version unknown')}, cluster {found.get('ClusterName', 'unnamed')}"
    )
    yield from check_settings(found)
    yield check_user_limits(found)


def check_settings(found: dict[str, str]) -> Iterator[Check]:
    """Check the controller's settings that a chain of arrays depends on."""
    size = number(found.get("MaxArraySize"), DEFAULT_MAX_ARRAY_SIZE)
    text = f"MaxArraySize {size}, MaxJobCount {found.get('MaxJobCount', 'unknown')}"
    advice = "more shards than that go as several arrays; bin/plan keeps to it by itself"
    yield passed("arrays", text) if size >= DEFAULT_MAX_ARRAY_SIZE else warn("arrays", text, advice)
    wait = number(found.get("KillWait"), 30)
    advice = "an element needs up to 10 s from TERM to its end: ask for KillWait of 30 s"
    yield passed("KillWait", f"{wait} s") if wait >= SHORT_KILL_WAIT_S else warn("KillWait", f"{wait} s", advice)
    requeue = found.get("JobRequeue", "1")
    advice = "scripts ask for --requeue themselves; where that is refused, bin/submit RUN --missing-only goes on"
    yield passed("requeue", "allowed") if requeue == "1" else warn("requeue", "off by default (JobRequeue=0)", advice)
    mode = found.get("PreemptMode", "OFF")
    advice = "preempted elements go on only by bin/submit RUN --missing-only"
    yield warn("preemption", mode, advice) if "CANCEL" in mode else passed("preemption", mode)


def check_user_limits(found: dict[str, str]) -> Check:
    """Check what accounting knows and how much one user may submit."""
    kind = found.get("AccountingStorageType", "none")
    if kind.endswith("none") or not kind:
        return passed("accounting", "off: causes of lost elements are told from attempt records alone")
    command = ["sacctmgr", "-nP", "show", "assoc", f"user={getpass.getuser()}", "format=Account,MaxJobs,MaxSubmit"]
    code, text = output_of(command)
    limits = "; ".join(line.replace("|", " ") for line in text.split("\n") if line.strip())
    if code != 0:
        return warn("accounting", f"on, sacctmgr says: {' '.join(text.split())[:100]}", "ask the site for your limits")
    submits = [number(line.split("|")[2], 0) for line in text.splitlines() if line.count("|") >= 2]
    if any(0 < limit < DEFAULT_MAX_ARRAY_SIZE for limit in submits):
        return warn("accounting", f"limits (account MaxJobs MaxSubmit): {limits}",
                    "bin/submit hands in what fits and goes on when called again")  # fmt: skip
    return passed("accounting", f"on; limits (account MaxJobs MaxSubmit): {limits or 'none'}")


def number(text: str | None, default: int) -> int:
    """Return the first number of a setting."""
    match = re.search(r"\d+", text or "")
    return int(match.group()) if match else default


def check_two_nodes(folder: Path, kinds: Sequence[str] = ("flock", "strict")) -> Iterator[Check]:
    """Count under each lock in a job of two tasks, on two nodes where the cluster has them."""
    if shutil.which("srun") is None:
        yield fail("two nodes", "no srun here", "call bin/doctor --slurm where jobs are submitted")
        return
    for kind in kinds:
        place = folder / f"nodes-{kind}"
        place.mkdir()
        turns = TURNS if kind == "flock" else TURNS // 5
        program = [sys.executable, "-m", "quintet.shard.doctor.contest", kind, str(place.resolve()), str(turns)]
        for nodes in ("2", "1"):
            command = ["srun", "--quiet", f"--nodes={nodes}", "--ntasks=2", "--time=3", *program]
            code, text = output_of(command, TWO_NODES_S)
            if code == 0 or (place / "counter").exists():
                break
        if code != 0 and not (place / "counter").exists():
            yield warn(
                "two nodes", f"the job did not run: {' '.join(text.split())[:120]}", "try again on a free cluster"
            )
            return
        outcome = verdict(kind, place, [0, 0] if code == 0 else [1, 1], 2 * turns)
        yield Check(f"{outcome.name} on {nodes} nodes", outcome.level, outcome.found, outcome.advice)
