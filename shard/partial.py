"""The partial: an HDF5 file behind a 512-byte card, built in memory and checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Exit, QuintetError, errno_of
from .scratch import scratch_base

if TYPE_CHECKING:
    import h5py
    import numpy as np

MAGIC = "QUINTET1"
SCHEMA = 1
IMAGES = count()  # names of files in memory: no two open ones may share one
CARD_BYTES = 512
IN_MEMORY_BYTES = 256 << 20
COMPRESS_FROM_BYTES = 4096
FIRST_READ_BYTES = 64 << 10  # small partials come whole; a larger buffer would cost more than their digest
READ_BYTES = 4 << 20
REGISTERED_FILTERS = frozenset({1, 2, 3})  # deflate, shuffle, fletcher32


@dataclass(frozen=True)
class Card:
    """First line of the user block: what the file is, and two digests.

    `b2` is the digest of the bytes behind the card, `pd` that of the payload (every dataset outside `/meta`);
    `off` and `n` are the absolute place and the bytes of `/stats`, `units` is how many units the blocks hold.
    """

    study: str
    phase: str
    shard: int
    lo: int
    hi: int
    cfg: str
    inp: str
    off: int = 0
    n: int = 0
    b2: str = ""
    pd: str = ""
    complete: bool = True
    units: int = 0
    magic: str = MAGIC
    schema: int = SCHEMA

    def pack(self) -> bytes:
        """Return the 512 bytes that stand before the HDF5 file."""
        line = json.dumps(vars(self), separators=(",", ":")).encode()
        if len(line) >= CARD_BYTES:
            raise ValueError(f"card of {len(line)} bytes; at most {CARD_BYTES - 1} fit")
        return line.ljust(CARD_BYTES, b"\n")

    @classmethod
    def parse(cls, block: bytes) -> Card:
        """Read a card; ValueError where the bytes are none."""
        line = block[:CARD_BYTES].split(b"\n", 1)[0]
        try:
            data = json.loads(line.decode())
        except (ValueError, RecursionError):
            raise ValueError("no card in the first 512 bytes") from None
        if not isinstance(data, dict) or data.get("magic") != MAGIC:
            raise ValueError("no card in the first 512 bytes")
        if data.get("schema") != SCHEMA:
            raise SchemaError(f"schema {data.get('schema')!r}, this suite reads {SCHEMA}")
        if {name: type(value) for name, value in data.items()} != KINDS:
            raise ValueError("the card's fields are not those of a partial")
        card = cls.__new__(cls)
        vars(card).update(data)  # what the frozen __init__ does, without its fifteen calls: scans read 10^5 cards
        return card


class SchemaError(ValueError):
    """The file was written by another version of the format."""


KINDS = {name: type(value) for name, value in vars(Card("", "", 0, 0, 0, "", "")).items()}


def update_digest(digest: Any, name: str, array: np.ndarray) -> None:
    """Feed one dataset to a payload digest: name, dtype, shape, bytes."""
    import numpy as np

    head = f"{name}\0{array.dtype.str}\0{','.join(map(str, array.shape))}\0"
    digest.update(head.encode())
    digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")


def payload_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return blake2b-128 over all arrays in name order."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        update_digest(digest, name, arrays[name])
    return digest.hexdigest()


def array_of(value: Any) -> np.ndarray:
    """Return a value as the array that is stored: text becomes UTF-8 bytes of fixed width."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind == "U":
        array = np.char.encode(array, "utf-8")
    if array.dtype.kind == "O":
        raise TypeError("an array of objects cannot be stored")
    return np.ascontiguousarray(array) if array.ndim else array


