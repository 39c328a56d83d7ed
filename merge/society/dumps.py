"""Logged tables as data frames, from a run or from a folder of exported files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ...jobs.society.traits import TRAITS
from ...shard.context import Context
from ...shard.errors import Exit, QuintetError
from ...shard.run import Run
from ...shard.society.logs import UnitLog, unit_logs
from .frames import frame_of

NEEDED = ("tick", "resident")


def logs_of(path: Path, unit: int | None = None) -> list[UnitLog]:
    """Return the logs of a run, of one unit where it is named; exit 2 where there is none."""
    if not path.is_dir():
        raise QuintetError(Exit.USAGE, f"--run: found {str(path)!r}; no such folder")
    logs = [log for log in unit_logs(Run.opened(path)) if unit is None or log.unit == unit]
    if not logs:
        what = "no unit has logged a tick yet" if unit is None else f"unit {unit} has not logged a tick yet"
        raise QuintetError(Exit.USAGE, f"{path}: {what}")
    return logs


def check_complete(path: Path, logs: Iterable[UnitLog], whole_run: bool) -> None:
    """Refuse a run that is still incomplete, with the ticks that are done; exit 2."""
    known = list(logs)
    units = len(known)
    if whole_run:
        units = Context.of(Run.opened(path), "simulate").plan.units or 0
    done = sum(log.ticks for log in known)
    unfinished = [log for log in known if not log.finished]
    if unfinished or len(known) < units:
        total = units * max(log.config.steps for log in known)
        raise QuintetError(
            Exit.USAGE, f"{path}: still incomplete: {done} of {total} ticks are done; bin/local {path} goes on"
        )


def table_of(logs: Iterable[UnitLog], table: str) -> pd.DataFrame:
    """Return a table of all units."""
    parts = [frame_of(log, table) for log in logs]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled or parts[:1], ignore_index=True)


def dumped(folder: Path, table: str, flag: str) -> pd.DataFrame:
    """Return a table from exported files: `<table>*.csv`, `<table>*.parquet`, or a `.sqlite` file that has it.

    Raises:
        QuintetError: exit 2 where the folder is missing or has no such table.
    """
    if not folder.is_dir():
        raise QuintetError(Exit.USAGE, f"{flag}: found {str(folder)!r}; no such folder")
    parts = [pd.read_csv(path, keep_default_na=True) for path in sorted(folder.glob(f"{table}*.csv"))]
    if not parts:
        parts = [read_parquet(path) for path in sorted(folder.glob(f"{table}*.parquet"))]
    if not parts:
        parts = [part for path in sorted(folder.glob("*.sqlite")) if (part := read_sqlite(path, table)) is not None]
    if not parts or not sum(map(len, parts)):
        raise QuintetError(Exit.USAGE, f"{flag}: {folder} has no {table} (csv, parquet or sqlite)")
    frame = pd.concat(parts, ignore_index=True)
    lacking = [name for name in NEEDED if name not in frame]
    if lacking:
        raise QuintetError(Exit.USAGE, f"{flag}: {folder}: {table}: column {lacking[0]!r} is missing")
    return frame


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet file; exit 2 where pyarrow is missing."""
    try:
        return pd.read_parquet(path)
    except ImportError:
        raise QuintetError(Exit.USAGE, f"{path}: reading parquet needs the package pyarrow; install it") from None


def read_sqlite(path: Path, table: str) -> pd.DataFrame | None:
    """Read a table of an SQLite file; None where it has none of that name."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return pd.read_sql(f'SELECT * FROM "{table}"', connection) if table in names else None
    finally:
        connection.close()


def steering_rows(messages: pd.DataFrame) -> list[tuple[int, str, dict[str, float]]]:
    """Return (tick, resident id, trait map) of each message; maps are empty where no coefficient is logged.

    Residents of several units count as different ones.
    """
    several = "unit" in messages and messages["unit"].nunique() > 1
    residents = messages["resident"].astype(str)
    if several:
        residents = messages["unit"].astype(str) + "/" + residents
    traits = [trait for trait in TRAITS if trait in messages]
    values = messages[traits].to_numpy(float) if traits else None
    return [
        (
            int(tick),
            resident,
            {} if values is None else {t: float(v) for t, v in zip(traits, values[row], strict=True) if v == v},
        )
        for row, (tick, resident) in enumerate(zip(messages["tick"], residents, strict=True))
    ]
