"""`local RUN`: the same shards and merges without Slurm, some at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import click

from ..attempts import read_attempts
from ..container import GPU_OPTIONS, container_of, inside, python_in
from ..context import inputs_digest
from ..errors import Exit, QuintetError
from ..missing import is_merged, known_phases
from ..run import Plan, Run
from ..scan import scan_map
from ..scratch import scratch_base
from ..site import read_site
from .base import run_command

POLL_S = 0.02
MAX_ATTEMPTS = 3
RETRIED = {Exit.STOPPED: 50, Exit.UNAVAILABLE: MAX_ATTEMPTS, Exit.IO: MAX_ATTEMPTS, Exit.BUG: 2}
PROGRESS_S = 5.0


@dataclass
class Runner:
    """Keeps up to `jobs` shard processes going and retries by the table of exit codes.

    `python` is the command that runs Python: this process's own, or one in a container.  `drift` are the words that
    allow other code than the planned.
    """

    run: Run
    jobs: int
    environment: dict[str, str]
    python: Sequence[str] = (sys.executable,)
    contained: bool = False
    drift: Sequence[str] = ()
    stopping: str = ""
    going: dict[subprocess.Popen[bytes], int] = field(default_factory=dict)

    def install(self) -> None:
        """Pass a stop signal on to the shards and start no more."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = signal.Signals(number).name
        for process in list(self.going):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    def surroundings(self) -> dict[str, str]:
        """Return the environment of a process that starts now: with the code that the run has now."""
        if self.contained:
            return self.environment
        snapshot = str((self.run.plan_folder / "code").resolve())
        paths = filter(None, [snapshot, self.environment.get("PYTHONPATH", "")])
        return {**self.environment, "PYTHONPATH": os.pathsep.join(paths)}

    def start(self, plan: Plan, shard: int) -> None:
        """Start one shard."""
        command = [
            *self.python,
            "-m",
            "quintet.shard.commands.shard",
            str(self.run.path),
            plan.phase,
            "--index",
            str(shard),
            *self.drift,
        ]
        process = subprocess.Popen(command, env=self.surroundings(), start_new_session=True)
        self.going[process] = shard

    def array(self, plan: Plan, shards: list[int]) -> dict[int, int]:
        """Run shards until each has ended for good; return the exit codes that are not 0."""
        waiting, attempts, failed = shards[::-1], Counter[int](), {}
        total, begun, shown = len(shards), time.monotonic(), time.monotonic()
        done = 0
        while self.going or (waiting and not self.stopping):
            while waiting and len(self.going) < self.jobs and not self.stopping:
                shard = waiting.pop()
                attempts[shard] += 1
                self.start(plan, shard)
            for process in [item for item in self.going if item.poll() is not None]:
                shard, code = self.going.pop(process), process.returncode
                if code == 0:
                    done += 1
                elif code == Exit.STOPPED and out_of_time(self.run, plan, shard):
                    self.stopping = self.stopping or "the deadline of QUINTET_DEADLINE or SLURM_JOB_END_TIME"
                elif not self.stopping and attempts[shard] < retries(code):
                    waiting.insert(0, shard)
                else:
                    failed[shard] = code
            if time.monotonic() - shown >= PROGRESS_S:
                shown = time.monotonic()
                click.echo(f"{plan.phase}: {done} of {total} shards, {shown - begun:.0f} s")
            time.sleep(POLL_S)
        if self.stopping:
            raise QuintetError(
                Exit.STOPPED, f"stopped by {self.stopping}; what is finished is kept, run the same command again"
            )
        click.echo(f"{plan.phase}: {done} of {total} shards, {time.monotonic() - begun:.1f} s")
        return failed


def out_of_time(run: Run, plan: Plan, shard: int) -> bool:
    """Whether the last attempt at a shard met the deadline before it had done a block: so would every other."""
    end = ([{}] + [attempt.get("end", {}) for attempt in read_attempts(run.attempt_file(plan.phase, shard))])[-1]
    return end.get("reason") == "deadline" and not end["blocks"]


