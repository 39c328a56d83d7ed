"""A partial opened for reading its rows: every dataset is held against its declaration before it is read."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..shard.errors import Exit, QuintetError
from ..shard.partial import REGISTERED_FILTERS, open_regular
from ..shard.scan import MAX_DATASET_BYTES

if TYPE_CHECKING:
    from ..shard.phases import Dataset

SLICE_BYTES = 1 << 20
ROWS_BYTES = 4 << 20


def row_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of one row, at least 1."""
    return max(1, np.dtype(dtype).itemsize * int(np.prod(shape[1:], dtype=object)))


class Source:
    """An open partial; h5py's low-level calls cost a third of its high-level ones on small datasets."""

    def __init__(self, path: Path) -> None:
        """Open a file by its descriptor-checked path; HDF5's own locks stay off."""
        self.path = path
        os.close(open_regular(path))
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_file_locking(False, True)
        try:
            self._file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, access)
        except (OSError, RuntimeError) as error:
            raise self._refused("HDF5 cannot open it", str(error)) from None

    def __enter__(self) -> Source:
        """Return the open file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._file.close()

    def read(self, name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return a dataset of exactly this dtype and shape.

        Raises:
            QuintetError: exit 65 where it is missing, another, linked, or stored outside the file.
        """
        dataset = self._dataset(name)
        if dataset.shape != shape:
            raise self._refused(f"/{name} has shape {dataset.shape}", f"the plan says {shape}")
        kind = np.dtype(dtype)
        if dataset.dtype != kind:
            raise self._refused(f"/{name} has dtype {dataset.dtype}", f"the plan says {kind}")
        self._bounded(name, dtype, shape)
        array = np.empty(shape, dtype=kind)
        if array.size:
            try:
                dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
            except (OSError, RuntimeError) as error:
                raise self._refused(f"/{name} cannot be read", str(error)) from None
        return array

    def slices(self, name: str, dtype: str, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Yield a dataset of exactly this dtype and shape in slices of its first axis, about 1 MiB each.

        Raises:
            QuintetError: exit 65 where it is missing, another, linked, or stored outside the file.
        """
        step = max(1, SLICE_BYTES // row_bytes(dtype, shape))
        ends = [*range(0, shape[0], step), shape[0]]
        yield from self._between(name, dtype, shape, ends)

    def offsets(self, dataset: Dataset, units: int) -> np.ndarray:
        """Return where the rows of each unit begin, int64 `[units + 1]`."""
        if not dataset.ragged:
            return np.arange(units + 1)
        offsets = self.read(f"{dataset.name}_offsets", "i8", (units + 1,))
        if offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise self._refused(f"/{dataset.name}_offsets", "do not start at 0 and rise")
        return offsets

    def rows(self, dataset: Dataset, offsets: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (unit, unit after the last, their rows) from left to right, several units at once up to a few MiB."""
        shape = (int(offsets[-1]), *dataset.shape)
        limit = ROWS_BYTES // row_bytes(dataset.dtype, shape)
        units, ends = len(offsets) - 1, [0]
        if shape[0] <= limit:
            yield 0, units, self.read(dataset.name, dataset.dtype, shape)
            return
        while ends[-1] < units:
            last = int(np.searchsorted(offsets, offsets[ends[-1]] + limit, side="right")) - 1
            ends.append(max(last, ends[-1] + 1))
        pieces = self._between(dataset.name, dataset.dtype, shape, offsets[ends].tolist())
        yield from zip(ends[:-1], ends[1:], pieces, strict=True)

    def _between(self, name: str, dtype: str, shape: tuple[int, ...], ends: list[int]) -> Iterator[np.ndarray]:
        """Yield the rows between one end and the next."""
        dataset = h5py.Dataset(self._dataset(name))
        if dataset.shape != shape or dataset.dtype != np.dtype(dtype):
            raise self._refused(f"/{name} is {dataset.dtype} {dataset.shape}", f"expected {dtype} {shape}")
        self._bounded(name, dtype, shape)
        for begin, end in itertools.pairwise(ends):
            try:
                yield dataset[begin:end]
            except (OSError, RuntimeError) as error:
                raise self._refused(f"/{name} cannot be read", str(error)) from None

    def _bounded(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Refuse a dataset that claims more than a partial may hold."""
        if shape[:1] and row_bytes(dtype, shape) * shape[0] > MAX_DATASET_BYTES:
            raise self._refused(f"/{name} claims more than {MAX_DATASET_BYTES} bytes", "too many")

    def _dataset(self, name: str) -> h5py.h5d.DatasetID:
        """Open a dataset that lies in this file under hard links alone."""
        parts = name.split("/")
        try:
            for depth in range(1, len(parts) + 1):
                link = self._file.links.get_info("/".join(parts[:depth]).encode())
                if link.type != h5py.h5l.TYPE_HARD:
                    raise self._refused(f"/{name}", "is a link")
            dataset = h5py.h5d.open(self._file, name.encode())
        except (KeyError, RuntimeError, ValueError, OSError, TypeError) as error:
            raise self._refused(f"/{name} is missing", str(error)) from None
        properties = dataset.get_create_plist()
        if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
            raise self._refused(f"/{name}", "is stored outside the file")
        filters = {properties.get_filter(k)[0] for k in range(properties.get_nfilters())}
        if not filters <= REGISTERED_FILTERS:
            raise self._refused(f"/{name}", f"uses filters {sorted(filters - REGISTERED_FILTERS)}")
        return dataset

    def _refused(self, what: str, why: str) -> QuintetError:
        """Return the error that names the file."""
        return QuintetError(
            Exit.INPUT, f"{self.path}: {what}: {why}; bin/verify RUN --quarantine sets bad partials aside"
        )
