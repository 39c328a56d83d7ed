"""`shard RUN PHASE`: one array element, whatever started it."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from ..attempts import Attempt, peak_rss_mb, slurm_ids
from ..context import Context, inputs_digest, study_module, verified_result
from ..element import Element, finished, run_blocks
from ..errors import Exit, QuintetError, exit_of
from ..publish import make_folder
from ..run import Plan, Run
from ..scratch import scratch_base
from ..signals import StopFlag
from ..snapshot import running_code_sha256
from .base import one_line, run_and_leave

if TYPE_CHECKING:
    from ..phases import Work

KEPT_LINES = 256
LONGEST_NUMBER = 18  # digits
CACHES = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Log:
    """Keeps the last lines in memory and passes them on."""

    def __init__(self, stream: TextIO) -> None:
        """Wrap a stream."""
        self._stream = stream
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def write(self, text: str) -> int:
        """Remember and pass on."""
        self.lines.append(text)
        return self._stream.write(text)

    def flush(self) -> None:
        """Pass on."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Say whether a person watches."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's descriptor."""
        return self._stream.fileno()


def shard_number(index: int | None, map_file: Path | None, offset: int) -> int:
    """Return the shard: --index, else QUINTET_SHARD, else the task id through offset and map file; else exit 64."""
    if index is not None:
        return index
    for name in ("QUINTET_SHARD", "SLURM_ARRAY_TASK_ID"):
        text = os.environ.get(name)
        if text is None:
            continue
        if not text.isdecimal() or len(text) > LONGEST_NUMBER:
            raise QuintetError(Exit.BAD_CALL, f"{name}: found {text[:80]!r}; allowed is a number from 0")
        if name == "QUINTET_SHARD":
            return int(text)
        return mapped(map_file, int(text) + offset)
    raise QuintetError(Exit.BAD_CALL, "no task number: give --index, or set QUINTET_SHARD or SLURM_ARRAY_TASK_ID")


def mapped(map_file: Path | None, line: int) -> int:
    """Return the shard on a line of the map file (from 0), the line itself without one."""
    if map_file is None:
        return line
    try:
        numbers = map_file.read_text().split()
        return int(numbers[line])
    except OSError as error:
        raise QuintetError(Exit.BAD_CALL, f"{map_file}: {error.strerror}") from None
    except (IndexError, ValueError):
        raise QuintetError(Exit.BAD_CALL, f"{map_file}: no shard number on line {line}") from None


@contextmanager
def node_local() -> Iterator[None]:
    """Give caches of compilers and plotting a folder on this node, unless the environment names them all."""
    if all(name in os.environ for name in CACHES):
        yield
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="quintet-", dir=scratch_base(), ignore_cleanup_errors=True) as folder:
        for name in CACHES:
            os.environ.setdefault(name, str(Path(folder) / name.lower()))
        yield


def set_threads(plan: Plan) -> None:
    """Fix the number of threads before any numeric library starts."""
    for name in THREADS:
        os.environ[name] = str(plan.resources.get("threads", 1))
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "BEST_EFFORT")
    # what other programs plug into pydantic has no business here, and looking for it costs more than a small config
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def check_code(plan: Plan, allowed: bool) -> None:
    """Refuse code other than the planned: exit 78, unless drift is allowed (it is recorded)."""
    found = running_code_sha256()
    if found == plan.code["sha256"]:
        return
    message = f"code {found[:12]} is not the planned {plan.code['sha256'][:12]}"
    if not allowed:
        raise QuintetError(Exit.MISMATCH, f"{message}; plan the run again, or pass --allow-code-drift")
    print(message, file=sys.stderr)


def work_on(run: Run, plan: Plan, shard: int, element: Element, blocks: tuple[int, int]) -> Exit:
    """Do the work of an element that is not finished yet."""
    for name in plan.after:
        verified_result(run, name)
    gc.disable()  # imports leave no garbage, and looking for it costs a twentieth of a short element
    import h5py  # noqa: F401

    study = study_module(plan.study)
    gc.enable()
    context = Context.of(run, plan.phase)
    work: Work = study.start(context)
    if plan.kind == "pull":
        from ..worker import run_worker

        return run_worker(element, context, work)
    return run_blocks(element, context, work, blocks)


