"""Figures of the search that need result records alone: rewards, what parameters do, the best trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ...jobs.conspec.analysis import best_of, histogram
from ...jobs.conspec.worlds import WORLDS
from ..style import figure, say_empty
from .space import Scale

Record = Mapping[str, Any]
COLOURS = {"single": "#0072B2", "double": "#D55E00", "triple": "#009E73", "quad": "#AA4499"}
MARKERS = {"single": "o", "double": "s", "triple": "^", "quad": "D"}
JITTER = 0.01
MARGIN = 0.06
JITTER_SEED = 20230523
BAR = 0.35


def by_world(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of each world, worlds in their order, trials by number."""
    worlds: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda item: int(item["trial"])):
        worlds.setdefault(str(record["environment"]), []).append(record)
    known = [world for world in WORLDS if world in worlds]
    return {world: worlds[world] for world in [*known, *sorted(worlds.keys() - set(known))]}


def colour_of(world: str) -> str:
    """Return a world's colour."""
    return COLOURS.get(world, "#555555")


def column(records: Sequence[Record], name: str) -> np.ndarray:
    """Return one result of records, NaN where it is absent."""
    values = [record["results"].get(name) for record in records]
    return np.array([np.nan if value is None else float(value) for value in values])


def draw_rewards(records: Sequence[Record]) -> Figure:
    """Draw a histogram of mean reward per world."""
    worlds = by_world(records)
    drawn = figure(max(5 * len(worlds), 6), 4)
    panels = np.atleast_1d(drawn.subplots(1, max(len(worlds), 1)))
    if not worlds:
        say_empty(panels[0], "no data")
    for axes, (world, trials) in zip(panels, worlds.items(), strict=False):
        axes.set_title(f"{world.capitalize()} Environment")
        values = column(trials, "mean_reward")
        finite = values[np.isfinite(values)]
        _, edges = histogram(values)
        axes.hist(finite, bins=edges.tolist(), edgecolor="black", alpha=0.7, color=colour_of(world))
        if len(finite):
            axes.axvline(float(finite.mean()), color="red", linestyle="--", label="Mean")
            axes.legend()
        axes.set_xlabel("Mean Reward")
        axes.set_ylabel("Frequency")
        axes.yaxis.get_major_locator().set_params(integer=True)
    return drawn


def jittered(values: np.ndarray, ends: tuple[float, float], log: bool, generator: np.random.Generator) -> np.ndarray:
    """Return choices moved by at most 1 % of their range, so that points do not hide each other.

    Args:
        values: where the points stand.
        ends: the least and the greatest choice.
        log: whether the axis is logarithmic.
        generator: draws the moves.
    """
    moves = generator.uniform(-JITTER, JITTER, len(values))
    low, high = ends
    if low == high:
        return values + moves * (abs(low) or 1.0)
    return values * (high / low) ** moves if log else values + moves * (high - low)


def widened(ends: tuple[float, float], log: bool) -> tuple[float, float]:
    """Return the limits of an axis whose outermost choices shall not stand on its border."""
    low, high = ends
    if low == high:
        room = MARGIN * (abs(low) or 1.0)
        return low - room, high + room
    if log:
        return low * (low / high) ** MARGIN, high * (high / low) ** MARGIN
    return low - MARGIN * (high - low), high + MARGIN * (high - low)


