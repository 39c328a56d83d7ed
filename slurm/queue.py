"""Slurm's commands, each called with a list of arguments, at most one call for everything that is asked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..shard.errors import Exit, QuintetError
from ..shard.run import Run
from ..shard.scheduler import SEPARATOR, belongs

PAUSES = (2.0, 4.0, 8.0, 16.0, 32.0)
COMMAND_SECONDS = 120.0
SLURMS_DEFAULT_ARRAY = 1001
BUSY = re.compile(
    r"Socket timed out|Unable to contact slurm controller|Connection (refused|timed out)|temporarily unable|"
    r"Zero Bytes were transmitted",
    re.IGNORECASE,
)
QUEUE_FULL = re.compile(
    r"QOSMaxSubmitJob\w*|AssocMaxSubmitJob\w*|\w*MaxSubmitJobsPer\w*|Job violates accounting/QOS policy|MaxJobCount"
)
ARRAY_TOO_LARGE = re.compile(r"Invalid job array specification")
ENDED = frozenset({"COMPLETING", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"})


class QueueFullError(Exception):
    """Slurm refused a job because of a limit on how many a user may have queued."""


class ArrayTooLargeError(Exception):
    """Slurm refused an array because its highest index is too large."""


@dataclass(frozen=True)
class Queued:
    """A job or element that has not ended: its state, the folder where it was handed in, its script with arguments."""

    state: str
    folder: str
    command: str


@dataclass(frozen=True)
class Ending:
    """What the accounting says of a job or element: its state, and the seconds since its last start, up to its end."""

    state: str
    seconds: float


def of_run(run: Run, queued: Mapping[str, Queued]) -> dict[str, Queued]:
    """Return what is a run's of the queue.

    Raises:
        QuintetError: 78 where the plan cannot be read.
    """
    own = {where for where in {(job.folder, job.command) for job in queued.values()} if belongs(run, *where)}
    return {name: job for name, job in queued.items() if (job.folder, job.command) in own}


class Desk(Protocol):
    """Where jobs are handed in: Slurm, or paper (`Rehearsal`)."""

    def submit(self, arguments: Sequence[str]) -> str:
        """Hand in one job and return its id."""
        ...

    def queued(self) -> dict[str, Queued]:
        """Return every job and array element of the user that has not ended, by its id."""
        ...

    def cancel(self, jobs: Iterable[str]) -> None:
        """Cancel what still waits of the given jobs."""
        ...

    def largest_array(self) -> int:
        """Return how many elements one array may have."""
        ...

    def endings(self, jobs: Iterable[str]) -> dict[str, Ending]:
        """Return how jobs and elements ended, as far as that is known."""
        ...


class Slurm:
    """The real desk.  Reading commands are repeated while the controller is busy; handing in is not, since a job
    may have been taken although the answer was lost.
    """

    def __init__(
        self, environment: Mapping[str, str] | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Use the process's environment, without what an enclosing job has set."""
        source = os.environ if environment is None else environment
        self._environment = {
            key: value for key, value in source.items() if not key.startswith("SLURM_") or key == "SLURM_CONF"
        }
        self._sleep = sleep

    def _call(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                arguments,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise QuintetError(
                Exit.UNAVAILABLE, f"{arguments[0]}: not found; no Slurm on PATH (bin/local runs without one)"
            ) from None
        except subprocess.TimeoutExpired:
            raise QuintetError(Exit.UNAVAILABLE, f"{arguments[0]}: no answer in {COMMAND_SECONDS:.0f} s") from None

    def _read(self, arguments: Sequence[str]) -> str:
        for pause in (*PAUSES, None):
            answer = self._call(arguments)
            if answer.returncode == 0:
                return answer.stdout
            if pause is None or not BUSY.search(answer.stderr):
                break
            self._sleep(pause)
        raise QuintetError(Exit.UNAVAILABLE, f"{arguments[0]}: {one_line(answer.stderr)}")

    def submit(self, arguments: Sequence[str]) -> str:
        """Run sbatch and return the job's id.

        Raises:
            QueueFullError: a limit on queued jobs is reached.
            ArrayTooLargeError: the array's highest index is too large.
            QuintetError: 69 where the controller does not answer, 2 where it refuses the job for another reason.
        """
        answer = self._call(["sbatch", *arguments])
        if answer.returncode == 0:
            return answer.stdout.strip().split(";")[0]
        reason = one_line(answer.stderr)
        if QUEUE_FULL.search(reason):
            raise QueueFullError(reason)
        if ARRAY_TOO_LARGE.search(reason):
            raise ArrayTooLargeError(reason)
        if BUSY.search(reason):
            raise QuintetError(Exit.UNAVAILABLE, f"sbatch: {reason}; look with squeue before submitting again")
        raise QuintetError(Exit.USAGE, f"{shlex.join(['sbatch', *arguments])}: {reason}")

    def queued(self) -> dict[str, Queued]:
        """Return everything of this user that has not ended; one squeue call.

        Raises:
            QuintetError: 69 where the controller does not answer.
        """
        form = SEPARATOR.join(("%i", "%T", "%Z", "%o"))
        lines = self._read(["squeue", "-h", "-r", "-u", str(os.getuid()), "-o", form]).splitlines()
        rows = (line.split(SEPARATOR) for line in lines)
        return {row[0]: Queued(*row[1:]) for row in rows if len(row) == 4 and row[1] not in ENDED}

    def cancel(self, jobs: Iterable[str]) -> None:
        """Cancel what is pending of the given jobs."""
        known = sorted(set(jobs))
        if known:
            self._call(["scancel", "--state=PENDING", *known])

    def cancel_all(self, jobs: Iterable[str]) -> None:
        """Cancel the given jobs, pending or running.

        Raises:
            QuintetError: 69 where the controller does not answer.
        """
        known = sorted(set(jobs))
        if known:
            self._read(["scancel", *known])

    def largest_array(self) -> int:
        """Return MaxArraySize - 1, or less where the scheduler caps the number of elements."""
        text = self._read(["scontrol", "show", "config"])
        size = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
        tasks = re.search(r"\bmax_array_tasks=(\d+)", text)
        largest = int(size[1]) - 1 if size else SLURMS_DEFAULT_ARRAY - 1
        return max(1, min(largest, int(tasks[1]) if tasks else largest))

    def endings(self, jobs: Iterable[str]) -> dict[str, Ending]:
        """Return what the accounting says of jobs and their elements; nothing where a cluster keeps none."""
        known = ",".join(sorted(set(jobs)))
        if not known:
            return {}
        try:
            answer = self._call(["sacct", "-X", "-n", "-P", "-j", known, "-o", "JobID,State,ElapsedRaw"])
        except QuintetError:
            return {}
        if answer.returncode != 0:
            return {}
        rows = (line.split("|") for line in answer.stdout.splitlines())
        return {
            row[0]: Ending(row[1].split()[0], float(row[2]))
            for row in rows
            if len(row) == 3 and row[1] and row[2].isdigit()
        }


class Rehearsal:
    """The desk of --dry-run: prints each job as a line of shell that would hand it in, and hands in nothing."""

    def __init__(self, slurm: Desk, say: Callable[[str], None] = print) -> None:
        """Ask the given Slurm, if there is one, what is queued."""
        self._slurm = slurm
        self._say = say
        self._count = 0

    def submit(self, arguments: Sequence[str]) -> str:
        """Print the sbatch line and return the shell variable that would hold the job's id."""
        self._count += 1
        name = f"job{self._count}"
        words = " ".join(dependency_or_quoted(word) for word in ["sbatch", *arguments])
        self._say(f"{name}=$({words})")
        return f"${name}"

    def queued(self) -> dict[str, Queued]:
        """Return what is queued, nothing where there is no Slurm."""
        try:
            return self._slurm.queued()
        except QuintetError:
            return {}

    def cancel(self, jobs: Iterable[str]) -> None:
        """Print what would be cancelled."""
        known = sorted(set(jobs))
        if known:
            self._say(shlex.join(["scancel", "--state=PENDING", *known]))

    def largest_array(self) -> int:
        """Return the cluster's limit, Slurm's default where there is no Slurm."""
        try:
            return self._slurm.largest_array()
        except QuintetError:
            return SLURMS_DEFAULT_ARRAY - 1

    def endings(self, jobs: Iterable[str]) -> dict[str, Ending]:
        """Return what the accounting knows."""
        return self._slurm.endings(jobs)


def dependency_or_quoted(word: str) -> str:
    """Return a word of shell; a dependency keeps its variables."""
    return word if re.fullmatch(r"--dependency=[a-z0-9:,$]+", word) else shlex.quote(word)


def one_line(text: str) -> str:
    """Return what Slurm says as one line."""
    return " ".join(text.replace("sbatch: error: ", "").split())[:500] or "failed without a word"
