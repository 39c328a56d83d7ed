"""The phases `visual` and `encode`: a visual domain trained on rendered images, and the latents of every image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...jobs.synergy.config import Config
from ...jobs.synergy.generation import images_of, labels_of
from ...jobs.synergy.labels import Labels
from ...jobs.synergy.visual import PCA_IMAGES, VisualTask, Weights, encode, pixel_error, start_visual
from .dataset_file import SPLITS

ROWS_PER_UNIT = 10_000
"""Rows that are rendered and encoded as one unit: about a second."""


def labels_between(labels: Labels, begin: int, end: int) -> Labels:
    """Return some consecutive labels."""
    return Labels(labels.labels[begin:end], labels.u[begin:end])


def pieces_of(config: Config) -> list[tuple[str, int, int]]:
    """Return the units of `encode`: split, first row, end."""
    return [
        (name, begin, min(begin + ROWS_PER_UNIT, n))
        for name, n in ((name, config.data.counts[name]) for name in SPLITS)
        for begin in range(0, n, ROWS_PER_UNIT)
    ]


def packed_weights(weights: Weights) -> dict[str, np.ndarray]:
    """Return weights as bytes, and the table of what they are (JSON: name, dtype, shape)."""
    arrays = {name: np.ascontiguousarray(weights[name]) for name in sorted(weights)}
    table = [[name, array.dtype.str, list(np.shape(weights[name]))] for name, array in arrays.items()]
    text = json.dumps(table, separators=(",", ":")).encode()
    content = b"".join(array.tobytes() for array in arrays.values())
    return {"table": np.frombuffer(text, np.uint8), "weights": np.frombuffer(content, np.uint8)}


def unpacked_weights(table: np.ndarray, weights: np.ndarray) -> Weights:
    """Return the weights that `packed_weights` made bytes of."""
    content, place, result = weights.tobytes(), 0, {}
    for name, dtype, shape in json.loads(table.tobytes()):
        count = int(np.prod(shape))
        result[name] = np.frombuffer(content, dtype, count, place).reshape(shape)
        place += count * np.dtype(dtype).itemsize
    return result


class VisualDomain:
    """The one unit of `visual`: render, train, and measure the error on the validation images."""

    def __init__(self, config: Config) -> None:
        """Draw the labels."""
        self._config = config
        labels = labels_of(config.data)
        self._labels = labels["train"]
        if config.visual.kind == "pca":
            self._labels = labels_between(self._labels, 0, PCA_IMAGES)
        self._val = labels["val"]
        size = config.data.img_size
        self._images = np.empty((len(self._labels.labels), size, size, 3), np.uint8)
        self._rendered = 0
        self._task: VisualTask | None = None
        self._saved: Mapping[str, Any] | None = None
        self._training = True
        self._judged = 0
        self._error = 0.0

    def advance(self) -> bool:
        """Render some images, or train some batches, or judge some images; return True while there is more to do."""
        if self._rendered < len(self._images):
            self._render()
            return True
        if self._task is None:
            self._task = start_visual(self._config.visual, self._images)
            if self._saved is not None:
                self._task.restore(self._saved)
        if self._training:
            self._training = self._task.advance()
            return True
        self._judge(self._task)
        return self._judged < len(self._val.labels)

    def _render(self) -> None:
        end = min(self._rendered + ROWS_PER_UNIT, len(self._images))
        self._images[self._rendered : end] = images_of(
            self._config.data, labels_between(self._labels, self._rendered, end)
        )
        self._rendered = end

    def _judge(self, task: VisualTask) -> None:
        end = min(self._judged + ROWS_PER_UNIT, len(self._val.labels))
        images = images_of(self._config.data, labels_between(self._val, self._judged, end))
        self._error += pixel_error(self._config.visual, task.weights(), images) * len(images)
        self._judged = end

    def state(self) -> Mapping[str, Any] | None:
        """Return the state of the training; None before it began, or where it is one step."""
        return (self._task.state() or None) if self._task is not None and self._training else None

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state, once the images are rendered again."""
        self._saved = state

    def result(self) -> Mapping[str, Any]:
        """Return the weights, and the mean squared error per pixel of the validation images."""
        if self._task is None:
            raise RuntimeError("result() before advance()")
        arrays = {f"rows/{name}": array for name, array in packed_weights(self._task.weights()).items()}
        lengths = {f"{name}_length": [len(array)] for name, array in arrays.items()}
        return {**arrays, **lengths, "rows/val_mse": [self._error / len(self._val.labels)]}


def encoded(config: Config, weights: Weights, labels: dict[str, Labels], units: range) -> dict[str, Any]:
    """Return the latents of some units of `encode`, and their images where they are kept."""
    latents, images = [], []
    for name, begin, end in pieces_of(config)[units.start : units.stop]:
        rendered = images_of(config.data, labels_between(labels[name], begin, end))
        latents.append(encode(config.visual, weights, rendered))
        images.append(rendered)
    arrays: dict[str, Any] = {
        "rows/latents": np.concatenate(latents),
        "rows/latents_length": [len(part) for part in latents],
    }
    if config.data.keep_images:
        arrays |= {
            "rows/images": np.concatenate(images),
            "rows/images_length": [len(part) for part in images],
        }
    return arrays
