"""Figures of a finished search: history, what mattered, where the strategic therapist helps and where not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from ...jobs.complementarity.params import INERT_IN_V2
from ...jobs.complementarity.search_analysis import (
    MODERATE,
    POWER,
    TIGHT,
    advantage_by_baseline,
    best_trials,
    convergence,
    extremes_contrast,
    negative_results,
    parameter_names,
    power_projection,
)
from ..style import MUTED, figure, say_empty
from .figures import BLACK, BLUE, GRAY, GREEN, RED, counted
from .words import inert_tag

LABEL_COLORS = {"TIGHT": GREEN, "MODERATE": "#E69F00", "WIDE": GRAY}


def _named(parameter: str) -> str:
    return parameter + inert_tag(parameter)


def draw_history(frame: pd.DataFrame) -> Figure:
    """Advantage of every trial in the order of the search, and the best one so far."""
    drawn = figure(11, 5.5)
    axes = drawn.subplots()
    if frame.empty:
        say_empty(axes, "No trial is complete.")
        return drawn
    axes.scatter(frame["number"], frame["value"], s=16, color=BLUE, alpha=0.6, lw=0, zorder=3, label="trial")
    axes.plot(frame["number"], frame["value"].cummax(), color=RED, drawstyle="steps-post", label="best so far")
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.set(xlabel="Trial", ylabel="Advantage of the strategic therapist")
    axes.set_title(f"Search history ({counted(len(frame))} trials)")
    axes.legend(loc="lower right")
    return drawn


def draw_importance(importances: Mapping[str, float]) -> Figure:
    """Importance of the parameters as `search_analysis.importance` gives it."""
    drawn = figure(10, 5.5)
    axes = drawn.subplots()
    if not importances:
        say_empty(axes, "Too few trials to tell which parameters matter.")
        return drawn
    names = list(importances)[::-1]
    shares = [100 * importances[name] for name in names]
    axes.barh([_named(name) for name in names], shares, color=[GRAY if n in INERT_IN_V2 else BLUE for n in names])
    for place, share in enumerate(shares):
        axes.text(share + 0.4, place, f"{share:.1f}", va="center", fontsize=9.5)
    axes.set_xlim(0, 1.12 * max(*shares, 1.0))
    axes.set_xlabel("Importance (PED-ANOVA, %)")
    axes.set_title("What distinguishes the best trials")
    return drawn


def draw_parallel(frame: pd.DataFrame, top: int = 15) -> Figure:
    """Parallel coordinates of the best trials, each parameter over its tried range."""
    names = [name for name in parameter_names(frame) if pd.api.types.is_numeric_dtype(frame[name])]
    drawn = figure(14, 6.5)
    axes = drawn.subplots()
    if frame.empty or not names:
        say_empty(axes, "No trial is complete.")
        return drawn
    best = best_trials(frame, top)
    low, high = frame[names].min(), frame[names].max()
    scaled = (best[names] - low) / (high - low).where(high > low, 1.0)
    x = np.arange(len(names))
    for rank, values in enumerate(scaled.to_numpy()[::-1]):
        share = rank / max(len(best) - 1, 1)
        axes.plot(x, values, "o-", ms=4, color=colormaps["viridis_r"](0.05 + 0.9 * share), alpha=0.9)
    axes.set_xticks(x, [name.replace("_", "\n") for name in names], fontsize=9)
    for place, name in enumerate(names):
        axes.text(place, 1.03, f"{high[name]:.4g}", ha="center", va="bottom", fontsize=9, color=MUTED)
        axes.text(place, -0.03, f"{low[name]:.4g}", ha="center", va="top", fontsize=9, color=MUTED)
        axes.axvline(place, color="#BBBBBB", lw=0.8, zorder=0)
    axes.set_ylim(-0.1, 1.1)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False)
    axes.grid(visible=False)
    axes.set_title(
        f"The {len(best)} best trials (darkest: advantage {best['value'].iloc[0]:+.3f}); numbers: range of all trials"
    )
    return drawn


def draw_success(frame: pd.DataFrame) -> Figure:
    """Success of both therapists in every trial, and the advantage by the baseline's success."""
    drawn = figure(13, 5.8)
    scatter, bins = drawn.subplots(1, 2)
    known = frame.dropna(subset=["omniscient_success", "complementary_success"])
    if known.empty:
        say_empty(scatter, "The trials store no success rates.")
        bins.set_axis_off()
        return drawn
    x, y = known["complementary_success"], known["omniscient_success"]
    scatter.plot([0, 1], [0, 1], color=BLACK, ls="--", lw=1.2)
    for chosen, color, label in (
        (known["value"] > 0, GREEN, "strategic better"),
        (known["value"] < 0, RED, "baseline better"),
        (known["value"] == 0, GRAY, "equal"),
    ):
        scatter.scatter(
            x[chosen], y[chosen], s=16, alpha=0.6, lw=0, color=color, label=f"{label} ({int(chosen.sum())})"
        )
    scatter.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    scatter.set(xlabel="Success rate of the baseline", ylabel="Success rate of the strategic therapist")
    scatter.legend(loc="upper left")
    table = advantage_by_baseline(known)
    places = np.arange(len(table))
    bins.bar(places, table["mean_advantage"].fillna(0), color=BLUE, width=0.6, label="mean")
    bins.scatter(places, table["largest_advantage"], color=GREEN, zorder=3, label="largest")
    bins.axhline(0, color=BLACK, lw=0.8)
    labels = [f"{row.low:.0%} to {row.high:.0%}\n{row.n_trials} trials" for row in table.itertuples()]
    bins.set_xticks(places, labels, fontsize=9.5)
    bins.set(xlabel="Success rate of the baseline", ylabel="Advantage")
    bins.legend(loc="upper right")
    return drawn


