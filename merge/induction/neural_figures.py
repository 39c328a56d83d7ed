"""Figures of the errors of fitted values: by level, calibration, the root by horizon, spot checks, learning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..style import MUTED, figure, say_empty
from .freed_figures import HUMAN_COLOURS, outcome_colours, outcome_labels, possible
from .neural_errors import mean_of
from .policy_map import ACTION_COLOURS, ACTION_NAMES
from .solved import human_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .neural_results import Checked, FittedProblem

SEED_COLOURS = ("#1F77B4", "#D62728", "#2CA02C", "#9467BD", "#8C564B", "#17BECF")
ENSEMBLE_COLOUR = "black"
ESTIMATE_COLOUR = "#8A8A8A"
QUANTITY_COLOURS = {"Vm": "#1F77B4", "Ve": "#D62728", "log_Vr": "#2CA02C"}
LABELS = {"Vm": r"$|\Delta V^m|$", "Ve": r"$|\Delta V^e|$", "log_Vr": r"$|\Delta \log(-V_r)|$"}
PANELS = (
    ("Vm", r"Cautious values $|\Delta V^m|$", "Vm_mean", "Vm_max"),
    ("Ve", r"Effective values $|\Delta V^e|$", "Ve_mean", "Ve_max"),
    ("log_Vr", r"Robot value $|\Delta\log(-V_r)|$", "log_Vr_mean", "log_Vr_max"),
    ("", r"Total variation of $\pi_r$", "tv_pi_r", ""),
)
LEAST = 1e-9
"""What lies below is no error but rounding, and not drawn: the last level is exact."""


def seed_colour(place: int) -> str:
    """Return the colour of a training by its place."""
    return SEED_COLOURS[place % len(SEED_COLOURS)]


def coloured(problem: FittedProblem) -> list[tuple[Checked, str, float]]:
    """Return the checks with colour and line width, single trainings first."""
    found = [(check, seed_colour(place), 1.1) for place, check in enumerate(problem.seeds)]
    return found + ([(problem.ensemble, ENSEMBLE_COLOUR, 2.6)] if problem.ensemble else [])


def handles_of(problem: FittedProblem, extra: Sequence[Line2D] = ()) -> list[Line2D]:
    """Return the legend of trainings and ensemble."""
    return [
        *(Line2D([], [], color=colour, lw=width, label=check.name) for check, colour, width in coloured(problem)),
        *extra,
    ]


def draw_error_by_level(problem: FittedProblem) -> Figure:
    """Draw mean and largest errors against the level, log scale: against truth where there is one, else estimates."""
    drawn = figure(12.5, 8.2)
    panels = drawn.subplots(2, 2, sharex=True).ravel()
    for axes, (name, title, mean, largest) in zip(panels, PANELS, strict=True):
        for check, colour, width in coloured(problem):
            if problem.is_validated:
                _line(axes, check.levels[mean], color=colour, lw=width)
                _line(axes, check.levels[f"{mean}_visited"], color=colour, lw=width, ls="--")
                if largest and check is problem.best:
                    _line(axes, check.levels[largest], color=colour, lw=1.0, ls="-.")
            _spots(axes, problem, check, mean, colour)
            if name and (check is problem.best or not problem.is_validated):
                own = ESTIMATE_COLOUR if problem.is_validated else colour
                _line(axes, check.levels[f"accumulated_{name}"], color=own, lw=max(1.6, width), ls=":")
        axes.set_yscale("log")
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels[2:]:
        axes.set_xlabel("Steps done t")
    for axes in (panels[0], panels[2]):
        axes.set_ylabel("Error")
    drawn.suptitle(f"Errors of fitted values by level, {problem.case.label}")
    kinds = [Line2D([], [], color=ESTIMATE_COLOUR, ls=":", lw=2, label="estimate: accumulated residual")]
    kinds.append(Line2D([], [], color=MUTED, marker="D", ls="none", label="spot truth, mean"))
    if problem.is_validated:
        kinds += [
            Line2D([], [], color=MUTED, label="mean over all states"),
            Line2D([], [], color=MUTED, ls="--", label="mean over visited states"),
            Line2D([], [], color=MUTED, ls="-.", lw=1.0, label="largest of any state"),
        ]
    drawn.legend(handles=handles_of(problem, kinds), loc="outside lower center", ncols=5, fontsize=9)
    return drawn


def _line(axes: Axes, column: NDArray[np.float64], **style: Any) -> None:
    axes.plot(np.arange(len(column)), np.where(column > LEAST, column, np.nan), **style)


def _spots(axes: Axes, problem: FittedProblem, check: Checked, name: str, colour: str) -> None:
    for k in np.unique(check.spot["k"]):
        mean = mean_of(check.spot[name][check.spot["k"] == k])
        if mean > LEAST:
            axes.plot(
                [problem.case.max_steps - int(k)],
                [mean],
                color=colour,
                marker="D",
                ms=4.5,
                ls="none",
                zorder=5,
            )


def draw_calibration(problem: FittedProblem) -> Figure:
    """Draw fitted against exact values (counts), and the estimates against the true errors by level."""
    check = problem.best
    if check is None or not problem.is_validated:
        return _draw_estimates_of_spots(problem)
    drawn = figure(13.5, 9.2)
    panels = drawn.subplots(2, 2)
    low, high = check.calibration["log_Vr_range"].tolist()
    for axes, counts, ends, name in (
        (panels[0, 0], check.calibration["Ve"], (0.0, 1.0), r"$V^e$, entries within reach"),
        (panels[0, 1], check.calibration["log_Vr"], (low, high), r"$\log(-V_r)$"),
    ):
        shown = np.ma.masked_equal(counts.T, 0)
        image = axes.imshow(
            shown,
            origin="lower",
            extent=(*ends, *ends),
            norm=LogNorm(1, max(int(counts.max()), 2)),
            cmap="viridis",
            aspect="auto",
        )
        axes.plot(ends, ends, color="#D62728", lw=0.9, ls="--")
        axes.set(title=f"Fitted against exact {name}", xlabel="Exact", ylabel=f"Fitted ({check.name})")
        axes.grid(False)
        drawn.colorbar(image, ax=axes, label="States" if "log" in name else "Entries")
    _draw_estimates(panels[1, 0], [(c, colour) for c, colour, _ in coloured(problem)])
    _draw_spread(panels[1, 1], problem)
    drawn.suptitle(f"Calibration of values and of error estimates, {problem.case.label}")
    return drawn


def _identity(axes: Axes) -> None:
    low = min(axes.get_xlim()[0], axes.get_ylim()[0])
    high = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color="black", lw=1.0, ls="--", zorder=1)
    axes.set(xlim=(low, high), ylim=(low, high))


def _draw_estimates(axes: Axes, checks: Sequence[tuple[Checked, str]]) -> None:
    """Accumulated residual against the true error of visited states, a point per level."""
    marks = {"Vm": "o", "Ve": "s", "log_Vr": "^"}
    axes.set(xscale="log", yscale="log")
    for check, _ in checks:
        for name, mark in marks.items():
            true, estimate = check.levels[f"{name}_mean_visited"], check.levels[f"accumulated_{name}"]
            is_there = np.isfinite(true) & np.isfinite(estimate) & (true > LEAST) & (estimate > LEAST)
            style: dict[str, Any] = {"color": QUANTITY_COLOURS[name], "marker": mark, "ls": "none", "ms": 4.5}
            axes.plot(true[is_there], estimate[is_there], alpha=0.7, **style)
    _identity(axes)
    handles = [
        Line2D([], [], color=QUANTITY_COLOURS[name], marker=mark, ls="none", label=LABELS[name])
        for name, mark in marks.items()
    ]
    axes.legend(handles=handles, loc="lower right", fontsize=9)
    axes.set(
        title="Accumulated residual, every training, by level",
        xlabel="True error, visited states",
        ylabel="Estimate (above the line: too large)",
    )


def _draw_spread(axes: Axes, problem: FittedProblem) -> None:
    """Spread of the ensemble against its true error by level, with the share of states within two spreads."""
    ensemble = problem.ensemble
    if ensemble is None:
        say_empty(axes, "There is one training only, so there is no spread.")
        return
    axes.set(xscale="log", yscale="log")
    for name, colour in QUANTITY_COLOURS.items():
        true, spread = ensemble.levels[f"{name}_mean"], ensemble.levels[f"spread_all_{name}"]
        is_there = np.isfinite(spread) & (true > LEAST) & (spread > LEAST)
        share = ensemble.levels[f"within_{name}"]
        label = f"{LABELS[name]}: {100 * mean_of(share):.0f} % of states within 2 spreads"
        axes.plot(true[is_there], spread[is_there], color=colour, marker="o", ls="none", ms=5, label=label)
    _identity(axes)
    axes.legend(loc="lower right", fontsize=9)
    axes.set(
        title=f"Spread of {ensemble.members} trainings, by level",
        xlabel="True error of the ensemble, all states",
        ylabel="Spread (standard deviation)",
    )


def _draw_estimates_of_spots(problem: FittedProblem) -> Figure:
    """Where there are no exact tables: estimates against spot truth."""
    drawn = figure(13.5, 5.0)
    panels = drawn.subplots(1, 3)
    steps = [k for k, _ in problem.settings.spots(problem.case.max_steps)]
    marks = {k: "os^Dv"[place % 5] for place, k in enumerate(steps)}
    for axes, (name, title, mean, _) in zip(panels, PANELS[:3], strict=True):
        axes.set(xscale="log", yscale="log")
        for check, colour, width in coloured(problem):
            for k, mark in marks.items():
                true = mean_of(check.spot[mean][check.spot["k"] == k])
                estimate = check.levels[f"accumulated_{name}"][problem.case.max_steps - k]
                if true > 0.0 and estimate > 0.0:
                    axes.plot([true], [estimate], color=colour, marker=mark, ms=4 + 1.5 * width, alpha=0.8, ls="none")
        if axes.lines:
            ends = (*axes.get_xlim(), *axes.get_ylim())
            decades = 10.0 ** math.floor(math.log10(min(ends))), 10.0 ** math.ceil(math.log10(max(ends)))
            axes.set(xlim=decades, ylim=decades)
            _identity(axes)
            axes.set(title=title, xlabel="Spot truth, mean error", ylabel="Accumulated residual")
        else:
            say_empty(axes, "No spot check gave a truth.")
    drawn.suptitle(f"Estimates against spot truth, {problem.case.label}")
    shapes = [
        Line2D([], [], color=MUTED, marker=mark, ms=7, ls="none", label=f"{k} steps to go") for k, mark in marks.items()
    ]
    drawn.legend(handles=handles_of(problem, shapes), loc="outside lower center", ncols=8, fontsize=9)
    return drawn


def draw_root_by_horizon(problem: FittedProblem) -> Figure:
    """Draw log(-V_r), X_h, pi_r and who is freed first at the root against the horizon; exact lines, fitted points."""
    drawn = figure(14, 9.2)
    panels = drawn.subplots(2, 2)
    world, exact = problem.case.world, problem.exact
    names = [human_name(world, h) for h in range(len(world.humans))]
    action_names = [ACTION_NAMES[a] if len(world.robots) == 1 else str(a) for a in range(world.n_robot_profiles)]
    _by_horizon(panels[0, 0], problem, lambda root: np.log(-root["Vr"])[:, None], [""], ["black"])
    _by_horizon(panels[0, 1], problem, lambda root: root["Xh"], names, HUMAN_COLOURS)
    _by_horizon(panels[1, 0], problem, lambda root: root["pi_r"], action_names, ACTION_COLOURS)
    for axes in panels[0]:
        low, high = axes.get_ylim()
        margin = max(0.0, 0.01 * abs(low + high) - (high - low)) / 2
        axes.set_ylim(low - margin, high + margin)
    panels[0, 0].set(title="Robot value", ylabel=r"$\log(-V_r)$")
    panels[0, 1].set(title="Power of the humans", ylabel=r"$X_h$")
    panels[1, 0].set(title="The robot's first action", ylabel=r"$\pi_r$", ylim=(-0.03, 1.03))
    labels, colours = outcome_labels(names), outcome_colours(len(names))
    has_truth = exact is not None and len(exact.root["first"])
    if has_truth or any(len(check.root["first"]) for check in problem.all):
        _by_horizon(panels[1, 1], problem, lambda root: possible(root["first"], len(names)), labels, colours)
        panels[1, 1].set(title="Who is freed first, by the fitted policies", ylabel="Probability", ylim=(-0.03, 1.03))
    else:
        _draw_played_first(panels[1, 1], problem, labels, colours)
    for axes in panels.ravel():
        if axes is not panels[1, 1] or has_truth:
            axes.set_xlabel("Horizon k (steps)")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    known = problem.case.max_steps if exact is None else exact.steps
    marks = [Line2D([], [], color=MUTED, marker="o", ms=4, ls="none", label="single trainings")]
    if problem.ensemble:
        marks.append(Line2D([], [], color=MUTED, marker="o", ms=9, mfc="none", ls="none", label="ensemble"))
    if exact is not None:
        marks.append(Line2D([], [], color=MUTED, label=f"exact, k = 1 to {known}"))
    drawn.legend(handles=marks, loc="outside lower center", ncols=3)
    drawn.suptitle(f"The root for every horizon, from each single training: {problem.case.label}")
    return drawn


def _by_horizon(axes: Axes, problem: FittedProblem, read: Any, labels: Sequence[str], colours: Sequence[str]) -> None:
    exact = problem.exact
    for column, label in enumerate(labels):
        colour = colours[column % len(colours)]
        if exact is not None and len(read(exact.root)):
            true = read(exact.root)[:, column]
            axes.plot(np.arange(1, len(true) + 1), true, color=colour, lw=1.6)
        for check in problem.all:
            values = read(check.root)
            if len(values):
                style: dict[str, Any] = {"ms": 9, "mfc": "none"} if check.is_ensemble else {"ms": 3.5, "alpha": 0.8}
                axes.plot(
                    np.arange(1, len(values) + 1), values[:, column], color=colour, marker="o", ls="none", **style
                )
        if label:
            axes.plot([], [], color=colour, marker="o", ms=4, label=label)
    if any(labels):
        axes.legend(fontsize=9, loc="best")


def _draw_played_first(axes: Axes, problem: FittedProblem, labels: Sequence[str], colours: Sequence[str]) -> None:
    """Shares of played episodes by outcome, a group of bars for each training."""
    checks = problem.all
    width, humans = 0.8 / max(len(labels), 1), len(problem.case.world.humans)
    for column, label in enumerate(labels):
        heights = [possible(check.rollout["p_first"], humans)[column] for check in checks]
        places = np.arange(len(checks)) + (column - (len(labels) - 1) / 2) * width
        axes.bar(places, heights, width=width, color=colours[column], label=label)
    axes.set_xticks(range(len(checks)), [check.name for check in checks])
    axes.set(title="Who is freed first in played episodes", ylabel="Share", ylim=(0, 1.25))
    axes.legend(fontsize=9, ncols=2, loc="upper center")


def draw_spot(problems: Sequence[FittedProblem]) -> Figure:
    """Draw the errors of spot checks against the steps to go, boxes over states, a group for each problem."""
    drawn = figure(13.5, 8.4)
    panels = drawn.subplots(2, 2).ravel()
    steps = sorted({int(k) for problem in problems for check in problem.all for k in check.spot["k"]})
    handles = []
    for axes, (_, title, mean, _) in zip(panels, PANELS, strict=True):
        if not steps:
            say_empty(axes, "The horizon is too short for spot checks.")
            continue
        axes.set_yscale("log")
        for place, problem in enumerate(problems):
            colour = seed_colour(place)
            shift = (place - (len(problems) - 1) / 2) * 0.8 / len(problems)
            for at, k in enumerate(steps):
                values = np.concatenate(
                    [check.spot[mean][check.spot["k"] == k] for check in problem.seeds] or [np.empty(0)]
                )
                values = np.maximum(values[np.isfinite(values)], LEAST)
                if len(values):
                    _box(axes, values, at + shift, 0.5 / len(problems), colour)
            if axes is panels[0]:
                kind = "exact tables exist" if problem.is_validated else "beyond exact reach"
                handles.append(Line2D([], [], color=colour, lw=6, label=f"{problem.case.label} ({kind})"))
        axes.set_xticks(range(len(steps)), [f"k = {k}" for k in steps])
        axes.set_xlim(-0.7, len(steps) - 0.3)
        axes.set_title(title)
        axes.set_ylabel("Error of a state")
    drawn.suptitle("Spot truth: exact solves at single states with k steps to go")
    drawn.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9)
    return drawn


def _box(axes: Axes, values: NDArray[np.float64], place: float, width: float, colour: str) -> None:
    axes.boxplot(
        [values],
        positions=[place],
        widths=width,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": colour, "alpha": 0.5},
        medianprops={"color": "black"},
        flierprops={"marker": ".", "ms": 4, "mec": colour},
    )


def draw_learning(problem: FittedProblem) -> Figure:
    """Draw the loss of every pass and level in the order of the fit, and the residuals of what came out."""
    drawn = figure(13.5, 5.0)
    left, right = drawn.subplots(1, 2)
    passes = problem.settings.passes
    styles = ("--", "-", ":", "-.")
    good = [training for training in problem.trainings if not training.error]
    for place, training in enumerate(good):
        level, loss = training.curve["level"], training.curve["loss"]
        levels = problem.case.max_steps - 1
        for sweep in range(passes):
            part = slice(sweep * levels, (sweep + 1) * levels)
            ls = "-" if sweep == passes - 1 else styles[sweep % 4] if sweep else "--"
            left.plot(level[part], loss[part], color=seed_colour(place), ls=ls, lw=1.4)
    residuals = 0
    for check, colour, width in coloured(problem):
        for name, ls in (("Vm", ":"), ("Ve", "-"), ("log_Vr", "--")):
            column = check.levels[f"residual_{name}"]
            if np.isfinite(column).any():
                _line(right, column, color=colour, ls=ls, lw=width)
                residuals += 1
    left.set(title="Loss (mean of the last epoch)", ylabel="Loss", yscale="log")
    right.set(
        title="Residual at fresh states, after training", ylabel="Mean distance from one exact step", yscale="log"
    )
    for axes in (left, right):
        axes.set_xlabel("Level t, in the order of the fit")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.invert_xaxis()
    kinds = [
        *(
            Line2D([], [], color=MUTED, ls="-" if sweep == passes - 1 else "--", label=f"pass {sweep + 1}")
            for sweep in range(passes)
        ),
        *(
            Line2D([], [], color=MUTED, ls=ls, label=label)
            for ls, label in ((":", LABELS["Vm"]), ("-", LABELS["Ve"]), ("--", LABELS["log_Vr"]))
        ),
    ]
    left.legend(handles=kinds[:passes], fontsize=9)
    if residuals:
        right.legend(handles=kinds[passes:], fontsize=9)
    else:
        say_empty(right, "A horizon of one step needs no network.")
    drawn.legend(handles=handles_of(problem), loc="outside lower center", ncols=6, fontsize=9)
    drawn.suptitle(f"Learning, {problem.case.label}")
    return drawn


def draw_goals(problem: FittedProblem) -> Figure:
    """Draw V^e at the root, fitted, beside what is attained in play, for each checked goal."""
    drawn = figure(9.5, 5.4)
    axes = drawn.subplots()
    for check, colour, width in coloured(problem):
        goals: Mapping[str, NDArray[Any]] = check.goals
        style: dict[str, Any] = {"color": colour, "marker": "o", "ms": 3.5 + width, "ls": "none", "label": check.name}
        axes.errorbar(goals["fitted"], goals["mean"], yerr=2 * goals["se"], elinewidth=1.0, alpha=0.85, **style)
    axes.plot([0, 1], [0, 1], color="black", lw=1.0, ls="--")
    columns = [check.goals[name] for check in problem.all for name in ("fitted", "mean")]
    most = min(1.0, max(0.01, 1.15 * max(float(column.max(initial=0.0)) for column in columns)))
    axes.set(
        xlim=(-0.03 * most, 1.03 * most),
        ylim=(-0.03 * most, 1.03 * most),
        xlabel=r"Fitted $V^e$ at the root",
        ylabel=r"Played (mean $\pm$ 2 standard errors)",
        title=f"Goals followed from the root, {problem.case.label}",
    )
    axes.legend(loc="upper left", fontsize=9)
    return drawn
