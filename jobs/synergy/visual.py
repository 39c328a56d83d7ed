"""The visual domain: images become latent means, by an autoencoder trained here or by principal axes.

`vae_mlp` and `vae_conv` minimise (0.5 sum((x - xhat)^2) + beta KL) / batch with KL = -0.5 sum(1 + logvar - mean^2 -
exp(logvar)) (Kingma and Welling 2014) with AdamW on a one-cycle schedule. `pca` is the closed form: twelve principal
axes of the first 4,096 training images, latents of unit variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from .config import Visual
from .data import Bytes, Doubles, Floats

PCA_IMAGES = 4096
PIXEL_ROWS = 1000
Weights = dict[str, np.ndarray]


class VisualTask(Protocol):
    """The training of a visual domain as a long task."""

    def advance(self) -> bool:
        """Go on for at most about ten seconds; return True while there is more to do."""
        ...

    def state(self) -> dict[str, Any]:
        """Return arrays and JSON values to go on from."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        ...

    def weights(self) -> Weights:
        """Return the finished weights by name."""
        ...


def flattened(images: Bytes) -> Floats:
    """Return images [n,s,s,3] as rows of pixels on [0, 1], f4[n, 3 s s]."""
    return (images.reshape(len(images), -1).astype(np.float32)) * np.float32(1.0 / 255.0)


class PrincipalAxes:
    """The visual domain `pca`: one step, no training."""

    def __init__(self, visual: Visual, images: Bytes) -> None:
        """Take the first images."""
        self._count = visual.latent_dim
        self._images = images[:PCA_IMAGES]
        self._weights: Weights = {}

    def advance(self) -> bool:
        """Compute mean and axes."""
        self._weights = principal_axes(self._images, self._count)
        return False

    def state(self) -> dict[str, Any]:
        """Return nothing that is needed: one step does it all."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Begin again."""

    def weights(self) -> Weights:
        """Return mean, axes and scale."""
        return self._weights


def principal_axes(images: Bytes, count: int) -> Weights:
    """Return mean f8[p], axes f8[count,p] and standard deviations f8[count] (ddof 1) of images.

    The largest component of each axis in magnitude is positive.

    Raises:
        ValueError: there are fewer images than axes, or fewer axes with variance than asked for.
    """
    x = flattened(images).astype(np.float64)
    if len(x) <= count:
        raise ValueError(f"visual.latent_dim: {count}; pca needs more images than that, found {len(x)}")
    mean = x.mean(axis=0)
    centred = x - mean
    if len(x) < x.shape[1]:
        # the same axes from the smaller matrix of inner products
        values, vectors = np.linalg.eigh(centred @ centred.T / (len(x) - 1))
        axes = vectors[:, ::-1][:, :count].T @ centred
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    else:
        values, vectors = np.linalg.eigh(centred.T @ centred / (len(x) - 1))
        axes = vectors[:, ::-1][:, :count].T
    variances = values[::-1][:count]
    if not variances[-1] > 0.0:
        raise ValueError(f"visual.latent_dim: {count}; the images have fewer axes with variance")
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(count), largest])[:, None]
    return {"mean": mean, "axes": axes, "deviation": np.sqrt(variances)}


def start_visual(visual: Visual, images: Bytes) -> VisualTask:
    """Return the training of the configured visual domain on images u1[n,s,s,3].

    Raises:
        ValueError: the domain needs another image size.
    """
    if visual.kind == "pca":
        return PrincipalAxes(visual, images)
    from .autoencoder import AutoencoderTraining

    return AutoencoderTraining(visual, images)


def encode(visual: Visual, weights: Weights, images: Bytes) -> Floats:
    """Return mean and log variance of each image's latents, f4[n,2,latent_dim]; of pca the second is 0."""
    result = np.zeros((len(images), 2, visual.latent_dim), np.float32)
    if visual.kind == "pca":
        for start in range(0, len(images), PIXEL_ROWS):
            part = slice(start, start + PIXEL_ROWS)
            centred = flattened(images[part]).astype(np.float64) - weights["mean"]
            result[part, 0] = centred @ weights["axes"].T / weights["deviation"]
        return result
    from .autoencoder import encode_images

    return encode_images(visual, weights, images)


def reconstruct(visual: Visual, weights: Weights, means: Floats, img_size: int = 32) -> Doubles:
    """Return the images decoded from latent means, pixels on about [0, 1], f8[n, 3 s s]."""
    if visual.kind == "pca":
        return means.astype(np.float64) * weights["deviation"] @ weights["axes"] + weights["mean"]
    from .autoencoder import decode_means

    return decode_means(visual, weights, means, img_size)


def pixel_error(visual: Visual, weights: Weights, images: Bytes) -> float:
    """Return the mean squared error per pixel (on [0, 1]) of images decoded from their latent means."""
    total = 0.0
    for start in range(0, len(images), PIXEL_ROWS):
        part = images[start : start + PIXEL_ROWS]
        means = encode(visual, weights, part)[:, 0]
        error = reconstruct(visual, weights, means, images.shape[1]) - flattened(part)
        total += float((error**2).sum())
    return total / images.size


def gate_message(visual: Visual, error: float) -> str | None:
    """Return what to say where the visual domain is too poor to use; None where it is good enough."""
    if visual.max_val_mse is None or error <= visual.max_val_mse:
        return None
    return (
        f"visual.max_val_mse: the validation images are decoded with a mean squared error of {error:.4g}; it must be "
        f"at most {visual.max_val_mse:g} (more images, more epochs, or visual.kind pca)"
    )
