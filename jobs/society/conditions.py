"""Conditions of a study: which configs its array runs, in order, and which of them are compared.

A unit is one condition with one replicate, numbered replicate by replicate. Replicate r has the same seed in every
condition, so that differences between conditions are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config import RunConfig
from .templates import merged_over
from .traits import TRAITS

UNDOSED = ("disabled", "prompt")
"""Arms without vectors: they have neither strengths nor doses."""
BASE = "base"


@dataclass(frozen=True)
class Condition:
    """One condition: its name, what distinguishes it, and what it changes in the config.

    Attributes:
        id: `<arm>-<profile>-s<strength>`, `<arm>-<trait><dose>`, `disabled-<profile>` or `prompt-<profile>`, with
            `-<override>` where there are some.
        profile: name of the coefficients; empty for a single trait.
        trait, dose: of a single trait; empty and None otherwise.
        strength: of a profile's arm; None where there is none.
        reference: id of the condition that it is compared with; empty where there is none.
        changes: merged over the config.
    """

    id: str
    arm: str
    profile: str
    trait: str
    dose: float | None
    strength: float | None
    override: str
    reference: str
    changes: dict[str, Any]

    def config(self, base: RunConfig, replicate: int) -> RunConfig:
        """Return the config of one unit."""
        seed0 = base.seed if base.study.seed0 is None else base.study.seed0
        data = merged_over(base.model_dump(mode="json", exclude={"study", "inputs"}), self.changes)
        return RunConfig(**{**data, "seed": seed0 + replicate})


def conditions(config: RunConfig) -> list[Condition]:
    """Return the conditions of a study, in order: profiles by arm and strength, then traits by arm and dose."""
    study = config.study
    arms = study.arms or [config.arm]
    strengths = study.strengths or [config.steering.strength]
    profiles = study.profiles or {BASE: config.steering.coefficients}
    implied = study.profiles is None and bool(study.single_traits)
    plain: list[Condition] = []
    for profile, coefficients in profiles.items():
        for arm in arms:
            if implied and arm != "disabled":
                continue
            for strength in [None] if arm in UNDOSED else strengths:
                name = f"{arm}-{profile}" if strength is None else f"{arm}-{profile}-s{strength:g}"
                reference = f"disabled-{profile}" if "disabled" in arms and arm != "disabled" else ""
                steering: dict[str, Any] = {"mode": arm, "enabled": True, "coefficients": coefficients}
                if strength is not None:
                    steering["strength"] = strength
                plain.append(Condition(name, arm, profile, "", None, strength, "", reference, {"steering": steering}))
    for trait in study.single_traits:
        for arm in arms:
            if arm in UNDOSED:
                continue
            for dose in study.doses:
                reference = f"{arm}-{trait}+0" if dose != 0 and 0 in study.doses else ""
                changes = dose_changes(config, arm, trait, dose)
                plain.append(
                    Condition(f"{arm}-{trait}{dose:+g}", arm, "", trait, float(dose), None, "", reference, changes)
                )
    if not study.overrides:
        return plain
    return [
        Condition(
            f"{one.id}-{name}",
            one.arm,
            one.profile,
            one.trait,
            one.dose,
            one.strength,
            name,
            f"{one.reference}-{name}" if one.reference else "",
            merged_over(one.changes, changes),
        )
        for one in plain
        for name, changes in study.overrides.items()
    ]


def dose_changes(config: RunConfig, arm: str, trait: str, dose: float) -> dict[str, Any]:
    """Return what a single trait's dose changes: the others are 0 on average, the steered one does not scatter.

    A dose within 1 is a coefficient. Beyond, the coefficient is its sign and its size multiplies the trait's gain, so
    that no clipping cuts it and the other traits keep their scale.
    """
    coefficient = max(-1.0, min(1.0, dose))
    gains = dict(config.steering.vector_norm)
    if abs(dose) > 1:
        gains[trait] *= abs(dose)
    return {
        "steering": {
            "mode": arm,
            "enabled": True,
            "coefficients": {**dict.fromkeys(TRAITS, 0.0), trait: coefficient},
            "vector_norm": gains,
        },
        "personas": {"fixed_traits": [trait], "fixed": {trait: coefficient}},
    }


def unit_of(config: RunConfig, unit: int) -> tuple[Condition, int]:
    """Return condition and replicate of a unit; units are numbered replicate by replicate.

    Raises:
        IndexError: there is no such unit.
    """
    known = conditions(config)
    replicate, index = divmod(unit, len(known))
    if not 0 <= replicate < config.study.replicates:
        raise IndexError(f"unit {unit}: allowed are 0 to {len(known) * config.study.replicates - 1}")
    return known[index], replicate