def draw_contrast(frame: pd.DataFrame) -> Figure:
    """How parameters differ between the best and the worst trials, and how closely the best agree."""
    drawn = figure(14, 5.8)
    if frame.empty:
        say_empty(drawn.subplots(), "No trial is complete.")
        return drawn
    effects, scores = drawn.subplots(1, 2)
    contrast, agreement = extremes_contrast(frame), convergence(frame)
    contrast = contrast[np.isfinite(contrast["cohens_d"])][::-1]
    if contrast.empty:
        say_empty(effects, "Too few trials to compare the best with the worst.")
    else:
        effects.barh(
            [_named(name) for name in contrast["parameter"]],
            contrast["cohens_d"],
            color=[GREEN if d > 0 else RED for d in contrast["cohens_d"]],
        )
        effects.axvline(0, color=BLACK, lw=0.8)
        effects.set_xlabel("Cohen's d, best against worst tenth")
        effects.set_title("Larger (green) or smaller (red) in the best trials")
    if agreement.empty:
        say_empty(scores, "No numeric parameter was searched.")
        return drawn
    agreement = agreement.sort_values("score", ascending=False, kind="stable")
    scores.barh(
        [_named(name) for name in agreement["parameter"]],
        agreement["score"],
        color=[LABEL_COLORS[label] for label in agreement["label"]],
    )
    for place, (score, label) in enumerate(zip(agreement["score"], agreement["label"], strict=True)):
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        scores.text(score + 0.012, place, label, va="center", fontsize=9, bbox=behind)
    for edge in (TIGHT, MODERATE):
        scores.axvline(edge, color=BLACK, ls=":", lw=1)
    scores.set_xlim(0, max(0.5, 1.25 * float(agreement["score"].max())))
    scores.set_xlabel("IQR of the best 15 / range of all")
    scores.set_title("Do the best trials agree?")
    return drawn


def draw_power(frame: pd.DataFrame) -> Figure:
    """Power to confirm the best trial by the number of clients, with and without correction."""
    drawn = figure(10, 5.5)
    axes = drawn.subplots()
    known = frame.dropna(subset=["omniscient_success", "complementary_success"])
    if known.empty:
        say_empty(axes, "The trials store no success rates.")
        return drawn
    best = best_trials(known, 1).iloc[0]
    rates = float(best["omniscient_success"]), float(best["complementary_success"])
    for n_tests, color, label in (
        (1, BLUE, "one test"),
        (len(frame), RED, f"Bonferroni, {len(frame)} trials"),
    ):
        table, needed = power_projection(*rates, n_tests)
        need = f"{counted(int(needed))} clients for 80 %" if np.isfinite(needed) else "equal rates"
        axes.plot(table["n_seeds"], 100 * table["power"], "o-", color=color, label=f"{label}: {need}")
    axes.axhline(100 * POWER, color=BLACK, ls=":", lw=1)
    axes.set_xscale("log")
    axes.set_xticks(list(table["n_seeds"]), [counted(int(n)) for n in table["n_seeds"]])
    axes.minorticks_off()
    axes.set_ylim(0, 103)
    axes.set(xlabel="Clients per therapist", ylabel="Power (%)")
    axes.set_title(f"Confirming the best trial: {rates[0]:.1%} against {rates[1]:.1%} success")
    axes.legend(loc="lower right")
    return drawn


def draw_negative(frame: pd.DataFrame) -> Figure:
    """Distribution of the advantage over all trials: how often the strategic therapist does not help."""
    drawn = figure(11, 5.2)
    axes = drawn.subplots()
    if frame.empty:
        say_empty(axes, "No trial is complete.")
        return drawn
    found = negative_results(frame)
    values = frame["value"].to_numpy()
    # An odd number of bins around 0 keeps trials without any difference in a bin of their own.
    reach = max(float(np.abs(values).max()), 0.01)
    edges = np.linspace(-reach, reach, 42)
    counts, _ = np.histogram(values, edges)
    colors = [GREEN if left >= 0 else RED if right <= 0 else GRAY for left, right in itertools.pairwise(edges)]
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colors, edgecolor="white", lw=0.4)
    axes.axvline(0, color=BLACK, lw=1)
    axes.axvline(found["median_advantage"], color=BLUE, ls="--", label=f"median {found['median_advantage']:+.3f}")
    axes.set(xlabel="Advantage of the strategic therapist", ylabel="Trials")
    axes.set_title(
        f"{found['n_positive']} trials with an advantage, {found['n_zero']} without difference, "
        f"{found['n_negative']} with a disadvantage"
    )
    axes.legend(loc="upper left")
    return drawn
