"""The policy map: what the robot does from each cell and direction while all else is at its initial place."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle
from numpy.typing import NDArray

from ..style import figure, say_empty
from .board import draw_ground, draw_objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...jobs.induction.world import World
    from .solved import Solved

ACTION_NAMES = ("still", "left", "right", "forward", "pickup", "drop", "toggle")
ACTION_COLOURS = ("#9E9E9E", "#1F77B4", "#FF7F0E", "#2CA02C", "#8C564B", "#E377C2", "#9467BD")
SECTORS = {
    0: ((0.5, -0.5), (0.5, 0.5)),
    1: ((-0.5, 0.5), (0.5, 0.5)),
    2: ((-0.5, -0.5), (-0.5, 0.5)),
    3: ((-0.5, -0.5), (0.5, -0.5)),
}
"""The corners of the side of a cell that lies in each direction."""

PolicyRow = tuple[int, int, int, NDArray[np.float64]]
"""x, y, direction, and the action probabilities of the first robot there."""


def policy_rows(solved: Solved) -> tuple[int, list[PolicyRow]]:
    """Return the level, and (x, y, direction, action probabilities of the first robot) of what is reached.

    The level is the first that holds all of them; -1 where there is no robot or no policy.
    """
    world, graph = solved.case.world, solved.graph
    if not world.robots or solved.case.settings["keep_policies"] == "none":
        return -1, []
    _, agents, mobiles, mutables = world.initial_state
    robot, last = world.robots[0], solved.case.max_steps - 1
    reached = {}
    for x, y in world.packing.positions():
        for direction in range(4):
            moved = list(agents)
            moved[robot] = (x, y, direction, *agents[robot][3:])
            try:
                reached[x, y, direction] = graph.row((last, tuple(moved), mobiles, mutables))
            except KeyError:
                continue
    level = bisect.bisect_right(graph.level_sizes, max(reached.values()))
    found = []
    for place, row in reached.items():
        pi_r = solved.solution.level_rows("pi_r", level, row, row + 1)[0]
        found.append((*place, pi_r.reshape(world.n_actions, -1).sum(axis=1)))
    return level, found


def draw_policy_map(solved: Solved) -> Figure:
    """Draw the map of a solved problem."""
    world = solved.case.world
    level, rows = policy_rows(solved)
    if level < 0:
        drawn = figure(1.8 + 0.75 * world.width, 1.6 + 0.75 * world.height)
        say_empty(drawn.subplots(), "There is no robot, or its policy was not kept.")
        return drawn
    steps = solved.case.max_steps - level
    left = f"{steps} step{'s' if steps > 1 else ''} to go"
    return draw_policy(
        world, rows, f"Robot policy, all else at its initial place\n{world.name}, {left} (level t={level})"
    )


def draw_policy(world: World, rows: Sequence[PolicyRow], title: str) -> Figure:
    """Draw four sectors per cell, coloured by the most probable action, opaque as it is probable.

    Args:
        world: the world.
        rows: x, y, direction, and the action probabilities of the first robot there.
        title: what the figure is of.
    """
    drawn = figure(1.8 + 0.75 * world.width, 1.6 + 0.75 * world.height)
    axes = drawn.subplots()
    draw_ground(axes, world)
    used = set()
    for x, y, direction, policy in rows:
        action = int(policy.argmax())
        used.add(action)
        corners = [(x, y), *((x + dx, y + dy) for dx, dy in SECTORS[direction])]
        style: dict[str, Any] = {"alpha": float(policy[action]), "zorder": 1.5, "lw": 0}
        axes.add_patch(Polygon(corners, fc=ACTION_COLOURS[action], **style))
        axes.add_patch(Polygon(corners, fc="none", ec="white", lw=0.5, zorder=1.6))
    for x, y in {(x, y) for x, y, *_ in rows}:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc="none", ec="#777777", lw=0.8, zorder=1.7))
    draw_objects(axes, world, world.initial_state, skip=world.robots[0], scale=0.8)
    handles = [Patch(fc=ACTION_COLOURS[action], label=ACTION_NAMES[action]) for action in sorted(used)]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=len(handles), frameon=False)
    axes.set_title(title)
    return drawn
