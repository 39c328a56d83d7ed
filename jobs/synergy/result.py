"""The result of one training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .conditions import condition_id
from .data import Integers, Unit
from .parameters import Parameters
from .summary import strict

Status = Literal["done", "failed", "interrupted"]


@dataclass
class UnitResult:
    """What a unit became: its model, final metrics, and one value per epoch of everything measured.

    `parameters` are those after the last epoch, `best_parameters` those of the smallest validation loss (None before
    the first evaluation). `confusion` is i8[n_bins,n_bins], rows = true, on val after the last epoch. `cost` (times,
    memory, steps) is kept apart from `metrics`, which are reproducible to the byte. `error` says why a unit failed.
    """

    unit: Unit
    experiment_type: str
    loss_weights: dict[str, float]
    status: Status
    parameters: Parameters
    best_parameters: Parameters | None
    metrics: dict[str, Any]
    history: dict[str, list[float]]
    confusion: Integers
    epochs_done: int
    steps: int
    error: str = ""
    cost: dict[str, float | None] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The seed of initial weights and data order."""
        return self.unit.resolved_seed

    @property
    def condition_id(self) -> str:
        """The unit's name."""
        return condition_id(self.unit.workspace_dim, self.unit.synergy_scale, self.unit.run_id)

    def record(self, *, with_history: bool = False, checkpoint_path: str | None = None) -> dict[str, Any]:
        """Return the unit's `results.json` object: flat, strict JSON."""
        record: dict[str, Any] = {
            "experiment_name": self.condition_id,
            "experiment_type": self.experiment_type,
            "loss_weights": self.loss_weights,
            "condition_id": self.condition_id,
            "workspace_dim": self.unit.workspace_dim,
            "synergy_scale": float(self.unit.synergy_scale),
            "run_id": self.unit.run_id,
            "seed": self.seed,
            "status": self.status,
            "epochs_done": self.epochs_done,
            "best_epoch": None,
            "best_val_loss": None,
            "final_val_loss": None,
            "checkpoint_path": checkpoint_path,
            **self.metrics,
            **self.cost,
        }
        if self.error:
            record["error"] = self.error
        if with_history:
            record["history"] = self.history
        return strict(record)  # type: ignore[no-any-return]
