"""What trainings and exact solves of a run took: CPU time and memory against states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ..style import figure

if TYPE_CHECKING:
    from .neural_results import FittedProblem

COLOURS = {"exact": "#1F77B4", "exact, spilled": "#17BECF", "training": "#D62728", "check": "#FF7F0E"}
MARKS = {"exact": "o", "exact, spilled": "v", "training": "s", "check": "^"}


@dataclass(frozen=True)
class FittedCost:
    """What one computation took.

    Attributes:
        problem: its label.
        method: exact (and whether spilled), training or check.
        seed: of a training or check; empty for an exact solve.
        steps: horizon that it is of.
        states: non-terminal states, as far as they were counted.
        is_counted: whether these are all.
        cpu_s: CPU seconds (exact: user, of build and solve).
        peak_mb: peak resident memory of the process.
    """

    problem: str
    method: str
    seed: str
    steps: int
    states: int
    is_counted: bool
    cpu_s: float
    peak_mb: float


def costs_of(problems: Sequence[FittedProblem]) -> list[FittedCost]:
    """Return what everything took that was measured."""
    found = []
    for problem in problems:
        label, steps = problem.case.label, problem.case.max_steps
        whole = problem.is_validated
        exact = problem.exact
        if exact is not None and exact.user_s is not None and exact.peak_mb is not None:
            method = "exact, spilled" if problem.case.settings.get("spill") == "always" else "exact"
            found.append(FittedCost(label, method, "", exact.steps, exact.n_states, True, exact.user_s, exact.peak_mb))
        for training in problem.trainings:
            if not training.error:
                found.append(
                    FittedCost(
                        label,
                        "training",
                        str(training.seed),
                        steps,
                        problem.n_states,
                        whole,
                        training.cpu_s,
                        training.peak_mb,
                    )
                )
        found += [
            FittedCost(label, "check", check.name, steps, problem.n_states, whole, check.cpu_s, check.peak_mb)
            for check in problem.all
        ]
    return found


def draw_cost(costs: Sequence[FittedCost]) -> Figure:
    """Draw CPU seconds and peak memory against states, log-log; an arrow where there are more than were counted."""
    drawn = figure(13, 5.2)
    left, right = drawn.subplots(1, 2)
    for axes, name, title in ((left, "cpu_s", "CPU seconds"), (right, "peak_mb", "Peak memory of the process (MB)")):
        for method, colour in COLOURS.items():
            own = [cost for cost in costs if cost.method == method]
            values = [getattr(cost, name) for cost in own]
            states = [cost.states for cost in own]
            if not own:
                continue
            axes.plot(states, values, color=colour, marker=MARKS[method], ms=6, ls="none", label=method, alpha=0.8)
            for cost, value in zip(own, values, strict=True):
                if not cost.is_counted:
                    axes.annotate(
                        "",
                        (cost.states * 2.2, value),
                        (cost.states * 1.08, value),
                        arrowprops={"arrowstyle": "->", "color": colour},
                    )
        axes.set(xscale="log", yscale="log", title=title, xlabel="States before the horizon")
        states, values = [cost.states for cost in costs], [getattr(cost, name) for cost in costs]
        axes.set_xlim(10 ** math.floor(math.log10(min(states))), 10 ** math.ceil(math.log10(2.5 * max(states))))
        axes.set_ylim(10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values))))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
            axis.set_major_locator(LogLocator(numticks=8))
    left.legend(fontsize=9, loc="best")
    drawn.suptitle("Exact solves and trainings: what they cost")
    return drawn


def crossing(costs: Sequence[FittedCost]) -> str:
    """Return in words whether a training was ever cheaper than an exact solve of the same problem in this run."""
    pairs = [
        (exact, training)
        for exact in costs
        for training in costs
        if exact.method.startswith("exact")
        and training.method == "training"
        and exact.problem == training.problem
        and exact.steps == training.steps
    ]
    if not pairs:
        return "No problem of this run was solved exactly at its full horizon, so that costs cannot be compared."
    wins = [training for exact, training in pairs if training.cpu_s < exact.cpu_s]
    least = min(training.cpu_s / max(exact.cpu_s, 1e-9) for exact, training in pairs)
    if not wins:
        return (
            f"The exact solver wins wherever its tables fit: here a training took at least {least:.0f} times the CPU "
            "time of the exact solve of the same problem, and the exact answer has no error."
        )
    return f"A training was cheaper than the exact solve for {len({cost.problem for cost in wins})} problem(s)."
