"""Parameters of one config of the study: the searched ones, and those that describe a run."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

Mechanism = Literal[
    "bond_only",
    "frequency_amplifier",
    "conditional_amplifier",
    "bond_weighted_conditional_amplifier",
    "bond_weighted_frequency_amplifier",
]
Pattern = Literal[
    "cold_stuck",
    "dominant_stuck",
    "submissive_stuck",
    "cold_warm",
    "complementary_perfect",
    "conflictual",
    "mixed_random",
]
UMatrix = Literal["average", "highly_complementary", "cold_trap"]
Therapist = Literal["v1", "v2"]

MECHANISMS: tuple[str, ...] = Mechanism.__args__  # type: ignore[attr-defined]
PATTERNS: tuple[str, ...] = Pattern.__args__  # type: ignore[attr-defined]
U_MATRICES: tuple[str, ...] = UMatrix.__args__  # type: ignore[attr-defined]
THERAPISTS: tuple[str, ...] = Therapist.__args__  # type: ignore[attr-defined]

LARGEST_SEED = 2**32 - 1
LARGEST_MAX_SESSIONS = 65535
MEMORY_SIZE = 50

SEARCHED = (
    "baseline_accuracy",
    "threshold",
    "bond_alpha",
    "bond_offset",
    "recency_weighting_factor",
    "max_sessions",
    "perception_window",
    "seeding_benefit_scaling",
    "skip_seeding_accuracy_threshold",
    "quick_seed_actions_threshold",
    "abort_consecutive_failures_threshold",
)
"""The parameters that a search varies, in the order of its search space (the memory pattern may join them)."""

INERT_IN_V2 = ("skip_seeding_accuracy_threshold", "quick_seed_actions_threshold")
"""Searched and stored, but without influence on the V2 therapist."""


class Params(BaseModel):
    """All parameters of a simulation; bounded by what the model can compute, not by a search space.

    The searched parameters fall back to the defaults of the reference implementation when a trial lacks them.
    A trial's `initial_memory_pattern` is read as `pattern` and wins over one that is given beside it, so that
    `Params(**trial.params, pattern=...)` is a config.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    baseline_accuracy: float = Field(
        default=0.4477, gt=0.0, le=1.0, description="chance that an act is perceived as enacted"
    )
    threshold: float = Field(default=0.9755, ge=0.0, le=1.0, description="success: this share of the utility range")
    bond_alpha: float = Field(default=13.4426, description="steepness of the bond")
    bond_offset: float = Field(default=0.5122, description="relative satisfaction at which the bond is one half")
    recency_weighting_factor: float = Field(
        default=2.0, ge=1.0, description="weight of the newest memory over the oldest"
    )
    perception_window: int = Field(default=17, ge=1, le=MEMORY_SIZE, description="memories that the therapist counts")
    seeding_benefit_scaling: float = Field(default=1.4928, description="scale of a target's expected benefit")
    skip_seeding_accuracy_threshold: float = Field(default=0.8924, description="inert in V2")
    quick_seed_actions_threshold: int = Field(default=2, description="inert in V2")
    abort_consecutive_failures_threshold: int = Field(
        default=4, ge=1, description="misread seeds in a row before an abort"
    )

    mechanism: Mechanism = "frequency_amplifier"
    pattern: Pattern = Field(
        default="cold_stuck",
        validation_alias=AliasChoices("pattern", "initial_memory_pattern"),
        description="initial memory",
    )
    u_matrix: UMatrix | None = Field(default=None, description="named utility matrix; null: drawn per seed")
    n_seeds: int = Field(default=10000, ge=1, le=2**32)
    seed_offset: int = Field(default=0, ge=0, le=LARGEST_SEED, description="first seed")
    max_sessions: int = Field(default=300, ge=1, le=LARGEST_MAX_SESSIONS)
    max_sessions_mode: Literal["fixed", "trial"] = "fixed"
    window_size: int = Field(default=10, ge=1, le=255, description="sessions in the complementarity tracker's window")
    entropy: float = Field(default=1.0, gt=0.0, description="temperature of the client's choice")
    enable_parataxic: bool = True
    history_weight: float = 1.0
    bond_power: float = 1.0
    therapist_version: Therapist = "v2"
    n_configs: int = Field(default=1000, ge=1)
    top_n: int | None = Field(default=None, ge=1)
    n_bins: int = Field(default=100, ge=2, description="bins of the normalised time axis")
    smoothing_alpha: float = Field(default=0.1, gt=0.0, description="pseudo-count of the conditional mechanisms")

    @model_validator(mode="before")
    @classmethod
    def _a_trial_s_pattern_wins(cls, given: Any) -> Any:
        if isinstance(given, dict) and "initial_memory_pattern" in given:
            return {name: value for name, value in given.items() if name != "pattern"}
        return given

    @property
    def initial_memory_pattern(self) -> str:
        """The pattern by the name that a search gives it."""
        return self.pattern

    @model_validator(mode="after")
    def _seeds_are_32_bit(self) -> Self:
        last = self.seed_offset + self.n_seeds - 1
        if last > LARGEST_SEED:
            raise ValueError(
                f"seed_offset {self.seed_offset} and n_seeds {self.n_seeds} end at seed {last}; "
                f"the largest seed is {LARGEST_SEED}"
            )
        return self
