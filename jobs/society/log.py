"""Growing tables of numbers and texts: what a run logs, tick by tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

ACTION_COLUMNS = {
    "tick": "i4",
    "enc": "i2",
    "ord": "i2",
    "resident": "i4",
    "action": "i1",
    "dest": "i1",
    "outcome": "i1",
    "place": "i1",
    "place_after": "i1",
    "tokens_in": "i4",
    "tokens_out": "i4",
    "suggested": "i1",
    "chosen_logp": "f4",
    "planned": "u1",
    "argument": "i4",
    "a": "i4",
    "b": "i4",
}
"""Columns of the table of actions; `dest` is -1 unless a move, `a` and `b` are the effect's numbers."""

TABLES: dict[str, dict[str, str]] = {
    "actions": ACTION_COLUMNS,
    "encounters": {"tick": "i4", "place": "i1", "size": "i1"},
    "members": {"resident": "i4"},
    "probes": {
        "tick": "i4",
        "resident": "i4",
        "kind": "i1",
        "item": "i2",
        "trait": "i1",
        "score": "f4",
        "outcome": "i1",
        "hint": "i2",
    },
    "edges": {"tick": "i4", "src": "i4", "dst": "i4", "kind": "i1"},
    "safety": {"tick": "i4", "resident": "i4", "severity": "i1", "action": "i4"},
    "facts": {"tick": "i4", "resident": "i4", "document": "i1", "facts": "i1"},
    "citations": {"tick": "i4", "resident": "i4", "document": "i1"},
    "grades": {"tick": "i4", "resident": "i4", "facts_correct": "i1", "citations_valid": "i1", "points": "f4"},
    "objectives": {"tick": "i4", "resident": "i4", "template": "i2", "reward": "f4"},
}
"""Tables by name; `hint` of a probe is the place in `probes.hints_of` of what its answer was read from, -1 for none."""

WIDE = {"messages": {"coef": ("f4", 5), "dose": ("f4", 5)}}
"""Tables whose columns have several numbers a row; row i of messages belongs to row i of actions."""


class Column:
    """An array that grows at its end."""

    def __init__(self, dtype: str, width: int | None = None) -> None:
        self._shape = () if width is None else (width,)
        self._data: NDArray[Any] = np.empty((256, *self._shape), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(self._data.itemsize * np.prod(self._shape, dtype=np.int64))

    def extend(self, values: Any) -> None:
        """Append values."""
        new = np.asarray(values, self._data.dtype).reshape(-1, *self._shape)
        end = self._count + len(new)
        if end > len(self._data):
            grown = np.empty((max(end, 2 * len(self._data)), *self._shape), self._data.dtype)
            grown[: self._count] = self._data[: self._count]
            self._data = grown
        self._data[self._count : end] = new
        self._count = end

    def view(self, start: int = 0) -> NDArray[Any]:
        """Return the values from `start` on, without copying."""
        return self._data[start : self._count]


class Log:
    """The tables of a run."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metric_names = tuple(metrics)
        self._columns: dict[str, Column] = {
            f"{table}/{name}": Column(dtype) for table, columns in TABLES.items() for name, dtype in columns.items()
        }
        for table, wide in WIDE.items():
            for name, (dtype, width) in wide.items():
                self._columns[f"{table}/{name}"] = Column(dtype, width)
        self._columns["ticks/metrics"] = Column("f8", len(self.metric_names))
        self._columns["messages/bytes"] = Column("u1")
        self._columns["messages/length"] = Column("i4")
        for name, dtype in (
            ("prompts/bytes", "u1"),
            ("prompts/length", "i4"),
            ("tokens/ids", "i4"),
            ("tokens/length", "i4"),
        ):
            self._columns[name] = Column(dtype)

    def rows(self, table: str) -> int:
        """Return how many rows a table has."""
        return len(self._columns[f"{table}/{next(iter(TABLES[table]))}"])

    def extend(self, table: str, rows: Sequence[Sequence[float]]) -> None:
        """Append rows, each in the order of the table's columns."""
        if rows:
            for name, values in zip(TABLES[table], zip(*rows, strict=True), strict=True):
                self._columns[f"{table}/{name}"].extend(values)

    def messages(self, texts: Sequence[str], coefficients: Any, doses: Any) -> None:
        """Append the texts of actions with their speakers' coefficients and doses."""
        encoded = [text.encode() for text in texts]
        self._columns["messages/length"].extend([len(text) for text in encoded])
        self._columns["messages/bytes"].extend(np.frombuffer(b"".join(encoded), np.uint8))
        self._columns["messages/coef"].extend(coefficients)
        self._columns["messages/dose"].extend(doses)

    def prompts(self, texts: Sequence[str]) -> None:
        """Append the prompts of actions."""
        encoded = [text.encode() for text in texts]
        self._columns["prompts/length"].extend([len(text) for text in encoded])
        self._columns["prompts/bytes"].extend(np.frombuffer(b"".join(encoded), np.uint8))

    def token_ids(self, ids: Sequence[Sequence[int]]) -> None:
        """Append the generated tokens of actions."""
        self._columns["tokens/length"].extend([len(tokens) for tokens in ids])
        self._columns["tokens/ids"].extend([token for tokens in ids for token in tokens])

    def metrics(self, values: Mapping[str, float]) -> None:
        """Append one tick's metrics; what is not given is NaN."""
        self._columns["ticks/metrics"].extend([values.get(name, np.nan) for name in self.metric_names])

    def marks(self) -> dict[str, int]:
        """Return the lengths of all columns; `since` takes them."""
        return {name: len(column) for name, column in self._columns.items()}

    def since(self, marks: Mapping[str, int] | None = None) -> dict[str, NDArray[Any]]:
        """Return copies of the columns, by `table/column`, from marks on."""
        return {name: column.view((marks or {}).get(name, 0)).copy() for name, column in self._columns.items()}

    def packed(self) -> tuple[list[list[Any]], NDArray[np.uint8]]:
        """Return all columns as one array of bytes, and its layout: name, dtype and rows of each.

        One array is written to a checkpoint many times faster than sixty.
        """
        views = {name: column.view() for name, column in self._columns.items()}
        layout = [[name, view.dtype.str, len(view)] for name, view in views.items()]
        return layout, np.frombuffer(b"".join(view.tobytes() for view in views.values()), np.uint8)

    def unpack(self, layout: Sequence[Sequence[Any]], data: NDArray[np.uint8]) -> None:
        """Take over packed columns.

        Raises:
            ValueError: the layout is another version's.
        """
        if [entry[0] for entry in layout] != list(self._columns):
            raise ValueError("the state holds other columns than this version logs")
        raw, start = data.tobytes(), 0
        for name, dtype, rows in layout:
            column = self._columns[name]
            size = column.row_bytes * rows
            column.extend(np.frombuffer(raw[start : start + size], np.dtype(dtype)))
            start += size


def decoded(data: NDArray[np.uint8], lengths: NDArray[np.integer]) -> list[str]:
    """Return the texts whose UTF-8 bytes stand one after another."""
    whole = data.tobytes()
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    return [whole[start:end].decode() for start, end in pairwise([0, *ends])]
