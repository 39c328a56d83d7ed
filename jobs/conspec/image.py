"""What the agent's camera gives: one byte per view cell, or (type, colour, state) as MiniGrid encodes it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

VIEW_SIDE = 7
N_GRID_CODES, N_DELAYED_CODES = 17, 9
N_GRID_CELLS, N_DELAYED_CELLS = 49, 25

_UNSEEN, _EMPTY, _WALL = (0, 0, 0), (1, 0, 0), (2, 5, 0)
_DOORS = [(4, colour, state) for colour in (1, 2, 3) for state in (0, 1, 2)]
_KEYS = [(5, colour, 0) for colour in (1, 2, 3)]
_GOALS = [(8, 1, 0), (8, 3, 0)]

ENCODING: NDArray[np.uint8] = np.array([_UNSEEN, _EMPTY, _WALL, *_DOORS, *_KEYS, *_GOALS], np.uint8)
"""u1[17, 3]: type, colour (1 green, 2 blue, 3 purple, 5 grey) and state (0 open, 1 closed, 2 locked) of each code."""


def image(codes: ArrayLike) -> NDArray[np.uint8]:
    """Expand grid observations, u1[..., 49] (index 7 i + j), to images `[..., i, j, k]`, u1[..., 7, 7, 3].

    i runs from the agent's left to its right, j from far to near; the agent is at (3, 6).

    Raises:
        ValueError: the last axis is not 49 long, or a code is none of the 17.
    """
    cells: NDArray[Any] = np.asarray(codes)
    if cells.ndim == 0 or cells.shape[-1] != N_GRID_CELLS:
        raise ValueError(f"codes of shape {cells.shape}; the last axis must be {N_GRID_CELLS} long")
    if cells.size and (cells.min() < 0 or cells.max() >= N_GRID_CODES):
        raise ValueError(f"code {int(cells.max())}; codes are 0 to {N_GRID_CODES - 1}")
    return ENCODING[cells].reshape(*cells.shape[:-1], VIEW_SIDE, VIEW_SIDE, 3)
