"""Figures of the complementarity curves: the main one, by category, who is left, and how sure they are."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from ...jobs.complementarity.aggregate import Aggregate
from ...jobs.complementarity.layout import AxisName
from ...jobs.complementarity.moments import GROUPS, Band
from ...jobs.complementarity.statistics import N_RESAMPLES, bootstrap_band, survivorship
from ...jobs.complementarity.tracker import MAIN_METRIC
from ..style import MUTED, figure, say_empty

GREEN, RED, BLACK = "#00AA00", "#CC0000", "#333333"
BLUE, GRAY = "#1F77B4", "#808080"

CURVES: tuple[tuple[str, str, str, float, float], ...] = (
    ("v2_adv", "V2 Advantage", GREEN, 3.0, 1.0),
    ("baseline_adv", "Baseline Advantage", RED, 3.0, 1.0),
    ("remaining", "Remaining", BLACK, 2.0, 0.8),
)
"""Group, label, colour, line width and opacity of the main figure's curves."""

CATEGORY_STYLES: tuple[tuple[str, str, str, str], ...] = (
    ("v2_advantage", "v2_adv", "V2 Advantage", GREEN),
    ("baseline_advantage", "baseline_adv", "Baseline Advantage", RED),
    ("both_success", "both_success", "Both Success", BLUE),
    ("both_fail", "both_fail", "Both Fail", GRAY),
)
"""Category, group, label and colour."""

TABLE_COLORS = ("#90EE90", "#FFCCCB", "#ADD8E6", "#D3D3D3", "white")
HEADER_COLOR = "#E8E8E8"
AXIS_LABELS: dict[AxisName, str] = {
    "session": "Session Number",
    "normalized": "% of Therapy Completed",
    "fork": "Sessions from the First Non-Complementary Answer",
}
DISTANCE_LABEL = "Mean Octant Distance"
DISTANCE_LIMITS = (-0.2, 4.2)


def counted(number: int) -> str:
    """Return a number in groups of three digits, as a reader counts them."""
    return f"{number:,}"


def group_size(aggregate: Aggregate, group: str) -> int:
    """Number of pairs in a group of categories."""
    return int(aggregate.totals[list(GROUPS[group])].sum())


def draw_main(aggregate: Aggregate, axis: AxisName) -> Figure:
    """The study's figure: octant distance over therapy for three groups of clients, and the table of counts.

    Args:
        aggregate: the study's result.
        axis: "session" or "normalized".

    Returns:
        Figure of 14 x 12 inches; bands are one standard deviation over simulations, an empty group has no
        line.
    """
    drawn = figure(14, 12)
    top, bottom = drawn.subplots(2, 1, height_ratios=(3, 0.6))
    for group, label, color, width, opacity in CURVES:
        band = aggregate.band(axis, group)
        if not len(band):
            continue
        x = aggregate.positions(axis)[: len(band)]
        legend = f"{label} (n={counted(group_size(aggregate, group))})"
        top.plot(x, band.mean, color=color, lw=width, alpha=opacity, label=legend, zorder=3)
        top.fill_between(x, band.mean - band.std, band.mean + band.std, color=color, alpha=0.2, lw=0)
    top.axhline(0, color="green", ls=":", lw=1.5, label="Perfect complementarity")
    top.set_ylim(*DISTANCE_LIMITS)
    _set_time(top, aggregate, axis)
    top.set_ylabel(DISTANCE_LABEL, fontsize=15)
    top.set_xlabel(AXIS_LABELS[axis], fontsize=15)
    top.tick_params(labelsize=12)
    top.set_title(
        f"Aggregated Octant Distance Over Time ({counted(int(aggregate.used.sum()))} configs, "
        f"{counted(aggregate.seeds_per_config)} seeds/config)",
        fontsize=17,
        pad=14,
    )
    top.legend(loc="upper right", fontsize=13)
    _draw_counts(bottom, aggregate)
    return drawn


