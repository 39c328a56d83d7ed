"""Rows of the embedding table that a configuration adds up, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernel.expansion import unpack
from .compilation import compiled, compiled_entry

FIELDS = 4


@compiled
def window_place(layout: Any, here: int, there: int, direction: int) -> int:
    """Number of cell `there` in the window of an agent that stands `here`; -1 if it is not in it."""
    dx = layout.position[there, 0] - layout.position[here, 0]
    dy = layout.position[there, 1] - layout.position[here, 1]
    ahead, aside = dx, dy
    if direction == 1:
        ahead, aside = dy, -dx
    elif direction == 2:
        ahead, aside = -dx, -dy
    elif direction == 3:
        ahead, aside = -dy, dx
    if ahead < -2 or ahead > 2 or aside < -2 or aside > 2:
        return -1
    return layout.place_of[(ahead + 2) * 5 + aside + 2]  # type: ignore[no-any-return]


@compiled_entry
def feature_rows(tables: Any, layout: Any, keys: Any, scenery: Any, table: Any, count: Any) -> None:
    """Write the rows of n configurations.

    Args:
        tables: the world's.
        layout: where features are.
        keys: u8 [n, 1].
        scenery: i4 [n, agents], written.
        table: i4 [n, most], written as far as count goes.
        count: i4 [n], written.
    """
    vector = np.zeros(tables.n_fields, np.int32)
    n, slots, cells = tables.n_agents, tables.n_mobiles, layout.n_cells
    for row in range(len(keys)):
        unpack(tables, keys[row], vector)
        k = 0
        for i in range(n):
            cell, direction = vector[FIELDS * i], vector[FIELDS * i + 1]
            at = 4 * tables.compact[cell] + direction
            scenery[row, i] = 4 * cells * i + at
            for f in range(layout.n_flags[i]):
                at = 2 * at + vector[layout.flag_field[i, f]]
            table[row, k] = layout.agent_row[i] + at
            k += 1
        for slot in range(slots):
            table[row, k] = layout.mobile_row[slot] + tables.compact[vector[FIELDS * n + slot]]
            k += 1
        for b in range(len(layout.bit_field)):
            if vector[layout.bit_field[b]] != 0:
                table[row, k] = layout.bit_row[b]
                k += 1
        for i in range(n):
            here, heading = vector[FIELDS * i], vector[FIELDS * i + 1]
            compact = tables.compact[here]
            if layout.window_row[i] >= 0:
                for j in range(n):
                    if j == i:
                        continue
                    place = window_place(layout, here, vector[FIELDS * j], heading)
                    if place >= 0:
                        code = layout.agent_code[i, j] + ((vector[FIELDS * j + 1] - heading) & 3)
                        table[row, k] = layout.window_row[i] + place * layout.window_codes + code
                        k += 1
                for slot in range(slots):
                    place = window_place(layout, here, vector[FIELDS * n + slot], heading)
                    if place >= 0:
                        code = layout.mobile_code[slot]
                        table[row, k] = layout.window_row[i] + place * layout.window_codes + code
                        k += 1
            for j in range(i + 1, n):
                if layout.agent_pair[i, j] >= 0:
                    table[row, k] = layout.agent_pair[i, j] + compact * cells + tables.compact[vector[FIELDS * j]]
                    k += 1
            for slot in range(slots):
                if layout.agent_mobile[i, slot] >= 0:
                    there = tables.compact[vector[FIELDS * n + slot]]
                    table[row, k] = layout.agent_mobile[i, slot] + compact * cells + there
                    k += 1
        for slot in range(slots):
            compact = tables.compact[vector[FIELDS * n + slot]]
            for other in range(slot + 1, slots):
                if layout.mobile_pair[slot, other] >= 0:
                    there = tables.compact[vector[FIELDS * n + other]]
                    table[row, k] = layout.mobile_pair[slot, other] + compact * cells + there
                    k += 1
        count[row] = k