def write_log(run: Run, plan: Plan, shard: int, lines: deque[str], code: int) -> None:
    """Leave the last lines, the resources used and the environment where a person looks for them."""
    ids = slurm_ids()
    job = ids.get("SLURM_ARRAY_JOB_ID", "local")
    task = ids.get("SLURM_ARRAY_TASK_ID", str(os.getpid()))
    folder = run.log_folder(plan.phase, shard)
    try:
        make_folder(folder)
        head = f"shard {shard} of {plan.study}/{plan.phase}: exit {code}, peak {peak_rss_mb():.0f} MB, {ids}\n"
        (folder / f"{job}_{task}.log").write_text(head + "".join(lines))
    except OSError as error:
        print(f"log not written: {error.strerror}", file=sys.stderr)


def attempt_shard(
    run: Run, phase: str, shard: int, blocks: tuple[int, int] | None, drift: bool, keep_logs: bool
) -> Exit:
    """Do one attempt from start to end; every way out leaves an attempt record."""
    plan = run.plan(phase)
    if plan.units is None:
        raise QuintetError(Exit.INPUT, f"phase {phase}: its units are not known before {plan.after[-1]} is merged")
    if blocks is None and not 0 <= shard < len(plan.shards):
        raise QuintetError(Exit.BAD_CALL, f"shard {shard}: phase {phase} has shards 0 to {len(plan.shards) - 1}")
    own = plan.shards[shard] if blocks is None else blocks
    set_threads(plan)
    stop = StopFlag()
    stop.install()
    log = Log(sys.stderr)
    sys.stderr = log  # type: ignore[assignment]
    attempt = Attempt(run.attempt_file(phase, shard))
    code, reason, started, inputs = Exit.BUG, "", False, ""
    try:
        check_code(plan, drift)
        inputs = inputs_digest(run, plan)
        element = Element(run, plan, shard, inputs, stop, attempt)
        if plan.kind == "map" and (own[0] == own[1] or finished(element, own)):
            return Exit.OK
        attempt.start(shard=shard, lo=own[0], hi=own[1], inputs=inputs)
        started = True
        with node_local():
            code = work_on(run, plan, shard, element, own)
        reason = stop.reason
        return code
    except Exception as error:
        code, reason = exit_of(error), one_line(error)
        if code is Exit.BUG:
            import traceback

            log.lines.append(traceback.format_exc())
        raise
    finally:
        sys.stderr = log._stream
        if started or code not in {Exit.OK, Exit.BUG} or reason:
            if not started:
                attempt.start(shard=shard, lo=own[0], hi=own[1], inputs=inputs)
            attempt.end(code, reason)
        if keep_logs or (reason and code not in {Exit.OK, Exit.STOPPED}):
            write_log(run, plan, shard, deque([*log.lines, f"{reason}\n"]), code)


def block_range(text: str | None, run: Run, phase: str) -> tuple[int, int] | None:
    """Return a range of blocks that is one planned shard's, from LO:HI."""
    if text is None:
        return None
    lo, _, hi = text.partition(":")
    if not (lo.isdecimal() and hi.isdecimal()) or len(text) > 2 * LONGEST_NUMBER:
        raise QuintetError(Exit.USAGE, f"--blocks: found {text[:80]!r}; allowed is LO:HI")
    return int(lo), int(hi)


@click.command(name="shard")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("phase")
@click.option("--index", type=click.IntRange(min=0), help="Shard number; else the environment's.")
@click.option("--blocks", help="A shard's blocks as LO:HI, instead of its number.")
@click.option("--map", "map_file", type=click.Path(path_type=Path), help="File with one shard number a line.")
@click.option("--offset", type=click.IntRange(min=0), default=0, show_default=True, help="Added to the task id.")
@click.option("--allow-code-drift", is_flag=True, help="Run although the code is not the planned.")
@click.option("--keep-logs", is_flag=True, help="Keep the log of a shard that succeeded, too.")
def command(
    run: Path,
    phase: str,
    index: int | None,
    blocks: str | None,
    map_file: Path | None,
    offset: int,
    allow_code_drift: bool,
    keep_logs: bool,
) -> int:
    """Run one shard of PHASE of a planned RUN."""
    planned = Run.opened(run)
    wanted = block_range(blocks, planned, phase)
    if wanted is None:
        shard = shard_number(index, map_file, offset)
    else:
        shards = planned.plan(phase).shards
        if wanted not in shards:
            raise QuintetError(Exit.BAD_CALL, f"--blocks: {blocks} is no shard of the plan; shards: {shards[:3]}…")
        shard = shards.index(wanted)
    time.tzset()
    return int(attempt_shard(planned, phase, shard, None, allow_code_drift, keep_logs))


if __name__ == "__main__":
    run_and_leave(command)
