"""Figures across configs: stored against measured advantage, and the distance map of all configs."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ...jobs.complementarity.aggregate import Aggregate
from ...jobs.complementarity.statistics import paired_advantage, stored_against_measured
from ..style import MUTED, figure, say_empty
from .figures import AXIS_LABELS, BLACK, BLUE, RED, counted

EMPTY_COLOR = "#E9E9E9"
CONFIGS_AT_ONCE = 100
MAP_GROUPS = (
    ("V2 Advantage", (0,)),
    ("Baseline Advantage", (1,)),
    ("Remaining", (2, 3)),
)


def draw_agreement(aggregate: Aggregate) -> Figure:
    """Advantage that the search stored against the one measured here, with 95 % intervals."""
    drawn = figure(13, 6)
    scatter, shrinkage = drawn.subplots(1, 2, width_ratios=(1.15, 1))
    kept = aggregate.used & np.isfinite(aggregate.stored_advantage)
    if not kept.any():
        say_empty(scatter, "No config has a stored and a measured advantage.")
        shrinkage.set_axis_off()
        return drawn
    counts = aggregate.categories[kept]
    stored = aggregate.stored_advantage[kept]
    measured, low, high = paired_advantage(counts[:, 0], counts[:, 1], aggregate.n_seeds[kept])
    # The interval is centred on a shrunken estimate; with few seeds it may end short of the estimate itself.
    error = np.maximum(np.vstack((measured - low, high - measured)), 0.0)
    size = 26 if len(stored) <= 100 else 9
    scatter.errorbar(
        stored,
        measured,
        error,
        fmt="none",
        ecolor=BLUE,
        elinewidth=0.7,
        alpha=0.35 if len(stored) <= 100 else 0.12,
        zorder=2,
    )
    scatter.scatter(stored, measured, s=size, color=BLUE, alpha=0.75, lw=0, zorder=3)
    ends = np.array([min(stored.min(), low.min()), max(stored.max(), high.max())])
    pad = 0.04 * max(float(np.ptp(ends)), 0.01)
    limits = (ends[0] - pad, ends[1] + pad)
    scatter.plot(limits, limits, color=BLACK, ls="--", lw=1.2, label="equal")
    scatter.set(xlim=limits, ylim=limits)
    scatter.set(xlabel="Advantage stored by the search", ylabel="Advantage measured here")
    scatter.axhline(0, color=MUTED, lw=0.8)
    scatter.axvline(0, color=MUTED, lw=0.8)
    found = stored_against_measured(aggregate)
    rho = "" if found["spearman"] is None else f"Spearman ρ = {found['spearman']:.2f}, "
    scatter.set_title(f"{rho}{counted(len(stored))} configs")
    scatter.legend(loc="upper left")

    order = np.argsort(stored, kind="stable")
    groups = np.array_split(order, min(10, len(order)))
    x = np.arange(1, len(groups) + 1)
    shrinkage.plot(x, [stored[g].mean() for g in groups], "o--", color=RED, label="stored by the search")
    shrinkage.plot(x, [measured[g].mean() for g in groups], "o-", color=BLUE, label="measured here")
    shrinkage.axhline(0, color=MUTED, lw=0.8)
    shrinkage.set_xticks(x)
    shrinkage.set_xlabel("Groups of configs by stored advantage, lowest first")
    shrinkage.set_ylabel("Mean advantage")
    shrinkage.set_title("What is left of a large stored advantage")
    shrinkage.legend(loc="upper left")
    return drawn


def draw_distance_map(aggregate: Aggregate) -> Figure:
    """Heat maps of the mean distance: configs (sorted by measured advantage) by sessions, one per group."""
    drawn = figure(15, 7.5)
    if not aggregate.used.any():
        say_empty(drawn.subplots(), "No config was simulated.")
        return drawn
    panels = drawn.subplots(1, len(MAP_GROUPS), sharey=True)
    drawn.suptitle("Mean octant distance by config and session")
    advantage = aggregate.measured_advantage
    kept = np.flatnonzero(aggregate.used)
    order = kept[np.argsort(-advantage[kept], kind="stable")]
    blocks = [order[first : first + CONFIGS_AT_ONCE] for first in range(0, len(order), CONFIGS_AT_ONCE)]
    length = aggregate.layout.axis_length
    values, n_values = np.empty(len(MAP_GROUPS) * len(order) * length), 0
    for (_, categories), block in itertools.product(MAP_GROUPS, blocks):
        means = aggregate.config_means(categories, block)
        finite = means[np.isfinite(means)]
        values[n_values : n_values + len(finite)] = finite
        n_values += len(finite)
    highest = max(float(np.percentile(values[:n_values], 99.5, overwrite_input=True)) if n_values else 0.0, 0.1)
    del values
    scale = ScalarMappable(Normalize(0, highest), colormaps["viridis"].with_extremes(bad=EMPTY_COLOR))
    for axes, (label, categories) in zip(panels, MAP_GROUPS, strict=True):
        grids = (np.ma.masked_invalid(aggregate.config_means(categories, block)) for block in blocks)
        axes.grid(visible=False)
        axes.imshow(
            np.concatenate([scale.to_rgba(grid, bytes=True) for grid in grids]),
            aspect="auto",
            interpolation="nearest",
            extent=(0.5, length + 0.5, len(order) + 0.5, 0.5),
        )
        axes.set_title(label, fontweight="bold")
        axes.set_xlabel(AXIS_LABELS["session"])
    ticks = np.unique(np.linspace(1, len(order), min(len(order), 6)).round().astype(int))
    labels = [f"{advantage[order[tick - 1]]:+.3f}".replace("-", "\N{MINUS SIGN}") for tick in ticks]
    panels[0].set_yticks(ticks, labels)
    panels[0].set_ylabel(f"{counted(len(order))} configs by measured advantage, largest on top")
    bar = drawn.colorbar(scale, ax=list(panels), shrink=0.8, extend="max")
    bar.set_label("Mean octant distance (gray: no such client in therapy)")
    return drawn
