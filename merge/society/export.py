"""`export RUN --format …`: the logs of a run as parquet, CSV or one SQLite file, a table each."""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import Any

import click
import pandas as pd

from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from ...shard.publish import make_folder
from ...shard.run import Run
from ...shard.society.logs import UnitLog, unit_logs
from ..exports import replacing, write_frames
from .frames import TABLE_NAMES, frame_of

FORMATS = ("parquet", "csv", "sqlite")
ENDINGS = {"parquet": ".parquet", "csv": ".csv", "sqlite": ".sqlite"}


def check_format(form: str) -> None:
    """Refuse parquet where its package is missing: exit 2."""
    if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise QuintetError(Exit.USAGE, "--format parquet: needs the package pyarrow; install it, or take csv or sqlite")


def frames(logs: list[UnitLog], table: str) -> Iterator[pd.DataFrame]:
    """Yield a table's rows unit by unit."""
    for log in logs:
        frame = frame_of(log, table)
        if len(frame):
            yield frame


def write_exports(run: Run, form: str, folder: Path) -> dict[str, int]:
    """Write every table of a run's logs; return the rows by table.

    Files appear whole or not at all; tables without a row are left out.
    """
    check_format(form)
    make_folder(folder)
    logs = list(unit_logs(run))
    if form == "sqlite":
        return write_sqlite(logs, folder / "run.sqlite")
    write = write_parquet if form == "parquet" else write_frames
    counts = {}
    for table in TABLE_NAMES:
        parts = frames(logs, table)
        first = next(parts, None)
        counts[table] = 0 if first is None else write(folder / f"{table}{ENDINGS[form]}", chain([first], parts))
    return counts


def write_parquet(path: Path, parts: Iterable[pd.DataFrame]) -> int:
    """Write frames as row groups of one parquet file; return the rows."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows = 0
    with replacing(path) as unfinished, ExitStack() as stack:
        writer: Any = None
        for part in parts:
            table: Any = pa.Table.from_pandas(part, preserve_index=False)
            writer = writer or stack.enter_context(parquet.ParquetWriter(unfinished, table.schema))
            writer.write_table(table)
            rows += len(part)
    return rows


def write_sqlite(logs: list[UnitLog], path: Path) -> dict[str, int]:
    """Write all tables into one SQLite file, each indexed by unit and tick; return the rows by table."""
    counts = {}
    with replacing(path) as unfinished, closing(sqlite3.connect(unfinished)) as connection:
        for table in TABLE_NAMES:
            counts[table] = 0
            for part in frames(logs, table):
                part.to_sql(table, connection, if_exists="append", index=False)
                counts[table] += len(part)
            if counts[table]:
                columns = "unit, tick" if table not in ("residents", "units") else "unit"
                connection.execute(f"CREATE INDEX {table}_by_unit ON {table} ({columns})")
        connection.commit()
    return counts


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="What is written.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="Where to  [default: RUN/tables/export]")
def command(run: Path, form: str, output_dir: Path | None) -> None:
    """Write the logs of RUN (finished units, and the newest checkpoints of others) as tables."""
    opened_run = Run.opened(run)
    folder = output_dir or opened_run.path / "tables" / "export"
    counts = write_exports(opened_run, form, folder)
    if not any(counts.values()):
        raise QuintetError(Exit.USAGE, f"{run}: nothing is logged yet")
    for table, rows in counts.items():
        if rows:
            click.echo(f"{folder / table if form != 'sqlite' else f'{folder}/run.sqlite: {table}'}: {rows} rows")


if __name__ == "__main__":
    run_command(command, name="bin/society export")
