"""What the network sees of a configuration: rows of one embedding table, which are summed.

    cells    each agent's cell, direction and flags; each mobile's cell by type; each button bit that is set
    window   for each agent the 24 cells of the 5x5 square around it, turned into its heading, and what stands on each:
             wall, the ground's kind, a mobile's type, another agent and its direction relative to one's own
    pairs    cells of two agents, of an agent and a mobile, of two mobiles

The window's walls and grounds depend on an agent's cell and direction alone. They are summed once for each such place
("scenery", one row per agent and place), so that a configuration adds up few rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cells import BLOCK, FLOOR, ROCK, WALL
from ..packing import AGENT_FIELDS
from ..world import World
from .configurations import Keys
from .kernel.features import feature_rows

REACH = 2
WINDOW = tuple((ahead, aside) for ahead in range(REACH, -REACH - 1, -1) for aside in range(-REACH, REACH + 1))
WINDOW_CELLS = tuple(offset for offset in WINDOW if offset != (0, 0))
FORWARD, RIGHTWARD = ((1, 0), (0, 1), (-1, 0), (0, -1)), ((0, 1), (-1, 0), (0, -1), (1, 0))
WINDOW_SCALE, PAIR_SCALE = 0.3, 0.5


class Layout(NamedTuple):
    """Where each feature's rows begin, as the kernels see it; -1 where a feature is not used.

    Attributes:
        n_cells: compact cells C.
        flag_field, n_flags: i4 [n, 2] fields of the flags that an agent can have (-1: none), i4 [n] how many.
        agent_row: i4 [n], rows of agent i's (cell, direction, flags).
        mobile_row: i4 [slots], rows of a mobile's cell.
        bit_field, bit_row: i4 [bits], button fields and their rows.
        window_row: i4 [n], rows of agent i's window: 24 * codes each; window_codes: codes.
        mobile_code: i4 [slots]; agent_code: i4 [n, n], code of agent j (its first of 4) in i's window.
        agent_pair: i4 [n, n]; agent_mobile: i4 [n, slots]; mobile_pair: i4 [slots, slots]; rows of C * C pairs.
        position: i4 [framed cells, 2], x and y of each cell of the framed grid.
        place_of: i4 [25], number of a window cell by (ahead + 2) * 5 + (aside + 2); -1 at the centre.
    """

    n_cells: int
    flag_field: NDArray[np.int32]
    n_flags: NDArray[np.int32]
    agent_row: NDArray[np.int32]
    mobile_row: NDArray[np.int32]
    bit_field: NDArray[np.int32]
    bit_row: NDArray[np.int32]
    window_row: NDArray[np.int32]
    window_codes: int
    mobile_code: NDArray[np.int32]
    agent_code: NDArray[np.int32]
    agent_pair: NDArray[np.int32]
    agent_mobile: NDArray[np.int32]
    mobile_pair: NDArray[np.int32]
    position: NDArray[np.int32]
    place_of: NDArray[np.int32]


class Seen(NamedTuple):
    """Rows of n configurations: scenery i4 [n, agents], table i4 [n, most], of which the first `used` i4 [n] count."""

    scenery: NDArray[np.int32]
    table: NDArray[np.int32]
    used: NDArray[np.int32]

    def take(self, rows: NDArray[np.int64]) -> Seen:
        """Return some of the configurations."""
        return Seen(self.scenery[rows], self.table[rows], self.used[rows])


class Features:
    """The embedding table of a world.

    Args:
        world: the world.
        names: features used.

    Attributes:
        n_rows: rows of the table.
        layout: where they are.
        scale: f4 [n_rows], standard deviation with which each row starts, before division by sqrt(agents + mobiles).
        scenery_ptr, scenery_row: rows of the table that make up row (agent * C + cell) * 4 + direction of the scenery.
    """

    def __init__(self, world: World, names: tuple[str, ...]) -> None:
        self.world = world
        tables, packing = world.packing.tables, world.packing
        n, cells, slots = world.n_agents, packing.n_cells, len(world.mobiles)
        kinds = [BLOCK] * tables.n_blocks + [ROCK] * (slots - tables.n_blocks)
        types = [kind for kind in (BLOCK, ROCK) if kind in kinds]
        type_of = np.array([types.index(kind) for kind in kinds], np.int32)
        self._scales: list[tuple[int, float]] = []
        self._n_rows = 0
        has_field = set(tables.packed.tolist())
        flag_field = np.full((n, 2), -1, np.int32)
        for i in range(n):
            flags = [field for field in (AGENT_FIELDS * i + 2, AGENT_FIELDS * i + 3) if field in has_field]
            flag_field[i, : len(flags)] = flags
        n_flags = (flag_field >= 0).sum(axis=1).astype(np.int32)
        agent_row = np.array([self._take(4 * cells << int(n_flags[i])) for i in range(n)], np.int32)
        type_row = np.array([self._take(cells) for _ in types], np.int32)
        bit_field = np.arange(AGENT_FIELDS * n + slots, tables.n_fields, dtype=np.int32)
        bit_row = np.array([self._take(1) for _ in bit_field], np.int32)
        grounds = sorted(set(world.ground.ravel().tolist()) - {FLOOR, WALL})
        self._ground_code = {WALL: 0} | {kind: 1 + k for k, kind in enumerate(grounds)}
        first_mobile = len(self._ground_code)
        first_agent = first_mobile + len(types)
        agent_code = np.full((n, n), -1, np.int32)
        for i in range(n):
            for j in range(n):
                agent_code[i, j] = first_agent + 4 * (j - (j > i)) if i != j else -1
        codes = first_agent + 4 * (n - 1)
        window_row = np.full(n, -1, np.int32)
        if "window" in names:
            window_row[:] = [self._take(len(WINDOW_CELLS) * codes, WINDOW_SCALE) for _ in range(n)]
        agent_pair, agent_type = np.full((n, n), -1, np.int32), np.full((n, len(types)), -1, np.int32)
        type_pair = np.full((len(types), len(types)), -1, np.int32)
        if "pairs" in names:
            for i in range(n):
                for j in range(i + 1, n):
                    agent_pair[i, j] = self._take(cells * cells, PAIR_SCALE)
            for i in range(n):
                agent_type[i] = [self._take(cells * cells, PAIR_SCALE) for _ in types]
            for a in range(len(types)):
                for b in range(a, len(types)):
                    type_pair[a, b] = self._take(cells * cells, PAIR_SCALE)
        framed = len(tables.ground)
        place_of = np.full(25, -1, np.int32)
        for place, (ahead, aside) in enumerate(WINDOW_CELLS):
            place_of[(ahead + REACH) * 5 + aside + REACH] = place
        self.layout = Layout(
            n_cells=cells,
            flag_field=flag_field,
            n_flags=n_flags,
            agent_row=agent_row,
            mobile_row=type_row[type_of].astype(np.int32),
            bit_field=bit_field,
            bit_row=bit_row,
            window_row=window_row,
            window_codes=codes,
            mobile_code=(first_mobile + type_of).astype(np.int32),
            agent_code=agent_code,
            agent_pair=agent_pair,
            agent_mobile=np.ascontiguousarray(agent_type[:, type_of]),  # one layout: one compiled kernel for all worlds
            mobile_pair=type_pair[np.ix_(type_of, type_of)].astype(np.int32),
            position=np.array([packing.position(cell) for cell in range(framed)], np.int32),
            place_of=place_of,
        )
        self.n_rows = self._n_rows
        self.scale = np.concatenate([np.full(size, scale, np.float32) for size, scale in self._scales])
        self.scenery_ptr, self.scenery_row = self._scenery()
        pairs = (n * (n - 1) + 2 * n * slots + slots * (slots - 1)) // 2
        self.most = n + slots + len(bit_field) + n * (n - 1 + slots) + pairs

    def _take(self, size: int, scale: float = 1.0) -> int:
        first = self._n_rows
        self._n_rows += size
        self._scales.append((size, scale))
        return first

    def _scenery(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        world = self.world
        ptr, rows = [0], []
        for i in range(world.n_agents):
            for x, y in world.packing.positions():
                for direction in range(4):
                    if self.layout.window_row[i] >= 0:
                        rows += self._window_grounds(i, x, y, direction)
                    ptr.append(len(rows))
        return np.array(ptr, np.int64), np.array(rows, np.int32)

    def _window_grounds(self, i: int, x: int, y: int, direction: int) -> list[int]:
        world, found = self.world, []
        for place, (ahead, aside) in enumerate(WINDOW_CELLS):
            cx = x + ahead * FORWARD[direction][0] + aside * RIGHTWARD[direction][0]
            cy = y + ahead * FORWARD[direction][1] + aside * RIGHTWARD[direction][1]
            is_inside = 0 <= cx < world.width and 0 <= cy < world.height
            kind = int(world.ground[cx, cy]) if is_inside else WALL
            if kind != FLOOR:
                found.append(
                    int(self.layout.window_row[i]) + place * self.layout.window_codes + self._ground_code[kind]
                )
        return found

    def of(self, keys: Keys) -> Seen:
        """Return the rows of configurations u8 [n]."""
        n = len(keys)
        seen = Seen(
            np.empty((n, self.world.n_agents), np.int32), np.zeros((n, self.most), np.int32), np.empty(n, np.int32)
        )
        feature_rows(self.world.packing.tables, self.layout, keys[:, None], *seen)
        return seen
