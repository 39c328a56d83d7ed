"""From partials to the payload of a phase's result: rows side by side, counts added, statistics combined.

The payload of a result, by what the phase declares:

    stats                f8 [1, metric, 3, cell]   root of the canonical tree
    nodes                i8 [1, 2]                 (level, index) of the root
    counts/x             i8, the declared shape    exact sums
    extrema/x            f8, the declared shape    least [0] and greatest [1] values
    rows/x               [unit, ...]               in the order of the units; ragged ones [row, ...]
    rows/x_offsets       i8 [units + 1]            where each unit of a ragged dataset begins
    index/rows/x         u1 [unit, 16]             in place of rows/x that stay in the partials: blake2b-128 of each
                                                   unit's rows (name, dtype, shape, bytes)
    units                i8 [unit]                 only where units are missing: the numbers of those present
    meta/index/rows/x    i8 [unit, 3]              partial's number, first row, number of rows
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..shard import tree
from ..shard.errors import Exit, QuintetError
from ..shard.partial import update_digest
from .draft import Column, Draft
from .intake import Piece, Standing
from .moments import Moments
from .source import Source

if TYPE_CHECKING:
    from ..shard.context import Context
    from ..shard.phases import Dataset

INT64_MAX = (1 << 63) - 1
DIGEST_BYTES = 16


class Sum:
    """An exact sum of integer arrays: 64-bit words as long as they cannot overflow, then Python integers."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        """Start at zero."""
        self.name = name
        self._words = np.zeros(shape, dtype="i8")
        self._bound = 0
        self._whole = np.zeros(shape, dtype=object)

    def add(self, array: np.ndarray) -> None:
        """Add an integer array of the same shape."""
        bound = max(abs(int(array.max())), abs(int(array.min()))) if array.size else 0
        if self._bound + bound > INT64_MAX:
            self._whole = self._whole + self._words.astype(object)
            self._words[...] = 0
            self._bound = 0
        if bound > INT64_MAX:
            self._whole = self._whole + array.astype(object)
            return
        self._words += array.astype("i8")
        self._bound += bound

    def total(self) -> np.ndarray:
        """Return the sum as int64; exit 65 where a total needs more than 63 bits."""
        total = self._whole + self._words.astype(object)
        for value in np.ravel(total):
            if not -INT64_MAX - 1 <= int(value) <= INT64_MAX:
                raise QuintetError(
                    Exit.INPUT,
                    f"/{self.name}: a sum of {int(value)} passes 63 bits; the result cannot hold it",
                )
        return np.asarray(total).astype("i8")


class Extrema:
    """Least and greatest values, float64 `[2, ...]`."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        """Start where nothing was seen: (+inf, -inf)."""
        self.name = name
        self._ends = np.full(shape, np.inf)
        self._ends[1] = -np.inf

    def add(self, array: np.ndarray) -> None:
        """Take in an array of the same shape."""
        self._ends = tree.combined_extrema(self._ends, array)

    def total(self) -> np.ndarray:
        """Return what was found."""
        return self._ends


class Rows:
    """One dataset of rows on its way from the partials to the result."""

    def __init__(self, dataset: Dataset, draft: Draft) -> None:
        """Open the columns of the result."""
        self.dataset = dataset
        self._rows: Column | None = None
        self._offsets: Column | None = None
        self._end = 0
        if dataset.merge == "index":
            self._digests = draft.column(f"index/{dataset.name}", "u1", (DIGEST_BYTES,))
            self._places = draft.column(f"meta/index/{dataset.name}", "i8", (3,))
            return
        self._rows = draft.column(dataset.name, dataset.dtype, dataset.shape)
        if dataset.ragged:
            self._offsets = draft.column(f"{dataset.name}_offsets", "i8", ())
            self._offsets.append(np.zeros(1, "i8"))

    def append(self, source: Source, piece: Piece) -> None:
        """Append the units of one partial."""
        offsets = source.offsets(self.dataset, piece.units)
        for first, last, rows in source.rows(self.dataset, offsets):
            if self._rows is None:
                self._index(rows, offsets[first : last + 1], piece.number)
            else:
                self._rows.append(rows)
        if self._offsets is not None:
            self._offsets.append(self._end + offsets[1:])
            self._end += int(offsets[-1])

    def append_reduced(self, source: Source, units: int) -> None:
        """Append the units of a reduced run of shards, slice by slice."""
        name, dtype, shape = self.dataset.name, self.dataset.dtype, self.dataset.shape
        if self._rows is None:
            for digests in source.slices(f"index/{name}", "u1", (units, DIGEST_BYTES)):
                self._digests.append(digests)
            for places in source.slices(f"meta/index/{name}", "i8", (units, 3)):
                self._places.append(places)
            return
        count = units
        if self._offsets is not None:
            offsets = source.read(f"{name}_offsets", "i8", (units + 1,))
            self._offsets.append(self._end + offsets[1:])
            count = int(offsets[-1])
            self._end += count
        for rows in source.slices(name, dtype, (count, *shape)):
            self._rows.append(rows)

    def _index(self, rows: np.ndarray, offsets: np.ndarray, number: int) -> None:
        """Append digests and places of some units of one partial."""
        units = len(offsets) - 1
        digests = bytearray()
        for begin, end in itertools.pairwise((offsets - offsets[0]).tolist()):
            digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
            update_digest(digest, self.dataset.name, rows[begin:end])
            digests += digest.digest()
        self._digests.append(np.frombuffer(bytes(digests), "u1").reshape(units, DIGEST_BYTES))
        self._places.append(np.stack([np.full(units, number), offsets[:-1], np.diff(offsets)], axis=1))


def write_stats(draft: Draft, moments: Moments, blocks: int) -> None:
    """Write the root of the tree; exit 65 where the nodes do not reach over all blocks."""
    try:
        root = moments.root(blocks)
    except ValueError as error:
        raise QuintetError(
            Exit.INPUT, f"/stats: {error}; bin/verify RUN --quarantine sets bad partials aside"
        ) from None
    draft.write("stats", root[None])
    draft.write("nodes", np.array([[tree.levels(blocks), 0]], dtype="i8"))


def write_rows(context: Context, standing: Standing, draft: Draft) -> None:
    """Write rows, counts and extrema of all pieces, one partial (or reduced run of them) open at a time."""
    phase, run = context.phase, context.run
    rows = [Rows(dataset, draft) for dataset in phase.stored if not dataset.folded]
    folds = [
        (dataset, (Sum if dataset.summed else Extrema)(dataset.name, dataset.shape))
        for dataset in phase.stored
        if dataset.folded
    ]
    position = 0 if rows or folds else len(standing.pieces)
    while position < len(standing.pieces):
        piece, reduced = standing.pieces[position], standing.reduced.get(position)
        partial: Path = (run.trial_file if phase.kind == "pull" else run.shard_file)(phase.name, piece.number)
        with Source(partial if reduced is None else reduced.path) as source:
            for row in rows:
                if reduced is None:
                    row.append(source, piece)
                else:
                    row.append_reduced(source, reduced.units)
            for dataset, total in folds:
                dtype = "i8" if dataset.summed and reduced is not None else dataset.dtype
                total.add(source.read(dataset.name, dtype, dataset.shape))
        position += 1 if reduced is None else reduced.pieces
    for dataset, total in folds:
        draft.write(dataset.name, total.total())
    if standing.blocks_lacking and phase.kind == "map":
        write_units(standing.pieces, context.plan.block_size, draft)
    draft.finish_columns()


def write_units(pieces: Sequence[Piece], block_size: int, draft: Draft) -> None:
    """Write the numbers of the units that are present."""
    units = draft.column("units", "i8", ())
    for piece in pieces:
        begin = piece.lo * block_size
        units.append(np.arange(begin, begin + piece.units))
