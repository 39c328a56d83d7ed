"""Rollouts as an animated GIF: the board step by step, with what is done and what has been reached."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from ...jobs.induction.cells import ROCK, WALL
from ...jobs.induction.episodes import Rollout, rollouts
from ..exports import write_file
from .board import AGENT_COLOURS, BLOCK_COLOUR, GROUND, ROCK_COLOUR, TRIANGLES, WALL_COLOUR
from .policy_map import ACTION_NAMES
from .solved import human_name

if TYPE_CHECKING:
    from matplotlib.typing import ColorType

    from ...jobs.induction.packing import State
    from ...jobs.induction.world import World
    from ...shard.induction.worlds import Case
    from .solved import Solved

CELL, HEADER, LINE = 48, 22, 18
GOAL_COLOURS = ("#1F77B4", "#D62728", "#2CA02C", "#9467BD")
PAUSE_FRAMES = 3
"""How many frames the last state of an episode is shown."""


def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib brings along."""
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


class Film:
    """Draws the frames of one world's episodes."""

    def __init__(self, world: World) -> None:
        """Draw what never changes."""
        self._world = world
        self._text, self._small = font(13), font(10)
        longest = 30 + 9 * max(34, 17 * world.n_agents)
        self._width = max(world.width * CELL, longest)
        self._left = (self._width - world.width * CELL) // 2
        self._top = HEADER + LINE * (2 + world.n_agents)
        self._ground = Image.new("RGB", (self._width, self._top + world.height * CELL + 6), "white")
        draw = ImageDraw.Draw(self._ground)
        for x in range(world.width):
            for y in range(world.height):
                self._draw_cell(draw, x, y)

    def _corner(self, x: float, y: float) -> tuple[float, float]:
        return self._left + x * CELL, self._top + y * CELL

    def _centre(self, x: float, y: float) -> tuple[float, float]:
        return self._corner(x + 0.5, y + 0.5)

    def _draw_cell(self, draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        kind = int(self._world.ground[x, y])
        colour, label = GROUND.get(kind, ("#F7F7F7", ""))
        box = (*self._corner(x, y), *self._corner(x + 1, y + 1))
        draw.rectangle(box, fill=WALL_COLOUR if kind == WALL else colour, outline="#C8C8C8")
        if label:
            draw.text((box[0] + 3, box[1] + 2), label, fill="black", font=self._small)

    def frame(self, state: State, goals: tuple[int, ...], lines: list[tuple[str, str]]) -> Image.Image:
        """Return the picture of one state with lines (text, colour) above it."""
        image = self._ground.copy()
        draw = ImageDraw.Draw(image)
        _, agents, mobiles, _ = state
        for h, goal in enumerate(goals):
            x1, y1, x2, y2 = self._world.goals[goal].tolist()
            inset, colour = 3 + 4 * h, GOAL_COLOURS[h % len(GOAL_COLOURS)]
            (left, top), (right, bottom) = self._corner(x1, y1), self._corner(x2 + 1, y2 + 1)
            draw.rectangle((left + inset, top + inset, right - inset, bottom - inset), outline=colour, width=3)
        for kind, x, y in mobiles:
            cx, cy = self._centre(x, y)
            r = 0.3 * CELL
            if kind == ROCK:
                draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=ROCK_COLOUR, outline="black")
            else:
                draw.rectangle((cx - r, cy - r, cx + r, cy + r), fill=BLOCK_COLOUR, outline="black")
        for number, (x, y, direction, terminated, paused) in enumerate(agents):
            cx, cy = self._centre(x, y)
            corners = [(cx + dx * CELL, cy + dy * CELL) for dx, dy in TRIANGLES[direction]]
            faded = terminated or paused
            fill: ColorType = "#DDDDDD" if faded else AGENT_COLOURS.get(self._world.colours[number], "#5B9BD5")
            draw.polygon(corners, fill=fill, outline="black")
            draw.text((cx - 4, cy - 7), str(number), fill="black", font=self._small)
        for k, (text, colour) in enumerate(lines):
            draw.text((8, 4 + LINE * k), text, fill=colour, font=self._text)
        return image


def episode_frames(film: Film, case: Case, episode: Rollout, number: int, total: int, kind: str) -> list[Image.Image]:
    """Return the annotated frames of one episode."""
    world = case.world
    frames = []
    for t, state in enumerate(episode.states):
        acting = world.joint_action(episode.profiles[t]) if t < len(episode.profiles) else None
        name = f"{kind} rollout".strip()
        lines = [(f"{world.name}: {name} {number + 1} of {total}, t = {t} of {case.max_steps}", "black")]
        for agent in range(world.n_agents):
            done = "the end" if acting is None else ACTION_NAMES[acting[agent]]
            if agent in world.humans:
                h = world.humans.index(agent)
                reached = episode.attained[h]
                goal = tuple(world.goals[episode.goals[h]].tolist())
                place = goal[:2] if goal[:2] == goal[2:] else goal
                state_of = f", reached at t = {reached}" if reached is not None and reached <= t else ""
                text = f"{agent} {human_name(world, h)}: {done}, goal {place}{state_of}"
                lines.append((text, GOAL_COLOURS[h % len(GOAL_COLOURS)]))
            else:
                lines.append((f"{agent} robot: {done}", "#555555"))
        frames.append(film.frame(state, episode.goals, lines))
    return frames + [frames[-1]] * PAUSE_FRAMES


def write_film(solved: Solved, folder: Path) -> Path | None:
    """Play the episodes that the config asks for, and write them as one GIF; None where it asks for none."""
    config = solved.context.config
    if not config.rollouts or solved.error:
        return None
    played = rollouts(
        solved.graph,
        solved.solution,
        config.rollouts,
        seed=config.rollout_seed,
        others_marginal=config.others_marginal,
        human_always_toggles=config.human_always_toggles,
    )
    return save_film(solved.case, played, config.fps, folder / f"rollouts{solved.name}.gif")


def save_film(case: Case, played: Sequence[Rollout], fps: float, path: Path, kind: str = "") -> Path:
    """Write episodes as one GIF; `kind` stands before the number of each."""
    film = Film(case.world)
    drawn = [
        frame
        for number, episode in enumerate(played)
        for frame in episode_frames(film, case, episode, number, len(played), kind)
    ]
    palette = drawn[0].quantize(32)  # one for all: then a frame holds only what changes
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in drawn]
    content = io.BytesIO()
    frames[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=max(20, math.floor(1000 / fps)),
        loop=0,
        optimize=False,
    )
    return write_file(path, content.getvalue())
