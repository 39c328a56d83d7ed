"""Two small stores: in a dictionary, and in files of one array each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DictStore:
    """Arrays as lists of what was appended."""

    def __init__(self) -> None:
        self.parts: dict[str, list[NDArray[Any]]] = {}

    def append(self, name: str, rows: NDArray[Any]) -> None:
        self.parts.setdefault(name, []).append(rows.copy())

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        return np.concatenate(self.parts[name])[start:stop]

    def length(self, name: str) -> int:
        return sum(map(len, self.parts.get(name, [])))

    def drop(self, name: str) -> None:
        self.parts.pop(name, None)


class FileStore:
    """Arrays as raw files, read through a memory map."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.forms: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}

    def _path(self, name: str) -> Path:
        return self.folder / name.replace("/", "-")

    def append(self, name: str, rows: NDArray[Any]) -> None:
        self.forms[name] = (rows.dtype, rows.shape[1:])
        with self._path(name).open("ab") as file:
            file.write(np.ascontiguousarray(rows).tobytes())

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        dtype, shape = self.forms[name]
        count = int(np.prod(shape, dtype=int))
        with self._path(name).open("rb") as file:
            file.seek(start * count * dtype.itemsize)
            flat = np.fromfile(file, dtype, (stop - start) * count)
        return flat.reshape(-1, *shape)

    def length(self, name: str) -> int:
        if name not in self.forms:
            return 0
        dtype, shape = self.forms[name]
        return self._path(name).stat().st_size // (dtype.itemsize * int(np.prod(shape, dtype=int)))

    def drop(self, name: str) -> None:
        self.forms.pop(name, None)
        self._path(name).unlink(missing_ok=True)
