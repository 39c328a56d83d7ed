"""Many processes at one file: who wins a name, and whether locks keep them apart.

Also a program: `python -m quintet.shard.doctor.contest KIND FOLDER TURNS` counts under a lock, started on two nodes.
"""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..lock import study_lock
from ..publish import rename_exclusive
from .record import Check, fail, passed, warn

PROCESSES = 8
TURNS = 25
RACE_S = 0.3
RACE_BYTES = 1 << 16
JOIN_S = 60.0


Entry = tuple[Callable[..., int], tuple[Any, ...]]


def together(entries: Sequence[Entry]) -> list[int]:
    """Call each function with its arguments in a forked process of its own and return their exit codes."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=exiting, args=entry) for entry in entries]
    for process in processes:
        process.start()
    for process in processes:
        process.join(JOIN_S)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode if process.exitcode is not None else -1 for process in processes]


def exiting(entry: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    """End this process with what `entry` returns, 3 where it raises."""
    try:
        code = entry(*arguments)
    except Exception:
        code = 3
    os._exit(code)


def claim_exclusively(path: str) -> int:
    """Return 0 where this process made the file, 1 where another one did."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return 1
    return 0


def claim_by_link(path: str, number: int) -> int:
    """Return 0 where this process's link took the name, 1 where another's did, 2 where links are refused."""
    own = f"{path}.{number}"
    Path(own).write_text(str(number))
    try:
        os.link(own, path)
    except FileExistsError:
        return 1
    except OSError as error:
        return 2 if error.errno in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS} else 3
    return 0


def check_exclusive_names(folder: Path) -> list[Check]:
    """Let eight processes race for one name, by O_EXCL and by hard link: each race has exactly one winner."""
    codes = together([(claim_exclusively, (str(folder / "name"),))] * PROCESSES)
    advice = "two elements could publish the same name: put the run on another file system"
    winners = codes.count(0)
    text = f"{winners} winner of {PROCESSES}"
    checks = [passed("O_EXCL", text) if winners == 1 and 3 not in codes else fail("O_EXCL", text, advice)]
    codes = together([(claim_by_link, (str(folder / "link"), number)) for number in range(PROCESSES)])
    winners = codes.count(0)
    if set(codes) <= {1, 2} and 2 in codes:
        checks.append(check_rename(folder))
    else:
        text = f"{winners} winner of {PROCESSES}"
        checks.append(passed("link", text) if winners == 1 and 3 not in codes else fail("link", text, advice))
    return checks


def check_rename(folder: Path) -> Check:
    """Check the way that publishing goes where hard links are refused."""
    one, other = folder / "one", folder / "other"
    one.write_text("1")
    other.write_text("2")
    try:
        rename_exclusive(one, other)
    except FileExistsError:
        return warn("link", "refused; exclusive rename works", "nothing to do: publishing uses the rename")
    return warn("link", "refused, and rename replaces files", "do not run two arrays over the same run at once")


def replace_often(path: str, number: int, until: float) -> int:
    """Replace a file with 64 kB of one letter, again and again."""
    own = Path(f"{path}.{number}")
    while time.monotonic() < until:
        own.write_bytes(bytes([65 + number]) * RACE_BYTES)
        own.replace(path)
    return 0


def read_often(path: str, until: float) -> int:
    """Return 0 where every look at a file that is being replaced shows one whole version, else 3 or 1."""
    while time.monotonic() < until:
        content = Path(path).read_bytes()
        if len(content) != RACE_BYTES or len(set(content)) != 1:
            return 1
    return 0


def check_replace(folder: Path) -> Check:
    """Read a file while others replace it: a reader sees one version or the other, never a mixture, never nothing."""
    path = str(folder / "replaced")
    Path(path).write_bytes(b"A" * RACE_BYTES)
    until = time.monotonic() + RACE_S
    entries: list[Entry] = [(replace_often, (path, 0, until)), (replace_often, (path, 1, until))]
    entries += [(read_often, (path, until)), (read_often, (path, until))]
    if set(together(entries)) == {0}:
        return passed("rename", f"atomic, two readers beside two writers for {RACE_S} s")
    return fail(
        "rename", "a reader saw a mixture or nothing", "results could be read half-written: use another file system"
    )


