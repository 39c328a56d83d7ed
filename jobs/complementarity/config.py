"""Config of the study: what is searched, which configs are chosen, what is simulated and drawn."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .params import LARGEST_MAX_SESSIONS, LARGEST_SEED, Mechanism, Params, Pattern, Therapist, UMatrix
from .tracker import MAIN_METRIC

SEED_BLOCK = 10_000
SPACES: dict[str, dict[str, tuple[float, float]]] = {
    "base": {
        "baseline_accuracy": (0.21, 0.9),
        "threshold": (0.8, 0.99),
        "bond_alpha": (1.0, 15.0),
        "bond_offset": (0.5, 0.95),
        "recency_weighting_factor": (1.0, 5.0),
        "max_sessions": (100, 2000),
        "perception_window": (7, 20),
        "seeding_benefit_scaling": (0.1, 2.0),
        "skip_seeding_accuracy_threshold": (0.75, 0.95),
        "quick_seed_actions_threshold": (1, 5),
        "abort_consecutive_failures_threshold": (4, 9),
    },
    "across": {
        "baseline_accuracy": (0.15, 0.95),
        "threshold": (0.65, 0.99),
        "bond_alpha": (1.0, 15.0),
        "bond_offset": (0.1, 0.95),
        "recency_weighting_factor": (1.0, 10.0),
        "max_sessions": (25, 2000),
        "perception_window": (5, 25),
        "seeding_benefit_scaling": (0.1, 3.0),
        "skip_seeding_accuracy_threshold": (0.50, 0.95),
        "quick_seed_actions_threshold": (1, 5),
        "abort_consecutive_failures_threshold": (4, 9),
    },
}
"""Ranges of the base study, and of the study across memory patterns and the Sobol sweep."""

INTEGERS = (
    "max_sessions",
    "perception_window",
    "quick_seed_actions_threshold",
    "abort_consecutive_failures_threshold",
)
SEARCHED_PATTERNS = ("cold_stuck", "dominant_stuck", "submissive_stuck")


class Section(BaseModel):
    """A section of the config; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Inputs(Section):
    """Files from outside: a finished search to select from, and one whose best trials a new search tries first."""

    database: str | None = Field(None, description="Optuna database of a finished search.")
    enqueue_from: str | None = Field(None, description="Database whose best trials are tried first.")


class Model(Section):
    """The client and the therapist of all simulations, search included."""

    mechanism: Mechanism = Field("frequency_amplifier", description="How clients expect from what they remember.")
    pattern: Pattern = Field("cold_stuck", description="Initial memory where a trial names none.")
    u_matrix: UMatrix | None = Field(None, description="Named utility matrix; without it one is drawn per seed.")
    therapist_version: Therapist = Field("v2", description="The strategic therapist.")
    enable_parataxic: bool = Field(True, description="Whether clients misread the therapist.")
    entropy: float = Field(1.0, gt=0.0, description="Temperature of the client's choice.")
    history_weight: float = Field(1.0, description="Weight of the remembered frequencies.")
    bond_power: float = Field(1.0, description="Exponent of the bond in the bond-weighted mechanisms.")
    smoothing_alpha: float = Field(0.1, gt=0.0, description="Pseudo-count of the conditional mechanisms.")


class Search(Section):
    """The search that fills the database of configs."""

    study_name: str = Field("freq_amp_v2_optimization", description="Name of the study in the database.")
    n_trials: int = Field(100, ge=1, le=1_000_000, description="Trials that are COMPLETE in the end.")
    n_seeds: int = Field(500, ge=1, le=2**32, description="Clients per trial, seeds 0, 1, ….")
    sampler: Literal["tpe", "random", "sobol"] = Field("tpe", description="How parameters are proposed.")
    space: Literal["base", "across"] = Field("base", description="Base ranges, or wider ones across memory patterns.")
    n_startup_trials: int = Field(25, ge=0, description="Random trials before TPE starts.")
    objective_mode: Literal["aligned", "reference"] = Field(
        "aligned", description="Runs as they are simulated later, or as the reference implementation searches."
    )
    top_k: int = Field(15, ge=1, description="Best trials that are exported.")
    enqueue_study: str | None = Field(None, description="Study in that database (default: this study's name).")
    enqueue_top_k: int = Field(10, ge=1, description="How many of its best trials are tried first.")
    enqueued: tuple[dict[str, Any], ...] = ()
    sync_batch: int = Field(8, ge=0, description="Trials of one generation.")
    lease_seconds: float = Field(60.0, gt=0.0, description="After that long an unrenewed trial is taken over.")
    max_failures: int = Field(20, ge=0, description="Failed trials that are replaced before the search gives up.")


