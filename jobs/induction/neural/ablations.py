"""Trainings in which one thing is missing; each must do worse than the whole one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import expansion
from ..graph import attained_goals
from .configurations import Keys, root_key
from .network import Parameters
from .play import following
from .streams import BEAM, stream
from .training import Training

TRAJECTORIES = 4000


class NoBound(Training):
    """V in (0, 1) wherever the goal is not attained, without the bound on what can be reached in time."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        bound = self.fitted.bound
        bound.by_place = np.repeat(~attained_goals(self.world), 4, axis=0).astype(np.int32)
        bound.powers = np.concatenate([[0.0], np.ones(self.max_steps)])


class NoWarmStart(Training):
    """Every level starts from fresh parameters."""

    def start(self) -> Parameters:
        """Return parameters drawn for the level."""
        return self.fresh_start()


class RandomRows(Training):
    """Rows from episodes of uniformly random profiles instead of the beam."""

    def candidates(self) -> list[Keys]:
        """Return the different configurations that the episodes meet at levels 0..T-1, sorted."""
        packing = self.world.packing
        keys, levels = np.repeat(root_key(self.world), TRAJECTORIES), []
        for t in range(self.max_steps):
            met, row = np.unique(keys, return_inverse=True)
            levels.append(met)
            draws = stream(self.seed, BEAM, 0, t)
            profile = draws.integers(self.world.n_profiles, size=TRAJECTORIES)
            found = expansion.expand(packing, met[:, None])
            keys = following(found.rows, found.keys[:, 0], row, profile, draws.random(TRAJECTORIES))
        return levels
