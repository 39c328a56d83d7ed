"""Exit codes of every executable, and the one exception that carries them."""

from __future__ import annotations

import errno
import re
from enum import IntEnum


class Exit(IntEnum):
    """What a process of the suite says by its exit code; the wrapper and `submit` act on it."""

    OK = 0
    CHECK = 1  # a check that was asked for did not pass
    USAGE = 2  # what was typed or written: flag, config value, named input
    INCOMPLETE = 3  # merge only: shards are missing
    RENDER = 4  # merge only: the numbers stand, a figure or table failed
    BAD_CALL = 64  # an array element was called wrongly
    INPUT = 65  # an input is missing, corrupt or has the wrong digest
    UNAVAILABLE = 69  # lock timeout, GPU expected but absent, queue full
    BUG = 70  # an uncaught exception
    CANNOT_WRITE = 73  # disk full, quota, read-only, permission
    IO = 74  # other I/O error after all retries
    STOPPED = 75  # stopped early, nothing lost: requeue
    CONFLICT = 76  # a valid partial of the same blocks holds another payload
    MISMATCH = 78  # config, plan, code or schema do not belong together


class QuintetError(Exception):
    """An error that a person can act on: one line, and the exit code that goes with it."""

    def __init__(self, code: Exit, message: str) -> None:
        """Keep the exit code beside the one-line message."""
        super().__init__(message)
        self.code = code


CANNOT_WRITE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG})
TRANSIENT_ERRNOS = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
NO_FILE_ERRNOS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO})
HDF5_ERRNO = re.compile(r"errno = (\d+)")  # how HDF5 writes it into the text of an error


def errno_of(error: BaseException) -> int | None:
    """Return the errno that an exception stands for, also where HDF5 gives it in the error's text alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = HDF5_ERRNO.search(str(error)) if isinstance(error, OSError | RuntimeError) else None
    return int(found[1]) if found else None


def exit_of(error: BaseException) -> Exit:
    """Return the exit code that an exception ends a process with."""
    if isinstance(error, QuintetError):
        return error.code
    if isinstance(error, ModuleNotFoundError):  # the same again wherever this installation is used
        return Exit.MISMATCH
    number = errno_of(error)
    if number == errno.ENAMETOOLONG:  # a name that was typed: the suite's own are short
        return Exit.USAGE
    if number in CANNOT_WRITE_ERRNOS:
        return Exit.CANNOT_WRITE
    return Exit.IO if number in TRANSIENT_ERRNOS else Exit.BUG
