"""Figures of learning curves: by condition, in panels by dimension or scale, and per dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...jobs.synergy.conditions import scale_text
from ..style import MUTED, figure, say_empty
from .figures import NON_SYNERGY_MSE, SOURCE_MSE, baseline_of, hues, label_panels, panel_grid, title_of

NON_SYNERGY = "fusion_attr_non_synergy_features_mse"
SOURCE = "fusion_attr_synergy_source_feature_mse"
ACCURACY = "predictability/synergy_acc"
SKILL = "predictability/synergy_norm_ce"
MOST_IN_LEGEND = 40
MOST_FULL_BANDS = 5
STYLES = ("-", "--", ":", "-.")
"""Line of each experiment type, where there are several."""

Conditions = Mapping[str, Mapping[str, Any]]
"""`conditions` of the processed curves: by condition key, with its `metrics`."""


def band_alpha(lines: int) -> float:
    """Return how opaque intervals are: 0.2, and less where many of them lie over each other."""
    return 0.2 if lines <= MOST_FULL_BANDS else max(0.02, 0.2 * MOST_FULL_BANDS / lines)


def draw_curve(
    axes: Axes, curve: Mapping[str, Any], color: str, label: str, style: str = "-", alpha: float = 0.2
) -> None:
    """Draw the mean of a curve over its runs by epoch, from 1, with its 95 % interval."""
    epochs = np.array(curve["epochs"]) + 1
    mean, low, high = (
        np.array([np.nan if value is None else value for value in curve[key]], float)
        for key in ("mean", "ci_lower", "ci_upper")
    )
    axes.plot(epochs, mean, style, color=color, lw=1.8, label=label)
    if curve["n_runs"] > 1:
        axes.fill_between(epochs, low, high, color=color, alpha=alpha, lw=0)


def levels_of(conditions: Conditions, key: str) -> list[Any]:
    """Return the levels of a factor, ascending."""
    return sorted({entry[key] for entry in conditions.values()})


def label_of(key: str, level: float) -> str:
    """Return a level's name in a legend or title."""
    return f"Dim {level}" if key == "workspace_dim" else f"Scale {scale_text(level)}"


def kind_of(conditions: Conditions, entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return what labels say of a condition's experiment type, and its line; nothing where all have the same."""
    kinds = sorted({str(other["experiment_type"]) for other in conditions.values()})
    kind = str(entry["experiment_type"])
    return ("" if len(kinds) == 1 else f", {kind}"), STYLES[kinds.index(kind) % len(STYLES)]


def draw_all_conditions(conditions: Conditions, metric: str, n_bins: int = 8) -> Figure:
    """One line per condition."""
    drawn = figure(14, 8)
    axes = drawn.subplots()
    found = {key: entry for key, entry in conditions.items() if metric in entry["metrics"]}
    if not found:
        say_empty(axes, f"No run has a curve of {metric}.")
        return drawn
    for key, color in hues(list(found)).items():
        entry = found[key]
        kind, style = kind_of(conditions, entry)
        label = f"Dim {entry['workspace_dim']}, Scale {scale_text(entry['synergy_scale'])}{kind}"
        draw_curve(axes, entry["metrics"][metric], color, label, style, band_alpha(len(found)))
    finish(axes, metric, n_bins)
    hidden = len(found) > MOST_IN_LEGEND
    note = f" ({len(found)}; hues by dimension, then scale)" if hidden else ""
    axes.set(xlabel="Epoch", ylabel=title_of(metric), title=f"{title_of(metric)}: all conditions{note}")
    if not hidden:
        columns = 1 if len(found) <= 20 else 2
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, ncols=columns, fontsize=9)
    return drawn


def finish(axes: Axes, metric: str, n_bins: int) -> None:
    """Add the baseline where the metric has one, and the range of what lies between 0 and 1."""
    baseline = baseline_of(metric, n_bins)
    if baseline is not None:
        axes.axhline(baseline, color=MUTED, ls=":", lw=1.2)
    if metric in (ACCURACY, SKILL):
        axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)


