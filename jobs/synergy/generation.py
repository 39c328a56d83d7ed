"""The study's data set: labels, images, visual latents and the synergy target, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .config import Config, Data
from .data import Bytes, Dataset, Doubles, Floats, Split
from .labels import SIZE, Labels, attributes, make_labels
from .target import Target, xor_target


@dataclass(frozen=True)
class Rows:
    """A split of the data set as it is stored: labels, u, attributes, latents (mean, logvar), v and the target."""

    labels: Floats
    u: Floats
    attr: Floats
    latents: Floats
    v: Floats
    target: Target

    @property
    def split(self) -> Split:
        """What a model sees of it."""
        return Split(self.attr, self.v, self.target.xor_bin)


def labels_of(data: Data) -> dict[str, Labels]:
    """Return the labels of the configured splits."""
    return make_labels(
        data.counts,
        data_seed=data.data_seed,
        u_seed=data.u_seed,
        min_scale=data.min_scale,
        max_scale=data.max_scale,
        min_lightness=data.min_lightness,
        max_lightness=data.max_lightness,
        img_size=data.img_size,
    )


def target_of(data: Data, labels: Labels) -> Target:
    """Return the synergy target of a whole split."""
    return xor_target(
        labels.labels[:, SIZE],
        labels.u,
        n_bins=data.n_bins,
        size_range=data.size_range,
        min_scale=data.min_scale,
        max_scale=data.max_scale,
    )


def images_of(data: Data, labels: Labels) -> Bytes:
    """Return the images of a split, u1[n,s,s,3]."""
    from .drawing import render

    return render(labels.labels, img_size=data.img_size)


def visual_input(data: Data, latents: Floats, size_normalized: Doubles) -> Floats:
    """Return v: the latent means, and the normalised size where it is appended."""
    means = latents[:, 0]
    if not data.append_size:
        return np.ascontiguousarray(means)
    return np.column_stack([means, size_normalized.astype(np.float32)])


def rows_of(data: Data, labels: Labels, latents: Floats) -> Rows:
    """Return a whole split from its labels and latents f4[n,2,latent_dim]."""
    target = target_of(data, labels)
    attr = attributes(labels.labels, labels.u, max_scale=data.max_scale, img_size=data.img_size)
    return Rows(labels.labels, labels.u, attr, latents, visual_input(data, latents, target.size_normalized), target)


def dataset_of(rows: Mapping[str, Rows], n_bins: int) -> Dataset:
    """Return the data set of stored splits."""
    return Dataset(rows["train"].split, rows["val"].split, rows["test"].split, n_bins)


def make_dataset(config: Config | None = None) -> Dataset:
    """Return the data set of `config.data` and `config.visual`, made in memory.

    Raises:
        ValueError: the visual domain decodes the validation images worse than `visual.max_val_mse`.
    """
    from .visual import encode, gate_message, pixel_error, start_visual

    settings = Config() if config is None else config
    data, visual = settings.data, settings.visual
    labels = labels_of(data)
    images = {name: images_of(data, found) for name, found in labels.items()}
    task = start_visual(visual, images["train"])
    while task.advance():
        pass
    weights = task.weights()
    message = gate_message(visual, pixel_error(visual, weights, images["val"]))
    if message is not None:
        raise ValueError(message)
    latents = {name: encode(visual, weights, found) for name, found in images.items()}
    return dataset_of({name: rows_of(data, labels[name], latents[name]) for name in labels}, data.n_bins)
