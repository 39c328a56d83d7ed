"""A client before the first session: its utility matrix and its initial memory, functions of the seed."""

from __future__ import annotations

import numpy as np

from ..octants import ANTI_COMPLEMENT, COMPLEMENT, U_MIN, U_SPAN
from ..params import MEMORY_SIZE
from .compilation import compiled
from .mersenne import choice_below, double_at

COLD_STUCK, DOMINANT_STUCK, SUBMISSIVE_STUCK, COLD_WARM, COMPLEMENTARY_PERFECT, CONFLICTUAL, MIXED_RANDOM = range(7)
STUCK_SETS = np.array([[5, 6, 7], [0, 1, 7], [3, 4, 5]], dtype=np.int64)
FLAT_U_MIN = U_MIN.ravel()

# The client's tables: one float64 array, so that the compiled functions carry one pointer.
U = 0
"""U[c][t] at U + 8 c + t."""
U_COLUMNS = 64
"""U[c][t] at U_COLUMNS + 8 t + c: a column is contiguous."""
REGRET = 128
"""max(0, U[c][K(c)] - U[c][t]) at REGRET + 8 c + t."""
COLUMN_PEAK = 192
"""max over c of U[c][t] at COLUMN_PEAK + t."""
ANSWER = 200
"""U[c][K(c)] at ANSWER + c."""
U_LOWEST, U_HIGHEST, SUCCESS_RS = 208, 209, 210
TABLE_SIZE = 216


@compiled
def fill_table(table, words, named, is_named, threshold):  # type: ignore[no-untyped-def]
    """Fill the client's tables from a named matrix (float64[64]), or from the words unless it `is_named`."""
    lowest, highest = np.inf, -np.inf
    for cell in range(64):
        value = named[cell] if is_named else FLAT_U_MIN[cell] + U_SPAN * double_at(words, 2 * cell)
        table[U + cell] = value
        table[U_COLUMNS + 8 * (cell & 7) + (cell >> 3)] = value
        lowest = min(lowest, value)
        highest = max(highest, value)
    for t in range(8):
        table[COLUMN_PEAK + t] = -np.inf
    for c in range(8):
        answer = table[U + 8 * c + COMPLEMENT[c]]
        table[ANSWER + c] = answer
        for t in range(8):
            value = table[U + 8 * c + t]
            table[REGRET + 8 * c + t] = max(0.0, answer - value)
            table[COLUMN_PEAK + t] = max(table[COLUMN_PEAK + t], value)
    table[U_LOWEST] = lowest
    table[U_HIGHEST] = highest
    table[SUCCESS_RS] = lowest + threshold * (highest - lowest)


@compiled
def fill_memory(client, perceived, words, pattern):  # type: ignore[no-untyped-def]
    """Write the 50 pairs of the initial memory, oldest first.

    The longest pattern takes about 200 words; the two blocks of 624 that the caller provides cannot run out
    (that would need more than 500 rejections of probability 1/4 in one client).
    """
    position = 0
    for i in range(MEMORY_SIZE):
        if pattern == COLD_WARM:
            c, o = 6, 2
        elif pattern == CONFLICTUAL:
            c, o = 0, 0
        elif pattern == MIXED_RANDOM:
            c, position = choice_below(words, position, 8)
            o, position = choice_below(words, position, 8)
        elif pattern == COMPLEMENTARY_PERFECT:
            r = double_at(words, position)
            position += 2
            if r < 0.70:
                item, position = choice_below(words, position, 3)
                c = 1 + item
            elif r < 0.90:
                item, position = choice_below(words, position, 2)
                c = 4 * item
            else:
                item, position = choice_below(words, position, 3)
                c = 5 + item
            o = COMPLEMENT[c]
        else:
            r = double_at(words, position)
            position += 2
            if r < 0.8:
                item, position = choice_below(words, position, 3)
                c = STUCK_SETS[pattern, item]
            else:
                c, position = choice_below(words, position, 8)
            if c == STUCK_SETS[pattern, 0] or c == STUCK_SETS[pattern, 1] or c == STUCK_SETS[pattern, 2]:
                o = ANTI_COMPLEMENT[c]
            else:
                o, position = choice_below(words, position, 8)
        client[i] = c
        perceived[i] = o
