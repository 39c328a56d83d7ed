"""Attempt records: one JSON line when a process starts on a shard, one when it stops."""

from __future__ import annotations

import json
import os
import re
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .publish import make_folder

SLURM_VARIABLES = (
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_JOB_ID",
    "SLURM_RESTART_COUNT",
    "SLURMD_NODENAME",
    "SLURM_JOB_PARTITION",
)
SLURM_VALUE = re.compile(r"[\w.,:@+-]{1,100}")


def utc_now() -> str:
    """Return the wall clock in UTC, to the millisecond."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"


def cpu_seconds() -> tuple[float, float]:
    """Return user and system CPU seconds of this process and its ended children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def slurm_ids() -> dict[str, str]:
    """Return the Slurm variables of this element that are set; they become parts of file names."""
    return {name: os.environ[name] for name in SLURM_VARIABLES if SLURM_VALUE.fullmatch(os.environ.get(name, ""))}


@dataclass
class Attempt:
    """One process start on a shard; writes its two lines to the shard's file."""

    path: Path
    started: float = field(default_factory=time.monotonic)
    token: str = field(default_factory=lambda: f"{os.uname().nodename}-{os.getpid()}-{time.time_ns():x}")
    blocks_done: int = 0
    units_done: int = 0
    block_seconds: list[float] = field(default_factory=list)

    def start(self, **facts: Any) -> None:
        """Write the first line."""
        self._write({"event": "start", "time": utc_now(), "host": os.uname().nodename, "slurm": slurm_ids(), **facts})

    def end(self, code: int, reason: str = "", **facts: Any) -> None:
        """Write the last line; a full disk must not hide the real reason, so it is not raised."""
        user, system = cpu_seconds()
        seconds = sorted(self.block_seconds)
        spread = [seconds[int(q * (len(seconds) - 1))] for q in (0.1, 0.5, 0.9)] if seconds else []
        try:
            self._write(
                {
                    "event": "end",
                    "time": utc_now(),
                    "rc": int(code),
                    "reason": reason,
                    "wall_s": round(time.monotonic() - self.started, 3),
                    "cpu_s": round(user + system, 3),
                    "peak_rss_mb": round(peak_rss_mb(), 1),
                    "blocks": self.blocks_done,
                    "units": self.units_done,
                    "block_s": [round(value, 4) for value in spread],
                    **facts,
                }
            )
        except OSError:
            return

    def _write(self, record: dict[str, Any]) -> None:
        make_folder(self.path.parent)
        line = json.dumps({"attempt": self.token, **record}, separators=(",", ":")) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def read_attempts(path: Path) -> Iterator[dict[str, Any]]:
    """Yield one mapping per attempt: its first line's facts, and under `end` its last line's, if there is one."""
    starts: dict[str, dict[str, Any]] = {}
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - status reads 10^5 of them
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            record = json.loads(line)
            token, event = record["attempt"], record["event"]
        except (ValueError, KeyError, TypeError):
            continue  # a line cut by a kill
        if event == "start":
            starts[token] = record
        elif event == "end" and token in starts:
            starts[token]["end"] = record
    yield from starts.values()
