"""Encounters: who meets whom, drawn place by place from one Mersenne Twister."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .vocabulary import PLACES

_SIZES = (2, 3)


@dataclass(frozen=True)
class Encounter:
    """A meeting of one to three residents: the place, and ids in the order in which they act."""

    place: str
    members: list[str]


def sample_encounters(
    generator: random.Random, present: Sequence[Sequence[int]], cap: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Return the encounters of one tick as (place, residents); everybody is in one at most.

    Args:
        generator: advanced by the draws.
        present: residents of each place, in place order.
        cap: largest number of encounters.
    """
    rooms = list(range(len(PLACES)))
    generator.shuffle(rooms)
    encounters: list[tuple[int, tuple[int, ...]]] = []
    for room in rooms:
        if len(encounters) >= cap:
            break
        members = sorted(present[room])
        if not members:
            continue
        generator.shuffle(members)
        start = 0
        while start < len(members) and len(encounters) < cap:
            left = len(members) - start
            size = generator.choice(_SIZES) if left >= 3 else left
            encounters.append((room, tuple(members[start : start + size])))
            start += size
    return encounters
