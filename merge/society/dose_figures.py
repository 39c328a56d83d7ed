"""Figures of a dose-response study: probes, behaviour, bleed, and what steering costs in fluency."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...jobs.society.comparison import Interval
from ...jobs.society.traits import TRAIT_NAMES, TRAITS
from ...jobs.society.vocabulary import KIND_NAMES
from ..style import MUTED, figure, say_empty
from .results import Result
from .town_figures import ARM_COLORS

ACTIONS_SHOWN = 6
MARKERS = {"targeted": "o", "placebo": "s", "random": "^", "hybrid": "D"}


def curve(axes: Axes, result: Result, series: list[int], outcome: str, arm: str, scale: float = 1.0) -> None:
    """Draw an outcome over doses with its 95 % band."""
    found = [result.interval(index, outcome) for index in series]
    there = [(result.known[index].dose or 0.0, one) for index, one in zip(series, found, strict=True) if one.n]
    if not there:
        return
    x = [dose for dose, _ in there]
    color = ARM_COLORS[arm]
    axes.plot(x, [scale * one.mean for _, one in there], color=color, marker=MARKERS.get(arm, "o"), ms=4.5, label=arm)
    low, high = ([scale * getattr(one, end) for _, one in there] for end in ("low", "high"))
    if np.isfinite(low).any():
        axes.fill_between(x, low, high, color=color, alpha=0.2, lw=0)


def doses_of(result: Result) -> list[float]:
    """Return all doses in rising order."""
    return sorted({one.dose for one in result.known if one.dose is not None})


def draw_dose_response(result: Result) -> Figure:
    """The probe score of each trait over its dose, one line an arm."""
    drawn = figure(15, 4.4)
    panels = drawn.subplots(1, len(TRAITS), sharey=True)
    for axes, trait in zip(panels, TRAITS, strict=True):
        axes.set_title(TRAIT_NAMES[trait].capitalize())
        axes.set_xlabel("Dose")
        axes.axhline(0, color=MUTED, lw=0.8)
        for arm, override in result.dosed_arms:
            curve(axes, result, result.series(trait, arm, override), f"probe_{trait}", arm)
        if trait not in result.dosed_traits:
            say_empty(axes, "not steered")
        axes.set_xticks(doses_of(result))
    panels[0].set_ylabel("Probe score (nats per token)" if result.config.model_name != "mock" else "Probe score")
    legend_of(panels[0])
    drawn.suptitle("Answers of steered residents: log-probability of the high minus the low answer")
    return drawn


def legend_of(axes: Axes) -> None:
    """Add a legend that names each arm once."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    if once:
        axes.legend(once.values(), once.keys(), fontsize=9, loc="best")


def frequent_actions(result: Result) -> list[str]:
    """Return the most frequent kinds of action of the study."""
    totals = result.counts.sum(axis=(0, 1, 3))
    order = np.argsort(-totals, kind="stable")[:ACTIONS_SHOWN]
    return [KIND_NAMES[index] for index in order if totals[index]]


def draw_behaviour(result: Result) -> Figure:
    """Shares of the most frequent actions over the dose, a row a trait; one scale an action."""
    actions, traits = frequent_actions(result), result.dosed_traits
    drawn = figure(2.6 * max(len(actions), 1) + 1.0, 2.1 * len(traits) + 1.0)
    panels = drawn.subplots(len(traits), max(len(actions), 1), sharex=True, sharey="col", squeeze=False)
    for row, trait in zip(panels, traits, strict=True):
        for axes, action in zip(row, actions, strict=True):
            for arm, override in result.dosed_arms:
                curve(axes, result, result.series(trait, arm, override), f"share_{action}", arm, 100.0)
            axes.set_xticks(doses_of(result))
            axes.tick_params(labelsize=9)
        row[0].set_ylabel(TRAIT_NAMES[trait].capitalize(), fontsize=11)
    for axes, action in zip(panels[0], actions, strict=True):
        axes.set_title(action.replace("_", " "))
        axes.set_ylim(bottom=0)
    for axes in panels[-1]:
        axes.set_xlabel("Dose", fontsize=10)
    legend_of(panels[0][-1])
    drawn.suptitle("Behaviour over the dose: share of all actions (%)")
    return drawn


