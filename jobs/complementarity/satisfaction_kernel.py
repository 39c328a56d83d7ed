"""Satisfaction and bond along many stored runs, by the simulator's own arithmetic."""

from __future__ import annotations

import numpy as np

from .kernel.beginnings import U_HIGHEST, U_LOWEST, U
from .kernel.client import bond_of, satisfaction
from .kernel.compilation import compiled_entry
from .kernel.pairs import addresses, meet_client
from .params import MEMORY_SIZE


@compiled_entry
def fill_satisfaction(settings, packed, perceived, row_start, seeds, arrays, rs_out, bond_out):  # type: ignore[no-untyped-def]
    """Percentiles of satisfaction and bond after every session of the runs of `seeds`, f8 of the length of `packed`.

    Args:
        settings: the config.
        packed: u1, bits 0-2 of a byte are the client's octant.
        perceived: u1 of the same length, the octants that the clients perceived.
        row_start: i8[n+1], run i is `row_start[i]:row_start[i+1]`.
        seeds: u4[n].
        arrays: the workspace.
        rs_out, bond_out: filled, 0..100.
    """
    work = addresses(arrays)
    for run in range(len(seeds)):
        meet_client(seeds[run], settings, work)
        table, utility = work.table, work.utility
        lowest, highest = table[U_LOWEST], table[U_HIGHEST]
        for i in range(row_start[run], row_start[run + 1]):
            start = i - row_start[run] + 1
            pair = 8 * (np.int64(packed[i]) & 7) + np.int64(perceived[i])
            utility[start + MEMORY_SIZE - 1] = table[U + pair]
            rs = satisfaction(utility, start, work.weights, settings)
            rs_out[i] = 100.0 * (rs - lowest) / (highest - lowest)
            bond_out[i] = 100.0 * bond_of(rs, table, settings)
