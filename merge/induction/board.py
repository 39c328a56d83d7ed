"""A grid world drawn as a picture: walls, ground, rocks, blocks, agents, goals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle, Polygon, Rectangle

from ...jobs.induction.cells import (
    DISABLE_KILL,
    DISABLE_PAUSE,
    HUMAN_COLOUR,
    KILL_BUTTON,
    LAVA,
    PAUSE_SWITCH,
    ROBOT_COLOUR,
    ROCK,
    UNSTEADY,
    WALL,
)

if TYPE_CHECKING:
    from ...jobs.induction.packing import State
    from ...jobs.induction.world import World

WALL_COLOUR, ROCK_COLOUR, BLOCK_COLOUR = "#404040", "#8B5A2B", "#C49A6C"
AGENT_COLOURS = {HUMAN_COLOUR: "#F2C500", ROBOT_COLOUR: "#8C8C8C"}
GROUND = {
    LAVA: ("#E4572E", "lava"),
    UNSTEADY: ("#D9D2B0", "~"),
    KILL_BUTTON: ("#B22222", "kill"),
    PAUSE_SWITCH: ("#2E6FBA", "pause"),
    DISABLE_KILL: ("#E8B4B4", "dK"),
    DISABLE_PAUSE: ("#B4CBE8", "dP"),
}
TRIANGLES = {
    0: ((-0.28, -0.3), (-0.28, 0.3), (0.34, 0.0)),
    1: ((-0.3, -0.28), (0.3, -0.28), (0.0, 0.34)),
    2: ((0.28, -0.3), (0.28, 0.3), (-0.34, 0.0)),
    3: ((-0.3, 0.28), (0.3, 0.28), (0.0, -0.34)),
}
"""Corners of an agent that looks in each direction; y grows downwards."""


def draw_ground(axes: Axes, world: World) -> None:
    """Draw walls and special ground, and set the axes to the grid, y downwards."""
    for x in range(world.width):
        for y in range(world.height):
            kind = int(world.ground[x, y])
            if kind == WALL:
                axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=WALL_COLOUR, lw=0, zorder=2))
            elif kind in GROUND:
                colour, label = GROUND[kind]
                axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, lw=0, zorder=1))
                axes.text(x, y + 0.38, label, ha="center", va="bottom", fontsize=7, zorder=3)
    axes.set_xlim(-0.5, world.width - 0.5)
    axes.set_ylim(world.height - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks(range(world.width))
    axes.set_yticks(range(world.height))
    axes.tick_params(length=0, labelsize=8)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_objects(axes: Axes, world: World, state: State, skip: int | None = None, scale: float = 1.0) -> None:
    """Draw rocks as discs, blocks as squares, agents as triangles that point where they look; `skip` leaves one out."""
    _, agents, mobiles, _ = state
    style: dict[str, Any] = {"zorder": 4, "ec": "black", "lw": 0.8}
    for kind, x, y in mobiles:
        if kind == ROCK:
            axes.add_patch(Circle((x, y), 0.3 * scale, fc=ROCK_COLOUR, **style))
        else:
            side = 0.56 * scale
            axes.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, fc=BLOCK_COLOUR, **style))
    for number, (x, y, direction, *_) in enumerate(agents):
        if number != skip:
            corners = [(x + scale * dx, y + scale * dy) for dx, dy in TRIANGLES[direction]]
            colour = AGENT_COLOURS.get(world.colours[number], "#5B9BD5")
            axes.add_patch(Polygon(corners, fc=colour, **style))
