"""Octants of the interpersonal circumplex, their maps and the utility matrices.

Octants are numbered 0..7 = D, WD, W, WS, S, CS, C, CD, clockwise from dominant. A client's octant x is answered

    K(x)   by its complement: warmth answered by warmth, dominance by submission,
    A(x)   by its anti-complement: warmth flipped, agency kept,

and the distance of two octants is the number of steps between them on the circle, 0..4.
A utility matrix U (float64, 8 x 8; row = client octant, column = therapist octant) is drawn per client between
`U_MIN` and `U_MIN + 20`, cell by cell, or is one of the named matrices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OCTANT_NAMES = ("D", "WD", "W", "WS", "S", "CS", "C", "CD")
WARM = (1, 2, 3)
COLD = (5, 6, 7)

COMPLEMENT = np.array([4, 3, 2, 1, 0, 7, 6, 5], dtype=np.int64)
ANTI_COMPLEMENT = np.array([0, 7, 6, 5, 4, 3, 2, 1], dtype=np.int64)

U_MIN = np.array(
    [
        [-40, -50, -10, 20, 30, 20, -10, -50],
        [-30, 0, 30, 50, 10, -30, -50, -70],
        [-10, 30, 40, 30, -10, -70, -60, -70],
        [10, 50, 30, 0, -30, -70, -50, -30],
        [30, 20, -10, -50, -40, -50, -10, 20],
        [10, -10, -30, -40, -20, -10, 10, 20],
        [-10, -40, -30, -40, -10, 10, 20, 10],
        [-30, -40, -20, -10, 10, 20, 10, -10],
    ],
    dtype=np.float64,
)
U_SPAN = 20.0

COLD_TRAP = np.array(
    [
        [-20, -30, -5, 15, 35, 15, -5, -30],
        [-15, 10, 45, 65, 25, -10, -30, -45],
        [-5, 45, 68, 45, -5, -50, -45, -52],
        [15, 65, 45, 10, -10, -48, -30, -10],
        [35, 15, -5, -30, -20, -30, -5, 15],
        [10, -5, -18, -28, -5, 8, 15, 20],
        [5, -12, -18, -28, -5, 15, 23, 18],
        [-5, -22, -15, -8, 10, 20, 18, 5],
    ],
    dtype=np.float64,
)


def octant_distance(a: int, b: int) -> int:
    """Steps between octants `a` and `b` on the circle, 0..4."""
    steps = abs(int(a) - int(b))
    return min(steps, 8 - steps)


def complementarity_distance(client: int, therapist: int) -> int:
    """Distance of the therapist's octant from the complement of the client's, 0 (complementary) .. 4."""
    return octant_distance(therapist, int(COMPLEMENT[client]))


COMPLEMENTARITY_DISTANCE = np.array(
    [[complementarity_distance(client, therapist) for therapist in range(8)] for client in range(8)],
    dtype=np.uint8,
)
"""u1[8, 8]: `complementarity_distance` as a table, indexed [client octant, therapist octant]."""


def named_matrix(name: str) -> NDArray[np.float64]:
    """The utility matrix of that name, float64[8, 8].

    `highly_complementary` is numerically the same matrix as `average` in the reference implementation
    (NoahBio/ciit-tracey-model, commit 0fab927); the name is kept as an alias. `cold_trap` leaves the bounds
    of the sampled matrices in 14 % of its cells.

    Raises:
        ValueError: no matrix has this name.
    """
    if name in ("average", "highly_complementary"):
        return U_MIN + U_SPAN / 2.0
    if name == "cold_trap":
        return COLD_TRAP.copy()
    raise ValueError(f"u_matrix: {name!r} is none of average, highly_complementary, cold_trap")
