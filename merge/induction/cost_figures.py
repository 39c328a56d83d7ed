"""How problems grow, and what they cost: states, memory and CPU time against the horizon."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ..style import MUTED, figure, say_empty

REFERENCE_WORLD = "asymmetric_freeing_11x6"
REFERENCE_COSTS = (
    (1253, 82.0, 640),
    (1845, 125.0, 883),
    (3741, 313.0, 1534),
    (9109, 588.0, 3038),
)
"""The reference implementation on the 11 x 6 world: states, user CPU seconds, peak resident MB (measured)."""

REFERENCE_GRAPH_ONLY = (70333, 676.0, 4507)
"""The same at horizon 15, where only its state graph could be measured."""

CLAIMED_STATES = ((5, 1253, 1253), (6, 3000, 5000), (8, 8000, 12000), (15, 70333, 70333))
"""States of the 11 x 6 world that its authors give by horizon: least and most."""

METHOD_COLOURS = {"in RAM": "#1F77B4", "spilled": "#D62728", "float32": "#2CA02C", "float16": "#9467BD"}
STRUCTURE_COLOURS = ("#4E79A7", "#A0CBE8", "#F28E2B", "#59A14F", "#8CD17D", "#B6992D", "#BAB0AC", "#D7D3CF")


@dataclass(frozen=True)
class Cost:
    """What one solve took.

    Attributes:
        method: in RAM, spilled, float32 or float16.
        horizon: steps.
        states: states of all levels.
        user_s: user CPU seconds of build and solve, without imports.
        peak_mb: peak resident memory of the process.
    """

    method: str
    horizon: int
    states: int
    user_s: float
    peak_mb: float


def draw_state_growth(level_sizes: Mapping[str, Sequence[int]]) -> Figure:
    """Draw states by horizon, cumulative (left) and per level (right), one line per world.

    Args:
        level_sizes: N_t for t = 0..T, by world.
    """
    drawn = figure(12, 5)
    left, right = drawn.subplots(1, 2)
    for world, sizes in level_sizes.items():
        t = np.arange(len(sizes))
        left.plot(t[1:], np.cumsum(sizes)[1:], marker="o", ms=3.5, label=world)
        right.plot(t, sizes, marker="o", ms=3.5, label=world)
    if REFERENCE_WORLD in level_sizes:
        most = len(level_sizes[REFERENCE_WORLD]) - 1
        known = [claim for claim in CLAIMED_STATES if claim[0] <= most]
        for steps, low, high in known:
            label = "as its authors say" if steps == known[0][0] else None
            left.plot([steps, steps], [low, high], color=MUTED, marker="x", ms=8, lw=1.2, label=label, zorder=4)
    for axes, title, label in (
        (left, "All levels together", "States up to the horizon"),
        (right, "Level by level", "States of a level"),
    ):
        axes.set_yscale("log")
        axes.set_title(title)
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_xlabel("Horizon (steps)")
    right.set_xlabel("Steps done t")
    left.legend(loc="upper left", fontsize=9)
    return drawn


def draw_memory_time(costs: Sequence[Cost], predicted: Mapping[str, Mapping[str, int]], with_reference: bool) -> Figure:
    """Draw peak memory and CPU time against states (log-log), and predicted bytes per structure as stacked bars.

    Args:
        costs: what solves took.
        predicted: bytes by structure, by the bar's label.
        with_reference: whether to show the reference implementation's measured points.
    """
    drawn = figure(15, 5.2)
    memory, seconds, bars = drawn.subplots(1, 3)
    for method, colour in METHOD_COLOURS.items():
        points = sorted((cost.states, cost.peak_mb, cost.user_s) for cost in costs if cost.method == method)
        if points:
            states, peak, user = (list(column) for column in zip(*points, strict=True))
            memory.plot(states, peak, color=colour, marker="o", ms=5, label=method)
            seconds.plot(states, user, color=colour, marker="o", ms=5, label=method)
    if with_reference:
        style = {"ls": "none", "marker": "o", "mfc": "none", "mec": "black", "ms": 7, "label": "reference"}
        memory.plot([n for n, _, _ in REFERENCE_COSTS], [mb for _, _, mb in REFERENCE_COSTS], **style)
        seconds.plot([n for n, _, _ in REFERENCE_COSTS], [s for _, s, _ in REFERENCE_COSTS], **style)
        only = {**style, "mec": MUTED, "marker": "s", "label": "reference, state graph only"}
        n, s, mb = REFERENCE_GRAPH_ONLY
        memory.plot([n], [mb], **only)
        seconds.plot([n], [s], **only)
    for axes, title, label in (
        (memory, "Peak memory of the process", "MB resident"),
        (seconds, "CPU time, imports left out", "user CPU seconds"),
    ):
        axes.set_title(title)
        axes.set_xlabel("States")
        axes.set_ylabel(label)
        if costs or with_reference:
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_minor_formatter(NullFormatter())
                axis.set_major_locator(LogLocator(numticks=8))
            low, high = axes.get_xlim()
            axes.set_xlim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
            low, high = axes.get_ylim()
            axes.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(4 * high)))
            axes.legend(fontsize=9, loc="upper left" if axes is memory else "lower right")
        else:
            say_empty(axes, "Not measured: slabs run in many processes.")
    _draw_bars(bars, predicted)
    return drawn


def _draw_bars(axes: object, predicted: Mapping[str, Mapping[str, int]]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    labels = list(predicted)
    bottom = np.zeros(len(labels))
    names = [name for name in next(iter(predicted.values()), {}) if name != "total"]
    for name, colour in zip(names, STRUCTURE_COLOURS, strict=False):
        heights = np.array([predicted[label][name] / 1e6 for label in labels])
        axes.bar(range(len(labels)), heights, bottom=bottom, color=colour, label=name, width=0.65)
        bottom += heights
    axes.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 3 else 0, fontsize=9)
    axes.set_xlim(-0.6, max(len(labels), 3) - 0.4)
    axes.set_ylim(0, 1.45 * max(bottom.max(initial=1.0), 1.0))
    axes.set_ylabel("MB")
    axes.set_title("Predicted bytes per structure")
    axes.legend(fontsize=8, ncols=2, loc="upper center")
