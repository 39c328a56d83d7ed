"""The lock around what several array elements change together: one kind per run, one holder at a time."""

from __future__ import annotations

import errno
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .errors import CANNOT_WRITE_ERRNOS, Exit, QuintetError

if TYPE_CHECKING:
    from filelock import BaseFileLock

LockKind = Literal["flock", "strict"]

LOCK_TIMEOUT_SECONDS = 300.0
SHORTEST_POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 0.5
STOP_GRACE_SECONDS = 5.0  # from a stop signal to exit there are 10 s; the lock may take half of them
LOCK_MODE = 0o660

_jitter = random.Random()  # its own stream: waiting must not move a stream that science draws from


@contextmanager
def study_lock(
    path: Path,
    kind: LockKind,
    timeout: float = LOCK_TIMEOUT_SECONDS,
    stopping: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """Hold the lock file `path` for the body of a `with`.

    `flock` is the kernel's lock (local disks, NFS with locks, Lustre mounted with `flock`): it ends with its
    holder. `strict` are hard-linked claims for mounts without one: a claim whose holder was killed stays
    until a person removes it, because nobody can tell a dead holder from a slow one across hosts.

    Args:
        path: the lock file; its folder must exist. `<path>.holder` names the holder as `host:pid`.
        kind: the run's one lock kind.
        timeout: seconds to wait.
        stopping: says whether this process was asked to stop; then waiting ends after 5 s.

    Raises:
        QuintetError: 69 after the timeout or where the file system has no such lock, 73 where the file cannot
            be written, 75 when asked to stop while waiting.
    """
    lock = _lock_of(path, kind)
    started = time.monotonic()
    longest = SHORTEST_POLL_SECONDS
    while not _taken(lock, path, kind):
        waited = time.monotonic() - started
        if waited >= timeout:
            raise QuintetError(
                Exit.UNAVAILABLE,
                f"{path}: not free after {waited:.0f} s, held by {holder_of(path)} (kind {kind}); "
                "`bin/doctor --locks` says whether the holder still lives",
            )
        if stopping is not None and waited >= STOP_GRACE_SECONDS and stopping():
            raise QuintetError(Exit.STOPPED, f"{path}: asked to stop while waiting for {holder_of(path)}")
        longest = min(2 * longest, LONGEST_POLL_SECONDS)
        time.sleep(_jitter.uniform(SHORTEST_POLL_SECONDS, longest))
    try:
        _sign(path)
        yield
    finally:
        lock.release()


def holder_of(path: Path) -> str:
    """Return `host:pid` of the last process that took the lock `path`, or `unknown`."""
    try:
        text = Path(f"{path}.holder").read_text(encoding="utf-8")[:200].strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    return text or "unknown"


def _lock_of(path: Path, kind: LockKind) -> BaseFileLock:
    import filelock  # 35 ms of CPU that an element without a store does not need

    if kind == "strict":
        return filelock.StrictSoftFileLock(path, mode=LOCK_MODE)
    # Without these two, a file system without flock would silently get an existence lock, and two nodes with
    # different mounts would then hold different kinds of lock at the same time.
    return filelock.FileLock(path, mode=LOCK_MODE, fallback_to_soft=False, preserve_lock_file=True)


def _taken(lock: BaseFileLock, path: Path, kind: LockKind) -> bool:
    from filelock import SoftFileLockProtocolError, Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except SoftFileLockProtocolError as error:
        raise QuintetError(Exit.UNAVAILABLE, f"{path}: {error}") from error
    except OSError as error:
        if error.errno in CANNOT_WRITE_ERRNOS:
            raise QuintetError(Exit.CANNOT_WRITE, f"{path}: cannot write the lock file: {error.strerror}") from error
        if error.errno in {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}:
            raise QuintetError(
                Exit.UNAVAILABLE,
                f"{path}: this file system has no lock of kind {kind} ({error.strerror}); "
                "set the other kind in the site file",
            ) from error
        raise
    return True


def _sign(path: Path) -> None:
    """Write who holds the lock; only error messages read it, so that a failure here stops nothing."""
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        descriptor = os.open(f"{path}.holder", flags, LOCK_MODE)
        try:
            os.write(descriptor, f"{socket.gethostname()}:{os.getpid()}\n".encode())
            os.fchmod(descriptor, LOCK_MODE)
        finally:
            os.close(descriptor)
