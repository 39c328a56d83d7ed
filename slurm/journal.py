"""The journal of submissions: what was handed in, which line of which map each element works on, what is left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..shard.attempts import utc_now
from ..shard.publish import append_line
from ..shard.run import Run

Kind = Literal["array", "merge", "pending", "cancelled"]


@dataclass(frozen=True)
class Entry:
    """One line: an array or merge that was handed in, a remainder that was refused, or a job that was withdrawn.

    `map` is the map file's path below the run; element k of `job` works on its line `offset + k`.
    """

    phase: str
    kind: Kind
    job: str = ""
    argv: Sequence[str] = ()
    map: str = ""
    offset: int = 0
    count: int = 0
    reason: str = ""
    time: str = ""


class Journal:
    """The file `submissions.jsonl` of a run; written by one process at a time, under the submission lock."""

    def __init__(self, run: Run) -> None:
        """Name the file; it is read when first asked."""
        self._run = run
        self._path = run.path / "submissions.jsonl"

    def append(self, entry: Entry) -> None:
        """Write one line; OSError where it is not written whole."""
        record = {**asdict(entry), "argv": list(entry.argv), "time": utc_now()}
        append_line(self._path, json.dumps(record, separators=(",", ":")))

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """What the file held when it was first asked for."""
        return tuple(read_entries(self._path))

    @cached_property
    def _jobs(self) -> dict[str, Entry]:
        """What was handed in last under each number: a cluster that was reset counts from the start again."""
        return {entry.job: entry for entry in self.entries if entry.kind in {"array", "merge"}}

    def elements(self, phase: str, queued: Mapping[str, str]) -> dict[str, dict[int, str]]:
        """Return the arrays of a phase that have not ended: job -> {shard: state} of what is queued or running."""
        alive: dict[str, dict[int, str]] = {}
        tasks: dict[str, list[tuple[int, str]]] = {}
        for name, state in queued.items():
            job, _, task = name.partition("_")
            if task.isdigit():
                tasks.setdefault(job, []).append((int(task), state))
        for entry in self._jobs.values():
            if entry.kind == "array" and entry.phase == phase and entry.job in tasks:
                shards = read_map(self._run.path / entry.map)
                alive[entry.job] = {
                    shards[entry.offset + task]: state
                    for task, state in tasks[entry.job]
                    if task < entry.count and entry.offset + task < len(shards)
                }
        return alive

    def merges(self, phase: str, queued: Mapping[str, str]) -> dict[str, str]:
        """Return the merge jobs of a phase that have not ended: job -> state."""
        return {
            entry.job: queued[entry.job]
            for entry in self._jobs.values()
            if entry.kind == "merge" and entry.phase == phase and entry.job in queued
        }


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the lines of a journal; one that a kill cut off is passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue


def read_map(path: Path) -> tuple[int, ...]:
    """Return the shard numbers of a map file, in order; nothing where it is gone."""
    try:
        return tuple(int(line) for line in path.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return ()
