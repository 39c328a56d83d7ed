"""Figures of a town: what residents do, how they are steered, how busy they are; of one run or of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...jobs.society.traits import TRAIT_NAMES, TRAITS
from ..style import figure, say_empty

STEEL_BLUE, DARK_GREEN = "#4682B4", "#006400"
ARM_COLORS = {
    "targeted": "#1F77B4",
    "placebo": "#FF7F0E",
    "disabled": "#7F7F7F",
    "prompt": "#2CA02C",
    "hybrid": "#9467BD",
    "random": "#8C564B",
}
MOST_RESIDENTS = 20
HEAT_LIMIT = 1.5


def draw_action_distribution(counts: Mapping[str, int]) -> Figure:
    """Bars of how often each action was taken, by count."""
    drawn = figure(10, 6)
    axes = drawn.subplots()
    if not sum(counts.values()):
        say_empty(axes, "No action was taken.")
        return drawn
    shown = sorted(((count, name) for name, count in counts.items() if count), key=lambda item: (-item[0], item[1]))
    bars = axes.bar([name for _, name in shown], [count for count, _ in shown], color=STEEL_BLUE)
    axes.bar_label(bars, fontsize=9)
    axes.set(xlabel="Action Type", ylabel="Count", title="Action distribution")
    axes.tick_params(axis="x", rotation=35)
    axes.grid(axis="x", visible=False)
    return drawn


def draw_arm_actions(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Shares of actions as bars side by side, one group an action, one colour an arm."""
    drawn = figure(10, 6)
    axes = drawn.subplots()
    arms = list(shares)
    totals = {name: max(shares[arm].get(name, 0.0) for arm in arms) for arm in arms for name in shares[arm]}
    names = [name for name in sorted(totals, key=lambda name: (-totals[name], name)) if totals[name] > 0]
    if not names:
        say_empty(axes, "No action was taken.")
        return drawn
    width = 0.8 / len(arms)
    for position, arm in enumerate(arms):
        place = np.arange(len(names)) + (position - (len(arms) - 1) / 2) * width
        heights = [100 * shares[arm].get(name, 0.0) for name in names]
        axes.bar(place, heights, width, color=ARM_COLORS[arm], label=arm)
    axes.set_xticks(range(len(names)), names, rotation=35)
    axes.set(xlabel="Action Type", ylabel="Share of actions (%)", title="Action distribution by arm")
    axes.grid(axis="x", visible=False)
    axes.legend()
    return drawn


def draw_steering_heatmap(ids: Sequence[str], coefficients: NDArray[np.float32], title: str) -> Figure:
    """Mean coefficient of each trait for the first 20 residents."""
    drawn = figure(10, 8)
    axes = drawn.subplots()
    if not len(ids):
        say_empty(axes, "No resident acted.")
        return drawn
    order = sorted(range(len(ids)), key=lambda index: ids[index])[:MOST_RESIDENTS]
    table = coefficients[order]
    image = axes.imshow(table, cmap="RdBu_r", vmin=-HEAT_LIMIT, vmax=HEAT_LIMIT, aspect="auto")
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            dark = abs(value) > 0.9
            axes.text(column, row, f"{value:+.2f}", ha="center", va="center", fontsize=9, color="w" if dark else "k")
    axes.set_xticks(range(len(TRAITS)), [f"{trait}\n{TRAIT_NAMES[trait]}" for trait in TRAITS])
    axes.set_yticks(range(len(order)), [ids[index] for index in order])
    axes.set_title(title)
    axes.grid(visible=False)
    drawn.colorbar(image, ax=axes, label="Mean steering coefficient")
    return drawn


def draw_activity(actions: NDArray[np.float64], messages: NDArray[np.float64]) -> Figure:
    """Actions and messages per tick."""
    drawn = figure(12, 8)
    panels = drawn.subplots(2, 1, sharex=True)
    series = ((actions, "Actions per tick", STEEL_BLUE), (messages, "Messages per tick", DARK_GREEN))
    for axes, (values, label, color) in zip(panels, series, strict=True):
        if not len(values):
            say_empty(axes, "No tick was run.")
            continue
        axes.plot(np.arange(len(values)), values, color=color, marker="o" if len(values) <= 40 else None, ms=4)
        axes.set_ylabel(label)
        axes.set_ylim(0, 1.1 * max(float(np.max(values)), 1.0))
        axes.grid(alpha=0.3)
    panels[0].set_title("Activity over time")
    panels[-1].set_xlabel("Tick")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    return drawn
