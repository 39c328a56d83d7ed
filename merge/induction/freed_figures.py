"""Who is freed first, by horizon: exact first-passage probabilities beside the first action's probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...jobs.induction.samples import p_left_of
from ..style import figure, say_empty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .solved import Solved

HUMAN_COLOURS = ("#1F77B4", "#D62728", "#2CA02C", "#9467BD")
TOGETHER, NEITHER = "#FF7F0E", "#7F7F7F"


def outcome_labels(names: list[str]) -> list[str]:
    """Return the outcomes' names in the order of the columns; for a single human without "several at once"."""
    several = ["several at once"] if len(names) > 1 else []
    return [*(f"{name} first" for name in names), *several, "nobody by the end"]


def possible(outcomes: NDArray[Any], humans: int) -> NDArray[Any]:
    """Return columns of outcomes [..., H + 2 or more] without "several at once" where there is a single human."""
    return np.delete(outcomes, 1, axis=-1) if humans == 1 and outcomes.size else outcomes


def outcome_colours(humans: int) -> list[str]:
    """Return the outcomes' colours in the order of `outcome_labels`."""
    several = [TOGETHER] if humans > 1 else []
    return [*(HUMAN_COLOURS[h % len(HUMAN_COLOURS)] for h in range(humans)), *several, NEITHER]


def proxy(solved: Solved) -> NDArray[np.float64]:
    """Return p_left by horizon, f8 [T]: the probability that the robot's first action is to turn right."""
    return np.array([p_left_of(row, solved.case.world.n_actions) for row in solved.root["pi_r"]])


def draw_freed_first(solved: Solved) -> Figure:
    """Draw the probability of each outcome against the horizon (solid), and p_left (dashed)."""
    drawn = figure(9, 5.2)
    axes = drawn.subplots()
    first, humans = solved.root["first"], len(solved.case.world.humans)
    if not len(first):
        say_empty(axes, "The policies were not kept, so nobody knows who is freed first.")
        return drawn
    names = [solved.human_name(h) for h in range(humans)]
    draw_outcomes(axes, np.arange(1, len(first) + 1), first, names)
    p_left = proxy(solved)
    if humans > 1 and np.isfinite(p_left).any():
        axes.plot(
            np.arange(1, len(p_left) + 1), p_left, color="black", ls="--", lw=1.4, label="proxy: turns right at first"
        )
    axes.set_title(f"Who is freed first, {solved.case.world.name}")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return drawn


def draw_outcomes(axes: Axes, x: NDArray[np.int64], first: NDArray[np.float64], names: list[str]) -> None:
    """Draw the outcomes' probabilities f8 [n, H + 2] over horizons."""
    shares = possible(first, len(names))
    marks = [*("osDv"[h % 4] for h in range(len(names))), *("^" if len(names) > 1 else ""), "x"]
    drawn = zip(outcome_labels(names), outcome_colours(len(names)), marks, strict=True)
    for column, (label, colour, mark) in enumerate(drawn):
        axes.plot(x, shares[:, column], color=colour, marker=mark, ms=4.5, label=label)
    axes.set_ylim(-0.03, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Horizon (steps)")
    axes.set_ylabel("Probability")