class Select(Section):
    """Which trials become configs."""

    n_configs: int = Field(1000, ge=1, description="Configs across the spectrum of the advantage.")
    top_n: int | None = Field(None, ge=1, description="The best configs instead.")
    sampling: Literal["rank", "value"] = Field("rank", description="Equally spaced ranks, or values.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.top_n is not None and "n_configs" in self.model_fields_set and "top_n" in self.model_fields_set:
            if self.n_configs != self.top_n:
                raise ValueError("top_n and n_configs exclude each other; give one")
        elif self.top_n is not None:
            self.n_configs = self.top_n
        return self


class Simulate(Section):
    """The simulation of every config on every seed."""

    n_seeds: int = Field(10_000, ge=1, le=2**32, description="Clients per config.")
    seed_offset: int = Field(
        0, ge=0, le=LARGEST_SEED, description="First seed; above those of the search for fresh clients."
    )
    seed_block: int | None = Field(None, ge=1, le=1_000_000, description="Seeds of one unit of work.")
    remaining_seeds: int | None = Field(None, ge=0)
    max_sessions: int = Field(300, ge=1, le=LARGEST_MAX_SESSIONS, description="Longest therapy.")
    max_sessions_mode: Literal["fixed", "trial"] = Field(
        "fixed", description="The same longest therapy for all configs, or each trial's own."
    )
    axis_sessions: int | None = Field(None, ge=1, le=LARGEST_MAX_SESSIONS)
    window_size: int = Field(10, ge=1, le=255, description="Sessions in the tracker's window.")
    n_bins: int = Field(100, ge=2, le=10_000, description="Positions of the normalised time axis.")
    metrics: tuple[str, ...] = Field(
        (MAIN_METRIC,), description="What is averaged over therapy; see the tracker's metrics."
    )
    batch_size: int = Field(10, ge=1, description="Configs in one block, the smallest thing that is published.")
    trajectories: Literal["none", "v2", "both"] = Field("v2", description="Which octants of all sessions are kept.")
    kernel_fingerprint: str | None = Field(None, description="Accept a kernel that computes these bits.")

    @model_validator(mode="after")
    def _seeds_in_blocks(self) -> Self:
        last = self.seed_offset + self.n_seeds - 1
        if last > LARGEST_SEED:
            raise ValueError(
                f"seed_offset {self.seed_offset} and n_seeds {self.n_seeds} end at seed {last}; "
                f"the largest seed is {LARGEST_SEED}"
            )
        self.seed_block = self.seed_block or min(SEED_BLOCK, self.n_seeds)
        self.remaining_seeds = self.n_seeds % self.seed_block
        return self

    @property
    def seed_blocks(self) -> int:
        """Number of seed blocks."""
        return -(-self.n_seeds // (self.seed_block or SEED_BLOCK))

    def seeds(self, block: int) -> range:
        """Return the seeds of one block."""
        size = self.seed_block or SEED_BLOCK
        return range(self.seed_offset + block * size, self.seed_offset + min((block + 1) * size, self.n_seeds))


class Figures(Section):
    """What the figures show; changes no number."""

    axis: Literal["session", "normalized", "both"] = Field("session", description="Time axis of the main figure.")
    bootstrap: int = Field(1000, ge=10, le=100_000, description="Resamples of the configs.")


class Config(Section):
    """One run of the study."""

    seed: int = Field(42, ge=0, lt=2**64, description="Seed of the search.")
    inputs: Inputs = Inputs()
    model: Model = Model()
    search: Search = Search()
    select: Select = Select()
    simulate: Simulate = Simulate()
    figures: Figures = Figures()

    def params(self, trial: dict[str, Any], max_sessions: int | None = None) -> Params:
        """Return the parameters of one trial under this run's model."""
        model = self.model.model_dump()
        sessions = {"max_sessions": max_sessions} if max_sessions is not None else {}
        fixed = {"window_size": self.simulate.window_size, "n_bins": self.simulate.n_bins}
        return Params(**{"max_sessions": self.simulate.max_sessions, **fixed, **model, **trial, **sessions})

    def effective_sessions(self, trial: dict[str, Any]) -> int:
        """Return how many sessions a config's simulations may have."""
        if self.simulate.max_sessions_mode == "fixed":
            return self.simulate.max_sessions
        return int(trial.get("max_sessions", self.simulate.max_sessions))
