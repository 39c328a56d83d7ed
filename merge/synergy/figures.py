"""Figures of a sweep's final values: trends over dimensions and scales, heatmaps, success, the synergy prior."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...jobs.synergy.conditions import scale_text
from ..style import MUTED, figure, say_empty
from .sweep import Sweep

TITLES = {
    "best_val_loss": "Best Validation Loss",
    "final_val_loss": "Final Validation Loss",
    "val_loss_unscaled": "Validation Loss (Unscaled)",
    "train_loss": "Training Loss",
    "val_loss": "Validation Loss",
    "predictability/synergy_acc": "Synergy Accuracy",
    "predictability/synergy_ce": "Synergy Cross Entropy (nats)",
    "predictability/synergy_norm_ce": "Synergy Skill (1 - CE / chance)",
    "predictability/unique_r2": "Unique R²",
    "predictability/redundant_r2": "Redundant R²",
    "unimodal/attr_acc": "Accuracy from Attributes Alone",
    "unimodal/v_acc": "Accuracy from Vision Alone",
    "fusion_attr_non_synergy_features_mse": "Non-Synergy Features MSE",
    "fusion_attr_synergy_source_feature_mse": "Synergy Source MSE",
}
MEASURE_COLORS = {"synergy": "#B0228C", "unique": "#1B7837", "redundant": "#2166AC"}
SOURCE_MSE = 1.0 / 12.0
NON_SYNERGY_MSE = 0.21
LEAST_LUMINANCE = 0.45
LEAST_SHARE_LABELLED = 6.0
MOST_RETAINED = 2.0
"""Beyond that a retention only says how little the largest dimension holds."""


def title_of(metric: str) -> str:
    """Return a metric's name for people."""
    return TITLES.get(metric, metric.replace("predictability/", "").replace("/", " ").replace("_", " ").title())


def hues(levels: Sequence[Any]) -> dict[Any, str]:
    """Return one colour per level, hues evenly spaced; yellows are darker so that lines can be seen."""
    colors = {}
    for place, level in enumerate(levels):
        hue = place / max(len(levels), 1)
        light = 0.47 - 0.12 * math.exp(-(((hue - 0.2) / 0.12) ** 2))
        red, green, blue = colorsys.hls_to_rgb(hue, light, 0.75)
        colors[level] = f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
    return colors


def baseline_of(metric: str, n_bins: int) -> float | None:
    """Return what a model without the target, or without the columns, would have; None where there is no such value."""
    return {
        "predictability/synergy_acc": 1.0 / n_bins,
        "predictability/synergy_ce": math.log(n_bins),
        "predictability/synergy_norm_ce": 0.0,
        "unimodal/attr_acc": 1.0 / n_bins,
        "unimodal/v_acc": 1.0 / n_bins,
        "fusion_attr_non_synergy_features_mse": NON_SYNERGY_MSE,
        "fusion_attr_synergy_source_feature_mse": SOURCE_MSE,
    }.get(metric.removeprefix("val_"))


def draw_line(axes: Axes, x: Sequence[float], found: Sequence[Mapping[str, Any]], color: str, label: str) -> None:
    """Draw means with markers, and the 95 % interval where there is one."""
    axes.plot(x, [item["mean"] for item in found], "o-", color=color, lw=2, ms=5, label=label)
    if any(item.get("ci_defined") for item in found):
        low, high = ([item[key] for item in found] for key in ("ci_lower", "ci_upper"))
        axes.fill_between(x, low, high, color=color, alpha=0.2, lw=0)


def limit_to_runs(axes: Axes, found: Sequence[Mapping[str, Any]], baseline: float | None) -> None:
    """Let the y axis reach over what runs had; a wider interval of few runs would leave nothing to be seen."""
    edges = [value for item in found for value in (item["min"], item["max"])]
    edges += [] if baseline is None else [baseline]
    low, high = min(edges), max(edges)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(low - pad, high + pad)


