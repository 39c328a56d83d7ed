"""Big-Five traits: their order, maps from trait to number, and the band a resident belongs to."""

from __future__ import annotations

from collections.abc import Mapping

TRAITS = ("E", "A", "C", "O", "N")
"""Extraversion, agreeableness, conscientiousness, openness, neuroticism: the order used everywhere."""

TRAIT_NAMES = {
    "E": "extraversion",
    "A": "agreeableness",
    "C": "conscientiousness",
    "O": "openness",
    "N": "neuroticism",
}

TraitMap = Mapping[str, float]


def checked_traits(values: TraitMap, source: str = "coefficients") -> None:
    """Refuse letters that are no trait.

    Raises:
        ValueError: a key is not one of E, A, C, O, N.
    """
    for letter in values:
        if letter not in TRAITS:
            raise ValueError(f"{source}: found trait {letter!r}; allowed are {', '.join(TRAITS)}")


def trait_row(values: TraitMap) -> list[float]:
    """Return the five numbers of a trait map in trait order; a missing trait is 0."""
    checked_traits(values)
    return [float(values.get(trait, 0.0)) for trait in TRAITS]


def full_map(values: TraitMap, default: float = 0.0) -> dict[str, float]:
    """Return a map with all five traits."""
    checked_traits(values)
    return {trait: float(values.get(trait, default)) for trait in TRAITS}


def clipped(value: float, low: float, high: float) -> float:
    """Return the value cut to an interval."""
    return max(low, min(high, value))


def trait_band(coefficients: TraitMap, threshold: float = 0.5) -> str:
    """Return the band of the dominant trait, such as `"E:high"`, `"N:low"` or `"O:neutral"`.

    The dominant trait has the largest magnitude, the first in trait order among equals.
    """
    full = full_map(coefficients)
    trait = max(TRAITS, key=lambda letter: abs(full[letter]))
    value = full[trait]
    level = "high" if value >= threshold else "low" if value <= -threshold else "neutral"
    return f"{trait}:{level}"
