"""Who is freed first, by horizon: exact first-passage probabilities beside the first action's probability."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    """Return the outcomes' names in the order of the columns."""
    return [*(f"{name} first" for name in names), "several at once", "nobody by the end"]


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
    if np.isfinite(p_left).any():
        axes.plot(
            np.arange(1, len(p_left) + 1), p_left, color="black", ls="--", lw=1.4, label="proxy: turns right at first"
        )
    axes.set_title(f"Who is freed first, {solved.case.world.name}")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return drawn


def draw_outcomes(axes: Axes, x: NDArray[np.int64], first: NDArray[np.float64], names: list[str]) -> None:
    """Draw the outcomes' probabilities f8 [n, H + 2] over horizons."""
    colours = [*(HUMAN_COLOURS[h % len(HUMAN_COLOURS)] for h in range(len(names))), TOGETHER, NEITHER]
    marks = [*("osDv"[h % 4] for h in range(len(names))), "^", "x"]
    for column, (label, colour, mark) in enumerate(zip(outcome_labels(names), colours, marks, strict=True)):
        axes.plot(x, first[:, column], color=colour, marker=mark, ms=4.5, label=label)
    axes.set_ylim(-0.03, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Horizon (steps)")
    axes.set_ylabel("Probability")
