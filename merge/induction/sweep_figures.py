"""Figures of a sweep: coefficients, scatter plots with fitted curves, scatter-plot matrices, outcomes by horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...jobs.induction.regression import SHARES, Regression, significance
from ..style import MUTED, figure, say_empty
from .freed_figures import draw_outcomes, outcome_colours, outcome_labels, possible
from .sweep_pairs import thinned

if TYPE_CHECKING:
    from .sweep_results import Swept

RED, GREY, POINTS = "#C62828", "#8A8A8A", "#3B6FB6"
BINS = 20
SHORT = {
    "max_steps": "T",
    "beta_h": r"$\beta_h$",
    "gamma_h": r"$\gamma_h$",
    "gamma_r": r"$\gamma_r$",
    "zeta": r"$\zeta$",
    "eta": r"$\eta$",
    "xi": r"$\xi$",
    "p_left": "p_left",
    "pi_r_ratio": r"$\pi_r$, left turn",
    "Q_r_ratio": r"$|Q_r|$, left turn",
    "X_h_ratio": "$X_h$ share, {0}",
    "p_first_h1": "P({0} first)",
    "p_first_h2": "P({1} first)",
    "p_first_neither": "P(nobody)",
    "p_disabled_pause": "P(pause disabled)",
    "p_disabled_kill": "P(kill disabled)",
    "neg_log2_negV_r": r"$-\log_2(-V_r)$",
    "log2_X_h1": r"$\log_2 X_h$, {0}",
    "log2_X_h2": r"$\log_2 X_h$, {1}",
    "log2_X_h_diff": r"$\log_2 X_h$, {0} - {1}",
}
"""Names on axes; {0} and {1} are the humans'."""


def short(swept: Swept, name: str) -> str:
    """Return a variable's name on an axis."""
    return swept.named(SHORT.get(name, name)).replace("left human", "left").replace("right human", "right")


def too_few(drawn: Figure) -> Figure:
    """Return the figure that says that a sweep is too small to be explained."""
    say_empty(drawn.subplots(), "Fewer than ten parameter sets, or none that vary: nothing to explain.")
    return drawn


