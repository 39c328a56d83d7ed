"""Goals of the humans: cells and rectangles, in all forms in which a world file may write them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[int, int, int, int]


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            return int(value.strip())
        except ValueError:
            return None
    return None


def parse_goal(value: Any) -> Rectangle:
    """Return the rectangle (x1, y1, x2, y2), x1 <= x2 and y1 <= y2, of a goal.

    Accepted: "x,y", "x1,y1,x2,y2" (spaces anywhere), [x,y], [x1,y1,x2,y2], [[x1,y1],[x2,y2]]; corners in any order.

    Raises:
        ValueError: another form; says what is allowed.
    """
    parts: list[Any]
    if isinstance(value, str):
        parts = value.split(",")
    elif isinstance(value, list | tuple):
        parts = [part for entry in value for part in (entry if isinstance(entry, list | tuple) else [entry])]
        nested = [isinstance(entry, list | tuple) for entry in value]
        if any(nested) and not (all(nested) and all(len(corner) == 2 for corner in value)):
            parts = []
    else:
        parts = []
    numbers = [_integer(part) for part in parts]
    if len(numbers) not in (2, 4) or any(number is None for number in numbers):
        raise ValueError(
            f"goal {value!r} is neither a cell nor a rectangle; "
            "allowed are x,y and x1,y1,x2,y2 (whole numbers), as text or list, and [[x1,y1],[x2,y2]]"
        )
    whole = [number for number in numbers if number is not None]
    x1, y1, x2, y2 = whole if len(whole) == 4 else whole * 2
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def contains(goals: NDArray[np.int64], x: int, y: int) -> NDArray[np.bool_]:
    """Which goals hold cell (x, y), bool[G]; goals is int[G, 4]."""
    return (goals[:, 0] <= x) & (x <= goals[:, 2]) & (goals[:, 1] <= y) & (y <= goals[:, 3])
