"""Publishing: a file appears whole under its name, or not at all."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TypeVar

from .errors import TRANSIENT_ERRNOS, Exit, QuintetError
from .partial import Card, file_digest, read_card

Result = TypeVar("Result")
RETRIES = 5
NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS})
RENAME_NOREPLACE = 1
AT_FDCWD = -100


class Outcome(Enum):
    """What publishing found under the final name."""

    PUBLISHED = "published"
    DUPLICATE = "duplicate"


def retried(action: Callable[[], Result]) -> Result:
    """Call `action` again after a transient I/O error, five times with back-off; then exit 74."""
    for attempt in range(RETRIES):
        try:
            return action()
        except OSError as error:
            if error.errno not in TRANSIENT_ERRNOS:
                raise
            if attempt == RETRIES - 1:
                raise QuintetError(
                    Exit.IO, f"{error.filename or 'I/O'}: {error.strerror} after {RETRIES} tries"
                ) from error
            time.sleep((0.5 + os.urandom(1)[0] / 510) * 0.05 * 2**attempt)
    raise AssertionError("unreachable")


def make_folder(folder: Path) -> None:
    """Create a folder and its parents."""
    if not folder.is_dir():
        retried(lambda: folder.mkdir(parents=True, exist_ok=True))


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems refuse fsync on folders
            raise
    finally:
        os.close(descriptor)


def write_temporary(final: Path, content: bytes, mode: int = 0o640) -> Path:
    """Write and fsync `content` beside `final` under a name that nobody reads; nothing is left on failure."""
    token = f"{os.uname().nodename}.{os.getpid()}.{os.urandom(4).hex()}"
    temporary = final.parent / f".{final.stem}.{token}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(final)  # calls on a descriptor name no file, and a person must know which disk is full
        raise
    return temporary


def replace_file(final: Path, content: bytes) -> None:
    """Publish `content` under `final`, last writer wins."""
    make_folder(final.parent)
    temporary = retried(lambda: write_temporary(final, content))
    try:
        retried(lambda: temporary.replace(final))
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(final.parent)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file of lines; one that a full disk or a kill cut off is ended first.

    Raises:
        OSError: the line could not be written, or not whole.
    """
    content = line.encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            content = b"\n" + content
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename_exclusive(temporary: Path, final: Path) -> None:
    """Rename without replacing where the kernel can; FileExistsError if the name is taken."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    rename = getattr(libc, "renameat2", None)
    if rename is not None:
        if rename(AT_FDCWD, os.fsencode(temporary), AT_FDCWD, os.fsencode(final), RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number == errno.EEXIST:
            raise FileExistsError(number, os.strerror(number), str(final))
        if number not in {errno.EINVAL, errno.ENOSYS}:
            raise OSError(number, os.strerror(number), str(final))
    temporary.replace(final)


def claim_name(temporary: Path, final: Path) -> None:
    """Give `temporary` its final name; FileExistsError if another file has it."""
    try:
        os.link(temporary, final)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in NO_HARD_LINKS:
            # an NFS server may have made the link and lost the answer
            if temporary.stat().st_nlink == 2:
                return
            raise
        rename_exclusive(temporary, final)


def publish(final: Path, content: bytes, card: Card, quarantine: Path) -> Outcome:
    """Publish a partial, first writer wins.

    Args:
        final: the partial's name.
        content: the whole file.
        card: its card.
        quarantine: folder that takes a corrupt file found under the name.

    Returns:
        DUPLICATE where an equal partial stood there already.

    Raises:
        QuintetError: exit 76 where a valid partial with another payload stands there; ours is kept beside it.
        OSError: the file cannot be written; nothing is left.
    """
    make_folder(final.parent)
    temporary = retried(lambda: write_temporary(final, content))
    try:
        for _ in range(RETRIES):
            try:
                retried(lambda: claim_name(temporary, final))
            except FileExistsError:
                standing = valid_card(final)
                if standing is not None and same_work(standing, card):
                    if standing.pd == card.pd:
                        return Outcome.DUPLICATE
                    job = os.environ.get("SLURM_JOB_ID", "")
                    beside = final.with_name(f"{final.stem}.conflict-{job if job.isdecimal() else os.getpid()}.h5")
                    temporary.replace(beside)
                    raise QuintetError(
                        Exit.CONFLICT,
                        f"{final.name}: blocks {card.lo}:{card.hi} have payload {standing.pd[:12]}, this attempt "
                        f"computed {card.pd[:12]}; kept as {beside.name}. Compare /meta of both",
                    ) from None
                set_aside(final, quarantine)
            else:
                temporary.unlink(missing_ok=True)
                sync_folder(final.parent)
                if retried(lambda: read_card(final)) != card:
                    raise QuintetError(Exit.IO, f"{final.name}: what was written does not read back")
                return Outcome.PUBLISHED
        raise QuintetError(Exit.IO, f"{final.name}: the name stays taken by corrupt files")
    finally:
        temporary.unlink(missing_ok=True)


def same_work(one: Card, other: Card) -> bool:
    """Whether two cards are of the same blocks and units of the same shard, configuration and inputs."""
    return (one.study, one.phase, one.shard, one.lo, one.hi, one.units, one.cfg, one.inp) == (
        other.study,
        other.phase,
        other.shard,
        other.lo,
        other.hi,
        other.units,
        other.cfg,
        other.inp,
    )


def valid_card(path: Path) -> Card | None:
    """Return the card of a whole partial; None where the file is gone, foreign or damaged."""
    try:
        card, digest = retried(lambda: file_digest(path))
    except (OSError, ValueError):
        return None
    return card if card.b2 == digest and card.complete else None


def set_aside(path: Path, quarantine: Path) -> Path | None:
    """Move a damaged file (or whatever bears its name) to the quarantine; None where it is gone already."""
    make_folder(quarantine)
    target = quarantine / f"{path.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.{os.urandom(3).hex()}"
    try:
        path.rename(target)
    except FileNotFoundError:
        return None
    return target