def _set_time(axes: Axes, aggregate: Aggregate, axis: AxisName) -> None:
    if axis == "normalized":
        axes.set_xlim(0, 100)
    elif axis == "session":
        longest = max((len(aggregate.band("session", curve[0])) for curve in CURVES), default=1)
        axes.set_xlim(1, max(longest, 2))


def _draw_counts(axes: Axes, aggregate: Aggregate) -> None:
    axes.set_axis_off()
    totals = aggregate.totals
    pairs = int(totals.sum())
    numbers = [int(n) for n in totals] + [pairs]
    cells = [f"{counted(n)} ({100 * n / pairs if pairs else 0:.1f}%)" for n in numbers]
    header = [label for _, _, label, _ in CATEGORY_STYLES] + ["Total"]
    table = axes.table(
        cellText=[cells],
        colLabels=header,
        cellColours=[list(TABLE_COLORS)],
        colColours=[HEADER_COLOR] * len(header),
        cellLoc="center",
        bbox=Bbox.from_bounds(0.0, 0.15, 1.0, 0.7),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(14)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("#777777")
        if row == 0:
            cell.set_text_props(fontweight="bold")


def draw_categories(aggregate: Aggregate, axis: AxisName) -> Figure:
    """The four categories apart, one panel each, with the band of one standard deviation over simulations."""
    drawn = figure(13, 8.5)
    panels = drawn.subplots(2, 2, sharex=True, sharey=True)
    drawn.suptitle("Octant distance by what became of the client")
    for axes, (_, group, label, color) in zip(panels.flat, CATEGORY_STYLES, strict=True):
        band = aggregate.band(axis, group)
        n = group_size(aggregate, group)
        axes.set_title(f"{label} (n={counted(n)})", color=color, fontweight="bold")
        x = aggregate.positions(axis)[: len(band)]
        if len(band):
            axes.plot(x, band.mean, color=color)
            axes.fill_between(x, band.mean - band.std, band.mean + band.std, color=color, alpha=0.2, lw=0)
        else:
            axes.text(0.5, 0.5, "no client", transform=axes.transAxes, ha="center", color=MUTED)
        axes.axhline(0, color="green", ls=":", lw=1.2)
        axes.set_ylim(*DISTANCE_LIMITS)
        _set_time(axes, aggregate, axis)
    for axes in panels[:, 0]:
        axes.set_ylabel(DISTANCE_LABEL)
    for axes in panels[1]:
        axes.set_xlabel(AXIS_LABELS[axis])
    return drawn


def draw_survivorship(aggregate: Aggregate, axis: AxisName) -> Figure:
    """How many simulations still contribute at every position: what the means above are means of."""
    drawn = figure(13, 5.5)
    absolute, relative = drawn.subplots(1, 2)
    counts = survivorship(aggregate, axis)
    largest = 1
    for category, _, label, color in CATEGORY_STYLES:
        count = counts[category]
        if not len(count):
            continue
        x = aggregate.positions(axis)[: len(count)]
        largest = max(largest, int(count.max()))
        absolute.step(x, count, where="mid", color=color, label=label)
        relative.step(x, 100 * count / count.max(), where="mid", color=color, label=label)
    absolute.set_yscale("log")
    absolute.set_ylim(0.8, 3 * largest)
    absolute.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    absolute.set_ylabel("Simulations in the mean")
    relative.set_ylabel("Share of the category still in therapy (%)")
    relative.set_ylim(0, 103)
    for axes in (absolute, relative):
        axes.set_xlabel(AXIS_LABELS[axis])
        _set_time(axes, aggregate, axis)
    drawn.suptitle("Who is left: therapies that end early leave the mean")
    drawn.legend(*absolute.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return drawn


def draw_bootstrap(aggregate: Aggregate, resamples: int = N_RESAMPLES) -> Figure:
    """Mean distance per session with the 95 % bootstrap interval over configs, one panel per group."""
    drawn = figure(15, 5.2)
    panels = drawn.subplots(1, 3, sharey=True)
    drawn.suptitle("How sure are the means? 95 % bootstrap interval over configs")
    highest = 0.0
    for axes, (group, label, color, _, _) in zip(panels, CURVES, strict=True):
        band = bootstrap_band(aggregate, group, resamples)
        axes.set_title(f"{label} (n={counted(group_size(aggregate, group))})", color=color, fontweight="bold")
        axes.set_xlabel(AXIS_LABELS["session"])
        x = aggregate.positions("session")[: len(band.mean)]
        if len(x):
            axes.plot(x, band.mean, color=color, label="mean")
            axes.fill_between(x, band.low, band.high, color=color, alpha=0.3, lw=0, label="95 % over configs")
            axes.legend(loc="upper right")
            highest = max(highest, float(np.nanmax(np.concatenate((band.mean, band.high)))))
        else:
            axes.text(0.5, 0.5, "no client", transform=axes.transAxes, ha="center", color=MUTED)
        _set_time(axes, aggregate, "session")
    panels[0].set_ylabel(DISTANCE_LABEL)
    panels[0].set_ylim(-0.02 * max(highest, 0.1), 1.25 * max(highest, 0.1))
    return drawn


def draw_metrics(aggregate: Aggregate, axis: AxisName) -> Figure:
    """What else was averaged over therapy, one panel per metric, one line per category."""
    names = [name for name in aggregate.layout.metrics if name != MAIN_METRIC]
    columns = min(3, max(len(names), 1))
    rows = -(-max(len(names), 1) // columns)
    drawn = figure(max(5.2 * columns, 8.0), 3.9 * rows + 1.2)
    panels = drawn.subplots(rows, columns, squeeze=False)
    drawn.suptitle("Further metrics over therapy, mean by what became of the client")
    handles: dict[str, Line2D] = {}
    for axes, name in zip(panels.flat, names, strict=False):
        for _, group, label, color in CATEGORY_STYLES:
            band = aggregate.band(axis, group, name)
            if len(band):
                x = aggregate.positions(axis)[: len(band)]
                handles[label] = axes.plot(x, band.mean, color=color, label=label)[0]
        axes.set_title(name.replace("_", " "))
        axes.set_ylim(*(DISTANCE_LIMITS if name.startswith("distance") else (-3, 103)))
        axes.set_ylabel(DISTANCE_LABEL if name.startswith("distance") else "%")
        axes.set_xlabel(AXIS_LABELS[axis])
        _set_time(axes, aggregate, axis)
    for axes in list(panels.flat)[len(names) :]:
        axes.set_visible(False)
    if handles:
        drawn.legend(handles=list(handles.values()), loc="outside lower center", ncols=4)
    return drawn


def draw_fork(aggregate: Aggregate) -> Figure:
    """Mean distance around the strategic therapist's first non-complementary answer, by category."""
    drawn = figure(12, 6)
    axes = drawn.subplots()
    bands: list[tuple[Band, str, str]] = [
        (aggregate.band("fork", group), label, color) for _, group, label, color in CATEGORY_STYLES
    ]
    if not any(len(band) for band, _, _ in bands):
        say_empty(axes, "The strategic therapist never gave a non-complementary answer.")
        return drawn
    for band, label, color in bands:
        if not len(band):
            continue
        x = aggregate.positions("fork")[: len(band)]
        axes.plot(x, band.mean, color=color, label=f"{label} ({counted(int(band.count.max()))} forked)")
        error = 1.96 * band.sem
        axes.fill_between(x, band.mean - error, band.mean + error, color=color, alpha=0.25, lw=0)
    axes.axvline(0, color=BLACK, ls="--", lw=1.2)
    axes.set_xlim(-20, 60)
    axes.set_ylim(bottom=-0.02)
    axes.set_xlabel(AXIS_LABELS["fork"])
    axes.set_ylabel(DISTANCE_LABEL)
    axes.set_title("Trajectories aligned at the first strategic answer (band: 95 % of the mean)")
    axes.legend(loc="lower right")
    return drawn
