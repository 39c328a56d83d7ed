"""The store of a solve: arrays in memory until they are asked to leave it, then in HDF5 files of one level each.

A finished level's file is never opened for writing again, so that it survives whatever happens to the process.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Exit, QuintetError

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

CHUNK_BYTES = 1 << 20
IN_MEMORY_SYSTEMS = ("tmpfs", "ramfs")
PREFIX = "quintet-spill-"


def file_system_of(path: Path) -> str:
    """Return the type of the file system that a path lies on, as the kernel names it; empty where it does not say."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    resolved, best, kind = str(path.resolve()), "", ""
    for line in lines:
        fields = line.split(" ")
        place = fields[1].replace("\\040", " ")
        if len(place) >= len(best) and (resolved == place or resolved.startswith(place.rstrip("/") + "/")):
            best, kind = place, fields[2]
    return kind


def checked_spill_folder(name: str | None, allow_tmpfs: bool) -> None:
    """Refuse a named spill folder that lies in memory: exit 2."""
    if name is None or allow_tmpfs:
        return
    kind = file_system_of(Path(name))
    if kind in IN_MEMORY_SYSTEMS:
        raise QuintetError(
            Exit.USAGE,
            f"spill_dir: found {name!r}, which lies in memory ({kind}) and counts against the job; "
            "name a folder on a disk, or set allow_tmpfs",
        )


def spill_base(name: str | None, allow_tmpfs: bool, run_folder: Path) -> Path:
    """Return where spill folders are made: the named folder, else job scratch that is no memory, else the run's."""
    checked_spill_folder(name, allow_tmpfs)
    if name is not None:
        return Path(name)
    for key in ("SLURM_TMPDIR", "TMPDIR"):
        folder = os.environ.get(key)
        usable = folder and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)
        if folder and usable and (allow_tmpfs or file_system_of(Path(folder)) not in IN_MEMORY_SYSTEMS):
            return Path(folder)
    return run_folder / "spill"


def spill_folder(base: Path, owner: str) -> Path:
    """Make a folder that no other process uses, and remove what killed processes of the same owner left behind.

    Args:
        base: folder to make it in.
        owner: who it is for: run, phase and unit.
    """
    mark = hashlib.blake2b(owner.encode(), digest_size=8).hexdigest()
    base.mkdir(parents=True, exist_ok=True)
    for left in base.glob(f"{PREFIX}{mark}-{os.uname().nodename}-*"):
        number = re.search(r"-(\d+)-[^-]*$", left.name)
        if number and not Path(f"/proc/{number[1]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{mark}-{os.uname().nodename}-{os.getpid()}-", dir=base))


def remove_folder(folder: Path) -> None:
    """Remove a spill folder, and the run's folder of them where it was the last."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.name == "spill":
        with suppress(OSError):  # others are in it, or have just removed it
            folder.parent.rmdir()


def check_space(folder: Path, need: int) -> None:
    """Refuse to begin where a folder has less free space than will be needed: exit 73."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise QuintetError(
            Exit.CANNOT_WRITE,
            f"{folder}: the spilled levels need about {need / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
            "name another spill_dir, or use mode slab",
        )


class LevelStore:
    """Named arrays that grow at the end (`jobs.induction.Store`), in memory or on disk.

    Args:
        folder: makes the folder for files, called when the first array leaves memory.
        compression: none, lzf or gzip.
        before_append: called before each array is added.
    """

    def __init__(
        self,
        folder: Callable[[], Path],
        compression: str = "none",
        before_append: Callable[[], None] | None = None,
    ) -> None:
        self._make_folder = folder
        self._compression = None if compression == "none" else compression
        self._before_append = before_append
        self._memory: dict[str, list[NDArray[Any]]] = {}
        self._open: tuple[str, h5py.File] | None = None
        self.folder: Path | None = None
        self.on_disk = False

    @staticmethod
    def _stem(name: str) -> str:
        return "-".join(name.split("/")[:-1])

    def _path(self, stem: str) -> Path:
        if self.folder is None:
            self.folder = self._make_folder()
        return self.folder / f"{stem}.h5"

    def _file(self, name: str) -> h5py.File:
        """The open file of a name's level; that of any other level is closed."""
        import h5py

        stem = self._stem(name)
        if self._open is None or self._open[0] != stem:
            self.flush()
            path = self._path(stem)
            self._open = (stem, h5py.File(path, "a", locking=False))
        return self._open[1]

    def flush(self) -> None:
        """Close what is open, so that all that was added stands on disk."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Add rows at the end of an array, which is made if it is not there."""
        if self._before_append is not None:
            self._before_append()
        if not self.on_disk:
            self._memory.setdefault(name, []).append(np.array(rows))
            return
        self._write(name, rows)

    def _write(self, name: str, rows: NDArray[Any]) -> None:
        file, key = self._file(name), name.split("/")[-1]
        if key not in file:
            row_bytes = max(1, rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=int)))
            file.create_dataset(
                key,
                shape=(0, *rows.shape[1:]),
                maxshape=(None, *rows.shape[1:]),
                dtype=rows.dtype,
                chunks=(max(1, CHUNK_BYTES // row_bytes), *rows.shape[1:]),
                compression=self._compression,
                track_times=False,
            )
        data = file[key]
        first = len(data)
        data.resize(first + len(rows), axis=0)
        data[first:] = rows

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows start to stop - 1 of an array."""
        pieces = self._memory.get(name)
        if pieces is None:
            array: NDArray[Any] = self._file(name)[name.split("/")[-1]][start:stop]
            return array
        chosen, first = [], 0
        for piece in pieces:
            low, high = max(start - first, 0), min(stop - first, len(piece))
            if low < high:
                chosen.append(piece[low:high])
            first += len(piece)
        return chosen[0] if len(chosen) == 1 else np.concatenate(chosen or [pieces[0][:0]])

    def length(self, name: str) -> int:
        """Return the number of rows of an array; 0 if it is not there."""
        if name in self._memory:
            return sum(map(len, self._memory[name]))
        if not self.on_disk:
            return 0
        file, key = self._file(name), name.split("/")[-1]
        return len(file[key]) if key in file else 0

    def drop(self, name: str) -> None:
        """Forget an array; nothing happens if it is not there."""
        self._memory.pop(name, None)
        if self.on_disk and self.folder is not None and self._path(self._stem(name)).exists():
            file, key = self._file(name), name.split("/")[-1]
            if key in file:
                del file[key]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(piece.nbytes for pieces in self._memory.values() for piece in pieces)

    def to_disk(self) -> bool:
        """Move everything out of memory; return whether anything was there."""
        moved, self.on_disk = bool(self._memory), True
        for name in sorted(self._memory):
            for piece in self._memory[name]:
                self._write(name, piece)
            del self._memory[name]
        self.flush()
        return moved

    def in_memory(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are in memory, each whole."""
        return {
            name: pieces[0] if len(pieces) == 1 else np.concatenate(pieces) for name, pieces in self._memory.items()
        }

    def remember(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take arrays as `in_memory` gave them."""
        self._memory = {name: [array] for name, array in arrays.items()}

    def reopen(self, folder: Path) -> None:
        """Go on with the files of a folder that another process has left, under a name that says whose it is now."""
        held = folder.with_name(f".{folder.name}")  # making a folder removes what its dead owners have left
        folder.rename(held)
        self.on_disk, self.folder = True, self._make_folder()
        self.folder.rmdir()
        held.rename(self.folder)

    def close(self) -> None:
        """Close and remove all files."""
        self.flush()
        if self.folder is not None:
            remove_folder(self.folder)
            self.folder = None
