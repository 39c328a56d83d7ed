"""A desk in place of Slurm, for the tests of submission."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quintet.shard.run import Run
from quintet.slurm.queue import ArrayTooLargeError, Ending, Queued, QueueFullError


class Desk:
    """A desk with limits that keeps what it was handed: jobs count from 100."""

    def __init__(self, largest: int = 1000, limit: int = 10**9, refused_above: int = 10**9) -> None:
        self.ended: dict[str, Ending] = {}
        self.jobs: dict[str, list[str]] = {}
        self.alive: dict[str, str] = {}
        self.cancelled: list[str] = []
        self._largest, self._limit, self._refused_above = largest, limit, refused_above

    def submit(self, arguments: Sequence[str]) -> str:
        spec = next((word.removeprefix("--array=0-") for word in arguments if word.startswith("--array=")), None)
        count = 1 if spec is None else int(spec.partition("%")[0]) + 1
        if count > self._refused_above:
            raise ArrayTooLargeError("Invalid job array specification")
        if len(self.alive) + count > self._limit:
            raise QueueFullError("QOSMaxSubmitJobPerUserLimit")
        job = str(100 + len(self.jobs))
        self.jobs[job] = list(arguments)
        self.alive |= {job: "PENDING"} if spec is None else {f"{job}_{task}": "PENDING" for task in range(count)}
        return job

    def queued(self) -> dict[str, Queued]:
        return {name: Queued(state, "/", self.command(name.partition("_")[0])) for name, state in self.alive.items()}

    def command(self, job: str) -> str:
        words = self.jobs[job]
        return " ".join(words[next(place for place, word in enumerate(words) if word.endswith(".sbatch")) :])

    def cancel(self, jobs: Iterable[str]) -> None:
        self.cancelled += jobs
        gone = set(self.cancelled)
        self.alive = {
            name: state
            for name, state in self.alive.items()
            if name.partition("_")[0] not in gone or state != "PENDING"
        }

    def largest_array(self) -> int:
        return self._largest

    def endings(self, jobs: Iterable[str]) -> dict[str, Ending]:
        return self.ended

    def end(self, *jobs: str) -> None:
        self.alive = {name: state for name, state in self.alive.items() if name.partition("_")[0] not in jobs}

    def dependency(self, job: str) -> str:
        return next((word for word in self.jobs[job] if word.startswith("--dependency=")), "")


def quiet(line: str) -> None:
    return


def shards_of(run: Run, script: str) -> list[int]:
    return [int(line) for line in (run.path / "slurm" / script).read_text().split()]
