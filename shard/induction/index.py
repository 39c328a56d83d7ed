"""Reading arrays that stay in the partials: a result says which partial holds a unit's rows, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..partial import opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..context import Context


class UnitRows:
    """One unit's rows of one dataset; slices like an array, reading what is asked for."""

    def __init__(self, context: Context, phase: str, name: str, place: NDArray[np.int64]) -> None:
        self._path = context.run.shard_file(phase, int(place[0]))
        self._name = name
        self._first, self._count = int(place[1]), int(place[2])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        start, stop, _ = rows.indices(self._count)
        with opened(self._path) as file:
            array: NDArray[Any] = file[self._name][self._first + start : self._first + max(start, stop)]
        return array


def unit_rows(context: Context, phase: str, name: str, units: range | None = None) -> list[UnitRows]:
    """Return the rows of some units (all of them unless given) of an indexed dataset, without reading them."""
    with context.result(phase) as file:
        places = file[f"meta/index/{name}"][()]
    return [UnitRows(context, phase, name, places[unit]) for unit in units or range(len(places))]


def in_order(parts: list[UnitRows], start: int, stop: int) -> Iterator[NDArray[Any]]:
    """Yield rows start to stop - 1 of parts that stand one after another, piece by piece.

    Neighbouring parts of one partial are read at once.
    """
    merged: list[UnitRows] = []
    for part in parts:
        last = merged[-1] if merged else None
        follows = last is not None and last._path == part._path and last._first + last._count == part._first
        if last is not None and follows:
            joined = UnitRows.__new__(UnitRows)
            joined.__dict__.update(last.__dict__, _count=last._count + part._count)
            merged[-1] = joined
        else:
            merged.append(part)
    first = 0
    for part in merged:
        low, high = max(start - first, 0), min(stop - first, len(part))
        if low < high:
            yield part[low:high]
        first += len(part)


def unit_of(file: Any, name: str, unit: int) -> NDArray[Any]:
    """Return one unit's rows of a ragged dataset that a result holds itself."""
    first, last = file[f"{name}_offsets"][unit : unit + 2]
    array: NDArray[Any] = file[name][first:last]
    return array


def text_of(file: Any, name: str, unit: int) -> str:
    """Return one unit's text."""
    return unit_of(file, name, unit).tobytes().decode()


def padded(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array widened to `[rows, *shape]`, the rest NaN (0 in integers)."""
    if array.shape[1:] == shape:
        return array
    fill = np.nan if array.dtype.kind == "f" else 0
    wide: NDArray[Any] = np.full((len(array), *shape), fill, array.dtype)
    wide[(slice(None), *(slice(0, size) for size in array.shape[1:]))] = array
    return wide


def as_bytes(text: str) -> NDArray[np.uint8]:
    """Return a text as the bytes that a ragged dataset holds."""
    return np.frombuffer(text.encode(), "u1")


def one_unit(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the payload of a block of one unit whose ragged arrays are these."""
    payload: dict[str, Any] = {}
    for name, array in arrays.items():
        payload[name], payload[f"{name}_length"] = array, [len(array)]
    return payload