def retries(code: int) -> int:
    """Return how often a shard that ended so may be started in all."""
    if code < 0:  # killed by a signal
        return MAX_ATTEMPTS
    return RETRIED.get(Exit(code), 1) if code in set(Exit) else 1


def missing_shards(run: Run, plan: Plan) -> list[int]:
    """Return what a local array has to start: missing shards of a map, the workers of a pull."""
    inputs = inputs_digest(run, plan)
    if plan.kind == "pull":
        return [] if is_merged(run, plan, inputs, "fast") else list(range(len(plan.shards)))
    return [found.number for found in scan_map(run, plan, inputs, "fast") if found.reason]


def merge(runner: Runner, phase: str) -> int:
    """Merge one phase in a process of its own."""
    module = ["quintet.shard.container", *runner.drift] if runner.contained else ["quintet.merge"]
    command = [*runner.python, "-m", *module, str(runner.run.path), phase]
    return subprocess.run(command, env=runner.surroundings()).returncode


@contextlib.contextmanager
def runner_of(run: Path, jobs: int, image: str | None, gpu: str | None, drift: bool) -> Iterator[Runner]:
    """Give a runner for a run: with the run's snapshot of the code, or with that of an image."""
    environment, site = dict(os.environ), read_site(run / "plan" / "site.yaml")
    image = image or (None if inside() else site.container)
    words = ["--allow-code-drift"] if drift else []
    if image:
        planned = Run.opened(run.resolve())  # the name under which the image sees it
        container = container_of(planned, image, gpu or "", site.container_binds)
        with tempfile.TemporaryDirectory(prefix="quintet-", dir=scratch_base(), ignore_cleanup_errors=True) as scratch:
            python = python_in(container, planned.path, Path(scratch).resolve(), environment)
            yield Runner(planned, jobs, environment, python, True, words)
        return
    planned = Run.opened(run)
    yield Runner(planned, jobs, environment, contained=inside(), drift=words)


@click.command(name="local")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--jobs", type=click.IntRange(min=1), help="Shards at a time (default: the CPUs of this process).")
@click.option("--phase", help="Only this phase, without its merge.")
@click.option("--container", "image", envvar="QUINTET_CONTAINER", help="Run shards and merges in this image.")
@click.option("--gpu", type=click.Choice(sorted(GPU_OPTIONS)), help="Let the image see the GPUs of this maker.")
@click.option("--allow-code-drift", is_flag=True, help="Run although the code is not the planned.")
def command(
    run: Path, jobs: int | None, phase: str | None, image: str | None, gpu: str | None, allow_code_drift: bool
) -> int:
    """Run what is missing of a planned RUN on this machine, phase by phase, each with its merge."""
    with runner_of(run, jobs or len(os.sched_getaffinity(0)), image, gpu, allow_code_drift) as runner:
        runner.install()
        return run_phases(runner, phase)


def run_phases(runner: Runner, phase: str | None) -> int:
    """Run one phase, or all with their merges; return the exit code."""
    run = runner.run
    for name in known_phases(run, phase):
        plan = run.plan(name)
        if plan.units is None:
            raise QuintetError(Exit.INPUT, f"phase {name}: its units are not known before {plan.after[-1]} is merged")
        failed = runner.array(plan, shards) if (shards := missing_shards(run, plan)) else {}
        for shard, code in sorted(failed.items()):
            click.echo(f"{name}: shard {shard} ended with {code}; log below {run.log_folder(name, shard)}", err=True)
        if phase:
            return int(next(iter(failed.values()), 0))
        code = merge(runner, name)
        if code not in {0, Exit.RENDER} or (code and name == run.phases()[-1]):
            return code
    return 0


if __name__ == "__main__":
    run_command(command)
