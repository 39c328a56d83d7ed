"""Settings of a run in mode neural: its trainings, how they are checked, and the errors that are allowed."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from .settings import NeuralConfig

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Bound = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

SPOT_STEPS, SPOT_ROWS = (3, 5, 7), (30, 12, 3)
SPOT_ERRORS = ("spot_Vm", "spot_Ve", "spot_log_Vr")
MEAN_COLUMNS = (
    "Vm_mean",
    "Ve_mean",
    "Vm_possible",
    "Ve_possible",
    "log_Vr_mean",
    "Xh_mean",
    "tv_pi_r",
    "tv_m_h",
    "regret",
)
LARGEST_COLUMNS = ("Vm_max", "Ve_max", "log_Vr_max", "regret_max")
ERROR_COLUMNS = (*MEAN_COLUMNS, *LARGEST_COLUMNS, *(f"{name}_visited" for name in MEAN_COLUMNS))
"""What `errors` measures at each level."""

TRUTH_ERRORS = (*ERROR_COLUMNS, "root_log_Vr", "freed")


class NeuralRun(NeuralConfig):
    """Settings of a run: those of each training, and these.

    Attributes:
        seeds: one training of every problem for each; n means 0..n-1.
        validates: (`validate`) compare every problem with its exact solution.
        validate_limit: states up to which a problem is solved exactly.
        root_limit: horizons whose states stay within so many are solved exactly from the root, without `validate`.
        check_rows: episodes whose states residuals and spot truth are taken at.
        spot_steps: steps to go of the spot checks; of 3, 5, 7 those below the horizon unless set.
        spot_rows: states of each spot check.
        check_rollouts: episodes played from the root, and again so many for each goal.
        check_goals: goals per human whose V^e at the root is played.
        max_error: largest allowed error by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)

    seeds: tuple[Seed, ...] | Count = Field(3, description="Independent trainings: a number, or their seeds.")
    validates: bool = Field(False, alias="validate", description="Compare with the exact solution.")
    validate_limit: int = Field(2_000_000, ge=1, description="States up to which the exact solver is the answer.")
    root_limit: int = Field(1_000_000, ge=1, description="States up to which a shorter horizon is solved exactly.")
    check_rows: int = Field(400, ge=1, description="Fresh states per level.")
    spot_steps: tuple[Count, ...] | None = Field(None, description="Steps to go of spot checks [3,5,7, those < T].")
    spot_rows: tuple[Count, ...] = Field(SPOT_ROWS, description="States of each spot check.")
    check_rollouts: int = Field(500, ge=1, description="Episodes played from the root, and for each goal.")
    check_goals: int = Field(4, ge=0, description="Goals per human whose value at the root is played.")
    max_error: dict[str, Bound] | None = Field(None, description="Largest allowed error by name.")

    @field_validator("seeds", mode="before")
    @classmethod
    def _different(cls, seeds: Any) -> Any:
        listed = list(seeds) if isinstance(seeds, list | tuple) else [seeds]
        is_whole = all(isinstance(seed, int) and not isinstance(seed, bool) for seed in listed)
        least = 0 if isinstance(seeds, list | tuple) else 1
        if not listed or not is_whole or min(listed) < least or len(set(listed)) != len(listed):
            raise ValueError("allowed are a whole number from 1 on, or a list of different seeds from 0 on")
        return seeds

    @model_validator(mode="after")
    def _checkable(self) -> Self:
        steps = SPOT_STEPS if self.spot_steps is None else self.spot_steps
        if len(steps) != len(self.spot_rows):
            raise ValueError(f"spot_steps has {len(steps)} numbers, spot_rows {len(self.spot_rows)}; one row each")
        if list(steps) != sorted(set(steps)):
            raise ValueError(f"spot_steps {list(steps)} must increase")
        for name in self.max_error or {}:
            if name not in (*TRUTH_ERRORS, *SPOT_ERRORS):
                allowed = ", ".join((*TRUTH_ERRORS, *SPOT_ERRORS))
                raise ValueError(f"max_error.{name}: no such error; allowed are {allowed}")
            if name in TRUTH_ERRORS and not self.validates:
                raise ValueError(f"max_error.{name}: needs validate: true, for there is no exact truth without")
        return self

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return self.seeds if isinstance(self.seeds, tuple) else tuple(range(self.seeds))

    @property
    def training(self) -> NeuralConfig:
        """The settings of each training."""
        return NeuralConfig(**{name: getattr(self, name) for name in NeuralConfig.model_fields})

    def spots(self, max_steps: int) -> tuple[tuple[int, int], ...]:
        """Return (steps to go, states) of the spot checks at a horizon."""
        steps = SPOT_STEPS if self.spot_steps is None else self.spot_steps
        return tuple((k, n) for k, n in zip(steps, self.spot_rows, strict=True) if k < max_steps)
