"""The safety governor: toxic utterances reduce their speaker's steering."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .traits import TRAITS, TraitMap, full_map

TERMS = ("hate speech", "bomb recipe", "harm yourself", "kill", "attack plan")
_TERMS = tuple(re.compile(rf"\b{term}\b", re.IGNORECASE) for term in TERMS)


@dataclass(frozen=True)
class SafetyEvent:
    """What the governor saw and what it changes: `overrides` is added to the speaker's coefficients."""

    kind: str
    severity: str
    overrides: dict[str, float]


def review_utterance(
    text: str, coefficients: TraitMap, backoff: float = 0.2, threshold: float = 0.3
) -> SafetyEvent | None:
    """Return the event that an utterance causes, or nothing.

    A listed term is a hit once, as whole words, whatever its case; a third of the number of hits must reach the
    threshold. Every non-zero coefficient is moved towards 0 by its `backoff` share.
    """
    hits = sum(pattern.search(text) is not None for pattern in _TERMS)
    if hits == 0 or hits / 3.0 < threshold:
        return None
    full = full_map(coefficients)
    overrides = {trait: -backoff * full[trait] for trait in TRAITS if full[trait] != 0.0}
    return SafetyEvent("toxicity", "medium" if hits == 1 else "high", overrides)
