"""Figures that need a run's own results: learning curves, what prototypes found, the ablation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...jobs.conspec.worlds import WORLDS, grid_world
from ...shard.conspec.rows import event_kinds
from ..style import figure
from .intervals import interval_of
from .search_figures import colour_of

if TYPE_CHECKING:
    from ...jobs.conspec.config import Environment
    from .stored import Study

WIDEST_CONFIDENCE = 1.96  # standard errors on either side of a mean
ABLATED = ("success_rate", "auc_success")
WORDS = {"success_rate": "success rate, last 100", "auc_success": "share of successes, all episodes"}


def worlds_with_trials(study: Study) -> list[str]:
    """Return the worlds with a COMPLETE trial."""
    return [world for world, trials in study.searches.items() if len(trials.complete)]


def rows_with_peaks(study: Study) -> dict[str, int]:
    """Return the best trial's row of the worlds in which its prototypes have rewarded peaks."""
    best = {world: study.best_row(world) for world in study.searches}
    return {world: row for world, row in best.items() if row is not None and study.searches[world].counts[row].any()}


def worlds_with_pairs(study: Study) -> list[str]:
    """Return the worlds of which a trial was trained again without ConSpec."""
    return [world for world in study.searches if len(study.pairs(world).numbers)]


def event_columns(environment: Environment, world: str) -> list[int]:
    """Return the kinds of events that a world has, in their order, and the column of no event."""
    if environment.family == "delayed":
        return [*range(WORLDS.index(world) + 1), 4, 5]
    grid = grid_world(world, environment.size)
    keys, doors = (sorted(colour - 1 for colour in places) for places in (grid.keys, grid.doors))
    return [*keys, *(3 + door for door in doors), *([6] if grid.green_goal else []), 7, 8]


def draw_curves(study: Study) -> Figure:
    """Draw mean return over episodes: of all trials, the best one, those with a twin, and the twins without ConSpec."""
    worlds = worlds_with_trials(study)
    drawn = figure(6 * len(worlds), 4.6)
    for axes, world in zip(np.atleast_1d(drawn.subplots(1, len(worlds))), worlds, strict=True):
        draw_world_curves(axes, study, world)
    return drawn


def draw_world_curves(axes: Axes, study: Study, world: str) -> None:
    """Draw the curves of one world."""
    trials = study.searches[world]
    axes.set_title(f"{world.capitalize()}")
    rows = trials.complete
    sizes = trials.block_episodes[rows[0]]
    shown = sizes > 0
    centres = (np.cumsum(sizes) - sizes / 2)[shown]
    curves = trials.curves["reward"][rows][:, shown]
    mean = curves.mean(axis=0)
    axes.plot(centres, mean, color=colour_of(world), label=f"mean of {len(rows)} trials")
    if len(rows) > 1:
        error = WIDEST_CONFIDENCE * curves.std(axis=0, ddof=1) / math.sqrt(len(rows))
        axes.fill_between(centres, mean - error, mean + error, color=colour_of(world), alpha=0.2, linewidth=0)
    best = study.best_row(world)
    if best is not None:
        label = f"best: trial {trials.number[best]}"
        axes.plot(centres, trials.curves["reward"][best][shown], color="#222222", linewidth=2.6, label=label)
    pairs = study.pairs(world)
    if study.ablation is not None and len(pairs.numbers):
        twins = study.ablation.curves["reward"][pairs.without][:, shown].mean(axis=0)
        count = len(pairs.numbers)
        plural = "" if count == 1 else "s"
        if count < len(rows):
            paired = trials.curves["reward"][pairs.with_conspec][:, shown].mean(axis=0)
            axes.plot(
                centres, paired, color=colour_of(world), linestyle="-.", label=f"{count} trial{plural} with a twin"
            )
        axes.plot(
            centres, twins, color="#888888", linestyle="--", label=f"without ConSpec ({count} twin{plural} of these)"
        )
    axes.set_xlabel("episode")
    axes.set_ylabel("mean return")
    axes.legend(fontsize=9)


def draw_prototypes(study: Study) -> Figure:
    """Draw which events the rewarded peaks of the best trial's prototypes stand near, per world."""
    rows = rows_with_peaks(study)
    names_of_kinds = [*event_kinds(study.config.environment.family), "none"]
    heights = [1.6 + 0.45 * len(study.searches[world].activated[row]) for world, row in rows.items()]
    drawn = figure(11, max(sum(heights) + 0.6, 3))
    panels = np.atleast_1d(drawn.subplots(len(rows), 1, height_ratios=heights))
    for axes, (world, row) in zip(panels, rows.items(), strict=True):
        axes.grid(visible=False)
        trials = study.searches[world]
        columns = event_columns(study.config.environment, world)
        kinds = [names_of_kinds[column] for column in columns]
        counts, activated = trials.counts[row][:, columns], trials.activated[row]
        total = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for prototype, kind in np.ndindex(*counts.shape):
            colour = "white" if shares[prototype, kind] > 0.55 else "#333333"
            axes.text(kind, prototype, str(counts[prototype, kind]), ha="center", va="center", fontsize=9, color=colour)
        names = [
            f"prototype {k + 1} (from episode {episode})" if episode >= 0 else f"prototype {k + 1} (never active)"
            for k, episode in enumerate(activated)
        ]
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks(range(len(kinds)), kinds, rotation=20, ha="right")
        axes.tick_params(length=0)
        axes.set_title(f"{world.capitalize()}, trial {trials.number[row]}: rewarded peaks of the last 100 episodes")
    return drawn


def draw_ablation(study: Study) -> Figure:
    """Draw each pair of twins with and without ConSpec, per world and metric."""
    worlds = worlds_with_pairs(study)
    drawn = figure(5.4 * len(ABLATED), 4.4 * len(worlds))
    panels = drawn.subplots(len(worlds), len(ABLATED), squeeze=False)
    for line, world in zip(panels, worlds, strict=True):
        for axes, metric in zip(line, ABLATED, strict=True):
            draw_pairs(axes, study, world, metric)
    return drawn


def draw_pairs(axes: Axes, study: Study, world: str, metric: str) -> None:
    """Draw the pairs of one world."""
    pairs, differences = study.pairs(world), study.differences(world, metric)
    assert study.ablation is not None
    with_ = study.searches[world].metrics[metric][pairs.with_conspec]
    without = study.ablation.metrics[metric][pairs.without]
    for first, second in zip(with_, without, strict=True):
        axes.plot([0, 1], [first, second], color=colour_of(world), alpha=0.45, linewidth=1.2, marker="o", markersize=6)
    axes.plot([0, 1], [with_.mean(), without.mean()], color="#222222", linewidth=2.6, marker="D", label="mean")
    axes.set_xticks([0, 1], ["with ConSpec", "without"])
    axes.set_xlim(-0.35, 1.35)
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel(WORDS[metric])
    found = interval_of(metric, differences, least=-1.0)
    spread = f"\n95 % interval {found.low:+.3f} to {found.high:+.3f}" if found.known else ""
    axes.set_title(f"{world.capitalize()}: mean difference {found.mean:+.3f}{spread}", fontsize=11)
    axes.legend(fontsize=9)
