"""A shard's payload: blocks are added in order, and the arrays of a partial come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from .phases import Dataset, Phase

INT64 = 1 << 63


class Payload:
    """What the blocks [lo, next) of a shard have given so far."""

    def __init__(self, phase: Phase, lo: int) -> None:
        """Start without a block."""
        from . import tree

        self.phase = phase
        self.lo = lo
        self.next_block = lo
        self.units = 0
        self.nbytes = 0
        """Bytes of rows and counts, which is nearly all there is."""
        self._rows: dict[str, list[np.ndarray]] = {}
        self._lengths: dict[str, list[np.ndarray]] = {}
        self._folded: dict[str, np.ndarray] = {}
        self._tree = tree.Reducer()
        self._tree.next_block = lo

    def add(self, result: Mapping[str, Any], units: int) -> None:
        """Append one block's result, held against the phase's declaration.

        Raises:
            ValueError: a dataset is missing, unknown, or of another shape or dtype than declared.
        """
        import numpy as np

        names = {dataset.name for dataset in self.phase.stored}
        lengths = {f"{dataset.name}_length" for dataset in self.phase.stored if dataset.ragged}
        expected = names | lengths | ({"stats"} if self.phase.stats else set())
        if set(result) != expected:
            difference = sorted(set(result) ^ expected)
            raise ValueError(f"phase {self.phase.name}: datasets {difference} are not as declared")
        for dataset in self.phase.stored:
            self._append(dataset, result, units)
        if self.phase.stats is not None:
            stats = np.asarray(result["stats"], dtype="f8")
            shape = (len(self.phase.stats.metrics), 3, self.phase.stats.cells)
            if stats.shape != shape:
                raise ValueError(f"stats: shape {stats.shape}, declared is {shape}")
            self._tree.add(0, self.next_block, stats)
        self.next_block += 1
        self.units += units

    def _append(self, dataset: Dataset, result: Mapping[str, Any], units: int) -> None:
        import numpy as np

        given = np.asarray(result[dataset.name])
        array = np.ascontiguousarray(given, dtype=dataset.dtype)
        same_kind = np.can_cast(given.dtype, array.dtype, casting="same_kind") and array.dtype.kind != "S"
        if not same_kind and not np.array_equal(array, given):
            raise ValueError(f"{dataset.name}: dtype {given.dtype}, declared is {dataset.dtype}")
        if dataset.folded:
            if array.shape != dataset.shape:
                raise ValueError(f"{dataset.name}: shape {array.shape}, declared is {dataset.shape}")
            self._fold(dataset, array)
            return
        first = units
        if dataset.ragged:
            length = np.asarray(result[f"{dataset.name}_length"], dtype="i8")
            if length.shape != (units,):
                raise ValueError(f"{dataset.name}_length: shape {length.shape}, declared is {(units,)}")
            first = int(length.sum())
            self._lengths.setdefault(dataset.name, []).append(length)
        if array.shape != (first, *dataset.shape):
            raise ValueError(f"{dataset.name}: shape {array.shape}, declared is {(first, *dataset.shape)}")
        self._rows.setdefault(dataset.name, []).append(array)
        self.nbytes += array.nbytes

    def _fold(self, dataset: Dataset, array: np.ndarray) -> None:
        """Combine a block's counts or extrema with those that stand."""
        from .tree import combined_extrema

        standing = self._folded.get(dataset.name)
        if standing is None:
            self.nbytes += array.nbytes
        elif dataset.summed:
            total = standing.astype(object) + array.astype(object)
            if any(not -INT64 <= int(value) < INT64 for value in total.flat):
                raise ValueError(f"{dataset.name}: a sum passes 63 bits")
            array = standing + array
        else:
            array = combined_extrema(standing, array)
        self._folded[dataset.name] = array

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of a partial that holds these blocks."""
        import numpy as np

        arrays: dict[str, np.ndarray] = dict(self._folded)
        for name, pieces in self._rows.items():
            join(pieces)
            arrays[name] = pieces[0]
        for name, pieces in self._lengths.items():
            arrays[f"{name}_offsets"] = np.concatenate([np.zeros(1, "i8"), np.cumsum(np.concatenate(pieces))])
        if self.phase.stats is not None:
            nodes = list(self._tree.nodes())
            arrays["stats"] = np.stack([triples for _, _, triples in nodes])
            arrays["nodes"] = np.array([node[:2] for node in nodes], dtype="i8")
        return arrays

    def drained(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield what `arrays` returns, in name order, and forget each: the payload is empty afterwards."""
        arrays = self.arrays()
        self._rows, self._folded = {}, {}
        for name in sorted(arrays):
            yield name, arrays.pop(name)

    @classmethod
    def restored(cls, phase: Phase, lo: int, hi: int, units: int, arrays: Mapping[str, np.ndarray]) -> Payload:
        """Return the payload that a checkpoint's arrays hold."""
        import numpy as np

        payload = cls(phase, lo)
        payload.next_block, payload.units = hi, units
        payload.nbytes = sum(array.nbytes for array in arrays.values())
        for dataset in phase.stored:
            if dataset.folded:
                payload._folded[dataset.name] = arrays[dataset.name]
                continue
            payload._rows[dataset.name] = [arrays[dataset.name]]
            if dataset.ragged:
                payload._lengths[dataset.name] = [np.diff(arrays[f"{dataset.name}_offsets"])]
        if phase.stats is not None:
            for (level, index), triples in zip(arrays["nodes"].tolist(), arrays["stats"], strict=True):
                payload._tree.add(level, index, triples)
        return payload


def empty_unit(datasets: Iterable[Dataset]) -> dict[str, Any]:
    """Return the rows of a unit that has nothing to show: NaN, zeros and empty runs."""
    import numpy as np

    arrays: dict[str, Any] = {}
    for dataset in datasets:
        if dataset.ragged:
            arrays[dataset.name] = np.zeros((0, *dataset.shape), dataset.dtype)
            arrays[f"{dataset.name}_length"] = [0]
        else:
            nothing = np.nan if np.dtype(dataset.dtype).kind == "f" else 0
            arrays[dataset.name] = np.full((1, *dataset.shape), nothing, dataset.dtype)
    return arrays


def join(pieces: list[np.ndarray]) -> None:
    """Put pieces into one array in their place, each forgotten once it is copied, so that little is held twice."""
    import numpy as np

    if len(pieces) == 1:
        return
    kind = np.concatenate([piece[:0] for piece in pieces]).dtype
    shape = (sum(map(len, pieces)), *pieces[0].shape[1:])
    most = 2 * len(pieces[0]) >= shape[0] and pieces[0].dtype == kind and pieces[0].flags.writeable
    if not most or not grow(pieces, shape):
        pieces.insert(0, np.empty(shape, kind))
    end = shape[0]
    while len(pieces) > 1:
        piece = pieces.pop()
        pieces[0][end - len(piece) : end] = piece
        end -= len(piece)


def grow(pieces: list[np.ndarray], shape: tuple[int, ...]) -> bool:
    """Lengthen the first piece where it lies; False, and nothing done, where anyone else may look at its memory.

    It is what an earlier checkpoint has joined, and may be most of what this process holds.
    """
    first = pieces.pop(0)
    try:
        first.resize(shape)
    except ValueError:
        return False
    finally:
        pieces.insert(0, first)
    return True