def draw_panels(conditions: Conditions, metric: str, by: str, n_bins: int = 8) -> Figure:
    """One panel per level of `by` ("workspace_dim" or "synergy_scale"), one line per level of the other factor."""
    other = "synergy_scale" if by == "workspace_dim" else "workspace_dim"
    panels_of, lines_of = levels_of(conditions, by), hues(levels_of(conditions, other))
    drawn, panels = panel_grid(max(len(panels_of), 1))
    for axes, level in zip(panels, panels_of, strict=False):
        for entry in conditions.values():
            if entry[by] == level and metric in entry["metrics"]:
                kind, style = kind_of(conditions, entry)
                label, color = label_of(other, entry[other]) + kind, lines_of[entry[other]]
                draw_curve(axes, entry["metrics"][metric], color, label, style, band_alpha(len(lines_of)))
        axes.set_title(label_of(by, level))
        if not axes.lines:
            say_empty(axes, f"No curve of {metric}.")
            continue
        finish(axes, metric, n_bins)
    label_panels(drawn, panels, "Epoch", title_of(metric))
    drawn.suptitle(f"{title_of(metric)} {'by dimension' if by == 'workspace_dim' else 'by synergy scale'}")
    return drawn


def of_dim(conditions: Conditions, dim: int, metrics: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the conditions of a dimension that have one of the curves."""
    return [
        entry
        for entry in conditions.values()
        if entry["workspace_dim"] == dim and any(metric in entry["metrics"] for metric in metrics)
    ]


def draw_reconstruction(conditions: Conditions, dim: int) -> Figure:
    """Reconstruction errors of one dimension, one panel per scale: other features, and the source of synergy."""
    found = of_dim(conditions, dim, (NON_SYNERGY, SOURCE))
    drawn, panels = panel_grid(max(len(found), 1))
    for axes, entry in zip(panels, found, strict=False):
        for metric, color, style, label in (
            (NON_SYNERGY, "tab:blue", "-", "Non-synergy features (0-9)"),
            (SOURCE, "tab:red", "--", "Synergy source (10)"),
        ):
            if metric in entry["metrics"]:
                draw_curve(axes, entry["metrics"][metric], color, label, style)
        axes.axhline(NON_SYNERGY_MSE, color="tab:blue", ls=":", lw=1.2, label="Baseline 0.21")
        axes.axhline(SOURCE_MSE, color="tab:red", ls=":", lw=1.2, label="Baseline 0.083")
        axes.set_yscale("log")
        axes.set_title(label_of("synergy_scale", entry["synergy_scale"]) + kind_of(conditions, entry)[0])
    if not found:
        say_empty(panels[0], "No run of this dimension has these curves.")
    label_panels(drawn, panels, "Epoch", "Mean squared error")
    drawn.suptitle(f"Reconstruction, dim {dim}")
    return drawn


def draw_synergy(conditions: Conditions, dim: int, n_bins: int = 8) -> Figure:
    """Accuracy and skill of one dimension; scales from light to dark."""
    found = of_dim(conditions, dim, (ACCURACY, SKILL))
    drawn = figure(13, 5.2)
    panels = list(drawn.subplots(1, 2))
    for axes, metric, cmap, baseline in (
        (panels[0], ACCURACY, "Greens", 1.0 / n_bins),
        (panels[1], SKILL, "Purples", 0.0),
    ):
        kept = [entry for entry in found if metric in entry["metrics"]]
        for place, entry in enumerate(kept):
            color = shade(cmap, (place + 1) / len(kept))
            kind, style = kind_of(conditions, entry)
            label = label_of("synergy_scale", entry["synergy_scale"]) + kind
            draw_curve(axes, entry["metrics"][metric], color, label, style, band_alpha(len(kept)))
        axes.axhline(baseline, color=MUTED, ls=":", lw=1.2)
        axes.set(xlabel="Epoch", ylabel=title_of(metric), ylim=(-0.02, 1.02), title=title_of(metric))
        if kept:
            axes.legend(fontsize=9, loc="upper left", ncols=1 if len(kept) <= 6 else 2)
        else:
            say_empty(axes, f"No run of this dimension has {metric}.")
    drawn.suptitle(f"Synergy, dim {dim}")
    return drawn


def shade(cmap: str, share: float) -> str:
    """Return a colour of a sequential map, dark enough for a line."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps[cmap](0.35 + 0.6 * share))
