"""Where keys and apples of a delayed world lie: drawn at random, or given as a layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .worlds import Phase

N_KEY_CELLS, N_APPLES = 4, 6
N_PLACEMENTS = N_KEY_CELLS + 4 * N_APPLES
APPLE_CELLS: NDArray[np.int64] = np.array([cell for cell in range(25) if cell != 18])  # all but the start (3, 3)

Layout = Mapping[str, Mapping[int, Any]]


def drawn(phases: tuple[Phase, ...], n_lanes: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw placements for every lane, i8[n_lanes, 28].

    Columns 0-3 are the key cells (5 r + c) of phases 0, 2, 4, 6, then six apple cells each of phases 1, 3, 5, 7;
    what a world does not have stays 0. Keys are drawn uniformly among the cells of their phase, apples uniformly
    without replacement; one block of uniforms of fixed size is used per call.
    """
    cells = np.zeros((n_lanes, N_PLACEMENTS), np.int64)
    even = range(0, len(phases) - 1, 2)
    keys = generator.random((n_lanes, len(even)))
    apples = generator.random((n_lanes, len(even), len(APPLE_CELLS))).argsort(axis=2, kind="stable")
    for column, index in enumerate(even):
        allowed = np.array([5 * r + c for r, c in phases[index].key_cells])
        cells[:, column] = allowed[(keys[:, column] * len(allowed)).astype(np.int64)]
        first = N_KEY_CELLS + N_APPLES * column
        cells[:, first : first + N_APPLES] = APPLE_CELLS[apples[:, column, :N_APPLES]]
    return cells


def given(phases: tuple[Phase, ...], layout: Sequence[Layout], n_lanes: int) -> NDArray[np.int64]:
    """Return the placements of `layout`, i8[n_lanes, 28], columns as in `drawn`.

    A layout is `{"keys": {phase: (r, c)}, "apples": {phase: [six cells 5 r + c]}}`, phases as integers. Keys of
    phases with one possible cell may be left out.

    Raises:
        ValueError: not one layout per lane, or a phase or cell that is missing or does not exist.
    """
    if isinstance(layout, Mapping) or len(layout) != n_lanes:
        raise ValueError(f"layout: a list of {n_lanes} layouts is needed, one per lane")
    return np.array([_one(phases, lane) for lane in layout], np.int64).reshape(n_lanes, N_PLACEMENTS)


def _one(phases: tuple[Phase, ...], layout: Layout) -> NDArray[np.int64]:
    keys, apples = dict(layout.get("keys", {})), dict(layout.get("apples", {}))
    cells = np.zeros(N_PLACEMENTS, np.int64)
    for column, index in enumerate(range(0, len(phases) - 1, 2)):
        possible = phases[index].key_cells
        key = keys.pop(index, possible[0] if len(possible) == 1 else None)
        if key is None or tuple(key) not in possible:
            raise ValueError(f"layout: keys.{index}: {key!r} is not one of {list(possible)}")
        cells[column] = 5 * int(key[0]) + int(key[1])
        eaten = apples.pop(index + 1, None)
        if eaten is None or len(set(eaten)) != N_APPLES or not set(eaten) <= set(APPLE_CELLS.tolist()):
            raise ValueError(f"layout: apples.{index + 1}: {eaten!r}; needed six different cells 5 r + c except 18")
        first = N_KEY_CELLS + N_APPLES * column
        cells[first : first + N_APPLES] = eaten
    unknown = [*keys, *apples]
    if unknown:
        raise ValueError(f"layout: phase {unknown[0]!r} has nothing to place in this world")
    return cells
