"""Result files beside the figures: JSON and CSV that other programs can read, each whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: lists for arrays, null for NaN and infinities."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what the body of the `with` wrote there gets the name, if it ends well."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, and the folders above it; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
    return path


def json_bytes(value: Any) -> bytes:
    """Return JSON text, two spaces deep, floats by repr, NaN and infinities as null, UTF-8."""
    return (json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON text."""
    return write_file(path, json_bytes(value))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], stamp: str | None = None) -> Path:
    """Write a table: shortest exact floats, empty cells for missing values; a stamp is a comment on top."""
    text = io.StringIO()
    if stamp:
        text.write(f"# {stamp}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        cells = [cell.item() if isinstance(cell, np.generic) else cell for cell in row]
        writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells])
    return write_file(path, text.getvalue().encode())


def write_frames(path: Path, frames: Iterable[pd.DataFrame]) -> int:
    """Write data frames of the same columns one below the other as CSV, whole or not at all; return the rows.

    Floats are the shortest exact ones, cells without a value empty.
    """
    rows = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        for number, frame in enumerate(frames):
            frame.to_csv(file, index=False, header=number == 0, lineterminator="\n")
            rows += len(frame)
    return rows
