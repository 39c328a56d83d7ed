"""The objective of the search for blocks and gains: effect on held-out answers, less fluency loss and bleed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .contrast import ContrastItem
from .traits import TRAITS
from .vectors import answer_scores

if TYPE_CHECKING:
    from .backend import Backend
    from .config import RunConfig
    from .steering import Steering

LOSS_WEIGHT, BLEED_WEIGHT = 2.0, 0.5


@dataclass(frozen=True)
class TuningScore:
    """The objective and its three parts, each a mean over traits, in nats per token."""

    value: float
    shift: float
    loss: float
    bleed: float


def searched_blocks(blocks: int) -> tuple[int, int]:
    """Return the first and the last block of a model that the search may take: from 1/3 to 5/6 of it."""
    return math.ceil(blocks / 3), 5 * blocks // 6


def tuned_layers(parameters: Mapping[str, Any], blocks: int) -> list[int]:
    """Return the blocks of a trial: `blocks` of them from `first` on at `stride`, none beyond the last searched."""
    _, last = searched_blocks(blocks)
    asked = [int(parameters["first"]) + step * int(parameters["stride"]) for step in range(int(parameters["blocks"]))]
    return [block for block in asked if block <= last]


def tuned(config: RunConfig, parameters: Mapping[str, Any], blocks: int) -> RunConfig:
    """Return a config with a trial's blocks, of a model of so many `blocks`, and its gains times the config's."""
    own = config.steering
    gains = {trait: own.vector_norm[trait] * float(parameters[f"gain_{trait}"]) for trait in TRAITS}
    changes = {"layers": tuned_layers(parameters, blocks), "vector_norm": gains}
    return config.model_copy(update={"steering": own.model_copy(update=changes)})


def tuning_score(backend: Backend, items: Mapping[str, Sequence[ContrastItem]], steering: Steering) -> TuningScore:
    """Return how good a steering is, over coefficients of -1 and +1 of every trait."""
    level = {trait: float(answer_scores(backend, items[trait]).mean()) for trait in TRAITS}
    shifts, losses, bleeds = [], [], []
    for trait in TRAITS:
        change = {}
        for other in TRAITS:
            low, high = (answer_scores(backend, items[other], {trait: dose}, steering) for dose in (-1.0, 1.0))
            change[other] = float(((high[:, 0] - high[:, 1]) - (low[:, 0] - low[:, 1])).mean())
            if other == trait:
                losses.append(level[trait] - float(np.mean([low.mean(), high.mean()])))
        shifts.append(change.pop(trait))
        bleeds.append(float(np.mean([abs(value) for value in change.values()])))
    shift, loss, bleed = (float(np.mean(values)) for values in (shifts, losses, bleeds))
    return TuningScore(shift - LOSS_WEIGHT * loss - BLEED_WEIGHT * bleed, shift, loss, bleed)
