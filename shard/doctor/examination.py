"""All checks in their order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Exit, QuintetError
from . import contest, environment, filesystem, locks, slurm
from .record import Check, fail

if TYPE_CHECKING:
    from ..run import Run


def examine_place(folder: Path, two_nodes: bool = False) -> Iterator[Check]:
    """Check the file system of a folder, in a subfolder of it that is removed again.

    Args:
        folder: an existing folder.
        two_nodes: also start a job of two tasks that count under each lock.

    Raises:
        QuintetError: exit 73 where the folder cannot be written.
    """
    yield filesystem.check_mount(folder)
    yield from filesystem.check_space(folder)
    yield filesystem.check_quota(folder)
    yield filesystem.check_access(folder)
    try:
        place = Path(tempfile.mkdtemp(prefix=".doctor-", dir=folder))
    except OSError as error:
        raise QuintetError(Exit.CANNOT_WRITE, f"{folder}: {error.strerror}") from None
    try:
        yield from guarded("clock", lambda: [filesystem.check_clock(place)])
        yield from guarded("fsync", lambda: [filesystem.check_fsync(place)])
        yield from guarded("HDF5", lambda: [filesystem.check_hdf5(place)])
        yield from guarded("rename", lambda: [contest.check_replace(place)])
        yield from guarded("names", lambda: contest.check_exclusive_names(place))
        yield from guarded("locks", lambda: contest.check_locks(place))
        yield from guarded("SQLite", lambda: [contest.check_sqlite(place)])
        if two_nodes:
            yield from slurm.check_two_nodes(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def guarded(name: str, checks: Callable[[], list[Check]]) -> list[Check]:
    """Return the outcome of checks; an error of the file system is a failure of what was checked."""
    try:
        return checks()
    except OSError as error:
        return [fail(name, str(error), "this file system refuses what a run needs: use another one")]


def examine_machine(gpu: bool = False) -> Iterator[Check]:
    """Check scheduler, container runtime, Python, packages, scratch and GPU."""
    yield environment.check_python()
    yield environment.check_packages()
    yield environment.check_machine()
    yield filesystem.check_scratch()
    yield from slurm.check_slurm()
    yield from environment.check_container()
    yield environment.check_gpu(gpu)


def examine_run(run: Run) -> Iterator[Check]:
    """Check what is particular to one run: its packages and its trial databases."""
    yield environment.check_planned_packages(run.path)
    yield from locks.check_stores(run)
