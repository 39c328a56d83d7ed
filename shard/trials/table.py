"""The database of one search: Optuna's tables, and beside them who holds which trial.

Optuna makes the schema, and every row is one that Optuna's own RDBStorage would write, so that any Optuna
tool opens the file at any time. The rows are written in plain SQL for three reasons. A claim and a tell are
then one transaction each, in which the trial and its reservation change together: killed anywhere, a worker
leaves no state between the two. The trial's number is set and not counted, so that it stands from its claim
on, and trials may end in any order. And a worker needs neither Optuna nor SQLAlchemy: a claim
and a tell together, with lock and lease, cost 3 ms of CPU, where Optuna's `add_trial` alone costs 8 ms.
Optuna has kept this schema since its release 3.2; a file of another revision is refused.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import Exit, QuintetError
from .records import FinishedTrial, SearchSpec
from .space import Distribution

SCHEMA_REVISION = "v3.2.0.a"  # Optuna's name of the revision that the statements below write
BUSY_SECONDS = 120.0  # for Optuna tools that read while we write
STUDY_ID = 1

OWN_TABLES = """
CREATE TABLE quintet_store (space TEXT NOT NULL, incarnation TEXT NOT NULL);
CREATE TABLE quintet_reservations (number INTEGER PRIMARY KEY, token TEXT NOT NULL, attempt INTEGER NOT NULL);
CREATE INDEX quintet_trials_by_state ON trials (state, number);
"""

DAMAGED = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA}
UNWRITABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
UNREADABLE = (sqlite3.Error, UnicodeDecodeError, json.JSONDecodeError)  # also SQLite's own words may hold bad bytes


class OtherSearch(QuintetError):  # noqa: N818
    """The database belongs to another search, or to the same one of another config or other inputs."""


def create(path: Path, spec: SearchSpec, incarnation: str) -> None:
    """Write a database without trials to `path`, whole or not at all to the eyes of others."""
    import optuna
    from sqlalchemy.pool import NullPool

    verbosity = optuna.logging.get_verbosity()
    # Made on the node's own disk: a hundred small commits would take seconds on a network file system.
    with tempfile.TemporaryDirectory(prefix="quintet-") as folder:
        draft = Path(folder) / "study.sqlite3"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{draft}", engine_kwargs={"poolclass": NullPool})
            direction = optuna.study.StudyDirection[spec.direction.upper()]
            storage.create_new_study([direction], study_name=spec.study_name)
            storage.remove_session()
            storage.engine.dispose()
        except Exception as error:
            cause = sqlite_error_of(error)
            if cause is None:
                raise
            raise named_error(draft, cause) from error
        finally:
            optuna.logging.set_verbosity(verbosity)
        with closing(sqlite3.connect(draft)) as connection:
            connection.executescript(OWN_TABLES)
            connection.execute("INSERT INTO quintet_store VALUES (?, ?)", (spec.fingerprint, incarnation))
            connection.commit()
        try:
            shutil.copyfile(draft, path)
        except OSError as error:  # it names the draft, and what is full is the run's disk
            raise OSError(error.errno, error.strerror, str(path)) from error


def sqlite_error_of(error: BaseException | None) -> sqlite3.Error | None:
    """Return SQLite's own error within those that SQLAlchemy and Optuna put around it."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = getattr(error, "orig", None) or error.__cause__
    return error


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing database; call it under the search's lock only.

    Raises:
        sqlite3.Error: see `named_error`.
    """
    whole_pages(path)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    # WAL needs memory shared between all processes, which no network file system has.
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def whole_pages(path: Path) -> None:
    """Refuse a file whose length is not the one in its header; SQLite itself finds that only page by page.

    Raises:
        sqlite3.DatabaseError: the file was cut or is no database.
    """
    with path.open("rb") as stream:
        header = stream.read(100)
        length = os.fstat(stream.fileno()).st_size
    if Path(f"{path}-journal").exists():
        return  # a worker was killed while it wrote: SQLite brings the file back to its last commit first
    page_bytes = int.from_bytes(header[16:18], "big")
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    if not header.startswith(b"SQLite format 3\0") or length != page_bytes * int.from_bytes(header[28:32], "big"):
        raise sqlite3.DatabaseError(f"file is not a whole database ({length} bytes)")


def identify(connection: sqlite3.Connection, path: Path, spec: SearchSpec) -> str:
    """Return the database's incarnation (another one after each rebuilding).

    Raises:
        OtherSearch: 78.
        QuintetError: 78 where it was upgraded to another schema.
    """
    space, incarnation, revision = connection.execute(
        "SELECT space, incarnation, version_num FROM quintet_store, alembic_version"
    ).fetchone() or ("", "", "")
    if revision != SCHEMA_REVISION:
        raise QuintetError(Exit.MISMATCH, f"{path}: Optuna schema {revision!r}; this suite writes {SCHEMA_REVISION!r}")
    if space != spec.fingerprint:
        raise OtherSearch(
            Exit.MISMATCH, f"{path}: holds the search {space[:300]}, and the plan's is {spec.fingerprint[:300]}"
        )
    return str(incarnation)


def named_error(path: Path, error: Exception) -> QuintetError:
    """Return the one-line error and exit code of what SQLite reports about `path`."""
    number = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_CORRUPT) & 0xFF
    if number in UNWRITABLE:
        return QuintetError(Exit.CANNOT_WRITE, f"{path}: {error}")
    if number == sqlite3.SQLITE_IOERR:
        return QuintetError(Exit.IO, f"{path}: {error}")
    if number in BUSY:
        return QuintetError(Exit.UNAVAILABLE, f"{path}: {error}: another program keeps the database locked")
    if number in DAMAGED:
        return QuintetError(
            Exit.INPUT,
            f"{path}: the database is damaged ({error}); `bin/verify RUN --quarantine` sets it aside, "
            "and the next worker makes it again from the published trials",
        )
    return QuintetError(Exit.BUG, f"{path}: {error}")


def was_replaced(error: Exception) -> bool:
    """Say whether SQLite found that another file stands where the one it opened stood."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_DBMOVED


