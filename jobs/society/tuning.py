"""The objective of the search for blocks and gains: effect on held-out answers, less fluency loss and bleed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .contrast import ContrastItem
from .steering import PersonaVectors, Steering
from .traits import TRAITS
from .vectors import answer_scores

if TYPE_CHECKING:
    from .backend import Backend

LOSS_WEIGHT, BLEED_WEIGHT = 2.0, 0.5


@dataclass(frozen=True)
class TuningScore:
    """The objective and its three parts, each a mean over traits, in nats per token."""

    value: float
    shift: float
    loss: float
    bleed: float


def tuned_layers(parameters: Mapping[str, Any], blocks: int) -> list[int]:
    """Return the blocks of a trial: `blocks` of them from `first` on at `stride`, none beyond 5/6 of the model."""
    last = 5 * blocks // 6
    asked = [int(parameters["first"]) + step * int(parameters["stride"]) for step in range(int(parameters["blocks"]))]
    return [block for block in asked if block <= last]


def tuned_gains(parameters: Mapping[str, Any]) -> dict[str, float]:
    """Return the gain of each trait in a trial."""
    return {trait: float(parameters[f"gain_{trait}"]) for trait in TRAITS}


def tuning_score(
    backend: Backend,
    vectors: PersonaVectors,
    items: Mapping[str, Sequence[ContrastItem]],
    layers: Sequence[int],
    gains: Mapping[str, float],
) -> TuningScore:
    """Return how good blocks and gains are, over doses of -1 and +1 of every trait."""
    steering = Steering(vectors, layers, vector_norm=gains)
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