def draw_bleed(doses: pd.DataFrame) -> Figure:
    """Slope of every trait's probe score per unit of the steered trait's dose, an arm a panel."""
    arms = [arm for arm in dict.fromkeys(doses["arm"]) if arm in ("targeted", "placebo", "hybrid", "random")]
    drawn = figure(6.2 * len(arms) + 0.8, 5.6)
    panels = drawn.subplots(1, len(arms), squeeze=False)[0]
    tables = {arm: bleed_matrix(doses, arm) for arm in arms}
    largest = max((np.nanmax(np.abs(table)) for table in tables.values() if np.isfinite(table).any()), default=1.0)
    image = None
    for axes, arm in zip(panels, arms, strict=True):
        table = np.round(tables[arm], 2)
        image = axes.imshow(table, cmap="RdBu_r", vmin=-largest, vmax=largest)
        for row, values in enumerate(table):
            for column, value in enumerate(values):
                if np.isfinite(value):
                    color = "w" if abs(value) > 0.6 * largest else "k"
                    axes.text(column, row, f"{value + 0.0:+.2f}", ha="center", va="center", fontsize=10, color=color)
        axes.set_xticks(range(len(TRAITS)), TRAITS)
        axes.set_yticks(range(len(TRAITS)), TRAITS)
        axes.set(xlabel="Measured trait", ylabel="Steered trait", title=arm)
        axes.grid(visible=False)
    if image is not None:
        drawn.colorbar(image, ax=list(panels), label="Slope of the probe score per unit of dose", shrink=0.85)
    drawn.suptitle("Bleed: what steering one trait does to the answers on all")
    return drawn


def bleed_matrix(doses: pd.DataFrame, arm: str) -> np.ndarray:
    """Return f8[5, 5], steered by measured trait; NaN where a trait was not steered."""
    table = np.full((len(TRAITS), len(TRAITS)), np.nan)
    rows = doses[(doses["arm"] == arm) & (doses["override"] == "")]
    slopes = rows.set_index(["trait", "outcome"])["slope"]
    for row, steered in enumerate(TRAITS):
        for column, measured in enumerate(TRAITS):
            table[row, column] = slopes.get((steered, f"probe_{measured}"), np.nan)
    return table


def draw_fluency(contrasts: pd.DataFrame) -> Figure:
    """Change of fluency against change of the probe score, against dose 0: a panel a trait, a point a condition."""
    drawn = figure(15, 5.2)
    rows = contrasts[(contrasts["kind"] == "reference") & contrasts["dose"].notna()]
    points: dict[str, list[tuple[str, str, Interval, Interval]]] = {}
    for (condition, arm, trait), group in rows.groupby(["condition_id", "arm", "trait"], sort=False):
        effect, cost = (interval_of(group, name) for name in (f"probe_{trait}", "fluency"))
        if effect is not None and cost is not None:
            dose = str(condition).removeprefix(f"{arm}-{trait}")
            points.setdefault(str(trait), []).append((dose, str(arm), effect, cost))
    if not points:
        text = "Fluency was not measured: it needs a language model and utterances at the probed ticks."
        say_empty(drawn.subplots(), text)
        return drawn
    panels = drawn.subplots(1, len(points), sharey=True, squeeze=False)[0]
    for axes, trait in zip(panels, sorted(points, key=TRAITS.index), strict=True):
        axes.set_title(TRAIT_NAMES[trait].capitalize())
        axes.axhline(0, color=MUTED, lw=0.8)
        axes.axvline(0, color=MUTED, lw=0.8)
        for dose, arm, effect, cost in points[trait]:
            draw_cost(axes, dose, arm, effect, cost)
    panels[0].set_ylabel("Change of fluency (nats per token)")
    drawn.supxlabel("Change of the steered trait's probe score (nats per token)")
    drawn.suptitle("What steering costs: fluency of utterances against the effect on answers, both against dose 0")
    legend_of(panels[0])
    return drawn


def draw_cost(axes: Axes, dose: str, arm: str, effect: Interval, cost: Interval) -> None:
    """Draw one condition with its intervals, hollow where it has none; a targeted one with its dose."""
    is_single = bool(np.isnan(cost.low))
    axes.errorbar(
        effect.mean,
        cost.mean,
        xerr=None if np.isnan(effect.low) else [[effect.mean - effect.low], [effect.high - effect.mean]],
        yerr=None if is_single else [[cost.mean - cost.low], [cost.high - cost.mean]],
        color=ARM_COLORS[arm],
        marker=MARKERS.get(arm, "o"),
        mfc="white" if is_single else ARM_COLORS[arm],
        ms=5,
        lw=1,
        label=arm,
    )
    if arm == "targeted":
        place = (effect.mean, cost.mean)
        axes.annotate(dose, place, xytext=(5, 5), textcoords="offset points", fontsize=10, fontweight="bold")


def interval_of(group: pd.DataFrame, metric: str) -> Interval | None:
    """Return the interval of a metric's difference; None where there is none."""
    rows = group[group["metric"] == metric]
    if rows.empty or not rows["n"].iloc[0]:
        return None
    row = rows.iloc[0]
    return Interval(int(row["n"]), row["difference"], row["ci_low"], row["ci_high"], float("nan"))