def draw_impact(records: Sequence[Record], scales: Sequence[Scale]) -> Figure:
    """Draw mean reward against every parameter."""
    n_columns = 3
    n_rows = max(1, -(-len(scales) // n_columns))
    drawn = figure(5 * n_columns, 4 * n_rows)
    panels = np.atleast_1d(drawn.subplots(n_rows, n_columns)).ravel()
    generator = np.random.Generator(np.random.PCG64(JITTER_SEED))
    worlds = by_world(records)
    for axes, scale in zip(panels, scales, strict=False):
        draw_one_impact(axes, worlds, scale, generator)
    for axes in panels[len(scales) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        drawn.legend(handles, labels, loc="outside lower center", ncols=max(len(labels), 1))
    return drawn


def draw_one_impact(
    axes: Axes, worlds: Mapping[str, Sequence[Record]], scale: Scale, generator: np.random.Generator
) -> None:
    """Draw mean reward against one parameter."""
    numeric = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in scale.choices)
    places = [float(choice) if numeric else scale.place(choice) for choice in scale.choices]
    ends = (min(places), max(places)) if places else (0.0, 0.0)
    log = scale.log or (numeric and ends[1] >= 4 * ends[0] > 0)
    for world, every in worlds.items():
        records = [record for record in every if scale.name in record["hyperparameters"]]
        given = [record["hyperparameters"][scale.name] for record in records]
        x = np.array(given, float) if numeric else np.array([scale.place(value) for value in given])
        y = column(records, "mean_reward")
        axes.scatter(
            jittered(x, ends, log, generator) if places else x,
            y,
            alpha=0.6,
            color=colour_of(world),
            marker=MARKERS.get(world, "o"),
            s=28,
            linewidths=0,
            label=world,
        )
        for choice, place in zip(scale.choices, places, strict=True):
            chosen = np.array([value == choice for value in given])
            if chosen.any():
                axes.plot(
                    [place],
                    [np.median(y[chosen])],
                    marker="_",
                    markersize=22,
                    color=colour_of(world),
                    markeredgewidth=2.5,
                )
    if log:
        axes.set_xscale("log")
    if places:
        axes.set_xticks(places, [str(choice) for choice in scale.choices])
        axes.set_xlim(*widened(ends, log))
        axes.minorticks_off()
    axes.set_title(f"Impact of {scale.name}")
    axes.set_xlabel(scale.name)
    axes.set_ylabel("Mean Reward")


def draw_best(records: Sequence[Record], metric: str, direction: str) -> Figure:
    """Draw mean reward and success rate of the best trial of each world on two axes."""
    worlds = by_world(records)
    drawn = figure(10, 6)
    axes = drawn.subplots()
    axes.set_title("Best Configuration Performance by Environment")
    if not worlds:
        say_empty(axes, "no data")
        return drawn
    other = axes.twinx()
    best = [trials[best_of(column(trials, metric), direction)] for trials in worlds.values()]
    places = np.arange(len(best))
    bars = (
        (axes, -BAR / 2, column(best, "mean_reward"), "#4C78A8", "Mean Reward", "{:.3f}"),
        (other, BAR / 2, column(best, "success_rate"), "#F2A541", "Success Rate", "{:.2f}"),
    )
    for side, shift, values, colour, label, form in bars:
        drawn_bars = side.bar(places + shift, values, BAR, color=colour, label=label)
        side.bar_label(drawn_bars, [form.format(value) for value in values], padding=3)
        side.set_ylabel(label)
    axes.set_xlim(-0.5 - BAR, len(best) - 0.5 + BAR)
    axes.set_ylim(0, 1.15 * max([1e-9, *(float(value) for value in bars[0][2] if np.isfinite(value))]))
    other.set_ylim(0, 1.15)
    other.set_yticks(np.linspace(0, 1, 6))
    other.grid(visible=False)
    other.spines["right"].set_visible(True)
    axes.set_xticks(places, [f"{world}\ntrial {item['trial']}" for world, item in zip(worlds, best, strict=True)])
    drawn.legend(loc="outside lower center", ncols=2)
    return drawn


def draw_parallel(records: Sequence[Record], scales: Sequence[Scale], metric: str, direction: str) -> Figure:
    """Draw one line per trial over all parameters and mean reward, per world."""
    worlds = by_world(records)
    drawn = figure(15, 4.2 * max(len(worlds), 1))
    panels = np.atleast_1d(drawn.subplots(max(len(worlds), 1), 1))
    if not worlds:
        say_empty(panels[0], "no data")
    for axes, (world, trials) in zip(panels, worlds.items(), strict=False):
        draw_world_parallel(drawn, axes, world, trials, scales, best_of(column(trials, metric), direction))
    return drawn


def extent(values: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest finite value, twice 0 where there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)


def unit_places(values: np.ndarray, log: bool) -> tuple[np.ndarray, tuple[str, str]]:
    """Return values as shares of their range, and the labels of its two ends."""
    low, high = extent(values)
    ends = (f"{low:.3g}", f"{high:.3g}")
    if high == low:
        return np.full(len(values), 0.5), ends
    if log:
        return np.log(values / low) / np.log(high / low), ends
    return (values - low) / (high - low), ends


def draw_world_parallel(
    drawn: Figure, axes: Axes, world: str, trials: Sequence[Record], scales: Sequence[Scale], best: int
) -> None:
    """Draw the lines of one world."""
    rewards = column(trials, "mean_reward")
    lines, names = [], [*(scale.name for scale in scales), "mean_reward"]
    for place, scale in enumerate(scales):
        has = np.array([scale.name in record["hyperparameters"] for record in trials])
        given = [record["hyperparameters"][scale.name] for record, known in zip(trials, has, strict=True) if known]
        heights = np.full(len(trials), np.nan)  # a line has a gap where its trial lacks the parameter
        if scale.choices:
            top = max(len(scale.choices) - 1, 1)
            shares = np.array([scale.place(value) / top if len(scale.choices) > 1 else 0.5 for value in given])
            marks = {
                (index / top if len(scale.choices) > 1 else 0.5): str(choice)
                for index, choice in enumerate(scale.choices)
            }
        else:
            shares, ends = unit_places(np.array(given, float), scale.log)
            marks = {0.0: ends[0], 1.0: ends[1]} if ends[0] != ends[1] else {0.5: ends[0]}
        heights[has] = shares
        lines.append(heights)
        if given:
            label_axis(axes, place, marks)
    shares, ends = unit_places(rewards, False)
    lines.append(shares)
    label_axis(axes, len(scales), {0.0: ends[0], 1.0: ends[1]} if ends[0] != ends[1] else {0.5: ends[0]})
    low, high = extent(rewards)
    norm = Normalize(low, high if high > low else low + 1.0)
    colours = colormaps["viridis"]
    for row in np.argsort(rewards, kind="stable"):
        axes.plot([line[row] for line in lines], color=colours(norm(rewards[row])), alpha=0.55, linewidth=1.2)
    axes.plot(
        [line[best] for line in lines], color="#C1121F", linewidth=3.2, label=f"best: trial {trials[best]['trial']}"
    )
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axes.set_yticks([])
    axes.set_ylim(-0.08, 1.08)
    axes.set_xlim(-0.35, len(names) - 0.35)
    axes.grid(visible=True, axis="x", alpha=0.8)
    axes.spines["left"].set_visible(False)
    axes.set_title(f"{world.capitalize()}: {len(trials)} trials")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, borderpad=0.1)
    mappable = ScalarMappable(norm, colours)
    drawn.colorbar(mappable, ax=axes, label="mean reward", pad=0.01, fraction=0.025)


def label_axis(axes: Axes, place: int, marks: Mapping[float, str]) -> None:
    """Write the values of one vertical axis beside it."""
    for height, text in marks.items():
        axes.text(
            place + 0.03,
            height,
            text,
            fontsize=9,
            va="center",
            ha="left",
            color="#333333",
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
            zorder=5,
        )