def draw_trend(sweep: Sweep, metric: str, over: str) -> Figure:
    """A metric over workspace dimensions (`over` "dims", one line per scale) or over scales (one line per dim)."""
    drawn = figure(12, 8)
    axes = drawn.subplots()
    by_dims = over == "dims"
    levels: Sequence[float] = sweep.scales if by_dims else sweep.dims
    x_levels: Sequence[float] = sweep.dims if by_dims else sweep.scales
    shown: list[Mapping[str, Any]] = []
    for level, color in hues(levels).items():
        pairs = [
            (x, sweep.summary(int(x), level, metric) if by_dims else sweep.summary(int(level), x, metric))
            for x in x_levels
        ]
        kept = [(x, summary) for x, summary in pairs if summary is not None]
        if kept:
            label = f"Synergy Scale {scale_text(level)}" if by_dims else f"Dim {level}"
            draw_line(axes, [x for x, _ in kept], [summary for _, summary in kept], color, label)
            shown += [summary for _, summary in kept]
    if not axes.lines:
        say_empty(axes, f"No run has a value of {metric}.")
        return drawn
    baseline = baseline_of(metric, sweep.config.data.n_bins)
    if baseline is not None:
        axes.axhline(baseline, color=MUTED, ls=":", lw=1.5, label=f"Baseline {baseline:.3g}")
    limit_to_runs(axes, shown, baseline)
    name = "Workspace Dimension" if by_dims else "Synergy Loss Scale"
    set_x_axis(axes, x_levels, log=not by_dims or sweep.config.report.log_dims, base=2 if by_dims else 10)
    axes.set(xlabel=name, ylabel=title_of(metric), title=f"{title_of(metric)} vs {name}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    axes.grid(alpha=0.3)
    return drawn


def set_x_axis(axes: Axes, levels: Sequence[float], log: bool, base: int) -> None:
    """Put ticks at the levels, on a logarithmic axis where asked for; it is linear around a level of 0."""
    if log and min(levels) > 0:
        axes.set_xscale("log", base=base)
    elif log:
        positive = [level for level in levels if level > 0]
        axes.set_xscale("symlog", base=base, linthresh=min(positive, default=1.0))
    labels = [scale_text(level).removesuffix(".0") for level in levels]
    axes.set_xticks(levels, labels, rotation=45 if len(levels) > 8 else 0)
    axes.set_xticks([], minor=True)


def draw_cells(axes: Axes, table: np.ndarray, text: str, cmap: str, limits: tuple[float, float] | None) -> Any:
    """Draw a heatmap [scale, dim] with the lowest scale at the bottom, values in the cells, empty cells hatched."""
    finite = table[np.isfinite(table)]
    low, high = limits or ((float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0))
    if high <= low:
        high = low + 1e-9 + 1e-3 * abs(low)
    image = axes.imshow(np.ma.masked_invalid(table), origin="lower", aspect="auto", cmap=cmap, vmin=low, vmax=high)
    size = 11 if table.size <= 50 else 9
    for row, column in np.ndindex(table.shape):
        value = table[row, column]
        if not np.isfinite(value):
            place = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(place, 1, 1, fill=False, hatch="///", edgecolor="#999999", lw=0))
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < LEAST_LUMINANCE
        axes.text(column, row, text % value, ha="center", va="center", color="w" if dark else "k", fontsize=size)
    axes.grid(False)
    return image


def label_cells(axes: Axes, sweep: Sweep) -> None:
    """Name the levels at the edges of a heatmap."""
    axes.set_xticks(range(len(sweep.dims)), [str(dim) for dim in sweep.dims])
    axes.set_yticks(range(len(sweep.scales)), [scale_text(scale) for scale in sweep.scales])
    axes.set(xlabel="Workspace Dimension", ylabel="Synergy Loss Scale")


def draw_heatmap(sweep: Sweep, metric: str) -> Figure:
    """Mean of a metric in every condition."""
    drawn = figure(10, 8)
    axes = drawn.subplots()
    summaries = [[sweep.summary(dim, scale, metric) for dim in sweep.dims] for scale in sweep.scales]
    table = np.array([[math.nan if item is None else item["mean"] for item in row] for row in summaries])
    image = draw_cells(axes, table, "%.3f", "viridis", None)
    label_cells(axes, sweep)
    axes.set_title(f"{title_of(metric)} (mean over runs)")
    drawn.colorbar(image, ax=axes, label=title_of(metric))
    return drawn


