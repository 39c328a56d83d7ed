"""Expectations along the Markov chain that humans and robots induce together, and who is freed, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backward import joint_weights
from .compilation import compiled, compiled_entry
from .expansion import unpack
from .stepping import CELL, FIELDS, place, remove


@compiled_entry
def chain_rows(model: Any, rows: Any, pi_r: Any, m_h: Any, table: Any, is_absorbed: Any, out: Any) -> None:
    """Expected next value of n rows under the humans' marginal policies and the robots' policy.

    Args:
        model, rows: as in `backward_rows`.
        pi_r: f8 [n, R].
        m_h: f8 [n, H, A].
        table: f8 [n', d], values of the successors.
        is_absorbed: u1 [n]; rows that are left as they are.
        out: f8 [n, d], written.
    """
    joint = np.empty(model.profiles.shape[0])
    width = table.shape[1]
    for row in range(rows.succ.shape[0]):
        if is_absorbed[row] != 0:
            continue
        joint_weights(model, m_h[row], joint)
        for c in range(width):
            out[row, c] = 0.0
        for j in range(len(joint)):
            for r in range(pi_r.shape[1]):
                p = joint[j] * pi_r[row, r]
                if p == 0.0:
                    continue
                successor = rows.succ[row, model.profiles[j, r]]
                if successor >= 0:
                    for c in range(width):
                        out[row, c] += p * table[successor, c]
                else:
                    k = -1 - successor - rows.first
                    for at in range(rows.exc_ptr[k] - rows.exc_ptr[0], rows.exc_ptr[k + 1] - rows.exc_ptr[0]):
                        for c in range(width):
                            out[row, c] += p * (rows.exc_prob[at] * table[rows.exc_succ[at], c])


@compiled
def reach(tables: Any, work: Any, cell: int, queue: Any, seen: Any) -> int:
    """How many cells can be reached from a cell by steps to its four neighbours, past agents but not mobiles."""
    queue[0] = cell
    seen[cell] = 1
    n_seen, at = 1, 0
    while at < n_seen:
        for d in range(4):
            neighbour = queue[at] + tables.steps[d]
            if tables.enterable[neighbour] != 0 and work.occupied[neighbour] >= 0 and seen[neighbour] == 0:
                seen[neighbour] = 1
                queue[n_seen] = neighbour
                n_seen += 1
        at += 1
    for k in range(n_seen):
        seen[queue[k]] = 0
    return n_seen


@compiled_entry
def reach_rows(tables: Any, work: Any, keys: Any, agents: Any, sizes: Any) -> None:
    """How many cells each of some agents can reach in each configuration; sizes i4 [n, len(agents)], written."""
    queue = np.empty(len(tables.ground), np.int32)
    seen = np.zeros(len(tables.ground), np.uint8)
    for row in range(len(keys)):
        unpack(tables, keys[row], work.base)
        place(tables, work)
        for k in range(len(agents)):
            sizes[row, k] = reach(tables, work, work.base[FIELDS * agents[k] + CELL], queue, seen)
        remove(tables, work)