def count_flock(folder: str, turns: int) -> int:
    """Count under the kernel's flock."""
    return count_under(folder, turns, fcntl.flock)


def count_fcntl(folder: str, turns: int) -> int:
    """Count under a POSIX record lock."""
    return count_under(folder, turns, fcntl.lockf)


def count_under(folder: str, turns: int, lock: Callable[[int, int], None]) -> int:
    """Add one to a number in a file, `turns` times, under a lock."""
    for _ in range(turns):
        descriptor = os.open(f"{folder}/counter.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(descriptor, fcntl.LOCK_EX)
            add_one(Path(folder) / "counter")
            lock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)
    return 0


def count_strict(folder: str, turns: int) -> int:
    """Count under hard-linked claims."""
    for _ in range(turns):
        with study_lock(Path(folder) / "strict.lock", "strict", JOIN_S):
            add_one(Path(folder) / "counter")
    return 0


def add_one(path: Path) -> None:
    """Add one to the number in a file, in place and durably."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        value = int(os.pread(descriptor, 32, 0) or b"0")
        os.pwrite(descriptor, str(value + 1).encode(), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def count_sqlite(folder: str, turns: int) -> int:
    """Add one to a number in an SQLite database, `turns` times, each in its own transaction."""
    with closing(sqlite3.connect(f"{folder}/counter.sqlite3", timeout=JOIN_S, isolation_level=None)) as connection:
        for _ in range(turns):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE counter SET value = value + 1")
            connection.execute("COMMIT")
    return 0


COUNTERS: dict[str, Callable[[str, int], int]] = {"flock": count_flock, "fcntl": count_fcntl, "strict": count_strict}
LOCK_ADVICE = {
    "flock": "set `lock_kind: strict` in the site file, or put the run on a file system with flock",
    "fcntl": "SQLite relies on it; the suite opens its database only under the run's own lock",
    "strict": "no lock works here: put the run on another file system",
}


def check_locks(folder: Path, turns: int = TURNS) -> list[Check]:
    """Let two processes count under each kind of lock: no turn may be lost."""
    checks = []
    for kind, entry in COUNTERS.items():
        place = folder / kind
        place.mkdir()
        share = turns if kind != "strict" else max(turns // 5, 1)
        codes = together([(entry, (str(place), share))] * 2)
        checks.append(verdict(kind, place, codes, 2 * share))
    return checks


def verdict(kind: str, place: Path, codes: list[int], expected: int) -> Check:
    """Return what a count under a lock came to."""
    counter = place / "counter"
    counted = int(counter.read_text() or 0) if counter.exists() else 0
    text = f"{counted} of {expected} turns counted"
    if codes == [0, 0] and counted == expected:
        return passed(f"lock {kind}", text)
    return (fail if kind != "fcntl" else warn)(f"lock {kind}", text, LOCK_ADVICE[kind])


def check_sqlite(folder: Path, turns: int = TURNS) -> Check:
    """Let two processes write to one SQLite file: no transaction may be lost, and the file stays sound."""
    path = folder / "counter.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE counter (value INTEGER)")
        connection.execute("INSERT INTO counter VALUES (0)")
        connection.commit()
    codes = together([(count_sqlite, (str(folder), turns))] * 2)
    with closing(sqlite3.connect(path)) as connection:
        value = connection.execute("SELECT value FROM counter").fetchone()[0]
        sound = connection.execute("PRAGMA quick_check").fetchone()[0]
    text = f"{value} of {2 * turns} transactions, quick_check {sound}"
    if codes == [0, 0] and value == 2 * turns and sound == "ok":
        return passed("SQLite", text)
    return warn("SQLite", text, "searches here rest on the run's own lock alone; see lock flock and lock strict")


if __name__ == "__main__":
    COUNTERS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