def draw_summary(sweep: Sweep) -> Figure:
    """Share of completed runs per condition, and what became of all units."""
    drawn = figure(16, 6)
    left, right = drawn.subplots(1, 2, width_ratios=(1.4, 1))
    image = draw_cells(left, sweep.success, "%.2f", "RdYlGn", (0.0, 1.0))
    label_cells(left, sweep)
    left.set_title("Success Rate (Fraction of Completed Runs)")
    drawn.colorbar(image, ax=left)
    colors = {"completed": "lightgreen", "failed": "lightcoral", "pending": "lightgray"}
    parts = {name: count for name, count in sweep.counts.items() if count}
    wedges = right.pie(
        list(parts.values()),
        colors=[colors[name] for name in parts],
        autopct=lambda share: f"{share:.1f}%" if share >= LEAST_SHARE_LABELLED else "",
        startangle=90,
    )[0]
    labels = [f"{name.title()}: {count} ({count / sweep.planned:.1%})" for name, count in parts.items()]
    right.legend(wedges, labels, loc="upper left", bbox_to_anchor=(0.95, 1.0))
    right.set_title(f"Runs ({sweep.planned} planned)")
    return drawn


def draw_prior(sweep: Sweep) -> Figure:
    """Retention of synergistic, unique and redundant information over dimensions, one panel per scale."""
    rows = sweep.prior["retention"]
    scales = sorted({row["synergy_scale"] for row in rows})
    if not scales:
        drawn = figure(8, 5)
        say_empty(drawn.subplots(), "No run is finished.")
        return drawn
    drawn, panels = panel_grid(len(scales))
    verdicts = {row["synergy_scale"]: row for row in sweep.prior["verdicts"]}
    for axes, scale in zip(panels, scales, strict=False):
        for measure, color in MEASURE_COLORS.items():
            found = [
                row
                for row in rows
                if row["synergy_scale"] == scale and row["measure"] == measure and row["mean"] is not None
            ]
            if found:
                draw_line(axes, [row["workspace_dim"] for row in found], found, color, measure.title())
        verdict = str(verdicts[scale]["verdict"]).partition(" (")[0]
        axes.set_title(f"Scale {scale_text(scale)}: {verdict}", fontsize=10)
        if not axes.lines:
            say_empty(axes, "Nothing to retain: no run reaches\n0.05 at the largest dimension.")
            continue
        axes.axhline(1.0, color=MUTED, ls=":", lw=1.2)
        set_x_axis(axes, sweep.dims, log=True, base=2)
        kept = [row for row in rows if row["synergy_scale"] == scale and row["mean"] is not None]
        limit_to_runs(axes, [row for row in kept if row["max"] <= MOST_RETAINED], 1.0)
    label_panels(drawn, panels, "Workspace Dimension", "Retention: X(d) / X(largest d)")
    drawn.suptitle("What is kept when the workspace shrinks")
    return drawn


def panel_grid(count: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """Return a figure of 5 x 4 inch panels, and its panels; what is left over in the last row stays empty."""
    columns = min(columns, count)
    rows = -(-count // columns)
    drawn = figure(5 * columns + (1.5 if columns == 1 else 0), 4 * rows + 0.8)
    panels = list(np.ravel(drawn.subplots(rows, columns, squeeze=False)))
    for axes in panels[count:]:
        axes.set_axis_off()
    return drawn, panels[:count]


def label_panels(drawn: Figure, panels: Sequence[Axes], x: str, y: str) -> None:
    """Name the axes once, and give the figure the legend of all panels, each entry once."""
    drawn.supxlabel(x)
    drawn.supylabel(y)
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        drawn.legend(list(entries.values()), list(entries), loc="outside right upper")
