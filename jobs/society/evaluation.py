"""How well a steering direction works on held-out answers: dose-response, bleed, random directions, fluency.

The gates are those of a direction that may be used: odd and even train items agree on it; the gap between high and low
answers rises strictly with the dose, by at least 0.4 nats per token from -1 to +1 and by more than along random
directions of the same length; at most a quarter of the items moves the wrong way; it moves no other trait more than its
own, and no other direction moves its trait more; answers lose at most 0.25 nats per token, in the mean of -1 and +1;
open texts read like the trait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .contrast import ContrastItem
from .judge import STEMS, judged_texts
from .steering import PersonaVectors, Steering
from .traits import TRAITS
from .vectors import answer_scores

if TYPE_CHECKING:
    from .backend import Backend

DOSES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
LOW, ZERO, HIGH = DOSES.index(-1.0), DOSES.index(0.0), DOSES.index(1.0)
RANDOM_DIRECTIONS = 3
LEAST_SHIFT, MOST_WRONG, MOST_LOSS, LEAST_Z = 0.4, 0.25, 0.25, 3.0
LEAST_SPLIT_HALF = 1 / 3
"""By the Spearman-Brown formula 2r / (1 + r), a cosine r of 1/3 between the halves says that half of the whole vector's
squared length is what other items would give again. SmolLM2 has 0.42 to 0.71 at block 16, 0.19 to 0.49 at block 2."""
GATES = ("stable", "monotone", "shift", "beyond_random", "wrong_way", "bleed", "column", "fluency", "judge")


@dataclass(frozen=True)
class Evaluation:
    """What steering one trait at one block does.

    Attributes:
        gaps: f8[doses, items], high minus low answers of the trait's held-out items at each of `DOSES`.
        bleed: f8[traits], change of every trait's mean gap from dose -1 to +1.
        random: f8[3], the same change of the trait's own gap along random directions of equal norm.
        loss: f8[2], by how much the mean log-probability of the answers falls at doses -1 and +1.
        judge: f8[2, 12], likelihood ratios of open texts at doses -1 and +1.
    """

    gaps: NDArray[np.float64]
    bleed: NDArray[np.float64]
    random: NDArray[np.float64]
    loss: NDArray[np.float64]
    judge: NDArray[np.float64]


def random_directions(hidden: int) -> dict[str, list[NDArray[np.float32]]]:
    """Return three directions for each trait: successive normal draws of torch's generator with seed 0."""
    from .backend.runtime import torch_with

    torch = torch_with()
    generator = torch.Generator().manual_seed(0)
    return {
        trait: [torch.randn(hidden, generator=generator).numpy() for _ in range(RANDOM_DIRECTIONS)] for trait in TRAITS
    }


def random_shifts(
    backend: Backend, vectors: PersonaVectors, items: Sequence[ContrastItem], trait: str, layer: int
) -> NDArray[np.float64]:
    """Return f8[3], the change of the mean gap from dose -1 to +1 along random directions of the vector's norm."""
    shifts = []
    for direction in random_directions(backend.hidden)[trait]:
        norm = {trait: {layer: vectors.norms[trait][layer]}}
        steering = Steering(PersonaVectors({trait: {layer: direction}}, norm), (layer,))
        shifts.append(
            _mean_gap(backend, items, {trait: 1.0}, steering) - _mean_gap(backend, items, {trait: -1.0}, steering)
        )
    return np.array(shifts)


def _mean_gap(
    backend: Backend, items: Sequence[ContrastItem], coefficients: Mapping[str, float], steering: Steering
) -> float:
    scores = answer_scores(backend, items, coefficients, steering)
    return float((scores[:, 0] - scores[:, 1]).mean())


def evaluate(
    backend: Backend, vectors: PersonaVectors, items: Mapping[str, Sequence[ContrastItem]], trait: str, layer: int
) -> Evaluation:
    """Evaluate one direction.

    Args:
        backend: the model.
        vectors: persona vectors with this block.
        items: held-out items of every trait.
        trait: which one is steered.
        layer: at which block.
    """
    steering = Steering(vectors, (layer,))
    scores = np.stack([answer_scores(backend, items[trait], {trait: dose}, steering) for dose in DOSES])
    gaps = scores[:, :, 0] - scores[:, :, 1]
    bleed = np.array(
        [
            gaps[HIGH].mean() - gaps[LOW].mean()
            if other == trait
            else _mean_gap(backend, items[other], {trait: 1.0}, steering)
            - _mean_gap(backend, items[other], {trait: -1.0}, steering)
            for other in TRAITS
        ]
    )
    level = scores.mean(axis=(1, 2))
    return Evaluation(
        gaps,
        bleed,
        random_shifts(backend, vectors, items[trait], trait, layer),
        level[ZERO] - level[[LOW, HIGH]],
        np.stack([judged_texts(backend, trait, {trait: dose}, steering) for dose in (-1.0, 1.0)]),
    )


def undefined(items: int) -> Evaluation:
    """Return the evaluation of a direction along which the model gives NaN, with as many held-out items."""
    shapes = (len(DOSES), items), (len(TRAITS),), (RANDOM_DIRECTIONS,), (2,), (2, STEMS)
    return Evaluation(*(np.full(shape, np.nan) for shape in shapes))


def judge_z(judge: NDArray[np.float64]) -> float:
    """Return (mean at +1 - mean at -1) over its standard error, paired over the questions."""
    difference = judge[1] - judge[0]
    difference = difference[np.isfinite(difference)]
    if len(difference) < 2:
        return float("nan")
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean() / error) if error > 0 else float("nan")


def gates(
    found: Evaluation, trait: str, split_half: float | None = None, column: NDArray[np.float64] | None = None
) -> dict[str, bool]:
    """Return which gates an evaluated direction passes, by the names in `GATES`.

    Args:
        found: its evaluation.
        trait: which one it steers.
        split_half: cosine between the vectors of odd and even train items; None where unknown: `stable` is left out.
        column: f8[traits], what each trait's direction does to this trait; None where one is missing: `column` is left
            out.
    """
    means = found.gaps.mean(axis=1)
    shift = found.gaps[HIGH] - found.gaps[LOW]
    own = TRAITS.index(trait)
    known = {}
    if split_half is not None:
        known["stable"] = split_half >= LEAST_SPLIT_HALF
    if column is not None:
        known["column"] = int(np.argmax(np.abs(column))) == own
    return {
        **known,
        "monotone": bool((np.diff(means) > 0).all()),
        "shift": bool(shift.mean() >= LEAST_SHIFT),
        "beyond_random": bool(abs(shift.mean()) > np.abs(found.random).max()),
        "wrong_way": bool((shift < 0).mean() <= MOST_WRONG),
        "bleed": bool(int(np.argmax(np.abs(found.bleed))) == own),
        "fluency": bool(found.loss.mean() <= MOST_LOSS),
        "judge": bool(judge_z(found.judge) >= LEAST_Z),
    }
