"""The phase train: one training is a long unit that goes on behind its last finished level; reading networks back."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.levels import PowerlessError
from ...jobs.induction.neural import DivergedError, Fitted, Training, machine
from ..attempts import peak_rss_mb
from ..phases import Task
from ..provenance import capability
from .index import UnitRows, as_bytes, one_unit, text_of, unit_of
from .neural_table import settings_of, tensor_names
from .worlds import Case, cases

if TYPE_CHECKING:
    from ...jobs.induction.config import Config
    from ..context import Context

DIVERGED, POWERLESS = 1, 2
"""Status of a training that has no result; 0 has one."""


def machine_text() -> str:
    """Return what the bits of a training depend on beside its plan: torch, its CPU capability, CPU and packages."""
    return json.dumps({**machine(), "cpu_and_packages": capability()}, sort_keys=True)


class TrainWork:
    """Trains."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context

    def block(self, units: range) -> Task:
        """Return the task of one training."""
        problems = cases(self._context.config)
        place, number = divmod(units.start, len(problems))
        return TrainTask(self._context, problems[number], settings_of(self._context.config).seed_list[place])


class TrainTask:
    """One training: the rows of a level, or 50 optimiser steps, at a time."""

    def __init__(self, context: Context, case: Case, seed: int) -> None:
        """Make the training ready; its beam is made by the first `advance`."""
        self._context, self._case, self._seed = context, case, seed
        training = settings_of(context.config).training
        self._training = Training(case.world, case.params, case.max_steps, training, seed=seed)
        self._kept = self._place
        self._status, self._error = 0, ""

    @property
    def _place(self) -> tuple[int, int]:
        return self._training.sweep, self._training.level

    def advance(self) -> bool:
        """Go on; a training whose loss is no number, or in which a human has no power, ends as a failure."""
        place = self._place
        try:
            more = self._training.advance()
        except DivergedError as error:
            self._status, self._error = DIVERGED, str(error)
        except PowerlessError as error:
            self._status, self._error = POWERLESS, str(error.args[0])
        if self._error:
            print(f"{self._case.label}, seed {self._seed}: {self._error}", file=sys.stderr)
            return False
        if self._place[0] != place[0] and more:
            print(f"{self._case.label}, seed {self._seed}: pass {place[0]} is done", file=sys.stderr)
        return more

    def state(self) -> Mapping[str, Any] | None:
        """Return the training behind its last finished level; None where that has been kept."""
        if self._place == self._kept:
            return None
        self._kept = self._place
        return {**self._training.state(), "machine": machine_text()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on behind the last finished level; start afresh on a machine that would give other bits."""
        if state["machine"] != machine_text():
            print("the checkpoint was made on another CPU capability; the training starts afresh", file=sys.stderr)
            return
        self._training.restore({name: value for name, value in state.items() if name != "machine"})
        self._kept = self._place

    def result(self) -> dict[str, Any]:
        """Return networks and curve; only its reason where the training failed."""
        case, fitted = self._case, self._training.fitted
        tensors = {} if self._error else fitted.tensors()
        curve = fitted.curve
        sizes = self._training.pool_sizes
        arrays: dict[str, Any] = {
            "rows/error": as_bytes(self._error),
            "rows/pool_size": np.array([sizes.get(t, 0) for t in range(1, case.max_steps)], np.int64),
            "meta/machine": as_bytes(machine_text()),
            "meta/curve/cpu_s": np.asarray(curve["cpu_s"], np.float64),
        }
        arrays |= {f"rows/curve/{name}": np.asarray(curve[name]) for name in ("level", "n_rows", "loss")}
        for dataset in self._context.phase.datasets:
            if dataset.name.startswith("rows/networks/"):
                name = dataset.name.removeprefix("rows/networks/")
                arrays[dataset.name] = tensors.get(name, np.empty((0, *dataset.shape), np.float32))
        return {
            **one_unit(arrays),
            "rows/status": [self._status],
            "rows/problem": [case.number],
            "rows/seed": [self._seed],
            "rows/max_steps": [case.max_steps],
            "meta/rss_mb": [peak_rss_mb()],
        }


def row_of(file: Any, unit: int) -> int | None:
    """Return where a result holds a unit; None where it was merged without it."""
    if "units" not in file:
        return unit
    units = file["units"][()].tolist()
    return units.index(unit) if unit in units else None


def failure_of(context: Context, unit: int) -> str:
    """Return why a training has no result; empty where it has one."""
    with context.result("train") as file:
        row = row_of(file, unit)
        return "it is missing" if row is None else text_of(file, "rows/error", row)


def trained(context: Context, unit: int) -> Fitted:
    """Return a training out of the result of the phase train, with its curve (CPU time left out)."""
    config: Config = context.config
    problems = cases(config)
    place, number = divmod(unit, len(problems))
    case, neural = problems[number], settings_of(config)
    tensors = {}
    with context.result("train") as file:
        row = row_of(file, unit)
        assert row is not None, "asked for only where it has not failed"
        names = [f"level/{t:04d}/{name}" for t in range(1, case.max_steps) for name, _ in tensor_names(neural.training)]
        places = {name: file[f"meta/index/rows/networks/{name}"][row] for name in names}
        curve = {name: unit_of(file, f"rows/curve/{name}", row) for name in ("level", "n_rows", "loss")}
    for name, where in places.items():
        tensors[name] = UnitRows(context, "train", f"rows/networks/{name}", where)[:]
    fitted = Fitted.from_tensors(
        case.world, case.params, case.max_steps, neural.training, neural.seed_list[place], tensors
    )
    fitted.curve = curve
    return fitted
