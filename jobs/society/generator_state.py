"""Mersenne Twister states as JSON values."""

from __future__ import annotations

import random
from typing import Any


def stored(generator: random.Random) -> list[Any]:
    """Return a generator's state as lists and numbers."""
    version, words, gauss = generator.getstate()
    return [version, list(words), gauss]


def restored(state: list[Any]) -> random.Random:
    """Return a generator in a stored state."""
    generator = random.Random()
    generator.setstate((state[0], tuple(state[1]), state[2]))
    return generator
