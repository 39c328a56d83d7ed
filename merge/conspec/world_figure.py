"""Pictures of the worlds: a grid world at reset, the first frame of each phase of a delayed one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle

from ...jobs.conspec.worlds import COLOURS, Phase, delayed_world, grid_world
from ..style import figure

FLOOR, WALL, PLAYER, DOOR = "#F7F4EC", "#55585C", "#C1121F", "#8D6E63"
PAINT = {"green": "#2E9E4F", "blue": "#2B6CB0", "purple": "#8E44AD"}
KEY = "#E0A100"
CELL = 0.42


def draw_worlds(worlds: Sequence[str], family: str, size: int) -> Figure:
    """Draw each world at reset."""
    if family == "delayed":
        return draw_delayed(worlds)
    drawn = figure(max(4.6 * len(worlds), 5.2), 5.2)
    for axes, world in zip(np.atleast_1d(drawn.subplots(1, len(worlds))), worlds, strict=True):
        draw_grid(axes, world, size)
    return drawn


def empty_board(axes: Axes, width: int, height: int) -> None:
    """Set up a board with (0, 0) in the top left corner."""
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for x in range(width):
        for y in range(height):
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=FLOOR, edgecolor="#DDD8CC", linewidth=0.5))


def fill(axes: Axes, x: float, y: float, colour: str) -> None:
    """Fill a cell."""
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="none"))


def put_key(axes: Axes, x: float, y: float, colour: str) -> None:
    """Draw a key: a ring with a bit."""
    axes.add_patch(Circle((x - 0.14, y), 0.17, facecolor="none", edgecolor=colour, linewidth=2.2))
    axes.plot([x + 0.03, x + 0.36], [y, y], color=colour, linewidth=2.2)
    axes.plot([x + 0.28, x + 0.28], [y, y + 0.16], color=colour, linewidth=2.2)


def put_door(axes: Axes, x: float, y: float, colour: str) -> None:
    """Draw a locked door."""
    fill(axes, x, y, FLOOR)
    axes.add_patch(Rectangle((x - CELL, y - CELL), 2 * CELL, 2 * CELL, facecolor="none", edgecolor=colour, linewidth=3))
    axes.add_patch(Circle((x + 0.2, y), 0.07, facecolor=colour, edgecolor="none"))


def draw_grid(axes: Axes, name: str, size: int) -> None:
    """Draw a grid world."""
    world = grid_world(name, size)
    empty_board(axes, size, size)
    last = size - 1
    ring = {(x, y) for x in range(size) for y in range(size) if x in (0, last) or y in (0, last)}
    for x, y in ring | {(x, y) for x in world.walls for y in range(1, last)}:
        fill(axes, x, y, WALL)
    for colour, (x, y) in world.keys.items():
        put_key(axes, x, y, PAINT[COLOURS[colour - 1]])
    for colour, (x, y) in world.doors.items():
        put_door(axes, x, y, PAINT[COLOURS[colour - 1]])
    if world.green_goal is not None:
        put_goal(axes, world.green_goal, PAINT["green"])
    put_goal(axes, world.final_goal, PAINT[COLOURS[world.final_colour - 1]])
    x, y = 1, size - 2
    axes.add_patch(Polygon([(x - 0.3, y - 0.3), (x - 0.3, y + 0.3), (x + 0.35, y)], facecolor=PLAYER, edgecolor="none"))
    axes.set_title(name.capitalize())


def put_goal(axes: Axes, cell: tuple[int, int], colour: str) -> None:
    """Draw a goal."""
    x, y = cell
    axes.add_patch(Rectangle((x - CELL, y - CELL), 2 * CELL, 2 * CELL, facecolor=colour, alpha=0.55, edgecolor="none"))
    axes.text(x, y, "goal", ha="center", va="center", fontsize=8, color="#222222")


def draw_delayed(worlds: Sequence[str]) -> Figure:
    """Draw the phases of each delayed world in a row."""
    rows = [delayed_world(world) for world in worlds]
    longest = max(len(phases) for phases in rows)
    drawn = figure(2.1 * longest + 0.6, 2.7 * len(worlds))
    panels = drawn.subplots(len(worlds), longest, squeeze=False)
    for line, world, phases in zip(panels, worlds, rows, strict=True):
        for number, axes in enumerate(line):
            if number >= len(phases):
                axes.set_axis_off()
                continue
            draw_phase(axes, phases[number])
            axes.set_title(f"{phases[number].kind}, {phases[number].duration} steps", fontsize=10)
        line[0].set_ylabel(world.capitalize(), fontsize=13)
    return drawn


def draw_phase(axes: Axes, phase: Phase) -> None:
    """Draw the first frame of a phase; a key with several possible cells is drawn pale in each of them."""
    empty_board(axes, 5, 5)
    for r, c in phase.walls:
        fill(axes, c, r, WALL)
    if phase.door is not None:
        put_door(axes, phase.door[1], phase.door[0], DOOR)
    for r, c in phase.key_cells:
        put_key(axes, c, r, KEY)
    if phase.kind == "distractor":
        for cell in (0, 4, 7, 11, 15, 22):
            axes.add_patch(Circle((cell % 5, cell // 5), 0.2, facecolor="#7CB342", edgecolor="none"))
    axes.add_patch(Circle((phase.start[1], phase.start[0]), 0.28, facecolor=PLAYER, edgecolor="none"))
