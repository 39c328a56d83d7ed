"""A result while it is written: a scratch file on the node, published whole when it is finished."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..shard.partial import CARD_BYTES, READ_BYTES, Card, array_of, update_digest, walk, write_dataset
from ..shard.publish import make_folder, retried, sync_folder, write_temporary

CHUNK_BYTES = 1 << 20


class Column:
    """A dataset that grows along its first axis and is written in whole chunks of about 1 MiB."""

    def __init__(self, file: h5py.File, name: str, dtype: str | np.dtype, shape: tuple[int, ...]) -> None:
        """Start without a row; `shape` is that of one row."""
        self._file, self._name = file, name
        kind = np.dtype(dtype)
        row_bytes = max(1, kind.itemsize * int(np.prod(shape, dtype=object)))
        self._buffer = np.empty((max(1, CHUNK_BYTES // row_bytes), *shape), dtype=kind)
        self._filled = 0
        self._dataset: h5py.Dataset | None = None

    def append(self, rows: np.ndarray) -> None:
        """Append rows, `[row, *shape]`."""
        while len(rows):
            taken = min(len(rows), len(self._buffer) - self._filled)
            self._buffer[self._filled : self._filled + taken] = rows[:taken]
            self._filled += taken
            rows = rows[taken:]
            if self._filled == len(self._buffer):
                self._spill()

    def finish(self) -> None:
        """Write what is left; a column below one chunk is written as in any partial."""
        if self._dataset is None:
            write_dataset(self._file, self._name, self._buffer[: self._filled])
        elif self._filled:
            self._spill()

    def _spill(self) -> None:
        """Write the buffer behind what the file holds."""
        if self._dataset is None:
            shape = self._buffer.shape
            self._dataset = self._file.create_dataset(
                self._name,
                shape=(0, *shape[1:]),
                maxshape=(None, *shape[1:]),
                dtype=self._buffer.dtype,
                chunks=shape,
                compression=4,
                shuffle=True,
                track_times=False,
            )
        begin = len(self._dataset)
        self._dataset.resize(begin + self._filled, axis=0)
        self._dataset[begin:] = self._buffer[: self._filled]
        self._filled = 0


class Draft:
    """A result in the making, in the format of a partial."""

    def __init__(self, folder: Path) -> None:
        """Start an empty file in a scratch folder."""
        self._path = folder / "result.h5"
        self.file = h5py.File(self._path, "w", libver=("v110", "v110"), userblock_size=CARD_BYTES)
        self._columns: list[Column] = []

    def write(self, name: str, array: Any) -> None:
        """Write a whole dataset; ValueError where the name is taken."""
        write_dataset(self.file, name, array_of(array))

    def column(self, name: str, dtype: str | np.dtype, shape: tuple[int, ...]) -> Column:
        """Return a dataset to append rows to."""
        self._columns.append(Column(self.file, name, dtype, shape))
        return self._columns[-1]

    def finish_columns(self) -> None:
        """Write out every column; after that the file can be read."""
        for column in self._columns:
            column.finish()
        self._columns.clear()

    def payload_digest(self) -> str:
        """Return the payload digest of what is written, chunk by chunk."""
        digest = hashlib.blake2b(digest_size=16)
        for name, dataset in sorted((item for item in walk(self.file)), key=lambda item: item[0]):
            if not name.startswith("meta/"):
                feed_dataset(digest, name, dataset)
        return digest.hexdigest()

    def publish(self, final: Path, card: Card, meta: Mapping[str, Any]) -> Card:
        """Finish the file and publish it under `final`, last writer wins; return its card."""
        self.finish_columns()
        payload = self.payload_digest()
        self.file.require_group("meta").attrs["provenance"] = json.dumps(meta, sort_keys=True)
        self.file.flush()
        stats = self.file.get("stats")
        offset = stats.id.get_offset() if stats is not None and stats.size else None
        card = replace(card, off=offset or 0, n=int(stats.nbytes) if offset else 0, pd=payload)
        self.file.close()
        digest = hashlib.blake2b(digest_size=16)
        with self._path.open("rb") as scratch:
            scratch.seek(CARD_BYTES)
            while chunk := scratch.read(READ_BYTES):
                digest.update(chunk)
        card = replace(card, b2=digest.hexdigest())
        make_folder(final.parent)
        temporary = retried(lambda: write_temporary(final, card.pack()))
        try:
            with temporary.open("ab") as target, self._path.open("rb") as scratch:
                scratch.seek(CARD_BYTES)
                shutil.copyfileobj(scratch, target, READ_BYTES)
                target.flush()
                os.fsync(target.fileno())
            retried(lambda: temporary.replace(final))
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(final.parent)
        return card

    def close(self) -> None:
        """Close the scratch file; once published it is closed already."""
        with suppress(RuntimeError):  # what could not be written was told already
            self.file.close()


def feed_dataset(digest: Any, name: str, dataset: h5py.Dataset) -> None:
    """Feed one dataset to a payload digest as `update_digest` does, without holding it whole."""
    if not dataset.shape or dataset.nbytes <= READ_BYTES:
        update_digest(digest, name, array_of(dataset[()]))
        return
    digest.update(f"{name}\0{dataset.dtype.str}\0{','.join(map(str, dataset.shape))}\0".encode())
    step = len(dataset) if dataset.chunks is None else dataset.chunks[0]
    for begin in range(0, len(dataset), step):
        digest.update(np.ascontiguousarray(dataset[begin : begin + step]).reshape(-1).view("u1"))
