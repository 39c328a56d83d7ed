"""What Slurm says about a run's arrays: one question for all of them, seldom, and none where there is no Slurm."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run

DEFAULT_INTERVAL_S = 30.0
SHORTEST_INTERVAL_S = 10.0
LONGEST_INTERVAL_S = 300.0
ANSWER_S = 30.0
BUSY = re.compile(r"Socket timed out|Unable to contact slurm controller|Zero Bytes were transmitted", re.IGNORECASE)
RUNNING_STATES = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SUSPENDED", "SIGNALING", "STOPPED"})

SEPARATOR = "\x1f"

Element = tuple[str, int]
"""Phase and shard number."""


@dataclass(frozen=True)
class Array:
    """One array of the journal: element k of `job` works on `shards[k]`."""

    phase: str
    job: str
    shards: tuple[int, ...]


@dataclass(frozen=True)
class QueueView:
    """State of the elements, by phase and shard: those in the queue, and how others ended (from the accounting)."""

    asked: bool = False
    alive: dict[Element, str] = field(default_factory=dict)
    ended: dict[Element, str] = field(default_factory=dict)
    trouble: str = ""

    def running(self, phase: str, shard: int) -> bool:
        """Whether Slurm runs this shard now."""
        return self.alive.get((phase, shard)) in RUNNING_STATES

    def queued(self, phase: str, shard: int) -> bool:
        """Whether this shard waits in the queue."""
        state = self.alive.get((phase, shard))
        return state is not None and state not in RUNNING_STATES


def belongs(run: Run, folder: str, command: str) -> bool:
    """Return whether a queued job is a run's: by its script in the run's folder, or by the run that a script was given.

    A number in the journal would not tell: after a reset of the cluster it may be another run's.

    Args:
        run: the run.
        folder: where the job was handed in.
        command: its script and arguments.

    Raises:
        QuintetError: 78 where the plan cannot be read.
    """
    roots = {run.path.absolute(), run.path.resolve()}
    if command.startswith(tuple(f"{root}/slurm/" for root in roots)):
        return True
    by_hand = re.fullmatch(rf".*?/(?:{re.escape(run.overview()['study'])}|level)\.sbatch (.+) \S+", command)
    return by_hand is not None and Path(folder, by_hand[1]).resolve() in roots


def arrays_of(run: Run) -> Iterator[Array]:
    """Yield the arrays that were submitted for a run, from `submissions.jsonl`."""
    try:
        lines = (run.path / "submissions.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["kind"] != "array" or not str(entry["job"]).isdigit():
                continue
            first, count = int(entry["offset"]), int(entry["count"])
            shards = map_lines(run, entry)[first : first + count] or tuple(range(first, first + count))
            yield Array(entry["phase"], str(entry["job"]), shards)
        except (ValueError, KeyError, TypeError):
            continue  # a line cut by a kill


def map_lines(run: Run, entry: dict[str, Any]) -> tuple[int, ...]:
    """Return the shard numbers of an entry's map file; nothing where it is gone or lies outside the run."""
    if not entry.get("map"):
        return ()
    path = (run.path / entry["map"]).resolve()
    if not path.is_relative_to(run.path.resolve()):
        return ()
    try:
        return tuple(int(line) for line in path.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return ()


class Scheduler:
    """Asks squeue (and sacct, where it works) about a run, at most once per interval."""

    def __init__(
        self,
        interval: float = DEFAULT_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        ask: Callable[[Sequence[str]], tuple[int, str, str]] | None = None,
    ) -> None:
        """Ask nothing yet; `ask` runs a command and returns its exit code, stdout and stderr."""
        self._interval = max(interval, SHORTEST_INTERVAL_S)
        self._pause = self._interval
        self._clock = clock
        self._ask = ask or answer_of
        self._asked_at: float | None = None
        self._view = QueueView()
        self._accounting = True

    def view(self, run: Run) -> QueueView:
        """Return what Slurm says; the last answer where the interval has not passed, nothing without jobs or Slurm."""
        now = self._clock()
        if self._asked_at is not None and now - self._asked_at < self._pause:
            return self._view
        arrays = tuple({array.job: array for array in arrays_of(run)}.values())
        if not arrays or (self._ask is answer_of and shutil.which("squeue") is None):
            return self._view
        self._asked_at = now
        self._view = self._asked(run, arrays)
        return self._view

    def _asked(self, run: Run, arrays: Sequence[Array]) -> QueueView:
        jobs = ",".join(sorted({array.job for array in arrays}, key=int))
        form = SEPARATOR.join(("%F", "%K", "%T", "%Z", "%o"))
        code, out, err = self._ask(["squeue", "-h", "-r", "-j", jobs, "-o", form])
        if BUSY.search(err):
            self._pause = min(2 * self._pause, LONGEST_INTERVAL_S)
            return QueueView(
                self._view.asked, self._view.alive, self._view.ended, "Slurm is busy; showing its last answer"
            )
        self._pause = self._interval
        if code != 0 and "Invalid job id" not in err:
            words = " ".join(err.replace("squeue: error:", "").split())
            return QueueView(trouble=f"squeue: {textwrap.shorten(words, 120, placeholder='…')}")
        lines = [line.split(SEPARATOR) for line in out.splitlines()]
        own = {where for where in {tuple(line[3:]) for line in lines if len(line) == 5} if belongs(run, *where)}
        states = {(line[0], line[1]): line[2] for line in lines if tuple(line[3:]) in own}
        alive = {
            (array.phase, shard): states[array.job, str(task)]
            for array in arrays
            for task, shard in enumerate(array.shards)
            if (array.job, str(task)) in states
        }
        return QueueView(True, alive, self._endings(arrays, jobs))

    def _endings(self, arrays: Sequence[Array], jobs: str) -> dict[Element, str]:
        if not self._accounting:
            return {}
        code, out, _ = self._ask(["sacct", "-n", "-P", "-X", "-j", jobs, "-o", "JobID,State"])
        if code != 0:
            self._accounting = False  # a cluster without accounting stays one
            return {}
        states = {line[0]: line[1] for line in (text.split("|") for text in out.splitlines()) if len(line) == 2}
        return {
            (array.phase, shard): states[f"{array.job}_{task}"]
            for array in arrays
            for task, shard in enumerate(array.shards)
            if f"{array.job}_{task}" in states
        }


def answer_of(command: Sequence[str]) -> tuple[int, str, str]:
    """Run a command; 127 where it is not there, and a busy controller's words where it does not answer in time."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"Socket timed out: no answer in {ANSWER_S:.0f} s"
    except OSError as error:
        return 127, "", f"{command[0]}: {error.strerror}"
    return done.returncode, done.stdout, done.stderr
