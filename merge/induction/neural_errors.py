"""The errors of a run in a few numbers, and whether they are within what the config allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...jobs.induction.neural.run_settings import ERROR_COLUMNS, LARGEST_COLUMNS, SPOT_ERRORS
from .neural_results import Checked, FittedProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPOT_COLUMN = {"spot_Vm": "Vm_mean", "spot_Ve": "Ve_mean", "spot_log_Vr": "log_Vr_mean"}


@dataclass(frozen=True)
class Measured:
    """One error: its value, and where it is worst (a level, or steps to go), in words."""

    value: float
    where: str


def overall(check: Checked, name: str) -> Measured:
    """Return a column's mean over all non-terminal states (the largest of a largest one), and its worst level.

    A column of visited states is a mean over levels: each is a mean over the exact occupancy already.
    """
    column, sizes = check.levels[name], check.levels["n_states"].astype(np.float64)
    known = np.isfinite(column)
    if not known.any():
        return Measured(math.nan, "")
    level = int(np.nanargmax(column))
    if name in LARGEST_COLUMNS:
        value = float(column[known].max())
    elif name.endswith("_visited"):
        value = float(column[known].mean())
    else:
        value = float((column * sizes)[known].sum() / sizes[known].sum())
    return Measured(value, f"worst at level {level}")


def root_error(problem: FittedProblem, check: Checked, steps: int | None = None) -> float:
    """Return d log(-V_r) at the root (fitted minus exact) with so many steps to go; the horizon's unless given."""
    k = problem.case.max_steps if steps is None else steps
    if problem.exact is None or problem.exact.steps < k:
        return math.nan
    return float(np.log(check.root["Vr"][k - 1] / problem.exact.root["Vr"][k - 1]))


def largest_root_error(problem: FittedProblem, check: Checked) -> tuple[float, int]:
    """Return the largest |d log(-V_r)| at the root over all horizons that are known exactly, and which it is of."""
    if problem.exact is None:
        return math.nan, 0
    errors = [abs(root_error(problem, check, k)) for k in range(1, problem.exact.steps + 1)]
    worst = int(np.argmax(errors))
    return errors[worst], worst + 1


def freed_error(problem: FittedProblem, check: Checked) -> float:
    """Return the largest difference of a freed-first probability, fitted policies against exact ones."""
    exact = problem.exact
    if exact is None or not len(exact.root["first"]) or not len(check.root["first"]):
        return math.nan
    return float(np.abs(check.root["first"][-1] - exact.root["first"][-1]).max())


def spot_means(check: Checked, name: str) -> dict[int, float]:
    """Return the mean of a spot column by steps to go; nan where every state's solve was too large."""
    return {int(k): mean_of(check.spot[name][check.spot["k"] == k]) for k in np.unique(check.spot["k"])}


def mean_of(values: NDArray[np.float64]) -> float:
    """Return the mean of what is known; nan where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def spot_error(check: Checked, name: str) -> Measured:
    """Return the largest mean over steps to go."""
    found = {k: mean for k, mean in spot_means(check, SPOT_COLUMN[name]).items() if math.isfinite(mean)}
    if not found:
        return Measured(math.nan, "")
    k = max(found, key=lambda key: found[key])
    return Measured(found[k], f"worst at {k} steps to go")


def error_of(problem: FittedProblem, check: Checked, name: str) -> Measured:
    """Return one of the errors that `max_error` bounds."""
    if name in ERROR_COLUMNS:
        return overall(check, name)
    if name in SPOT_ERRORS:
        return spot_error(check, name)
    if name == "root_log_Vr":
        return Measured(abs(root_error(problem, check)), "at the root")
    return Measured(freed_error(problem, check), "at the root")


def worst(problem: FittedProblem, name: str, checks: Sequence[Checked] | None = None) -> tuple[float, Checked | None]:
    """Return the largest value of an error over trainings, and whose it is."""
    found = [(error_of(problem, check, name).value, check) for check in (problem.seeds if checks is None else checks)]
    known = [pair for pair in found if math.isfinite(pair[0])]
    return max(known, key=lambda pair: pair[0]) if known else (math.nan, None)


def exceeded(problems: Sequence[FittedProblem]) -> list[str]:
    """Return a line for every error above its bound, worst training; an error that could not be measured is above."""
    lines = []
    for problem in problems:
        for name, bound in (problem.settings.max_error or {}).items():
            value, check = worst(problem, name)
            if check is None:
                lines.append(f"{problem.case.label}: {name} could not be measured (allowed {bound:g})")
            elif value > bound:
                where = error_of(problem, check, name).where
                lines.append(f"{problem.case.label}: {name} is {value:.4g} ({check.name}, {where}), allowed {bound:g}")
    return lines


def spread_over_seeds(problem: FittedProblem, name: str) -> tuple[float, float, float]:
    """Return mean, least and largest of an error over trainings; nan where it was not measured."""
    values = np.array([error_of(problem, check, name).value for check in problem.seeds])
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan, math.nan
    return float(known.mean()), float(known.min()), float(known.max())
