"""Labels of the shapes data set, seed for seed, and the attribute vector that the model sees.

A label row is float32 [class, x, y, size, rotation, r, g, b, H, L, S, unpaired]; class 0 is a diamond, 1 an egg, 2 a
triangle; position and size are in pixels, rotation in radians, colours 0..255.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .colour import hls_to_rgb
from .data import Floats

SPLITS = ("train", "val", "test")
CLASS, X, Y, SIZE, ROTATION = range(5)
COLOUR = slice(5, 8)


@dataclass(frozen=True)
class Labels:
    """Labels f4[n,12] of one split, and its random attribute u f4[n] on [0, 1)."""

    labels: Floats
    u: Floats


def margin_of(max_scale: int) -> int:
    """Return how far shapes stay from the image's border, in pixels."""
    return max_scale // 2


def make_labels(
    counts: Mapping[str, int],
    *,
    data_seed: int = 0,
    u_seed: int = 42,
    min_scale: int = 7,
    max_scale: int = 14,
    min_lightness: int = 46,
    max_lightness: int = 256,
    img_size: int = 32,
) -> dict[str, Labels]:
    """Return the labels of each split; `counts` is {"train": n, "val": n, "test": n}.

    One legacy generator draws all splits' labels in the order train, val, test, a second one their u, so that the
    published data set's labels come out for its seed and counts. `max_lightness` is exclusive.

    Raises:
        ValueError: a range is empty or a count negative.
    """
    unknown = set(counts) - set(SPLITS)
    if unknown or any(n < 0 for n in counts.values()):
        raise ValueError(f"counts: {dict(counts)}; keys are train, val and test, values at least 0")
    margin = margin_of(max_scale)
    if not 0 < min_scale <= max_scale <= img_size or img_size - 2 * margin < 1:
        raise ValueError(f"min_scale {min_scale}, max_scale {max_scale}: they must be in order, at most {img_size}")
    if not 0 <= min_lightness < max_lightness <= 256:
        raise ValueError(f"min_lightness {min_lightness} must be below max_lightness {max_lightness}, from 0 to 256")
    generator, u_generator = np.random.RandomState(data_seed), np.random.RandomState(u_seed)
    result = {}
    for split in SPLITS:
        if split not in counts:
            continue
        n = counts[split]
        shape = generator.randint(3, size=n)
        size = generator.randint(min_scale, max_scale + 1, n)
        position = generator.randint(margin, img_size - margin, (n, 2))
        rotation = generator.rand(n) * 2 * np.pi
        low, high = np.array([0, min_lightness, 0]), np.array([181, max_lightness, 256])
        hls = generator.randint(low, high, size=(1, n, 3), dtype=np.uint8)[0]
        unpaired = generator.rand(n)
        columns = (shape, position, size, rotation, hls_to_rgb(hls), hls, unpaired)
        labels = np.column_stack([np.asarray(column, np.float32) for column in columns])
        result[split] = Labels(labels, u_generator.rand(n, 1).astype(np.float32)[:, 0])
    return result


def attributes(labels: Floats, u: Floats, *, max_scale: int = 14, img_size: int = 32) -> Floats:
    """Return f4[n,11]: one-hot class, position on [0, 1], cos and sin of the rotation, r, g, b on [0, 1], and u.

    The size is not an attribute: it is seen only.
    """
    labels = np.asarray(labels, np.float32)
    margin = np.float32(margin_of(max_scale))
    span = np.float32(img_size - 2 * margin_of(max_scale) - 1)
    one_hot = np.eye(3, dtype=np.float32)[labels[:, CLASS].astype(np.int64)]
    position = (labels[:, X : Y + 1] - margin) / span
    turn = labels[:, ROTATION]
    colour = labels[:, COLOUR] / np.float32(255.0)
    columns = (one_hot, position, np.cos(turn), np.sin(turn), colour, np.asarray(u, np.float32))
    return np.column_stack(columns).astype(np.float32, copy=False)