def write_dataset(file: h5py.File, name: str, array: np.ndarray, compressed: bool = True) -> None:
    """Write one array: contiguous, or a large one in compressed chunks; `stats` is never compressed."""
    if name == "stats" or array.nbytes < COMPRESS_FROM_BYTES or not compressed:
        write_contiguous(file, name, array)
        return
    rows = max(1, (1 << 20) // max(array.nbytes // max(len(array), 1), 1))
    file.create_dataset(
        name,
        data=array,
        chunks=(min(len(array), rows), *array.shape[1:]),
        compression=4,
        shuffle=True,
        track_times=False,
        rdcc_nbytes=1 << 20,  # chunks come in order, each once: more than one in the cache is memory for nothing
    )


def write_contiguous(file: h5py.File, name: str, array: np.ndarray) -> int:
    """Write one array in one piece and return its place in the file.

    By the calls below `create_dataset`, which costs as much again, since most partials are many small arrays.
    """
    from h5py import h5d, h5p, h5s, h5t

    if array.dtype.kind not in "biuf":
        return int(file.create_dataset(name, data=array, track_times=False).id.get_offset() or 0)
    links, properties = h5p.create(h5p.LINK_CREATE), h5p.create(h5p.DATASET_CREATE)
    links.set_create_intermediate_group(True)
    properties.set_obj_track_times(False)
    space, kind = h5s.create_simple(array.shape), h5t.py_create(array.dtype, logical=True)
    dataset = h5d.create(file.id, name.encode(), kind, space, dcpl=properties, lcpl=links)
    dataset.write(h5s.ALL, h5s.ALL, array)
    return int(dataset.get_offset() or 0)


def build(
    card: Card,
    arrays: Mapping[str, Any],
    meta: Mapping[str, Any],
    meta_arrays: Mapping[str, Any] | None = None,
    *,
    compressed: bool = True,
) -> tuple[bytes, Card]:
    """Return the bytes of a partial and its finished card.

    Args:
        card: identity of the file; its digests and offset are filled in.
        arrays: payload, HDF5 path without leading slash -> array.
        meta: provenance, kept as one JSON attribute of `/meta`.
        meta_arrays: datasets below `/meta`, outside the payload digest.
        compressed: whether large arrays are; what is soon read again and thrown away need not be.
    """
    payload = {name: array_of(arrays[name]) for name in sorted(arrays)}
    size = sum(array.nbytes for array in payload.values())
    return build_from(card, payload.items(), size, meta, meta_arrays, compressed=compressed)


def build_from(
    card: Card,
    arrays: Iterable[tuple[str, Any]],
    size: int,
    meta: Mapping[str, Any],
    meta_arrays: Mapping[str, Any] | None = None,
    *,
    compressed: bool = True,
) -> tuple[bytes, Card]:
    """Do as `build` with arrays that come one by one, in name order; none is held once it is written.

    `size` is the bytes of all of them: from 256 MB on the file is built on the node's disk.
    """
    digest, offset, stats_bytes = hashlib.blake2b(digest_size=16), 0, 0
    with image_file(size) as (file, image_of):
        for name, value in arrays:
            array = array_of(value)
            if not name.startswith("meta/"):
                update_digest(digest, name, array)
            if name == "stats" and array.size:
                stats_bytes = array.nbytes
                offset = write_contiguous(file, name, array) + CARD_BYTES
            else:
                write_dataset(file, name, array, compressed)
            del value, array
        write_meta(file, meta, meta_arrays or {})
        file.flush()
        image = image_of()
    b2 = hashlib.blake2b(image, digest_size=16).hexdigest()
    card = replace(card, off=offset, n=stats_bytes, b2=b2, pd=digest.hexdigest())
    return card.pack() + image, card


def write_meta(file: h5py.File, meta: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write the group `/meta`: provenance as one JSON attribute, and datasets."""
    import numpy as np

    # Of fixed length: HDF5 keeps others in a heap of 4 kB, and loops where the heap is broken.
    file.require_group("meta").attrs["provenance"] = np.bytes_(json.dumps(meta, sort_keys=True).encode())
    for name, value in sorted(arrays.items()):
        write_dataset(file, f"meta/{name}", array_of(value))


@contextmanager
def image_file(size: int) -> Iterator[tuple[h5py.File, Callable[[], bytes]]]:
    """Open a fresh HDF5 file that nobody sees, and the function that returns its bytes once it is flushed."""
    import h5py

    version = ("v110", "v110")
    if size <= IN_MEMORY_BYTES:
        name = f"{os.getpid()}-{next(IMAGES)}"
        with h5py.File(name, "w", driver="core", backing_store=False, libver=version) as file:
            yield file, file.id.get_file_image
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="quintet-", dir=scratch_base()) as folder:
        path = Path(folder) / "image.h5"
        with h5py.File(path, "w", libver=version) as file:

            def read() -> bytes:
                file.close()  # until then the file says that it is being written
                return path.read_bytes()

            yield file, read


def open_regular(path: Path) -> int:
    """Open a file for reading without following a link in its last place."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)


def read_card(path: Path) -> Card:
    """Read the card of a file; ValueError where it has none, OSError where it cannot be opened."""
    descriptor = open_regular(path)
    try:
        return Card.parse(os.read(descriptor, CARD_BYTES))
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> tuple[Card, str]:
    """Return the card and the digest of the bytes that stand behind it now."""
    descriptor = open_regular(path)
    try:
        chunk = os.read(descriptor, FIRST_READ_BYTES)
        card = Card.parse(chunk)
        digest = hashlib.blake2b(memoryview(chunk)[CARD_BYTES:], digest_size=16)
        while chunk := os.read(descriptor, READ_BYTES if len(chunk) >= FIRST_READ_BYTES else CARD_BYTES):
            digest.update(chunk)
        return card, digest.hexdigest()
    finally:
        os.close(descriptor)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a partial for reading by its descriptor-checked path; HDF5's own locks stay off."""
    import h5py

    os.close(open_regular(path))
    with h5py.File(path, "r", locking=False) as file:
        yield file


def walk(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield every dataset of an untrusted file in name order.

    Raises:
        ValueError: a soft or external link, external or virtual storage, or a filter that HDF5 does not ship.
    """
    import h5py

    def below(group: h5py.Group, prefix: str) -> Iterator[tuple[str, h5py.Dataset]]:
        for key in sorted(group):
            name = f"{prefix}{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ValueError(f"/{name} is a link")
            item = group[key]
            if isinstance(item, h5py.Group):
                if name.count("/") > 16:
                    raise ValueError(f"/{name} is nested too deep")
                yield from below(item, f"{name}/")
            elif isinstance(item, h5py.Dataset):
                properties = item.id.get_create_plist()
                if item.is_virtual or properties.get_external_count():
                    raise ValueError(f"/{name} is stored outside the file")
                filters = {properties.get_filter(k)[0] for k in range(properties.get_nfilters())}
                if not filters <= REGISTERED_FILTERS:
                    raise ValueError(f"/{name} uses filters {sorted(filters - REGISTERED_FILTERS)}")
                yield name, item
            else:
                raise ValueError(f"/{name} is neither group nor dataset")

    return below(file, "")


def stored_payload_digest(file: h5py.File, within: Callable[[str, h5py.Dataset], None] | None = None) -> str:
    """Return the payload digest of what a file holds; `within` may refuse a dataset before it is read."""
    digest = hashlib.blake2b(digest_size=16)
    found = sorted((item for item in walk(file) if not item[0].startswith("meta/")), key=lambda item: item[0])
    for name, dataset in found:
        if within is not None:
            within(name, dataset)
        update_digest(digest, name, dataset[()] if dataset.shape else array_of(dataset[()]))
    return digest.hexdigest()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the whole payload of a file that was verified before."""
    return {name: array for name, array in read_datasets(path).items() if not name.startswith("meta/")}


def read_datasets(path: Path) -> dict[str, np.ndarray]:
    """Return every dataset of a file that was verified before, those below `/meta` too."""
    with opened(path) as file:
        return {name: dataset[()] for name, dataset in walk(file)}


def read_meta(path: Path) -> dict[str, Any]:
    """Return the provenance of a file."""
    with opened(path) as file:
        try:
            return dict(json.loads(file["meta"].attrs["provenance"]))
        except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
            if errno_of(error) is not None:
                raise
            raise QuintetError(Exit.INPUT, f"{path}: no provenance in /meta ({error})") from None
