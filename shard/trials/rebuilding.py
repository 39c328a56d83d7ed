"""A search's database made anew: from nothing at the start, from the published trials where it was lost."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from ..errors import Exit, QuintetError
from . import table
from .lease import Lease, LeaseFolder
from .records import FinishedTrial, SearchSpec
from .space import checked, read_space

MAX_NUMBER = 999_999  # a result file is named t<number:06d>


def make_database(path: Path, spec: SearchSpec, published: Iterable[FinishedTrial], leases: LeaseFolder) -> None:
    """Write the database of `spec` to `path`, visible only once it is whole; call it under the search's lock.

    Published trials get their numbers, parameters, values and states back. An unpublished one whose lease
    file stands is RUNNING under its token, so that its worker, if it lives, tells it as if nothing had
    happened. The numbers between are WAITING, Optuna's state of a trial without parameters; they are claimed
    first.

    Raises:
        QuintetError: 65 where a published trial does not fit the search, 73 and 74 of the file system.
    """
    ended: dict[int, FinishedTrial] = {}
    for trial in published:
        if ended.setdefault(trial.number, trial) != trial or not 0 <= trial.number <= MAX_NUMBER:
            raise QuintetError(
                Exit.INPUT,
                f"published trial {trial.number}: two different results, or a number that is not "
                f"between 0 and {MAX_NUMBER}",
            )
    running = _running(spec, ended, leases)
    last = max(ended.keys() | running.keys(), default=-1)
    fresh = Path(f"{path}.new")
    try:
        table.create(fresh, spec, secrets.token_hex(8))
        with closing(table.connect(fresh)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for number in range(last + 1):
                _restore(connection, spec, number, ended.get(number), running.get(number))
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise table.named_error(fresh, error) from error
    # A journal whose database is gone would be played back into the new one.
    Path(f"{path}-journal").unlink(missing_ok=True)
    fresh.replace(path)
    _sync_folder(path.parent)


def _running(spec: SearchSpec, ended: dict[int, FinishedTrial], leases: LeaseFolder) -> dict[int, Lease]:
    """Return the leases of unpublished trials that fit the search; remove the others."""
    space = read_space(spec.space)
    running = {}
    leases.clear_leftovers()
    for number in leases.numbers():
        lease = leases.read(number)
        if lease is not None and number not in ended and number <= MAX_NUMBER:
            try:
                checked(lease.parameters, space, f"lease {number}", Exit.INPUT)
            except QuintetError:
                lease = None
        else:
            lease = None
        if lease is None:
            leases.remove(number)
        else:
            running[number] = lease
    return running


def _restore(
    connection: sqlite3.Connection,
    spec: SearchSpec,
    number: int,
    trial: FinishedTrial | None,
    lease: Lease | None,
) -> None:
    parameters = trial.parameters if trial is not None else lease.parameters if lease is not None else None
    table.insert_trial(connection, number, "WAITING" if parameters is None else "RUNNING")
    # A trial that failed before it had parameters has none to give back.
    if parameters or (trial is not None and trial.state == "COMPLETE"):
        stored = checked(parameters or {}, read_space(spec.space), f"published trial {number}", Exit.INPUT)
        table.write_parameters(connection, number, stored, dict(spec.space))
    if trial is not None:
        table.finish_trial(connection, trial)
    elif lease is not None:
        table.reserve(connection, number, lease.token, lease.attempt)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
