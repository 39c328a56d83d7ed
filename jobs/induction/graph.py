"""The state graph of a world up to a horizon.

Every agent can stand still, so a configuration once reached can be reached at every later step: the configurations of
level t are those of level t - 1 and some more. Each is stored once, in order of (depth = first level at which it
occurs, key); level t is the first N_t of them, and transitions do not depend on t.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .expansion import BLOCK_ROWS, Discovery, Keys, renumber_rows
from .goals import contains
from .kernel.chain import reach_rows
from .kernel.stepping import workspace
from .packing import AGENT_FIELDS, State
from .transitions import (
    EXC_PROB,
    EXC_PTR,
    EXC_SUCC,
    SUCC,
    Store,
    StoredTransitions,
    TransitionAppender,
    TransitionBlocks,
    Transitions,
)
from .world import World


class TooManyStatesError(ValueError):
    """More states than allowed; `level_sizes` holds the levels counted so far."""

    def __init__(self, limit: int, level_sizes: list[int]) -> None:
        self.level_sizes = tuple(level_sizes)
        fits = 0
        while sum(level_sizes[: fits + 2]) <= limit and fits + 2 <= len(level_sizes):
            fits += 1
        sizes = ", ".join(map(str, level_sizes))
        super().__init__(
            f"more than {limit} states at level {len(level_sizes) - 1} (level sizes {sizes}); "
            f"the largest horizon that fits is {fits}; raise max_states, or use mode slab or neural"
        )


class StateGraph:
    """All reachable configurations and their transitions.

    Attributes:
        world: the world.
        max_steps: horizon T.
        keys: packed configurations, u8 [C, w], sorted by (depth, key).
        level_sizes: N_t for t = 0..T.
        transitions: of the rows of depth < T.
        n_outcomes: configuration-profile-successor triples over configurations of depth < T.
    """

    def __init__(
        self,
        world: World,
        keys: Keys,
        level_sizes: list[int],
        transitions: Transitions,
        n_outcomes: int,
    ) -> None:
        self.world = world
        self.max_steps = len(level_sizes) - 1
        self.keys = keys
        self.level_sizes = level_sizes
        self.transitions = transitions
        self.n_outcomes = n_outcomes

    @classmethod
    def from_arrays(cls, world: World, arrays: Mapping[str, Any]) -> StateGraph:
        """Return a graph over arrays as `arrays` gives them; transitions are read slice by slice when needed.

        Args:
            world: the world that they were built for.
            arrays: names to anything that slices like an array (a data set in a file, a memory map).
        """
        offsets = np.asarray(arrays["depth_offsets"][:])
        keys = np.asarray(arrays["key"][:], np.uint64).reshape(-1, world.packing.n_words)
        n_rows = int(offsets[-2])
        n_exceptions = len(arrays[EXC_PTR]) - 1
        n_outcomes = n_rows * world.n_profiles - n_exceptions + len(arrays[EXC_SUCC])
        transitions = StoredTransitions(lambda name, start, stop: arrays[name][start:stop])
        return cls(world, keys, [int(size) for size in offsets[1:]], transitions, n_outcomes)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the graph as arrays: key, depth_offsets, human_cell, goals, attained and trans/..., in memory."""
        kept: dict[str, list[NDArray[Any]]] = {}

        class _Collected:
            def append(self, name: str, rows: NDArray[Any]) -> None:
                kept.setdefault(name, []).append(rows)

            def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
                return np.concatenate(kept[name])[start:stop]

            def length(self, name: str) -> int:
                return sum(map(len, kept.get(name, [])))

            def drop(self, name: str) -> None:
                kept.pop(name, None)

        appender = TransitionAppender(_Collected())
        for _, rows in self.transitions.pieces(0, self.n_expanded, BLOCK_ROWS):
            appender.append(rows)
        empty: dict[str, NDArray[Any]] = {
            SUCC: np.empty((0, self.world.n_profiles), np.int32),
            EXC_SUCC: np.empty(0, np.int32),
            EXC_PROB: np.empty(0),
        }
        transitions = {
            name: np.concatenate(kept[name]) if name in kept else empty[name]
            for name in (SUCC, EXC_PTR, EXC_SUCC, EXC_PROB)
        }
        return {
            "key": self.keys if self.keys.shape[1] > 1 else self.keys[:, 0],
            "depth_offsets": np.array([0, *self.level_sizes], np.int64),
            "human_cell": self.human_cell,
            "goals": self.world.goals.astype(np.int16),
            "attained": self.attained,
            **transitions,
        }

    @property
    def n_states(self) -> int:
        """Number of states, all levels."""
        return sum(self.level_sizes)

    @property
    def n_configs(self) -> int:
        """Number of configurations C."""
        return self.level_sizes[-1]

    @property
    def n_expanded(self) -> int:
        """Number of configurations with transitions C' (depth < T)."""
        return self.level_sizes[-2]

    @cached_property
    def human_cell(self) -> NDArray[np.uint16]:
        """Where each human stands, u2 [C, H], as compact cell numbers."""
        columns = [self.world.packing.field(self.keys, AGENT_FIELDS * human) for human in self.world.humans]
        return np.stack(columns, axis=1).astype(np.uint16)

    @cached_property
    def attained(self) -> NDArray[np.bool_]:
        """Which goals are attained on which cell, bool [cells, G]."""
        return attained_goals(self.world)

    @cached_property
    def freed(self) -> NDArray[np.bool_]:
        """Which humans are freed in which configuration, bool [C, H].

        A human is freed when it can reach more cells than in the initial state, by steps to the four neighbours that
        walls, buttons, switches and mobiles block but agents do not.
        """
        tables = self.world.packing.tables
        sizes = np.empty((self.n_configs, len(self.world.humans)), np.int32)
        reach_rows(tables, workspace(tables), self.keys, np.array(self.world.humans, np.int64), sizes)
        return sizes > sizes[0]

    def up_to(self, max_steps: int) -> StateGraph:
        """Return the graph of a smaller horizon; it shares this one's arrays.

        Raises:
            ValueError: the horizon is not in 1..T.
        """
        if not 1 <= max_steps <= self.max_steps:
            raise ValueError(f"horizon {max_steps} is out of range; the graph has levels 1 to {self.max_steps}")
        if max_steps == self.max_steps:
            return self
        sizes = self.level_sizes[: max_steps + 1]
        n = sizes[-1]
        part = StateGraph(self.world, self.keys[:n], sizes, self.transitions, self._outcomes(sizes[-2]))
        part.__dict__.update(human_cell=self.human_cell[:n], attained=self.attained, freed=self.freed[:n])
        return part

    def _outcomes(self, n_rows: int) -> int:
        total = 0
        for _, rows in self.transitions.pieces(0, n_rows, BLOCK_ROWS):
            exceptions = -1 - rows.succ[rows.succ < 0] - rows.first
            total += rows.succ.size - len(exceptions)
            total += int((rows.exc_ptr[exceptions + 1] - rows.exc_ptr[exceptions]).sum())
        return total

    def states(self, t: int) -> list[State]:
        """Return the states of level t in row order.

        Raises:
            IndexError: t is not in 0..T.
        """
        if not 0 <= t <= self.max_steps:
            raise IndexError(f"level {t} is out of range; allowed are 0 to {self.max_steps}")
        packing = self.world.packing
        return [packing.state(t, vector) for vector in packing.vectors(self.keys[: self.level_sizes[t]])]

    def row(self, state: State) -> int:
        """Return the row of a state in its level.

        Raises:
            KeyError: the state is not reached.
        """
        t = state[0]
        if not 0 <= t <= self.max_steps:
            raise KeyError(state)
        try:
            key = self.world.packing.key(self.world.packing.vector(state))
        except (KeyError, ValueError, TypeError):
            raise KeyError(state) from None
        first = 0
        for size in self.level_sizes[: t + 1]:
            found = _find(self.keys, key, first, size)
            if found >= 0:
                return found
            first = size
        raise KeyError(state)

    def spill(self, store: Store) -> None:
        """Move the transitions from memory to a store (`trans/...`); done once, later calls change nothing."""
        if isinstance(self.transitions, TransitionBlocks):
            appender = TransitionAppender(store)
            blocks = self.transitions.blocks
            while blocks:
                appender.append(blocks.pop(0)[1])
            self.transitions = StoredTransitions(store.read)


