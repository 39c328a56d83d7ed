"""The phase check: how wrong a training, or the ensemble of a problem's trainings, is."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.levels import PowerlessError
from ...jobs.induction.neural import Ensemble, Fitted
from ...jobs.induction.neural.value_function import ValueFunction
from ..attempts import peak_rss_mb
from ..phases import Task
from .checks import Checks, Pieces
from .exact_tables import ExactTables
from .index import as_bytes, one_unit, padded
from .neural_table import ENSEMBLE, Checked, checked_units, settings_of
from .train_phase import failure_of, machine_text, trained
from .worlds import cases

if TYPE_CHECKING:
    from ..context import Context

NO_VALUES = 1
"""Status of a check without values to check."""


def members_of(context: Context, unit: Checked) -> tuple[list[Fitted], str]:
    """Return the trainings that a check is of, and why there is nothing to check (empty where there is)."""
    reasons = {training: failure_of(context, training) for training in unit.trainings}
    members = [trained(context, training) for training, reason in reasons.items() if not reason]
    if unit.seed != ENSEMBLE and not members:
        return [], f"the training failed: {reasons[unit.trainings[0]]}"
    if unit.seed == ENSEMBLE and len(members) < 2:
        return [], f"an ensemble needs two trainings; {len(reasons) - len(members)} of {len(reasons)} failed"
    return members, ""


class CheckWork:
    """Checks trainings."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context

    def block(self, units: range) -> Task:
        """Return the task of one check."""
        return CheckTask(self._context, checked_units(self._context.config)[units.start])


class CheckTask:
    """One check, a piece of one of its stages at a time; it goes on behind its last finished stage."""

    def __init__(self, context: Context, unit: Checked) -> None:
        """Keep the unit; its networks are read by the first `advance`."""
        self._context, self._unit = context, unit
        self._case = cases(context.config)[unit.problem]
        self._checks: Checks | None = None
        self._going: Pieces | None = None
        self._stage, self._kept = 0, 0
        self._error, self._members, self._cpu = "", 0, 0.0
        self._found: dict[str, Any] = {}

    def _begin(self) -> None:
        context, config = self._context, self._context.config
        members, self._error = members_of(context, self._unit)
        self._members = len(members)
        exact = ExactTables(context, self._case) if settings_of(config).validates else None
        if exact is not None and exact.error and not self._error:
            self._error = f"the exact solution failed: {exact.error}"
        if self._error:
            print(f"{self._case.label}, seed {self._unit.seed}: {self._error}", file=sys.stderr)
            return
        values: ValueFunction = Ensemble(members) if self._unit.seed == ENSEMBLE else members[0]
        self._checks = Checks(values, settings_of(config), config.max_states, exact)

    def advance(self) -> bool:
        """Read the networks, or do the next piece of a check."""
        started = time.process_time()
        try:
            return self._go_on()
        except PowerlessError as error:
            self._error = str(error.args[0])
            print(f"{self._case.label}, seed {self._unit.seed}: {self._error}", file=sys.stderr)
            return False
        finally:
            self._cpu += time.process_time() - started

    def _go_on(self) -> bool:
        if self._checks is None:
            self._begin()
            return not self._error
        stages = self._checks.stages
        if self._stage == len(stages):
            return False
        if self._going is None:
            self._going = stages[self._stage](self._found)
        if next(self._going, StopIteration) is StopIteration:
            self._going = None
            self._stage += 1
        return self._stage < len(stages)

    def state(self) -> Mapping[str, Any] | None:
        """Return what the finished stages have found; None where that has been kept, or there is nothing yet."""
        if self._stage == self._kept:
            return None
        self._kept = self._stage
        return {"stage": self._stage, "cpu_s": self._cpu, "machine": machine_text(), **self._found}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on behind the last finished stage; start afresh on a machine that would give other bits."""
        if state["machine"] != machine_text():
            print("the checkpoint was made on another CPU capability; the check starts afresh", file=sys.stderr)
            return
        self._stage = self._kept = int(state["stage"])
        self._cpu = float(state["cpu_s"])
        self._found = {name: value for name, value in state.items() if name not in ("stage", "cpu_s", "machine")}

    def result(self) -> dict[str, Any]:
        """Return what was found; nan, or nothing, in its place where it was not looked for or there are no values."""
        ragged: dict[str, Any] = {"rows/error": as_bytes(self._error), "meta/machine": as_bytes(machine_text())}
        whole: dict[str, Any] = {
            "rows/status": [NO_VALUES if self._error else 0],
            "rows/problem": [self._unit.problem],
            "rows/seed": [self._unit.seed],
            "rows/max_steps": [self._case.max_steps],
            "rows/members": [self._members],
            "meta/cpu_s": [self._cpu],
            "meta/rss_mb": [peak_rss_mb()],
        }
        for dataset in self._context.phase.datasets:
            if dataset.name in ragged or dataset.name in whole:
                continue
            found = None if self._error else self._found.get(dataset.name.removeprefix("rows/"))
            if dataset.ragged:
                ragged[dataset.name] = self._rows(dataset, found)
            else:
                whole[dataset.name] = self._row(dataset, found)
        return {**one_unit(ragged), **whole}

    def _rows(self, dataset: Any, found: Any) -> Any:
        if found is not None:
            return padded(np.asarray(found, dataset.dtype), dataset.shape)
        is_level = dataset.name.startswith("rows/levels/") and not self._error
        length = self._case.max_steps if is_level else 0
        return np.full((length, *dataset.shape), np.nan if dataset.dtype == "f8" else 0, dataset.dtype)

    def _row(self, dataset: Any, found: Any) -> Any:
        """One number or array of a fixed shape."""
        if found is None:
            return np.full((1, *dataset.shape), np.nan if dataset.dtype == "f8" else 0, dataset.dtype)
        array = np.asarray(found, dataset.dtype)
        if dataset.name.startswith("rows/calibration/"):
            return array[None]
        return padded(array, dataset.shape)