def trial_count(connection: sqlite3.Connection, state: str) -> int:
    """Return how many trials are in `state`."""
    row = connection.execute("SELECT COUNT(*) FROM trials WHERE state = ?", (state,)).fetchone()
    return int(row[0])


def next_number(connection: sqlite3.Connection) -> int:
    """Return the first number that no trial has."""
    return int(connection.execute("SELECT COALESCE(MAX(trial_id), 0) FROM trials").fetchone()[0])


def open_trials(connection: sqlite3.Connection) -> list[tuple[int, str, int]]:
    """Return (number, state, attempt) of the trials that are RUNNING or WAITING, by number."""
    return connection.execute(
        "SELECT t.number, t.state, COALESCE(r.attempt, 0) FROM trials t"
        " LEFT JOIN quintet_reservations r ON r.number = t.number"
        " WHERE t.state IN ('RUNNING', 'WAITING') ORDER BY t.number"
    ).fetchall()


def state_and_token(connection: sqlite3.Connection, number: int) -> tuple[str, str] | None:
    """Return the trial's state and the token of who holds it or ended it ('' after a rebuilding)."""
    return connection.execute(
        "SELECT t.state, COALESCE(r.token, '') FROM trials t"
        " LEFT JOIN quintet_reservations r ON r.number = t.number WHERE t.trial_id = ?",
        (number + 1,),
    ).fetchone()


def insert_trial(connection: sqlite3.Connection, number: int, state: str) -> None:
    """Add the trial `number` without parameters; numbers must come in order, since Optuna reads by row id."""
    started = None if state == "WAITING" else _now()
    connection.execute(
        "INSERT INTO trials (trial_id, number, study_id, state, datetime_start) VALUES (?, ?, ?, ?, ?)",
        (number + 1, number, STUDY_ID, state, started),
    )


def start_trial(connection: sqlite3.Connection, number: int) -> None:
    """Turn a WAITING trial into a RUNNING one."""
    connection.execute(
        "UPDATE trials SET state = 'RUNNING', datetime_start = ? WHERE trial_id = ?", (_now(), number + 1)
    )


