"""Compiled rollout: worlds, look-up of observations, policy, sampling and recording in one loop."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import delayed_kernel as dk
from . import grid_kernel as gk
from .compilation import compiled, compiled_entry
from .matrix_kernel import add_product, lstm_cell
from .policy_kernel import ACTIONS, LSTM, N_CODES, PAD, encode, fill_padded, head_rows, views_of
from .table_kernel import find_or_add

GRID, DELAYED = 0, 1
SAMPLED, GREEDY = 0, 1
FIRST_DOOR_KIND, GREEN_KIND, GOAL_KIND, REWARD_KIND = 3, 6, 7, 4


class World(NamedTuple):
    """Both families' tables (those of the other family are empty) and the lanes."""

    family: Any
    facts: Any
    kinds: Any
    views: Any
    rewards: Any
    phases: Any
    placements: Any
    lanes: Any
    owed: Any


class Table(NamedTuple):
    """Distinct observations of this rollout, see `table_kernel`, and the input half of their gates."""

    rows: Any
    hashes: Any
    buckets: Any
    count: Any
    gx: Any


class Record(NamedTuple):
    """What is kept of every step, [T, N] (events: 0, or 1 + kind), lengths [N], states at chunk starts."""

    slots: Any
    actions: Any
    log_mix: Any
    values: Any
    rewards: Any
    events: Any
    lengths: Any
    h0: Any
    c0: Any


@compiled
def is_over(world, n):  # type: ignore[no-untyped-def]
    """Whether a lane has ended."""
    if world.family == GRID:
        return world.lanes[n, gk.TERMINATED] != 0 or world.lanes[n, gk.TRUNCATED] != 0
    return world.lanes[n, dk.TRUNCATED] != 0


@compiled
def look(world, n, codes):  # type: ignore[no-untyped-def]
    """Write what a lane sees."""
    if world.family == GRID:
        gk.grid_view(world.facts, world.views, world.lanes[n], codes)
    else:
        dk.delayed_view(world.phases, world.placements[n], world.lanes[n], codes)


@compiled
def act(world, n, action):  # type: ignore[no-untyped-def]
    """Move a lane; return the reward and 1 + the kind of event, or 0."""
    lane = world.lanes[n]
    if world.family == DELAYED:
        before = lane[dk.MILESTONES]
        reward = dk.delayed_transition(world.phases, world.placements[n], lane, action)
        new = lane[dk.MILESTONES] ^ before
        for key in range(4):
            if new >> key & 1:
                return reward, key + 1
        return reward, (REWARD_KIND + 1 if new else 0)
    doors = (lane[gk.DOOR], lane[gk.DOOR + 1])
    reward = gk.grid_transition(world.facts, world.kinds, world.rewards, lane, world.owed[n : n + 1], action)
    event = lane[gk.EVENT]
    if event == gk.KEY_TAKEN:
        return reward, lane[gk.CARRYING]
    if event == gk.DOOR_OPENED:
        door = 0 if lane[gk.DOOR] != doors[0] else 1
        return reward, FIRST_DOOR_KIND + world.facts[gk.DOOR_COLOUR + door]
    if event == gk.GREEN_REACHED:
        return reward, GREEN_KIND + 1
    return reward, (GOAL_KIND + 1 if event == gk.GOAL_PAID else 0)


@compiled
def choose(logits, n_actions, mode, eps, u):  # type: ignore[no-untyped-def]
    """Return an action of the mixture (or the likeliest one of pi) and the logarithm of its probability."""
    highest, likeliest = logits[0], 0
    for j in range(1, n_actions):
        if logits[j] > highest:
            highest, likeliest = logits[j], j
    total = logits[0] * 0
    for j in range(n_actions):
        total += math.exp(logits[j] - highest)
    if mode == GREEDY:
        return likeliest, -math.log(total)
    below = logits[0] * 0
    mix = below
    for j in range(n_actions):
        mix = (1 - eps) * (math.exp(logits[j] - highest) / total) + eps / n_actions
        below += mix
        if u < below:
            return j, math.log(mix)
    return n_actions - 1, math.log(mix)


@compiled_entry
def rollout(theta, sizes, world, table, record, uniforms, eps, mode, chunk_len, scratch):  # type: ignore[no-untyped-def]
    """Play one episode in every lane; fill `record` and `table`.

    Lane n explores with eps[n]; step t of lane n uses uniforms[t, n]. Lanes that have ended are neither stepped
    nor counted. `scratch` are two matrices [rows of the table, hid] for the encoder.
    """
    n_lanes, width, n_actions, n_codes = len(eps), sizes[LSTM], sizes[ACTIONS], sizes[N_CODES]
    net = views_of(theta, sizes)
    padded = np.empty((width, PAD), theta.dtype)
    fill_padded(net.Wy, padded)
    h, c = np.zeros((n_lanes, width), theta.dtype), np.zeros((n_lanes, width), theta.dtype)
    tanh_c = np.empty((n_lanes, width), theta.dtype)
    gates, heads = np.empty((n_lanes, 4 * width), theta.dtype), np.empty((n_lanes, PAD), theta.dtype)
    codes = np.empty(table.rows.shape[1], np.uint8)
    live = np.arange(n_lanes)
    n_live = n_lanes
    record.lengths[:] = 0
    z0, z1 = scratch
    t = 0
    while n_live > 0:
        known = table.count[0]
        for k in range(n_live):
            n = live[k]
            look(world, n, codes)
            record.slots[t, n] = find_or_add(codes, table.rows, table.hashes, table.buckets, table.count)
            if t % chunk_len == 0:
                record.h0[t // chunk_len, n] = h[k]
                record.c0[t // chunk_len, n] = c[k]
        new = table.count[0]
        if new > known:
            fresh = new - known
            encode(table.rows[known:new], net, n_codes, z0[:fresh], z1[:fresh], table.gx[known:new])
        for k in range(n_live):
            gates[k] = table.gx[record.slots[t, live[k]]]
        add_product(h[:n_live], net.Wh, gates[:n_live])
        lstm_cell(gates[:n_live], c[:n_live], c[:n_live], tanh_c[:n_live], h[:n_live])
        head_rows(h[:n_live], net, padded, heads[:n_live])
        kept = 0
        for k in range(n_live):
            n = live[k]
            action, log_mix = choose(heads[k], n_actions, mode, eps[n], uniforms[t, n])
            reward, event = act(world, n, action)
            record.actions[t, n], record.log_mix[t, n], record.values[t, n] = action, log_mix, heads[k, n_actions]
            record.rewards[t, n], record.events[t, n] = reward, event
            record.lengths[n] = t + 1
            if not is_over(world, n):
                if kept < k:
                    live[kept] = n
                    h[kept] = h[k]
                    c[kept] = c[k]
                kept += 1
        n_live = kept
        t += 1
