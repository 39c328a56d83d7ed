"""Value maps: what each goal is worth to a human in one state, in both phases, and the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..style import figure
from .board import draw_ground, draw_objects

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...jobs.induction.packing import State
    from ...jobs.induction.world import World


def draw_value_map(world: World, state: State, Vm: NDArray[np.float64], Ve: NDArray[np.float64], title: str) -> Figure:
    """Draw one human's V^m, V^e (viridis, 0 to 1) and V^e - V^m (coolwarm, symmetric) by goal.

    Args:
        world: the world.
        state: the state that the values are of.
        Vm, Ve: f8 [G].
        title: what the figure is of.
    """
    drawn = figure(3.2 + 1.1 * world.width, 1.6 + 0.4 * world.height)
    panels = drawn.subplots(1, 3)
    drawn.suptitle(title)
    largest = max(float(np.abs(Ve - Vm).max()), 1e-12)
    for axes, values, name, cmap, norm in (
        (panels[0], Vm, r"cautious $V^m$", colormaps["viridis"], Normalize(0, 1)),
        (panels[1], Ve, r"effective $V^e$", colormaps["viridis"], Normalize(0, 1)),
        (panels[2], Ve - Vm, r"difference $V^e - V^m$", colormaps["coolwarm"], Normalize(-largest, largest)),
    ):
        draw_ground(axes, world)
        _fill_goals(axes, world, values, cmap, norm)
        draw_objects(axes, world, state, scale=0.55)
        axes.set_title(name)
        drawn.colorbar(ScalarMappable(norm, cmap), ax=axes, orientation="horizontal", shrink=0.85, pad=0.04, aspect=28)
    return drawn


def _fill_goals(axes: Axes, world: World, values: NDArray[np.float64], cmap: Colormap, norm: Normalize) -> None:
    """Colour the cell of a one-cell goal; outline a larger one and write its value in the middle."""
    for (x1, y1, x2, y2), value in zip(world.goals.tolist(), values.tolist(), strict=True):
        colour = cmap(norm(value))
        if (x1, y1) == (x2, y2):
            axes.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), 1, 1, fc=colour, ec="white", lw=0.6, zorder=1.5))
            shade = "black" if np.dot(colour[:3], (0.3, 0.59, 0.11)) > 0.5 else "white"
            axes.text(x1, y1 + 0.44, short(value), ha="center", va="bottom", fontsize=6.5, color=shade, zorder=5)
            continue
        inset, across, down = 0.08, x2 - x1 + 1, y2 - y1 + 1
        box = Rectangle((x1 - 0.5 + inset, y1 - 0.5 + inset), across - 2 * inset, down - 2 * inset)
        box.set(facecolor="none", edgecolor=colour, linewidth=2.5, zorder=3.5)
        axes.add_patch(box)
        axes.text(
            (x1 + x2) / 2,
            (y1 + y2) / 2,
            short(value),
            ha="center",
            va="center",
            fontsize=9,
            zorder=6,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0},
        )


def short(value: float) -> str:
    """Return a value as it fits into a cell: two decimals, tiny ones as a power of ten."""
    if value != 0.0 and abs(value) < 0.005:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.2f}"
