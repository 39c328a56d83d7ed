"""Arms of a study: which vectors a run is steered with."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .config import RunConfig
from .steering import PersonaVectors, Steering
from .traits import TRAITS

if TYPE_CHECKING:
    from .backend import Backend

DOSED_ARMS = ("targeted", "placebo", "random", "hybrid")


def placebo_map(seed: int) -> dict[str, str]:
    """Return the trait whose vector each trait gets in the arm `placebo`: a seeded derangement."""
    generator = random.Random(seed)
    shuffled = list(TRAITS)
    while any(a == b for a, b in zip(TRAITS, shuffled, strict=True)):
        generator.shuffle(shuffled)
    return dict(zip(TRAITS, shuffled, strict=True))


def steering_of(config: RunConfig, backend: Backend, vectors: PersonaVectors | None = None) -> Steering:
    """Return the steering of a config's arm: targeted and hybrid take the vectors as they are, placebo those of other
    traits, random directions of equal norm.

    Raises:
        ValueError: the vectors belong to another model, or a block does not exist.
    """
    section = config.steering
    beyond = [layer for layer in section.layers if layer >= backend.n_blocks]
    if beyond:
        raise ValueError(f"steering.layers: found {beyond[0]}; {backend.name} has blocks 0 to {backend.n_blocks - 1}")
    if vectors is None:
        from .library import known_vectors

        vectors = known_vectors(backend)
    vectors = vectors.checked_for(backend.sha256, backend.hidden).orthogonalised(section.orthogonalize)
    if config.arm == "placebo":
        vectors = vectors.mapped(placebo_map(config.seed))
    elif config.arm == "random":
        vectors = vectors.randomised(config.seed)
    return Steering(
        vectors,
        section.layers,
        strength=section.strength,
        layer_scale=section.layer_scale,
        vector_norm=section.vector_norm,
    )
