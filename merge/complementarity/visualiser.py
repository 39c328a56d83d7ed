"""Figures of single configs: every tracker metric, satisfaction and bond, success, and seeds by category.

Mechanisms are told apart by colour, memory patterns by line style, the strategic therapists by marker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ...jobs.complementarity.config_view import ConfigView
from ...jobs.complementarity.params import PATTERNS
from ..style import figure
from .figures import AXIS_LABELS, BLACK, CATEGORY_STYLES, HEADER_COLOR, TABLE_COLORS

MECHANISM_COLORS = {
    "bond_only": "#FF6B6B",
    "frequency_amplifier": "#4ECDC4",
    "conditional_amplifier": "#45B7D1",
    "bond_weighted_conditional_amplifier": "#96CEB4",
    "bond_weighted_frequency_amplifier": "#FFEAA7",
}
PATTERN_LINES: dict[str, Any] = dict(
    zip(
        PATTERNS,
        ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))),
        strict=True,
    )
)
THERAPIST_MARKERS = {"v1": "o", "v2": "s"}
QUANTITIES = {
    "distance": ("Mean octant distance", (-0.2, 4.2)),
    "rate": ("Complementary answers (%)", (-3.0, 103.0)),
}
SUBSETS = {"": "all client octants", "_warm": "warm client octants", "_cold": "cold client octants"}
N_MARKERS = 8
PANEL_COLUMNS = 3
CROWD = 6


def _line(view: ConfigView) -> dict[str, Any]:
    longest = max(len(curve) for curve in view.curves.values())
    return {
        "color": MECHANISM_COLORS[view.mechanism],
        "linestyle": PATTERN_LINES[view.pattern],
        "marker": THERAPIST_MARKERS[view.therapist_version],
        "markevery": max(1, longest // N_MARKERS),
        "markersize": 5,
        "markeredgecolor": "#555555",
        "markeredgewidth": 0.5,
    }


def draw_tracker(views: Sequence[ConfigView], quantity: str) -> Figure:
    """Mean trajectories, enacted (top) and perceived (bottom), over all, warm and cold client octants.

    Args:
        views: one or more views; each is one line per panel.
        quantity: "distance" or "rate".
    """
    title, limits = QUANTITIES[quantity]
    rows = math.ceil(len(views) / 2)
    drawn = figure(15, 8 + 0.25 * rows)
    panels = drawn.subplots(2, 3, sharex=True, sharey=True)
    drawn.suptitle(f"{title} in the tracker's window, mean over seeds")
    for row, perspective in zip(panels, ("enacted", "perceived"), strict=True):
        for axes, (subset, words) in zip(row, SUBSETS.items(), strict=True):
            for view in views:
                curve = view.curves[f"{quantity}_{perspective}{subset}"]
                width = 1.8 if len(views) <= CROWD else 1.0
                axes.plot(np.arange(1, len(curve) + 1), curve, lw=width, label=view.label, **_line(view))
            axes.set_title(f"{perspective}, {words}")
            axes.set_ylim(*limits)
            axes.set_xlim(left=1)
        row[0].set_ylabel(title)
    for axes in panels[1]:
        axes.set_xlabel(AXIS_LABELS["session"])
    drawn.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return drawn


def draw_combined(views: Sequence[ConfigView]) -> Figure:
    """One panel per view: enacted distance (left axis), satisfaction and bond percentiles (right axis).

    Views of several mechanisms make a grid, a row per mechanism and a column per memory pattern and therapist.
    """
    kinds = len({(view.pattern, view.therapist_version) for view in views})
    grid = len({view.mechanism for view in views}) * kinds == len(views) and len(views) > kinds
    columns = kinds if grid else min(PANEL_COLUMNS, len(views))
    rows = math.ceil(len(views) / columns)
    drawn = figure(max(min(6.4, max(4.6, 26 / columns)) * columns, 8.0), 4.2 * rows + 0.9)
    panels = drawn.subplots(rows, columns, squeeze=False, sharex=True)
    drawn.suptitle("Complementarity, satisfaction and bond")
    handles: list[Any] = []
    for number, (axes, view) in enumerate(zip(panels.flat, views, strict=False)):
        color = MECHANISM_COLORS[view.mechanism]
        x = np.arange(1, len(view.curves["distance_enacted"]) + 1)
        right = axes.twinx()
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        right.set_ylim(0, 100)
        handles = [
            *axes.plot(x, view.curves["distance_enacted"], color=BLACK, label="octant distance (left)"),
            *right.plot(x, view.curves["rs_percentile"], color="#B5651D", ls=":", label="satisfaction (right)"),
            *right.plot(x, view.curves["bond_percentile"], color="#6A3D9A", ls="--", label="bond (right)"),
        ]
        axes.set_ylim(*QUANTITIES["distance"][1])
        strategic, baseline = view.success_rates
        axes.set_title(
            f"{view.mechanism}\n{view.pattern}, {view.therapist_version}: "
            f"success {strategic:.0%}, baseline {baseline:.0%}",
            fontsize=10.5,
            bbox={"facecolor": color, "alpha": 0.35, "edgecolor": "none", "pad": 3},
        )
        if number % columns == 0:
            axes.set_ylabel("Mean octant distance")
        if number % columns == columns - 1 or number == len(views) - 1:
            right.set_ylabel("Percentile")
        if number + columns >= len(views):
            axes.set_xlabel(AXIS_LABELS["session"])
            axes.tick_params(labelbottom=True)
    for axes in panels.flat[len(views) :]:
        axes.set_visible(False)
    drawn.legend(handles=handles, loc="outside lower center", ncols=3)
    return drawn


def draw_outcomes(views: Sequence[ConfigView]) -> Figure:
    """Success bars of both therapists, and the seeds of every view by category."""
    n = len(views)
    drawn = figure(14, 2.6 + 0.75 * n)
    bars, lower = drawn.subplots(2, 1, height_ratios=(0.42 * n + 0.6, 0.28 * (n + 1) + 0.3))
    y = np.arange(n)
    for side, (shift, color, label) in enumerate(
        ((-0.2, None, "strategic therapist"), (0.2, "#BBBBBB", "baseline therapist"))
    ):
        rates = [100 * view.success_rates[side] for view in views]
        colors = [color or MECHANISM_COLORS[view.mechanism] for view in views]
        bars.barh(y + shift, rates, height=0.36, color=colors, edgecolor="#666666", lw=0.6, label=label)
        for place, rate in zip(y + shift, rates, strict=True):
            bars.text(rate + 0.8, place, f"{rate:.0f}", va="center", fontsize=9)
    bars.set_yticks(y, [view.label for view in views], fontsize=9.5)
    bars.invert_yaxis()
    bars.set_xlim(0, 106)
    bars.set_xlabel("Clients with success (%): strategic therapist coloured above, baseline gray below")
    bars.set_title("Success of both therapists on the same clients")
    _draw_breakdown(lower, views)
    return drawn


def _draw_breakdown(axes: Any, views: Sequence[ConfigView]) -> None:
    axes.set_axis_off()
    header = ["Seeds", *(label.replace("Advantage", "adv.") for _, _, label, _ in CATEGORY_STYLES), "Total"]
    cells = [[view.label, *(str(count) for count in view.breakdown.values()), str(len(view.seeds))] for view in views]
    table = axes.table(
        cellText=cells,
        colLabels=header,
        cellColours=[["white", *TABLE_COLORS]] * len(views),
        colColours=[HEADER_COLOR] * len(header),
        colWidths=[0.4, 0.12, 0.12, 0.12, 0.12, 0.12],
        cellLoc="center",
        bbox=Bbox.unit(),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9.5)
    for cell in table.get_celld().values():
        cell.set_edgecolor("#999999")