def draw_coefficients(swept: Swept) -> Figure:
    """Draw univariate effects of one standard deviation with 95 % intervals: red significant, grey not."""
    outcomes = [name for name in swept.drawn_outcomes if name in SHARES]
    drawn = figure(4.0 + 3.6 * min(len(outcomes), 4), 1.6 + 3.3 * -(-max(len(outcomes), 1) // 4))
    if not outcomes or not swept.predictors:
        return too_few(drawn)
    columns = min(len(outcomes), 4)
    panels = drawn.subplots(-(-len(outcomes) // columns), columns, squeeze=False)
    interval = "" if swept.config.grid else ", 95 % interval"
    drawn.suptitle(f"Change of log-odds with one standard deviation of a parameter (univariate{interval})")
    for axes, outcome in zip(panels.flat, outcomes, strict=False):
        for place, predictor in enumerate(swept.predictors[::-1]):
            model = swept.univariate.get((outcome, predictor))
            if model is not None:
                spread = float(np.std(swept.columns[predictor], ddof=1))
                _draw_effect(axes, place, model, spread, is_sample=not swept.config.grid)
        axes.axvline(0, color="black", lw=0.8)
        axes.set_yticks(range(len(swept.predictors)), [short(swept, name) for name in swept.predictors[::-1]])
        axes.set_title(short(swept, outcome))
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="y", visible=False)
    for axes in list(panels.flat)[len(outcomes) :]:
        axes.set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel("log-odds")
    return drawn


def _draw_effect(axes: Axes, place: int, model: Regression, spread: float, *, is_sample: bool) -> None:
    coef, se = float(model.coef[-1]) * spread, float(model.se[-1]) * spread
    if not is_sample:
        axes.plot([coef], [place], "o", color=POINTS, ms=6)
        return
    colour = RED if model.p[-1] < 0.05 else GREY
    axes.errorbar([coef], [place], xerr=[1.96 * se], fmt="o", color=colour, capsize=3, ms=5)


def draw_scatter(swept: Swept, outcome: str) -> Figure:
    """Draw a share against each predictor with the fitted univariate curve, and its histogram."""
    if outcome not in swept.outcomes:
        return too_few(figure(8, 4))
    drawn = figure(15, 7.2)
    panels = drawn.subplots(2, 4)
    drawn.suptitle(f"{short(swept, outcome)} against the parameters")
    y, rows = swept.values(outcome), thinned(swept.n)
    for axes, predictor in zip(panels.flat, swept.predictors, strict=False):
        x = swept.columns[predictor].astype(np.float64)
        axes.scatter(x[rows], y[rows], s=8 if swept.n > 300 else 22, color=POINTS, alpha=0.35, lw=0)
        model = swept.univariate.get((outcome, predictor))
        if model is not None:
            at = np.linspace(x.min(), x.max(), 200)
            axes.plot(at, 1.0 / (1.0 + np.exp(-(model.coef[0] + model.coef[1] * at))), color=RED, lw=2.2)
            axes.set_title(f"{model.coef[1]:+.3g} {significance(float(model.p[1])) or '(n.s.)'}", fontsize=11)
        axes.set_xlabel(short(swept, predictor))
        axes.set_ylim(-0.03, 1.03)
    rest = list(panels.flat)[len(swept.predictors) :]
    if rest:
        rest[0].hist(y, bins=BINS, color=POINTS, alpha=0.8)
        rest[0].set_xlabel(short(swept, outcome))
        rest[0].set_ylabel("parameter sets")
    for axes in rest[1:]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel(short(swept, outcome))
    return drawn


def _panel(axes: Axes, swept: Swept, x_name: str, y_name: str) -> None:
    x, y, found = swept.values(x_name), swept.values(y_name), swept.pairs[x_name, y_name]
    rows = thinned(swept.n)
    axes.scatter(x[rows], y[rows], s=3 if swept.n > 300 else 9, color=POINTS, alpha=0.3, lw=0, rasterized=True)
    axes.plot(found.at, found.fitted, color=RED, lw=1.5)
    if found.label:
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6}
        at: dict[str, Any] = {"transform": axes.transAxes, "ha": "left", "va": "top", "fontsize": 8}
        axes.text(0.04, 0.96, found.label, bbox=box, zorder=6, **at)
    axes.tick_params(labelsize=7)
    axes.grid(False)


def draw_regressors_by_outcomes(swept: Swept) -> Figure:
    """Draw every outcome against every predictor with LOWESS, Pearson's r and stars."""
    rows, columns = swept.drawn_outcomes, swept.predictors
    if not rows or not columns:
        return too_few(figure(8, 4))
    drawn = figure(2.0 + 1.75 * len(columns), 1.4 + 1.45 * len(rows))
    panels = drawn.subplots(len(rows), len(columns), squeeze=False, sharex="col", sharey="row")
    drawn.suptitle("Outcomes (rows) by parameters (columns): LOWESS in red, Pearson's r")
    for i, outcome in enumerate(rows):
        for j, predictor in enumerate(columns):
            _panel(panels[i, j], swept, predictor, outcome)
            if i == len(rows) - 1:
                panels[i, j].set_xlabel(short(swept, predictor), fontsize=11)
        panels[i, 0].set_ylabel(short(swept, outcome), fontsize=9)
    return drawn


def draw_square_matrix(swept: Swept, names: tuple[str, ...], title: str) -> Figure:
    """Draw variables against each other, histograms on the diagonal."""
    if len(names) < 2:
        return too_few(figure(8, 4))
    drawn = figure(1.8 + 1.6 * len(names), 1.4 + 1.5 * len(names))
    panels = drawn.subplots(len(names), len(names), squeeze=False)
    drawn.suptitle(title)
    for i, row in enumerate(names):
        for j, column in enumerate(names):
            axes = panels[i, j]
            if i == j:
                axes.hist(swept.values(row), bins=BINS, color=POINTS, alpha=0.8)
                axes.set_yticks([])
                axes.tick_params(labelsize=7)
                axes.grid(False)
            elif i > j:
                _panel(axes, swept, column, row)
            else:
                axes.set_visible(False)
            if i == len(names) - 1:
                axes.set_xlabel(short(swept, column), fontsize=10)
            if j == 0:
                axes.set_ylabel(short(swept, row), fontsize=9)
    return drawn


def draw_first_by_horizon(swept: Swept) -> Figure:
    """Draw mean first-passage probabilities by horizon (left), and which outcome is the most probable (right)."""
    drawn = figure(14, 5.4)
    left, right = drawn.subplots(1, 2)
    names = [swept.human_name(h) for h in range(swept.humans)]
    triples, _ = swept.metric("p_first")
    count, mean, m2 = triples[0, 0], triples[0, 1], triples[0, 2]
    horizons = np.flatnonzero(count[:, 0] > 0)
    draw_outcomes(left, horizons + 1, mean[horizons], names)
    colours, is_sample = outcome_colours(swept.humans), not swept.config.grid
    with np.errstate(invalid="ignore", divide="ignore"):
        error = 1.96 * np.sqrt(m2 / np.maximum(count - 1, 1) / np.maximum(count, 1))
    low, high = (possible(edge[horizons], swept.humans) for edge in (mean - error, mean + error))
    for column, colour in enumerate(colours if is_sample else ()):
        left.fill_between(horizons + 1, low[:, column], high[:, column], color=colour, alpha=0.2, lw=0)
    left.set_title(f"Mean over parameter sets, by steps to go{' (band: 95 %)' if is_sample else ''}")
    left.set_ylim(-0.03, 1.36)
    left.legend(loc="upper center", fontsize=9, ncols=2)
    counts, bottom = possible(swept.counts, swept.humans), np.zeros(len(swept.strata))
    for column, (label, colour) in enumerate(zip([*outcome_labels(names), "tie"], [*colours, "#D9D9D9"], strict=True)):
        heights = counts[:, column].astype(float)
        if heights.any():
            right.bar([str(s) for s in swept.strata], heights, bottom=bottom, color=colour, label=label, alpha=0.9)
        bottom += heights
    right.set_xlabel("Horizon (steps)")
    right.set_ylabel("parameter sets")
    right.set_ylim(0, 1.3 * max(bottom.max(initial=1.0), 1.0))
    right.set_title("Most probable outcome")
    right.legend(fontsize=9, ncols=2, loc="upper center")
    return drawn


def draw_phase_diagram(swept: Swept) -> Figure:
    """Draw P(the first human is freed first) over two swept parameters, with the contour at 0.5."""
    grid = swept.config.grid or {}
    if len(grid) != 2:
        drawn = figure(8, 4)
        say_empty(drawn.subplots(), "A phase diagram needs a grid of exactly two parameters.")
        return drawn
    (x_name, x_values), (y_name, y_values) = grid.items()
    drawn = figure(8.4, 6.2)
    axes = drawn.subplots()
    table = np.full((len(x_values), len(y_values)), np.nan)
    table.reshape(-1)[swept.columns["index"]] = swept.columns["p_first"][:, 0]
    x, y = (np.array([float(value) for value in values]) for values in (x_values, y_values))
    if len(x) < 2 or len(y) < 2:
        say_empty(axes, "A phase diagram needs two values or more of each parameter.")
        return drawn
    picture = axes.pcolormesh(x, y, table.T, cmap="viridis", vmin=0, vmax=1, shading="nearest")
    if np.nanmin(table) < 0.5 < np.nanmax(table):
        lines = axes.contour(x, y, table.T, levels=[0.5], colors="white", linewidths=2.0)
        axes.clabel(lines, fmt="0.5", fontsize=10)
    drawn.colorbar(picture, ax=axes, label=f"P({swept.human_name(0)} is freed first)")
    axes.grid(False)
    axes.set_xlabel(short(swept, x_name), fontsize=14)
    axes.set_ylabel(short(swept, y_name), fontsize=14)
    axes.set_title(f"Who is freed first, {swept.world.name}")
    axes.tick_params(colors="black")
    for spine in axes.spines.values():
        spine.set_color(MUTED)
    return drawn
