"""A study of small steps, whose array elements run as forked processes that tests signal, kill and starve."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from quintet.merge.phase import Request, merge_run
from quintet.shard.commands.base import run_command
from quintet.shard.commands.shard import command as shard_command
from quintet.shard.partial import file_digest, opened, read_card, stored_payload_digest
from quintet.shard.phases import Dataset, Once, Phase, Stats, Task
from quintet.shard.plan import Choices, plan_of
from quintet.shard.run import Run
from quintet.shard.samplers import propose_random
from quintet.shard.seal import sealed
from quintet.shard.tree import welford
from quintet.shard.trials import FinishedTrial, SearchSpec, uniform

UNITS, BLOCK, SHARDS, TRIALS, STEPS = 24, 1, 2, 6, 6
SPACE = (("x", uniform(0.0, 1.0)),)


class Config(BaseModel):
    seed: int = 7


class Stage:
    """What a test wants from the work of its child processes; set it before the fork."""

    pause = 0.0
    skew = 0.0
    ready: int | None = None
    gate: int | None = None
    failing: int | None = None


def phases(config: Config) -> tuple[Phase, ...]:
    search = SearchSpec("search", TRIALS, "maximize", SPACE, max_failures=3, lease_seconds=0.5, max_attempts=99)
    datasets = (
        Dataset("rows/x", "f8", (2,)),
        Dataset("rows/walk", "f4", ragged=True),
        Dataset("counts/sign", "i8", (2,)),
    )
    return (
        Phase(name="measure", kind="map", units=UNITS, block_size=BLOCK, datasets=datasets, stats=Stats(("x",), 2)),
        Phase(name="walk", kind="map", units=2, datasets=(Dataset("rows/position", "f8", (3,)),)),
        Phase(name="bulk", kind="map", units=4, datasets=(Dataset("rows/noise", "f8", (5000,)),)),
        Phase(name="search", kind="pull", units=TRIALS, search=search, datasets=(Dataset("rows/y", "f8"),)),
    )


class Walk:
    """A long unit: a random walk of a few steps that can be taken up again after each."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator, self._left, self._position = generator, STEPS, np.zeros(3)

    def advance(self) -> bool:
        time.sleep(Stage.pause)
        self._position = self._position + self._generator.standard_normal(3)
        self._left -= 1
        return self._left > 0

    def state(self) -> Mapping[str, Any]:
        words = self._generator.bit_generator.state["state"]
        return {
            "position": self._position,
            "left": self._left,
            "words": {key: str(word) for key, word in words.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._position, self._left = np.array(state["position"]), int(state["left"])
        whole = self._generator.bit_generator.state
        self._generator.bit_generator.state = {
            **whole,
            "state": {key: int(word) for key, word in state["words"].items()},
        }

    def result(self) -> Mapping[str, Any]:
        return {"rows/position": self._position[None]}


class Trial(Walk):
    """A long trial."""

    def __init__(self, generator: np.random.Generator, x: float, fails: bool) -> None:
        super().__init__(generator)
        self._x, self._fails = x, fails

    def result(self) -> Mapping[str, Any]:
        failure = {"failure": "the walk got lost"} if self._fails else {}
        return {"rows/y": [float(self._position.sum())], "value": self._x, **failure}


class Work:
    def __init__(self, context: Any) -> None:
        self._context = context
        if Stage.ready is not None:
            os.write(Stage.ready, b".")

    def _generator(self, unit: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(self._context.seed(unit)))

    def propose(self, number: int, earlier: Sequence[FinishedTrial]) -> dict[str, Any]:
        return dict(propose_random(SPACE, 7)(number, ()))

    def trial(self, number: int, parameters: Mapping[str, Any]) -> Task:
        return Trial(self._generator(number), float(parameters["x"]), number == Stage.failing)

    def block(self, units: range) -> Task:
        if self._context.phase.name == "walk":
            return Walk(self._generator(units.start))
        return Once(self._block, units)

    def _block(self, units: range) -> dict[str, Any]:
        if Stage.gate is not None:
            os.read(Stage.gate, 1)
        time.sleep(Stage.pause)
        if self._context.phase.name == "bulk":
            result = {"rows/noise": [self._generator(unit).standard_normal(5000) for unit in units]}
        else:
            x = np.array([self._generator(unit).standard_normal(2) for unit in units]) + Stage.skew
            lengths = np.array([unit % 3 for unit in units])
            result = {
                "rows/x": x,
                "rows/walk": np.concatenate([np.arange(length, dtype="f4") for length in lengths]),
                "rows/walk_length": lengths,
                "counts/sign": np.array([(x < 0).sum(), (x >= 0).sum()]),
                "stats": welford(x)[None],
            }
        note(self._context.run, f"{self._context.phase.name} {units.start}")
        return result


def start(context: Any) -> Work:
    return Work(context)


def note(run: Run, line: str) -> None:
    """Append a line to the run's notes in one write."""
    descriptor = os.open(run.path / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def notes(run: Run) -> list[str]:
    """Return which blocks were computed, in the order in which they were."""
    path = run.path / "notes"
    return path.read_text().splitlines() if path.exists() else []


def planned(folder: Path, *names: str, shards: int = SHARDS, checkpoint_s: float = 300.0) -> Run:
    """Plan a run with some of the phases."""
    sys.modules["quintet.shard.elements"] = sys.modules[__name__]
    table = [phase for phase in phases(Config()) if phase.name in names]
    sections = {name: {"shards": shards, "checkpoint_s": checkpoint_s} for name in names}
    config = {"study": "elements", "seed": 7, "phases": sections}
    run = Run(folder)
    run.plan_folder.mkdir(parents=True)
    for phase in table:
        plan = plan_of(phase, table, config, Choices(), folder, "flock")
        (run.plan_folder / f"{phase.name}.json").write_bytes(sealed(plan.to_json()))
    overview = {"study": "elements", "phases": [phase.name for phase in table], "config": config}
    (run.plan_folder / "run.json").write_bytes(sealed(overview))
    return run


def forked(action: Callable[[], object], log: Path | None = None) -> int:
    """Do something in a forked process, whose output goes to `log`; return its process number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        sink = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(sink, 2)
        os.dup2(sink, 1)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        code = int(action() or 0)  # type: ignore[call-overload]
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def waited(pid: int) -> int:
    """Wait for a process; return its exit code, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def element(run: Run, phase: str, shard: int = 0, before: Callable[[], object] | None = None, **log: Path) -> int:
    """Start one array element as a forked process, after `before` in it; return its process number."""

    def work() -> None:
        if before is not None:
            before()
        run_command(shard_command, [str(run.path), phase, "--index", str(shard)])

    return forked(work, **log)


def run_element(run: Run, phase: str, shard: int = 0, before: Callable[[], object] | None = None, **log: Path) -> int:
    """Run one array element to its end; return its exit code."""
    return waited(element(run, phase, shard, before, **log))


def finish(run: Run, phase: str, shards: int = SHARDS) -> None:
    """Run all elements of a phase to their ends."""
    for shard in range(shards):
        code = run_element(run, phase, shard)
        assert code == 0, f"shard {shard} ended with {code}"


def merged_payload(run: Run, phase: str) -> str:
    """Merge a phase; return the payload digest, computed again from what the result holds."""
    merge_run(run, phase, Request(), lambda line: None)
    with opened(run.merged(phase)) as file:
        return stored_payload_digest(file)


def quiet_payload(folder: Path, phase: str) -> str:
    """Return the payload of a run that nothing happens to."""
    run = planned(folder, phase)
    finish(run, phase)
    return merged_payload(run, phase)


def assert_nothing_corrupt(run: Run) -> None:
    """Every file that can be seen under a partial's or checkpoint's name is whole."""
    for root in ("partials", "checkpoints", "merged"):
        for path in (run.path / root).rglob("*.h5"):
            if path.name.startswith("."):
                continue
            card, digest = file_digest(path)
            assert card.b2 == digest, f"{path.name} is corrupt"


def temporaries(run: Run) -> list[Path]:
    """Return the temporary files that lie in a run."""
    return list(run.path.rglob("*.tmp"))


def partials(run: Run, phase: str) -> list[str]:
    """Return the names of the published files of a phase."""
    return sorted(path.name for path in (run.path / "partials" / phase).rglob("*.h5"))


def payload_of(run: Run, phase: str, shard: int) -> str:
    """Return the payload digest on a shard's card."""
    return read_card(run.shard_file(phase, shard)).pd


@contextmanager
def staged(**wishes: Any) -> Iterator[None]:
    """Set what the work of child processes shall do, for the body of a `with`."""
    before = {name: getattr(Stage, name) for name in wishes}
    for name, value in wishes.items():
        setattr(Stage, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(Stage, name, value)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe for the body of a `with`."""
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def kill(pid: int) -> int:
    """Kill a process; return how it ended."""
    os.kill(pid, signal.SIGKILL)
    return waited(pid)
