"""`view FILE`: shape, schema and first rows of a table in an HDF5 or parquet file."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..commands.base import run_command
from ..errors import Exit, QuintetError
from ..partial import opened, walk

CELL = 100
PREFERRED = "rows/actions"


def cell(value: Any) -> str:
    """Return a value as text, cut at 100 characters."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= CELL else text[: CELL - 3] + "..."


def print_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their names."""
    cells = [list(names), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    for row in cells:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def view_hdf5(path: Path, name: str | None, count: int) -> None:
    """Show a dataset, or the datasets of a group as columns; without a name the list of all and the actions."""
    try:
        with opened(path) as file:
            known = {key: dataset for key, dataset in walk(file) if not key.endswith("_offsets")}
            wanted = name.strip("/") if name else PREFERRED
            columns = {key: dataset for key, dataset in known.items() if key == wanted or key.startswith(f"{wanted}/")}
            if name is None:
                click.echo(f"{path}: {len(known)} datasets")
                for key, dataset in known.items():
                    click.echo(f"  /{key}  {dataset.dtype}  {dataset.shape}")
                columns = columns or dict(list(known.items())[:1])
            if not columns:
                raise QuintetError(Exit.USAGE, f"--dataset: found {name!r}; {path} has {', '.join(list(known)[:20])}")
            length = max((len(dataset) if dataset.shape else 1) for dataset in columns.values())
            own = {k: d for k, d in columns.items() if (len(d) if d.shape else 1) == length}
            click.echo(f"shape: {length} rows x {len(own)} columns")
            click.echo(
                "schema: "
                + ", ".join(f"{key.rpartition('/')[2]} {d.dtype}{d.shape[1:] or ''}" for key, d in own.items())
            )
            heads = [dataset[:count].tolist() if dataset.shape else [dataset[()]] for dataset in own.values()]
            print_table([key.rpartition("/")[2] for key in own], list(zip(*heads, strict=False)))
    except (OSError, ValueError) as error:
        raise QuintetError(
            Exit.USAGE, f"{path}: not a readable HDF5 file: {' '.join(str(error).split())[:150]}"
        ) from None


def view_parquet(path: Path, count: int) -> None:
    """Show a parquet file; exit 2 where pyarrow is missing."""
    if importlib.util.find_spec("pyarrow") is None:
        raise QuintetError(Exit.USAGE, f"{path}: reading parquet needs the package pyarrow; install it")
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise QuintetError(Exit.USAGE, f"{path}: not a parquet file: {' '.join(str(error).split())[:150]}") from None
    click.echo(f"shape: {table.num_rows} rows x {table.num_columns} columns")
    click.echo("schema: " + ", ".join(f"{field.name} {field.type}" for field in table.schema))
    head = table.slice(0, count).to_pylist()
    print_table(table.column_names, [list(row.values()) for row in head])


@click.command("view")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-n", "rows", type=click.IntRange(min=0), default=5, show_default=True, help="Rows that are shown.")
@click.option("--dataset", "-d", help="Dataset or group of an HDF5 file, such as rows/probes.")
def command(file: Path, rows: int, dataset: str | None) -> None:
    """Show shape, schema and first rows of FILE (HDF5 or parquet)."""
    if not file.is_file():
        raise QuintetError(Exit.USAGE, f"{file}: no such file")
    if file.suffix == ".parquet":
        view_parquet(file, rows)
    else:
        view_hdf5(file, dataset, rows)


if __name__ == "__main__":
    run_command(command, name="bin/society view")
