"""Packed configurations found in parts: joined, told apart from known ones, and numbered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.expansion import sort_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Keys = NDArray[np.uint64]


def as_words(keys: NDArray[Any]) -> Keys:
    """Return keys [n] or [n, w] as u8 [n, w]."""
    return np.ascontiguousarray(keys, np.uint64).reshape(len(keys), -1) if len(keys) else _empty(keys)


def _empty(keys: NDArray[Any]) -> Keys:
    return np.empty((0, keys.shape[1] if keys.ndim == 2 else 1), np.uint64)


def as_stored(keys: Keys) -> NDArray[np.uint64]:
    """Return keys u8 [n, w] as they are stored: [n] where one word is enough."""
    return keys[:, 0] if keys.shape[1] == 1 else keys


def joined(one: Keys, other: Keys) -> Keys:
    """Return the different keys of two sorted runs, sorted."""
    keys = np.concatenate([one, other])
    keys = keys[sort_order(keys)]
    if len(keys) == 0:
        return keys
    return keys[np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])]


def places(run: Keys, keys: Keys) -> NDArray[np.int64]:
    """Return where keys stand in a sorted run, -1 where they do not: i8 [n]."""
    if len(run) == 0 or len(keys) == 0:
        return np.full(len(keys), -1, np.int64)
    if run.shape[1] == 1:
        found = np.minimum(np.searchsorted(run[:, 0], keys[:, 0]), len(run) - 1)
        return np.where(run[found, 0] == keys[:, 0], found, -1)
    both = np.concatenate([run, keys])
    order = sort_order(both)  # stable: a key of the run stands before its equals
    ordered = both[order]
    begins = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    leader = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    result = np.full(len(keys), -1, np.int64)
    is_key = order >= len(run)
    result[order[is_key] - len(run)] = np.where(leader[is_key] < len(run), leader[is_key], -1)
    return result


def without(keys: Keys, run: Keys) -> Keys:
    """Return the keys that a sorted run does not hold."""
    return keys[places(run, keys) < 0]
