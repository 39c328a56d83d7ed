"""One merge at a time: a lock on `merged/.lock` that ends with its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..shard.attempts import utc_now
from ..shard.errors import Exit, QuintetError
from ..shard.publish import make_folder

HELD = frozenset({errno.EWOULDBLOCK, errno.EACCES})
NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
LOCK_MODE = 0o660


@contextmanager
def merge_lock(folder: Path) -> Iterator[None]:
    """Hold `folder/.lock` for the body of a `with`, without waiting.

    Where the file system has no locks the merge goes on: results are published by rename, so that the worst that two
    merges can do is to write equal bytes twice.

    Raises:
        QuintetError: exit 69 with host, pid and start of the merge that holds it.
    """
    make_folder(folder)
    path = folder / ".lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, LOCK_MODE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "an unknown process"
                raise QuintetError(Exit.UNAVAILABLE, f"{path}: another merge is at work: {holder}") from None
            if error.errno not in NO_LOCKS:
                raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"host {socket.gethostname()} pid {os.getpid()} since {utc_now()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
