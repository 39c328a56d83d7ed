"""Figures of a study as a whole: arms over time, actions by arm, throughput."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ...jobs.society.comparison import t_interval
from ...jobs.society.measures import METRICS
from ...jobs.society.residents import resident_id
from ...jobs.society.vocabulary import KIND_NAMES
from ...shard.society.rows import TIMING
from ..style import figure, say_empty
from .results import Result, Values, moments
from .town_figures import ARM_COLORS, draw_activity, draw_arm_actions, draw_steering_heatmap

PANELS = (
    ("cooperation_rate", "Cooperation rate"),
    ("conflicts", "Conflicts per tick"),
    ("gini_all", "Gini of credits"),
    ("satisfaction_mean", "Mean satisfaction"),
)


def arms_of(result: Result) -> list[str]:
    """Return the arms of the study, in order."""
    return list(dict.fromkeys(one.arm for one in result.known))


def arm_series(result: Result, arm: str, metric: str) -> Values:
    """Return f8[replicates, ticks], a metric's mean over the conditions of an arm; NaN where none is there."""
    values = result.ticks[..., METRICS.index(metric)][:, result.where(lambda one: one.arm == arm)]
    there = np.isfinite(values)
    n = there.sum(axis=1)
    total = np.where(there, values, 0.0).sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def draw_arms(result: Result) -> Figure:
    """Cooperation, conflict, inequality and satisfaction over time, an arm a line with its 95 % band."""
    drawn = figure(12, 8)
    panels = drawn.subplots(2, 2, sharex=True)
    for axes, (metric, label) in zip(panels.flat, PANELS, strict=True):
        for arm in arms_of(result):
            triples = moments(arm_series(result, arm, metric))
            found = [t_interval(*triple) for triple in triples]
            ticks = [tick for tick, one in enumerate(found) if one.n]
            mean, low, high = (np.array([getattr(found[t], end) for t in ticks]) for end in ("mean", "low", "high"))
            axes.plot(ticks, mean, color=ARM_COLORS[arm], label=arm, lw=1.6)
            if np.isfinite(low).any():
                axes.fill_between(ticks, low, high, color=ARM_COLORS[arm], alpha=0.2, lw=0)
        axes.set_ylabel(label)
        if metric != "satisfaction_mean":
            axes.set_ylim(bottom=0)  # shares, counts and Gini are not negative, whatever an interval says
    for axes in panels[-1]:
        axes.set_xlabel("Tick")
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[0][0].legend()
    dosed = " (mean over all traits and doses)" if result.dosed_traits else ""
    drawn.suptitle(f"The town over time by arm{dosed}")
    return drawn


def draw_actions(result: Result) -> Figure:
    """Actions by arm."""
    shares = {}
    for arm in arms_of(result):
        mine = [index for index, one in enumerate(result.known) if one.arm == arm]
        counts = result.counts[:, np.array(mine)].sum(axis=(0, 1, 3))
        total = max(int(counts.sum()), 1)
        shares[arm] = {name: float(count / total) for name, count in zip(KIND_NAMES, counts, strict=True)}
    return draw_arm_actions(shares)


def draw_heatmap(result: Result) -> Figure:
    """Coefficients of the residents of the first steered condition."""
    ids = [resident_id(index) for index in range(len(result.coefficients))]
    dose = next((one.dose for one in result.known if one.id == result.coefficient_of), None) or 0.0
    gain = f": a dose of {dose:+g} is a coefficient of {np.sign(dose):+g} with {abs(dose):g} times the gain"
    title = f"Steering coefficients ({result.coefficient_of}){gain if abs(dose) > 1 else ''}"
    return draw_steering_heatmap(ids, result.coefficients, title)


def draw_mean_activity(result: Result) -> Figure:
    """Actions and messages per tick, means over all units."""
    series = []
    for metric in ("n_actions", "n_messages"):
        values = result.ticks[:, :, :, METRICS.index(metric)].reshape(-1, result.ticks.shape[2])
        there = np.isfinite(values).sum(axis=0)
        total = np.nansum(values, axis=0)
        series.append(total[there > 0] / there[there > 0])
    return draw_activity(*series)


def draw_throughput(result: Result) -> Figure:
    """Decisions per CPU second against rows per forward pass, a point a block."""
    drawn = figure(9, 6)
    axes = drawn.subplots()
    if not len(result.timing):
        say_empty(axes, "No unit is there yet.")
        return drawn
    cost = {name: result.timing[:, TIMING.index(name)] for name in TIMING}
    rate = cost["decisions"] / np.maximum(cost["cpu_s"], 1e-9)
    forwards = cost["forwards"]
    if not forwards.any():
        axes.hist(rate, bins=30, color=ARM_COLORS["targeted"])
        axes.set(xlabel="Decisions per CPU second", ylabel="Blocks", title="Throughput (no language model)")
        return drawn
    width = cost["rows"] / np.maximum(forwards, 1e-9)
    axes.scatter(width, rate, color=ARM_COLORS["targeted"], alpha=0.6, s=28)
    axes.set(
        xlabel="Rows per forward pass",
        ylabel="Decisions per CPU second",
        title="Throughput by batch width, a point a block",
    )
    axes.set_ylim(0, 1.1 * max(float(rate.max()), 0.1))
    return drawn
