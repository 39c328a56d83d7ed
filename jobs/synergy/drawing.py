"""Images of the shapes: filled, anti-aliased paths on black, drawn straight into Matplotlib's Agg renderer."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .data import Bytes, Floats
from .labels import CLASS, COLOUR, ROTATION, SIZE, X, Y

if TYPE_CHECKING:
    from matplotlib.path import Path

EGG = 1
OUTLINE = 1.0
"""Width in points of the egg's black outline, at one dot per inch."""


@cache
def outlines() -> tuple[Path, Path, Path]:
    """Return diamond, egg (four cubic Bezier segments) and triangle in the unit square, y upwards."""
    from matplotlib.path import Path

    move, line, curve, close = Path.MOVETO, Path.LINETO, Path.CURVE4, Path.CLOSEPOLY
    diamond = Path([(0.5, 0), (1, 0.3), (0.5, 1), (0, 0.3), (0.5, 0)], [move, line, line, line, close])
    triangle = Path([(0.5, 1), (0.2, 0), (0.8, 0), (0.5, 1)], [move, line, line, close])
    right = [(0.5, 0), (0.8, 0), (0.9, 0.1), (0.9, 0.3), (0.9, 0.5), (0.7, 1), (0.5, 1)]
    left = [(0.3, 1), (0.1, 0.5), (0.1, 0.3), (0.1, 0.1), (0.2, 0), (0.5, 0)]
    egg = Path(right + left, [move] + [curve] * 12)
    return diamond, egg, triangle


def render(labels: Floats, *, img_size: int = 32) -> Bytes:
    """Return the images u1[n,img_size,img_size,3] of labels [n,12], row 0 on top.

    A unit-square point p is drawn at (x, y) + size R(rotation) (p - (0.5, 0.5)) in pixels, y upwards; column j covers
    [j, j+1).

    Raises:
        ValueError: a label has no known class.
    """
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import Affine2D

    renderer = RendererAgg(img_size, img_size, 1)
    canvas = np.asarray(renderer.buffer_rgba())
    context = renderer.new_gc()
    context.set_antialiased(True)
    context.set_joinstyle("miter")
    context.set_foreground((0.0, 0.0, 0.0, 1.0), isRGBA=True)
    rows = np.asarray(labels, np.float64)
    if not np.isin(rows[:, CLASS], range(len(outlines()))).all():
        raise ValueError(f"labels: class {rows[:, CLASS]}; allowed are 0 diamond, 1 egg and 2 triangle")
    images = np.empty((len(rows), img_size, img_size, 3), np.uint8)
    shapes = outlines()
    for image, row in zip(images, rows, strict=True):
        canvas[...] = (0, 0, 0, 255)
        shape = int(row[CLASS])
        context.set_linewidth(OUTLINE if shape == EGG else 0.0)
        place = Affine2D().translate(-0.5, -0.5).scale(row[SIZE]).rotate(row[ROTATION]).translate(row[X], row[Y])
        red, green, blue = row[COLOUR] / 255.0
        renderer.draw_path(context, shapes[shape], place, (red, green, blue, 1.0))
        image[...] = canvas[..., :3]
    return images
