"""Configurations as vectors of small integers and, packed, as words of 63 bits.

A vector holds, in this order, per agent its cell, direction, terminated and paused; the cells of the mobiles, blocks
before rocks, each sorted; per kill button enabled, per pause switch is_on and enabled, in reading order. Cells are
numbered by columns in a grid with a frame of walls around it, x major, so that sorted cells are sorted by (x, y).
In a key a field has as many bits as its values need, and lies in one word; a flag that no event of this world can set
has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import (
    BLOCK,
    ENTERABLE,
    HUMAN_COLOUR,
    KILL_BUTTON,
    LAVA,
    PAUSE_SWITCH,
    ROBOT_COLOUR,
    ROCK,
    UNSTEADY,
    WALL,
)
from .world_file import WorldError

if TYPE_CHECKING:
    from .world import World

State = tuple[int, tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]

WORD_BITS = 63
LARGEST_N_WORDS = 4
AGENT_FIELDS = 4


class Tables(NamedTuple):
    """What the transition kernel knows of a world; cells are numbers in the framed grid."""

    n_agents: int
    n_actions: int
    n_mobiles: int
    n_blocks: int
    n_fields: int
    n_words: int
    most_outcomes: int
    ground: NDArray[np.uint8]
    enterable: NDArray[np.uint8]
    steps: NDArray[np.int64]
    pushes: NDArray[np.uint8]
    human: NDArray[np.uint8]
    robot: NDArray[np.uint8]
    enabled_field: NDArray[np.int32]
    kill_enabled: NDArray[np.int32]
    pause_enabled: NDArray[np.int32]
    stumble: float
    packed: NDArray[np.int32]
    word: NDArray[np.int32]
    shift: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    is_cell: NDArray[np.uint8]
    compact: NDArray[np.int32]
    full: NDArray[np.int32]


class Packing:
    """How configurations of one world become vectors and keys.

    Attributes:
        n_words: words of a key.
        bits: bits of a key.
        n_cells: cells on which agents and mobiles can stand.
        tables: the world as the kernels see it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._stride = world.height + 2
        ground = np.full((world.width + 2, self._stride), WALL, np.uint8)
        ground[1:-1, 1:-1] = world.ground
        enterable = np.isin(ground, ENTERABLE).ravel()
        self._full = np.flatnonzero(enterable).astype(np.int32)
        self.n_cells = len(self._full)
        compact = np.full(ground.size, -1, np.int32)
        compact[self._full] = np.arange(self.n_cells, dtype=np.int32)
        self._buttons = world.cells(KILL_BUTTON, PAUSE_SWITCH)
        self._n_blocks = sum(kind == BLOCK for kind, _, _ in world.mobiles)
        first_mutable = AGENT_FIELDS * world.n_agents + len(world.mobiles)
        enabled_field = np.full(ground.size, -1, np.int32)
        n_fields = first_mutable
        for x, y in self._buttons:
            n_fields += 1 if world.ground[x, y] == KILL_BUTTON else 2
            enabled_field[self.cell(x, y)] = n_fields - 1
        widths, is_cell = self._fields(n_fields, first_mutable)
        packed, word, shift = self._words(widths)
        self.bits = int(sum(widths))
        self.n_words = int(word.max(initial=0)) + 1
        self.tables = Tables(
            n_agents=world.n_agents,
            n_actions=world.n_actions,
            n_mobiles=len(world.mobiles),
            n_blocks=self._n_blocks,
            n_fields=n_fields,
            n_words=self.n_words,
            most_outcomes=(3 if (world.ground == UNSTEADY).any() else 2) ** world.n_agents,
            ground=ground.ravel(),
            enterable=enterable.astype(np.uint8),
            steps=np.array([self._stride, 1, -self._stride, -1], np.int64),
            pushes=self._agents_of(world.pushers),
            human=self._agents_of(HUMAN_COLOUR),
            robot=self._agents_of(ROBOT_COLOUR),
            enabled_field=enabled_field,
            kill_enabled=enabled_field[ground.ravel() == KILL_BUTTON],
            pause_enabled=enabled_field[ground.ravel() == PAUSE_SWITCH],
            stumble=world.stumble,
            packed=packed,
            word=word,
            shift=shift,
            mask=np.array([(1 << widths[field]) - 1 for field in packed], np.uint64),
            is_cell=is_cell[packed].astype(np.uint8),
            compact=compact,
            full=self._full,
        )

    def _agents_of(self, colours: str) -> NDArray[np.uint8]:
        return np.array([colour in colours for colour in self._world.colours], np.uint8)

    def _fields(self, n_fields: int, first_mutable: int) -> tuple[list[int], NDArray[np.bool_]]:
        """Bits of every field, and which fields hold cells."""
        world = self._world
        cell_bits = max(1, (self.n_cells - 1).bit_length())
        has_lava = bool((world.ground == LAVA).any())
        can_toggle = world.actions == "ObjectActions" and HUMAN_COLOUR in world.colours
        can_kill = can_toggle and bool((world.ground == KILL_BUTTON).any())
        can_pause = can_toggle and bool((world.ground == PAUSE_SWITCH).any())
        widths: list[int] = []
        for colour in world.colours:
            is_robot = colour == ROBOT_COLOUR
            widths += [cell_bits, 2, int(has_lava or (can_kill and is_robot)), int(can_pause and is_robot)]
        widths += [cell_bits] * len(world.mobiles)
        for x, y in self._buttons:
            widths += [1] if world.ground[x, y] == KILL_BUTTON else [1, 1]
        is_cell = np.zeros(n_fields, np.bool_)
        is_cell[: AGENT_FIELDS * world.n_agents : AGENT_FIELDS] = True
        is_cell[AGENT_FIELDS * world.n_agents : first_mutable] = True
        return widths, is_cell

    def _words(self, widths: list[int]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint64]]:
        """Fields that have bits, with the word and the place in it where each lies.

        Raises:
            WorldError: more words than are supported.
        """
        packed, word, shift = [], [], []
        used, current = 0, 0
        for field, width in enumerate(widths):
            if width == 0:
                continue
            if used + width > WORD_BITS:
                current, used = current + 1, 0
            packed.append(field)
            word.append(current)
            shift.append(used)
            used += width
        if current >= LARGEST_N_WORDS:
            raise WorldError(
                f"world: a state needs {sum(widths)} bits in {current + 1} words; "
                f"at most {LARGEST_N_WORDS} words of {WORD_BITS} bits are supported"
            )
        return np.array(packed, np.int32), np.array(word, np.int32), np.array(shift, np.uint64)

    def cell(self, x: int, y: int) -> int:
        """Number of a cell in the framed grid."""
        return (x + 1) * self._stride + y + 1

    def position(self, cell: int) -> tuple[int, int]:
        """Return (x, y) of a cell of the framed grid."""
        return int(cell) // self._stride - 1, int(cell) % self._stride - 1

    def positions(self) -> list[tuple[int, int]]:
        """Return (x, y) of the cells in the order of `human_cell` and `attained` ("compact" numbers)."""
        return [self.position(int(cell)) for cell in self._full]

    def vector(self, state: State) -> NDArray[np.int32]:
        """Return the configuration of a state as int32 [n_fields].

        Raises:
            ValueError: not a state of this world.
        """
        world = self._world
        _, agents, mobiles, mutables = state
        kinds = sorted(str(mobile[0]) for mobile in mobiles)
        buttons = [(int(entry[1]), int(entry[2])) for entry in mutables]
        is_fitting = (
            len(agents) == world.n_agents
            and kinds == [kind for kind, _, _ in world.mobiles]
            and buttons == self._buttons
            and all(self._holds(agent[0], agent[1]) and 0 <= agent[2] <= 3 for agent in agents)
            and all(self._holds(x, y) for _, x, y in mobiles)
        )
        if not is_fitting:
            raise ValueError(f"{state!r} is not a state of world {world.name!r}")
        values = [int(v) for x, y, *rest in agents for v in (self.cell(x, y), *rest)]
        for kind in (BLOCK, ROCK):
            values += sorted(self.cell(int(x), int(y)) for found, x, y in mobiles if found == kind)
        values += [int(value) for entry in mutables for value in entry[3:]]
        return np.array(values, np.int32)

    def _holds(self, x: int, y: int) -> bool:
        inside = 0 <= x < self._world.width and 0 <= y < self._world.height
        return bool(inside and self._world.ground[x, y] in ENTERABLE)

    def state(self, t: int, vector: NDArray[np.int32]) -> State:
        """Return the state at step t whose configuration is a vector int32 [n_fields]."""
        values = [int(value) for value in vector]
        n, world = self._world.n_agents, self._world
        agents = tuple(
            (*self.position(values[first]), *values[first + 1 : first + AGENT_FIELDS])
            for first in range(0, AGENT_FIELDS * n, AGENT_FIELDS)
        )
        first = AGENT_FIELDS * n
        cells = values[first : first + len(world.mobiles)]
        mobiles = tuple((kind, *self.position(cell)) for (kind, _, _), cell in zip(world.mobiles, cells, strict=True))
        mutables: list[tuple[Any, ...]] = []
        first += len(cells)
        for x, y in self._buttons:
            if world.ground[x, y] == KILL_BUTTON:
                mutables.append(("killbutton", x, y, values[first]))
                first += 1
            else:
                mutables.append(("pauseswitch", x, y, values[first], values[first + 1]))
                first += 2
        return t, agents, mobiles, tuple(mutables)

    def key(self, vector: NDArray[np.int32]) -> NDArray[np.uint64]:
        """Return the key uint64 [n_words] of a vector.

        Raises:
            KeyError: a flag is set that nothing in this world can set.
        """
        tables = self.tables
        fixed = np.delete(vector, tables.packed)
        if fixed.any():
            raise KeyError("a flag is set that nothing in this world can set")
        key = [0] * self.n_words
        for j, field in enumerate(tables.packed):
            value = int(tables.compact[vector[field]] if tables.is_cell[j] else vector[field])
            key[tables.word[j]] |= value << int(tables.shift[j])
        return np.array(key, np.uint64)

    def field(self, keys: NDArray[np.uint64], field: int) -> NDArray[np.int64]:
        """Return one field of many keys [n, n_words], int64 [n]; cells as compact numbers."""
        tables = self.tables
        found = np.flatnonzero(tables.packed == field)
        if len(found) == 0:
            return np.zeros(len(keys), np.int64)
        j = int(found[0])
        return ((keys[:, tables.word[j]] >> tables.shift[j]) & tables.mask[j]).astype(np.int64)

    def vectors(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return the configurations int32 [n, n_fields] of keys [n, n_words]."""
        tables = self.tables
        vectors = np.zeros((len(keys), tables.n_fields), np.int32)
        for j, field in enumerate(tables.packed):
            values = self.field(keys, int(field))
            vectors[:, field] = tables.full[values] if tables.is_cell[j] else values
        return vectors
