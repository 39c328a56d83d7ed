"""One unit in training: its status, what was measured each epoch, its best model and its final metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .config import EarlyStopping
from .data import Doubles, Floats, Integers, Unit
from .metrics import Judge
from .objective import Objective, components, total, weighted_components
from .parameters import Layout
from .result import UnitResult

LEARNED_ACCURACY = 0.5
ACCURACY = "predictability/synergy_acc"
CROSS_ENTROPY = "predictability/synergy_ce"
LARGEST = float(np.finfo(np.float32).max)
HIGHER_IS_BETTER = ("predictability/", "unimodal/", "info/")


class Member:
    """The bookkeeping of one unit; numbers come from the backend as sums over samples."""

    def __init__(
        self,
        unit: Unit,
        layout: Layout,
        experiment_type: str,
        objective: Objective,
        n_bins: int,
        stopping: EarlyStopping,
    ) -> None:
        """Begin before the first epoch."""
        self.unit = unit
        self.layout = layout
        self.steps = 0
        self.best: Floats | None = None
        self._experiment_type = experiment_type
        self._objective = objective
        self._n_bins = n_bins
        self._stopping = stopping
        self._status = "running"
        self._error = ""
        self._history: dict[str, list[float]] = {}
        self._final: dict[str, Any] = {}
        self._confusion: Integers = np.zeros((n_bins, n_bins), np.int64)

    @property
    def running(self) -> bool:
        """Whether it still takes part."""
        return self._status == "running"

    @property
    def out_of_patience(self) -> bool:
        """Whether early stopping is on and the last evaluations brought no improvement.

        Raises:
            ValueError: the config names a metric that is not measured.
        """
        rule = self._stopping
        if not rule.enabled:
            return False
        if rule.metric not in self._history:
            raise ValueError(f"training.early_stopping.metric: {rule.metric!r} is not measured each epoch")
        values = [value for value in self._history[rule.metric] if not math.isnan(value)]
        higher = rule.metric.startswith(HIGHER_IS_BETTER) and rule.metric != CROSS_ENTROPY
        sign = -1.0 if higher else 1.0
        best, since = math.inf, 0
        for value in values:
            if sign * value < best - rule.min_delta:
                best, since = sign * value, 0
            else:
                since += 1
        return since >= rule.patience

    def fail(self, reason: str, steps: int) -> None:
        """End with a failure after so many steps; it stays in the results as a failed row."""
        self._status, self._error, self.steps = "failed", reason, steps

    def record_training(self, sums: Doubles, norms: Doubles, rows: int) -> None:
        """Record an epoch's training losses, means over samples, and its first and last gradient norm."""
        losses = components(sums, rows, self.unit.synergy_scale, self._objective.synergy)
        self._append("train_loss", total(losses, self._objective.weights))
        for name, value in weighted_components(losses, self._objective.weights).items():
            self._append(f"train_{name}", value)
        self._append("grad_norm_first", float(norms[0]))
        self._append("grad_norm_last", float(norms[1]))

    def record_validation(self, sums: Doubles, judge: Judge) -> bool:
        """Record an evaluation; return whether its loss is the smallest so far."""
        losses = components(sums, judge.rows, self.unit.synergy_scale, self._objective.synergy)
        loss = total(losses, self._objective.weights)
        if not abs(loss) <= LARGEST:
            self._drop_epoch()
            self.fail(f"validation loss is not finite after step {self.steps}", self.steps)
            return False
        before = [value for value in self._history.get("val_loss", []) if not math.isnan(value)]
        self._append("val_loss", loss)
        for name, value in weighted_components(losses, self._objective.weights).items():
            self._append(f"val_{name}", value)
        for name, score in judge.predictability(sums).items():
            self._append(name, math.nan if score is None else score)
        return not before or loss < min(before)

    def skip_validation(self) -> None:
        """Record an epoch without evaluation as missing values."""
        for name, values in self._history.items():
            if not name.startswith(("train_", "grad_")):
                values.append(math.nan)

    def finish(self, found: tuple[Doubles, Integers], judge: Judge) -> None:
        """End well, with the metrics that are measured once on val."""
        sums, confusion = found
        self._status, self._confusion = "done", np.array(confusion, np.int64)
        losses = components(sums, judge.rows, 1.0, self._objective.synergy)
        self._final["val_loss_unscaled"] = total(losses, self._objective.weights)
        self._final |= judge.final(sums, confusion)

    def record_test(self, found: tuple[Doubles, Integers], judge: Judge) -> None:
        """Keep the metrics of the test split."""
        sums, confusion = found
        losses = components(sums, judge.rows, self.unit.synergy_scale, self._objective.synergy)
        self._final["test_loss"] = total(losses, self._objective.weights)
        for name, value in weighted_components(losses, self._objective.weights).items():
            self._final[f"test_{name}"] = value
        for name, score in (judge.predictability(sums) | judge.final(sums, confusion)).items():
            self._final[f"test/{name}"] = score

    def result(self, parameters: Floats, cost: dict[str, float | None]) -> UnitResult:
        """Return the result as it stands; a unit that still runs is `interrupted`."""
        return UnitResult(
            unit=self.unit,
            experiment_type=self._experiment_type,
            loss_weights={name: float(weight) for name, weight in self._objective.weights._asdict().items()},
            status="interrupted" if self.running else self._status,  # type: ignore[arg-type]
            parameters=self.layout.named(parameters),
            best_parameters=None if self.best is None else self.layout.named(self.best),
            metrics=self._metrics(),
            history={name: list(values) for name, values in self._history.items()},
            confusion=self._confusion.copy(),
            epochs_done=self._epochs_done,
            steps=self.steps,
            error=self._error,
            cost=cost,
        )

    def values(self) -> dict[str, Any]:
        """Return the JSON part of the state."""
        return {
            "status": self._status,
            "error": self._error,
            "steps": self.steps,
            "names": list(self._history),
            "final": {name: value for name, value in self._final.items() if not isinstance(value, float)},
            "final_names": [name for name, value in self._final.items() if isinstance(value, float)],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the state; lengths of the history differ after a failure, so it is NaN-padded."""
        length = max((len(values) for values in self._history.values()), default=0)
        table = np.full((len(self._history), length), np.nan)
        for row, values in zip(table, self._history.values(), strict=True):
            row[: len(values)] = values
        return {
            "history": table,
            "lengths": np.array([len(values) for values in self._history.values()], np.int64),
            "final": np.array([value for value in self._final.values() if isinstance(value, float)]),
            "confusion": self._confusion,
            "best": np.zeros(0, np.float32) if self.best is None else self.best,
        }

    def restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from such a state."""
        self._status, self._error, self.steps = values["status"], values["error"], int(values["steps"])
        self._history = {
            name: row[:length].tolist()
            for name, row, length in zip(values["names"], arrays["history"], arrays["lengths"], strict=True)
        }
        self._final = dict(values["final"]) | dict(
            zip(values["final_names"], np.asarray(arrays["final"]).tolist(), strict=True)
        )
        self._confusion = np.array(arrays["confusion"])
        self.best = np.array(arrays["best"]) if len(arrays["best"]) else None

    @property
    def _epochs_done(self) -> int:
        return len(self._history.get("train_loss", []))

    def _append(self, name: str, value: float) -> None:
        self._history.setdefault(name, [math.nan] * self._missed(name)).append(value)

    def _missed(self, name: str) -> int:
        return 0 if name.startswith(("train_", "grad_")) else self._epochs_done - 1

    def _drop_epoch(self) -> None:
        for name, values in self._history.items():
            if name.startswith(("train_", "grad_")):
                values.pop()

    def _metrics(self) -> dict[str, Any]:
        evaluated = [(value, epoch) for epoch, value in enumerate(self._history.get("val_loss", []), 1)]
        evaluated = [(value, epoch) for value, epoch in evaluated if not math.isnan(value)]
        if not evaluated:
            return {}
        best, best_epoch = min(evaluated)
        metrics: dict[str, Any] = {
            "best_val_loss": best,
            "best_epoch": best_epoch,
            "final_val_loss": evaluated[-1][0],
        }
        for name, values in self._history.items():
            value = values[-1]
            metrics[name] = None if math.isnan(value) else value
            if name.startswith("val_") and name != "val_loss":
                metrics[name.removeprefix("val_")] = metrics[name]
        if self._status != "done":
            return metrics
        accuracies = self._history[ACCURACY]
        goal = (1.0 + 1.0 / self._n_bins) / 2.0
        known = self._objective.synergy
        reached = [epoch for epoch, value in enumerate(accuracies, 1) if value >= goal]
        metrics["onset_epoch"] = reached[0] if reached else None
        metrics["learned"] = float(accuracies[-1] >= LEARNED_ACCURACY) if known else None
        return metrics | self._final