def _find(keys: Keys, key: NDArray[np.uint64], low: int, high: int) -> int:
    """Row of a key between two rows, where keys are sorted; -1 if it is not there."""
    for word, value in enumerate(key):
        column = keys[low:high, word]
        low, high = (
            low + int(np.searchsorted(column, value, "left")),
            low + int(np.searchsorted(column, value, "right")),
        )
    return low if low < high else -1


def attained_goals(world: World) -> NDArray[np.bool_]:
    """Which goals are attained on which cell, bool [cells, G], cells as compact numbers."""
    return np.array([contains(world.goals, x, y) for x, y in world.packing.positions()], np.bool_)


def build(
    world: World,
    max_steps: int | None = None,
    *,
    max_states: int | None = None,
    spill: Store | None = None,
    root: State | None = None,
) -> StateGraph:
    """Enumerate all states that can be reached within the horizon.

    Args:
        world: the world.
        max_steps: horizon T >= 1; None: the world's.
        max_states: give up beyond so many states, all levels together.
        spill: a store for the transitions; None keeps them in memory.
        root: the state whose configuration level 0 holds; None: the world's initial state.

    Raises:
        ValueError: max_steps below 1, or a root that is no state of this world.
        TooManyStatesError: more states than `max_states`.
    """
    horizon = world.max_steps if max_steps is None else max_steps
    if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
        raise ValueError(f"max_steps is {horizon!r}; allowed are whole numbers from 1 on")
    packing = world.packing
    first = packing.key(packing.vector(world.initial_state if root is None else root))
    discovery = Discovery(packing, first[None, :])
    level_sizes = [1]
    blocks: TransitionBlocks | TransitionAppender = TransitionBlocks() if spill is None else TransitionAppender(spill)
    n_outcomes, expanded = 0, 0
    for _ in range(horizon):
        known = level_sizes[-1]
        level = []
        for low in range(expanded, known, BLOCK_ROWS):
            rows = discovery.expand(discovery.keys[low : min(low + BLOCK_ROWS, known)])
            n_outcomes += rows.succ.size - (len(rows.exc_ptr) - 1) + len(rows.exc_succ)
            level.append(rows)
            if max_states is not None and sum(level_sizes) + discovery.n_keys > max_states:
                raise TooManyStatesError(max_states, [*level_sizes, discovery.n_keys])
        if max_states is not None and sum(level_sizes) + known > max_states:
            raise TooManyStatesError(max_states, [*level_sizes, known])
        rank = discovery.sort_from(known)
        for rows in level:
            renumber_rows(rows, known, rank)
            blocks.append(rows)
        expanded = known
        level_sizes.append(discovery.n_keys)
    transitions = blocks if isinstance(blocks, TransitionBlocks) else StoredTransitions(_reader(spill))
    return StateGraph(world, discovery.keys.copy(), level_sizes, transitions, n_outcomes)


def _reader(store: Store | None) -> Any:
    if store is None:
        raise ValueError("there is no store to read from")
    return store.read
