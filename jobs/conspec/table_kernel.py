"""Compiled table of distinct observations: a hash finds the row, the codes decide."""

from __future__ import annotations

import numpy as np

from .compilation import compiled, compiled_entry

MIX_1, MIX_2, MIX_3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(29)
EIGHT, SEED = np.uint64(8), np.uint64(0x2545F4914F6CDD1D)


@compiled
def hash_of(codes):  # type: ignore[no-untyped-def]
    """64-bit hash of one observation."""
    value = SEED
    n = len(codes)
    position = 0
    while position < n:
        word = np.uint64(0)
        for offset in range(min(8, n - position)):
            word = (word << EIGHT) | np.uint64(codes[position + offset])
        value = (value ^ word) * MIX_1
        value = (value ^ (value >> MIX_3)) * MIX_2
        position += 8
    return value ^ (value >> MIX_3)


@compiled
def find_or_add(codes, rows, hashes, buckets, count):  # type: ignore[no-untyped-def]
    """Return the row of an observation in `rows`, appending it where it is new (`count[0]` rows are used).

    `buckets` has a power-of-two length well above the number of rows, and holds row numbers or -1.
    """
    key = hash_of(codes)
    mask = len(buckets) - 1
    place = np.int64(key & np.uint64(mask))
    while True:
        row = buckets[place]
        if row < 0:
            row = count[0]
            count[0] += 1
            buckets[place] = row
            hashes[row] = key
            for j in range(len(codes)):
                rows[row, j] = codes[j]
            return row
        if hashes[row] == key:
            same = True
            for j in range(len(codes)):
                if rows[row, j] != codes[j]:
                    same = False
            if same:
                return np.int64(row)
        place = (place + 1) & mask


@compiled_entry
def add_all(codes, rows, hashes, buckets, count, numbers):  # type: ignore[no-untyped-def]
    """Find or append every row of `codes`; write its number."""
    for n in range(len(codes)):
        numbers[n] = find_or_add(codes[n], rows, hashes, buckets, count)


@compiled_entry
def index_again(rows, hashes, buckets, count):  # type: ignore[no-untyped-def]
    """Fill hashes and empty buckets from the first `count` rows, which differ from each other."""
    buckets[:] = -1
    mask = len(buckets) - 1
    for row in range(count):
        hashes[row] = hash_of(rows[row])
        place = np.int64(hashes[row] & np.uint64(mask))
        while buckets[place] >= 0:
            place = (place + 1) & mask
        buckets[place] = row
