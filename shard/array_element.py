"""One attempt at a shard, whatever started it; run as a module, the process of one array element.

    python -m quintet.shard.array_element RUN PHASE MAP OFFSET [--allow-code-drift]

Its words are the batch script's, MAP may be empty. A person's are `bin/shard`'s: to read those, click would take a
twentieth of the time of a short element.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .attempts import Attempt, peak_rss_mb, slurm_ids
from .context import Context, inputs_digest, study_module, verified_result
from .element import Element, finished, run_blocks
from .ending import end_at_once, one_line
from .errors import Exit, QuintetError, exit_of
from .publish import make_folder
from .run import Plan, Run
from .scratch import scratch_base
from .signals import StopFlag
from .snapshot import running_code_sha256, runs_snapshot_of

if TYPE_CHECKING:
    from .phases import Work

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


def shard_number(map_file: Path | None, offset: int) -> int:
    """Return the shard: QUINTET_SHARD, else the task id through offset and map file; else exit 64."""
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


def threads_of(plan: Plan) -> int:
    """Return how many threads an element of a phase computes with; another number may change bits."""
    return int(plan.resources.get("threads", 1))


def set_threads(plan: Plan) -> None:
    """Fix the number of threads before any numeric library starts."""
    for name in THREADS:
        os.environ[name] = str(threads_of(plan))
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "BEST_EFFORT")
    # what other programs plug into pydantic has no business here, and looking for it costs more than a small config
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def check_code(run: Run, plan: Plan, allowed: bool) -> None:
    """Refuse code other than the planned: exit 78, unless drift is allowed (it is recorded).

    An element that starts while the run is planned again may find the snapshot of one plan and the file of the other:
    exit 75, to start once more.
    """
    found = running_code_sha256()
    if found == plan.code["sha256"]:
        return
    message = f"code {found[:12]} is not the planned {plan.code['sha256'][:12]}"
    if not allowed and runs_snapshot_of(run.plan_folder):
        raise QuintetError(Exit.STOPPED, f"{message}: the run was planned again meanwhile")
    if not allowed:
        raise QuintetError(Exit.MISMATCH, f"{message}; plan the run again, or pass --allow-code-drift")
    print(message, file=sys.stderr)


def work_on(run: Run, plan: Plan, element: Element, blocks: tuple[int, int]) -> Exit:
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
        from .worker import run_worker

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


def attempt_shard(run: Run, phase: str, shard: int, drift: bool = False, keep_logs: bool = False) -> Exit:
    """Do one attempt from start to end; every way out leaves an attempt record."""
    time.tzset()
    plan = run.plan(phase)
    if plan.units is None:
        raise QuintetError(Exit.INPUT, f"phase {phase}: its units are not known before {plan.after[-1]} is merged")
    if not 0 <= shard < len(plan.shards):
        raise QuintetError(Exit.BAD_CALL, f"shard {shard}: phase {phase} has shards 0 to {len(plan.shards) - 1}")
    own = plan.shards[shard]
    set_threads(plan)
    stop = StopFlag()
    stop.install()
    log = Log(sys.stderr)
    sys.stderr = log  # type: ignore[assignment]
    attempt = Attempt(run.attempt_file(phase, shard))
    code, reason, started, inputs = Exit.BUG, "", False, ""
    try:
        check_code(run, plan, drift)
        inputs = inputs_digest(run, plan)
        element = Element(run, plan, shard, inputs, stop, attempt)
        if plan.kind == "map" and (own[0] == own[1] or finished(element, own)):
            return Exit.OK
        attempt.start(shard=shard, lo=own[0], hi=own[1], inputs=inputs)
        started = True
        with node_local():
            code = work_on(run, plan, element, own)
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


def main(words: Sequence[str]) -> Exit:
    """Attempt the shard that the environment names; `words` are those of the module's call."""
    run, phase, map_file, offset, *drift = words
    shard = shard_number(Path(map_file) if map_file else None, int(offset))
    return attempt_shard(Run.opened(run), phase, shard, drift=bool(drift))


if __name__ == "__main__":
    end_at_once("bin/shard", lambda: main(sys.argv[1:]))
