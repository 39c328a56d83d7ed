"""Plays episodes of one world in lanes and keeps what an update needs of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from . import delayed_kernel as dk
from . import grid_kernel as gk
from .environment import DelayedVectorEnv, GridVectorEnv, VectorEnv
from .memory import Observations
from .network import Sizes, aligned
from .placements import N_PLACEMENTS, drawn
from .rollout_kernel import DELAYED, GREEDY, GRID, SAMPLED, Record, Table, World, rollout

NO_ROWS = np.zeros(0, np.float32)


class Played(NamedTuple):
    """One batch of finished episodes: record [T, N], distinct observations u1[U, D], per lane what came of it."""

    record: Record
    codes: NDArray[np.uint8]
    returns: NDArray[np.float64]
    success: NDArray[np.bool_]
    milestones: NDArray[np.int64]


class Sampler:
    """Lanes of a world with reusable records; one of them serves all batches of a trial."""

    def __init__(self, env: VectorEnv, sizes: Sizes, chunk_len: int) -> None:
        self._env, self._sizes, self._chunk_len = env, sizes, chunk_len
        self._rows = Observations(env.n_cells, (env.max_steps + 1) * env.num_envs)
        capacity = len(self._rows.rows)
        self._gx = aligned((capacity, 4 * sizes.lstm_hidden_size))
        self._z = (aligned((capacity, sizes.hidden_dim)), aligned((capacity, sizes.hidden_dim)))
        self._records: dict[int, Record] = {}

    def _record(self, n: int) -> Record:
        if n not in self._records:
            shape, width = (self._env.max_steps, n), self._sizes.lstm_hidden_size
            pieces = -(-self._env.max_steps // self._chunk_len)
            self._records = {
                n: Record(
                    np.zeros(shape, np.int32),
                    np.zeros(shape, np.uint8),
                    np.zeros(shape, np.float32),
                    np.zeros(shape, np.float32),
                    np.zeros(shape),
                    np.zeros(shape, np.uint8),
                    np.zeros(n, np.int64),
                    np.zeros((pieces, n, width), np.float32),
                    np.zeros((pieces, n, width), np.float32),
                )
            }
        return self._records[n]

    def _world(self, n: int, placer: Generator) -> World:
        env = self._env
        if isinstance(env, GridVectorEnv):
            facts, kinds, views, rewards = env.tables
            lanes, owed = np.zeros((n, gk.N_COLUMNS), np.int64), np.zeros(n)
            gk.reset_lanes(facts, views, lanes, owed, np.empty((n, gk.VIEW), np.uint8))
            phases, placements = np.zeros((0, dk.N_PHASE_COLUMNS), np.int64), np.zeros((0, N_PLACEMENTS), np.int64)
            return World(GRID, facts, kinds, views, rewards, phases, placements, lanes, owed)
        assert isinstance(env, DelayedVectorEnv)
        lanes, placements = np.zeros((n, dk.N_COLUMNS), np.int64), drawn(env.phases, n, placer)
        dk.reset_lanes(env.phase_table, placements, lanes, np.empty((n, dk.N_CELLS), np.uint8))
        kinds, views = np.zeros(0, np.uint8), np.zeros((0, gk.VIEW), np.uint8)
        facts, rewards = np.zeros(0, np.int64), np.zeros(0)
        return World(DELAYED, facts, kinds, views, rewards, env.phase_table, placements, lanes, np.zeros(n))

    def play(
        self,
        theta: NDArray[np.float32],
        eps: NDArray[np.float64],
        placer: Generator,
        chance: Generator | None,
    ) -> Played:
        """Play one episode in len(eps) lanes.

        Lane n mixes eps[n] of uniform actions into pi; `placer` draws the placements of family `delayed`; `chance`
        draws one float32 array [T_max, N] that decides the actions, None takes the likeliest action of pi. The
        record is overwritten by the next call.
        """
        n = len(eps)
        world, record = self._world(n, placer), self._record(n)
        mode = GREEDY if chance is None else SAMPLED
        shape = (self._env.max_steps, n)
        uniforms = np.zeros(shape, np.float32) if chance is None else chance.random(shape, dtype=np.float32)
        rows = self._rows
        rows.clear()
        table = Table(rows.rows, rows.hashes, rows.buckets, rows.count, self._gx)
        rollout(
            theta, self._sizes.policy, world, table, record, uniforms, eps.astype(np.float32), mode,
            self._chunk_len, self._z,
        )  # fmt: skip
        valid = np.arange(shape[0])[:, None] < record.lengths
        returns = np.where(valid, record.rewards, 0.0).sum(0)
        grid = world.family == GRID
        success = world.lanes[:, gk.SUCCESS if grid else dk.SUCCESS] != 0
        milestones = world.lanes[:, gk.MILESTONES if grid else dk.MILESTONES].copy()
        return Played(record, rows.rows[: int(rows.count[0])], returns, success, milestones)
