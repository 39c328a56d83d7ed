"""The generator MT19937 with the seeding and the derived draws of `numpy.random.RandomState`.

Matsumoto and Nishimura (1998), "Mersenne Twister", ACM TOMACS 8. The tempered words w_0, w_1, ... of a seed are
generated once, block by block as they are needed, and everything random of a client is a function of them.
"""

from __future__ import annotations

import numpy as np

from .compilation import compiled

N_STATE = 624
MIDDLE = 397
UPPER = np.uint32(0x80000000)
LOWER = np.uint32(0x7FFFFFFF)
TWIST = np.uint32(0x9908B0DF)
ONE = np.uint32(1)


@compiled
def seed_state(state, seed):  # type: ignore[no-untyped-def]
    """Fill `state` u4[624] from a 32-bit seed."""
    word = np.uint32(seed)
    state[0] = word
    for i in range(1, N_STATE):
        word = np.uint32(np.uint32(1812433253) * np.uint32(word ^ (word >> np.uint32(30))) + np.uint32(i))
        state[i] = word


@compiled
def twisted(word, following):  # type: ignore[no-untyped-def]
    """Recurrence of the generator on two neighbouring words."""
    y = np.uint32((word & UPPER) | (following & LOWER))
    return np.uint32((y >> ONE) ^ (np.uint32(-np.int32(y & ONE)) & TWIST))


@compiled
def extend_words(state, words, generated):  # type: ignore[no-untyped-def]
    """Twist `state` once and write its 624 tempered words to `words[generated:]`."""
    for i in range(N_STATE - MIDDLE):
        state[i] = state[i + MIDDLE] ^ twisted(state[i], state[i + 1])
    for i in range(N_STATE - MIDDLE, N_STATE - 1):
        state[i] = state[i + MIDDLE - N_STATE] ^ twisted(state[i], state[i + 1])
    state[N_STATE - 1] = state[MIDDLE - 1] ^ twisted(state[N_STATE - 1], state[0])
    for i in range(N_STATE):
        y = state[i]
        y = np.uint32(y ^ (y >> np.uint32(11)))
        y = np.uint32(y ^ (np.uint32(y << np.uint32(7)) & np.uint32(0x9D2C5680)))
        y = np.uint32(y ^ (np.uint32(y << np.uint32(15)) & np.uint32(0xEFC60000)))
        words[generated + i] = np.uint32(y ^ (y >> np.uint32(18)))


@compiled
def double_at(words, position):  # type: ignore[no-untyped-def]
    """The double of 53 random bits in the two words at `position`."""
    a = np.int64(words[position]) >> 5
    b = np.int64(words[position + 1]) >> 6
    return (a * 67108864.0 + b) / 9007199254740992.0


@compiled
def choice_below(words, position, n):  # type: ignore[no-untyped-def]
    """Uniform choice among n = 2, 3 or 8 items by masked rejection: (item, position after it)."""
    mask = 1 if n == 2 else (3 if n == 3 else 7)
    while True:
        item = np.int64(words[position]) & mask
        position += 1
        if item < n:
            return item, position
