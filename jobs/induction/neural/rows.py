"""The beam: configurations of every level that can be reached, thinned so that rare positions of mobiles survive.

B_0 = {root}; B_{t+1} = all successors of B_t under all profiles, of which at most M are kept, drawn without
replacement with weight (number of candidates with the same mobiles and bits)^(-1/2). Standing still keeps a
configuration, so that the beam keeps memory of earlier levels. It is exhaustive as long as a level has at most M
configurations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .. import expansion
from ..packing import AGENT_FIELDS, Packing, State
from ..world import World
from .configurations import Keys, check_world, horizon_of, root_key, states_of
from .stepping import ROW_CHUNK
from .streams import BEAM, check_seed, stream


def surroundings_mask(packing: Packing) -> np.uint64:
    """Return the bits of a key that hold mobiles and button bits."""
    tables = packing.tables
    fields = np.flatnonzero(tables.packed >= AGENT_FIELDS * tables.n_agents)
    return np.bitwise_or.reduce(tables.mask[fields] << tables.shift[fields], initial=np.uint64(0))


def thinned(keys: Keys, groups: Keys, width: int, generator: np.random.Generator) -> Keys:
    """Return at most `width` keys, sorted; weight (size of the group)^(-1/2) (Efraimidis and Spirakis 2006)."""
    if len(keys) <= width:
        return keys
    _, member, size = np.unique(groups, return_inverse=True, return_counts=True)
    arrival = generator.standard_exponential(len(keys)) * np.sqrt(size[member])
    return keys[np.sort(np.argsort(arrival, kind="stable")[:width])]


def successors(packing: Packing, keys: Keys) -> Keys:
    """Return the different successors of configurations, sorted."""
    parts = [
        expansion.expand(packing, keys[first : first + ROW_CHUNK, None]).keys[:, 0]
        for first in range(0, len(keys), ROW_CHUNK)
    ]
    return np.unique(np.concatenate(parts))


def beam_keys(world: World, last: int, width: int, seed: int) -> Iterator[Keys]:
    """Yield the beam's keys of levels 0 to `last`, sorted."""
    packing = world.packing
    mask = surroundings_mask(packing)
    keys = root_key(world)
    yield keys
    for t in range(1, last + 1):
        found = successors(packing, keys)
        keys = thinned(found, found & mask, width, stream(seed, BEAM, 0, t))
        yield keys


def beam(world: World, max_steps: int | None, width: int, seed: int = 0) -> list[list[State]]:
    """Return the beam's states of levels t = 0..T.

    Args:
        world: the world.
        max_steps: horizon T; None: the world's.
        width: most states of a level, M >= 1.
        seed: seed of the draws.

    Raises:
        ValueError: an argument out of range.
    """
    horizon = horizon_of(check_world(world), max_steps)
    if isinstance(width, bool) or not isinstance(width, int | np.integer) or width < 1:
        raise ValueError(f"width is {width!r}; allowed are whole numbers from 1 on")
    levels = beam_keys(world, horizon, int(width), check_seed(seed))
    return [states_of(world, t, keys) for t, keys in enumerate(levels)]


def perturbed(world: World, keys: Keys, n: int, generator: np.random.Generator) -> NDArray[np.uint64]:
    """Return at most n configurations made of those given, sorted, none twice; they need not be reachable.

    Each agent, with probability 1/2, gets the cell (and the terminated flag, which belongs to lava) of the same agent
    in another row and, independently, with probability 1/2 a fresh direction. Those in which two stand on one cell are
    dropped.
    """
    if n == 0 or len(keys) == 0:
        return np.empty(0, np.uint64)
    packing = world.packing
    vectors = packing.vectors(keys[generator.integers(len(keys), size=n), None])
    for i in range(world.n_agents):
        field = AGENT_FIELDS * i
        others = packing.vectors(keys[generator.integers(len(keys), size=n), None])
        is_moved, is_turned = generator.random(n) < 0.5, generator.random(n) < 0.5
        vectors[is_moved, field] = others[is_moved, field]
        vectors[is_moved, field + 2] = others[is_moved, field + 2]
        vectors[is_turned, field + 1] = generator.integers(4, size=n)[is_turned]
    cells = [AGENT_FIELDS * i for i in range(world.n_agents)]
    first_mobile = AGENT_FIELDS * world.n_agents
    cells += range(first_mobile, first_mobile + len(world.mobiles))
    standing = np.sort(vectors[:, cells], axis=1)
    vectors = vectors[(standing[:, 1:] != standing[:, :-1]).all(axis=1)]
    return np.unique(packed_keys(packing, vectors))


def packed_keys(packing: Packing, vectors: NDArray[np.int32]) -> Keys:
    """Return the keys u8 [n] of configurations i4 [n, n_fields] whose key is one word."""
    tables = packing.tables
    keys = np.zeros(len(vectors), np.uint64)
    for j, field in enumerate(tables.packed):
        column = vectors[:, field]
        values = tables.compact[column] if tables.is_cell[j] else column
        keys |= values.astype(np.uint64) << tables.shift[j]
    return keys