def write_parameters(
    connection: sqlite3.Connection, number: int, stored: Sequence[tuple[str, float]], space: dict[str, str]
) -> None:
    """Store the parameters of a trial that has none yet."""
    connection.executemany(
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
        [(number + 1, name, value, space[name]) for name, value in stored],
    )


def read_parameters(connection: sqlite3.Connection, space: dict[str, Distribution], number: int) -> dict[str, object]:
    """Return one trial's parameters in the order of the space."""
    rows = connection.execute("SELECT param_name, param_value FROM trial_params WHERE trial_id = ?", (number + 1,))
    stored = dict(rows.fetchall())
    return {name: external(distribution, stored.get(name), number) for name, distribution in space.items()}


def external(distribution: Distribution, stored: Any, number: int) -> object:
    """Return a stored parameter's value.

    Raises:
        sqlite3.DatabaseError: nothing like it was ever stored.
    """
    try:
        return distribution.external(stored)
    except (TypeError, ValueError, LookupError, OverflowError):
        raise sqlite3.DatabaseError(f"trial {number} has a parameter {stored!r:.80}") from None


def reserve(connection: sqlite3.Connection, number: int, token: str, attempt: int) -> None:
    """Give the trial to the holder of `token`; every earlier token is void from here on."""
    connection.execute("INSERT OR REPLACE INTO quintet_reservations VALUES (?, ?, ?)", (number, token, attempt))


def finish_trial(connection: sqlite3.Connection, trial: FinishedTrial) -> None:
    """Store how a trial ended: state, value, user attributes."""
    now = _now()
    trial_id = trial.number + 1
    connection.execute(
        "UPDATE trials SET state = ?, datetime_start = COALESCE(datetime_start, ?), datetime_complete = ?"
        " WHERE trial_id = ?",
        (trial.state, now, now, trial_id),
    )
    if trial.state == "COMPLETE":
        connection.execute(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, 0, ?, 'FINITE')",
            (trial_id, trial.value),
        )
    connection.executemany(
        'INSERT INTO trial_user_attributes (trial_id, "key", value_json) VALUES (?, ?, ?)',
        [(trial_id, key, json.dumps(value)) for key, value in trial.user_attrs.items()],
    )


def decided_numbers(connection: sqlite3.Connection) -> set[int]:
    """Return the numbers of the trials that are COMPLETE or FAIL."""
    return {row[0] for row in connection.execute("SELECT number FROM trials WHERE state IN ('COMPLETE', 'FAIL')")}


def read_finished(
    connection: sqlite3.Connection, space: dict[str, Distribution], numbers: Iterable[int]
) -> list[FinishedTrial]:
    """Return the decided trials `numbers` in order; one that failed before it had parameters has none."""
    wanted = sorted(numbers)
    if not wanted:
        return []
    ids = (wanted[0] + 1, wanted[-1] + 1)
    parameters: dict[int, dict[str, float]] = {}
    for trial_id, name, stored in connection.execute(
        "SELECT trial_id, param_name, param_value FROM trial_params WHERE trial_id BETWEEN ? AND ?", ids
    ):
        parameters.setdefault(trial_id, {})[name] = stored
    attributes: dict[int, dict[str, object]] = {}
    for trial_id, key, text in connection.execute(
        'SELECT trial_id, "key", value_json FROM trial_user_attributes WHERE trial_id BETWEEN ? AND ?', ids
    ):
        attributes.setdefault(trial_id, {})[key] = json.loads(text)
    rows = connection.execute(
        "SELECT t.number, t.state, v.value FROM trials t LEFT JOIN trial_values v ON v.trial_id = t.trial_id"
        " WHERE t.trial_id BETWEEN ? AND ? ORDER BY t.trial_id",
        ids,
    ).fetchall()
    kept = set(wanted)
    return [
        FinishedTrial(
            number,
            state,
            value,
            {
                name: external(distribution, parameters[number + 1].get(name), number)
                for name, distribution in space.items()
                if number + 1 in parameters
            },
            attributes.get(number + 1, {}),
        )
        for number, state, value in rows
        if number in kept
    ]


def integrity(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite's quick check finds, nothing where the file is sound."""
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
    return [] if found == ["ok"] else found


def _now() -> str:
    # Optuna stores naive UTC; only people read it.
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
