"""Variational autoencoders of the images, `vae_mlp` and `vae_conv`, trained with PyTorch on one core.

Weights, orders and noise come from NumPy streams of `visual.seed`, so that a training can stop and go on between any
two batches: what a batch is made of is a pure function of (seed, epoch, batch).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from .config import Visual
from .data import Bytes, Doubles, Floats
from .parameters import stream
from .stacked import one_thread

BATCH = 128
WEIGHT_DECAY = 1e-5
WEIGHT_STREAM, ORDER_STREAM, NOISE_STREAM = 11, 12, 13
CHUNK = {"vae_mlp": 200, "vae_conv": 20}
"""Batches between two looks at the outside: about a second."""

MLP_WIDTHS = (256, 128)
CONV_SIZE = 32
ENCODING_ROWS = 500


Weights = dict[str, np.ndarray]


class DensePair(nn.Module):
    """`vae_mlp`: pixels -> 256 -> 128 -> (mean, log variance), and the mirror image with a sigmoid."""

    def __init__(self, pixels: int, latent: int) -> None:
        super().__init__()
        wide, narrow = MLP_WIDTHS
        self.encoder = nn.Sequential(nn.Linear(pixels, wide), nn.ReLU(), nn.Linear(wide, narrow), nn.ReLU())
        self.mean, self.logvar = nn.Linear(narrow, latent), nn.Linear(narrow, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, narrow), nn.ReLU(), nn.Linear(narrow, wide), nn.ReLU(), nn.Linear(wide, pixels)
        )

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance of rows of pixels."""
        hidden = self.encoder(x)
        return self.mean(hidden), self.logvar(hidden)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return rows of pixels."""
        return torch.sigmoid(self.decoder(z))


class ConvolutionalPair(nn.Module):
    """`vae_conv`: four strided convolutions and their transposes, the architecture of the reference."""

    def __init__(self, ae: int, latent: int) -> None:
        super().__init__()
        widths = (3, ae // 8, ae // 4, ae // 2, ae)
        layers: list[nn.Module] = []
        for inner, outer in itertools.pairwise(widths):
            layers += [nn.Conv2d(inner, outer, 4, 2, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        self.mean, self.logvar = nn.Linear(4 * ae, latent), nn.Linear(4 * ae, latent)

        def up(inner: int, outer: int, size: int, stride: int, padding: int) -> list[nn.Module]:
            convolution = nn.ConvTranspose2d(inner, outer, size, stride, padding, bias=False)
            return [convolution, nn.BatchNorm2d(outer), nn.ReLU()]

        self.decoder = nn.Sequential(
            *up(latent, ae, 8, 1, 0),
            *up(ae, ae // 2, 4, 2, 1),
            *up(ae // 2, ae // 4, 4, 2, 1),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(ae // 4, 3, 4, 1, 1),
        )

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance of rows of pixels [row, column, channel]."""
        hidden = self.encoder(x.view(len(x), CONV_SIZE, CONV_SIZE, 3).permute(0, 3, 1, 2))
        return self.mean(hidden), self.logvar(hidden)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return rows of pixels."""
        image = torch.sigmoid(self.decoder(z[:, :, None, None]))
        return image.permute(0, 2, 3, 1).reshape(len(z), -1)


def build(visual: Visual, img_size: int) -> DensePair | ConvolutionalPair:
    """Return the untrained autoencoder, with weights from the seed's streams.

    Raises:
        ValueError: the convolutional one is asked for with images of another size than 32.
    """
    model: DensePair | ConvolutionalPair
    if visual.kind == "vae_conv":
        if img_size != CONV_SIZE:
            raise ValueError(f"visual.kind: vae_conv takes images of {CONV_SIZE} pixels, found {img_size}")
        model = ConvolutionalPair(visual.ae_dim, visual.latent_dim)
    else:
        model = DensePair(3 * img_size * img_size, visual.latent_dim)
    with torch.no_grad():
        for index, module in enumerate(model.modules()):
            weight = getattr(module, "weight", None)
            if weight is None or isinstance(module, nn.BatchNorm2d):
                continue
            generator = stream(visual.seed, WEIGHT_STREAM, index)
            bound = 1.0 / np.sqrt(weight[0].numel() if not isinstance(module, nn.ConvTranspose2d) else fan_in(weight))
            for parameter in (weight, getattr(module, "bias", None)):
                if parameter is not None:
                    values = (2.0 * generator.random(tuple(parameter.shape)) - 1.0) * bound
                    parameter.copy_(torch.from_numpy(values.astype(np.float32)))
    return model


def fan_in(weight: torch.Tensor) -> int:
    """Return the fan-in of a transposed convolution's weight, as PyTorch counts it."""
    return int(weight.shape[1] * weight[0, 0].numel())


def pixels_of(images: Bytes) -> torch.Tensor:
    """Return rows of pixels on [0, 1]."""
    return torch.from_numpy(images.reshape(len(images), -1)).float() / 255.0


class AutoencoderTraining:
    """The training of an autoencoder as a long task."""

    def __init__(self, visual: Visual, images: Bytes) -> None:
        """Begin before the first epoch."""
        self._visual = visual
        self._images = images
        self._per_epoch = -(-len(images) // BATCH)
        self._steps = visual.epochs * self._per_epoch
        self._step = 0
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
        self._model = build(visual, images.shape[1])
        self._optimiser = torch.optim.AdamW(self._model.parameters(), lr=visual.lr, weight_decay=WEIGHT_DECAY)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimiser, max_lr=visual.lr, total_steps=self._steps)

    def advance(self) -> bool:
        """Take some batches; return True while there are more."""
        last = min(self._steps, self._step + CHUNK[self._visual.kind])
        self._model.train()
        with one_thread():
            while self._step < last:
                self._take_batch()
                self._step += 1
        return self._step < self._steps

    def _take_batch(self) -> None:
        epoch, batch = divmod(self._step, self._per_epoch)
        if self._order[0] != epoch:
            keys = stream(self._visual.seed, ORDER_STREAM, epoch).random(len(self._images))
            self._order = (epoch, np.argsort(keys, kind="stable"))
        rows = self._order[1][batch * BATCH : (batch + 1) * BATCH]
        x = pixels_of(self._images[rows])
        noise = stream(self._visual.seed, NOISE_STREAM, epoch, batch).standard_normal((len(rows), self._latent))
        mean, logvar = self._model.encode(x)
        z = mean + torch.exp(0.5 * logvar) * torch.from_numpy(noise.astype(np.float32))
        error = 0.5 * (x - self._model.decode(z)).square().sum()
        divergence = -0.5 * (1.0 + logvar - mean.square() - logvar.exp()).sum()
        self._optimiser.zero_grad(set_to_none=True)
        ((error + self._visual.beta * divergence) / len(rows)).backward()
        self._optimiser.step()
        self._schedule.step()

    @property
    def _latent(self) -> int:
        return self._visual.latent_dim

    def state(self) -> dict[str, Any]:
        """Return weights and moments, and the number of the next batch."""
        moments = self._optimiser.state_dict()["state"]
        arrays = {f"weight/{name}": array for name, array in self.weights().items()}
        for index, held in moments.items():
            arrays |= {f"moment/{index}/{name}": tensor.numpy().copy() for name, tensor in held.items()}
        return {"step": self._step, **arrays}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        prefix = "weight/"
        load(self._model, {name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)})
        held = self._optimiser.state_dict()
        held["state"] = {}
        for name, array in state.items():
            if name.startswith("moment/"):
                _, index, key = name.split("/")
                held["state"].setdefault(int(index), {})[key] = torch.from_numpy(np.array(array))
        self._optimiser.load_state_dict(held)
        with warnings.catch_warnings():
            # the schedule catches up with batches that the optimiser took in another process
            warnings.simplefilter("ignore", UserWarning)
            while self._step < int(state["step"]):
                self._schedule.step()
                self._step += 1

    def weights(self) -> Weights:
        """Return the weights by name."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self._model.state_dict().items()}


def load(model: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Copy weights into a model."""
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})


def encode_images(visual: Visual, weights: Mapping[str, np.ndarray], images: Bytes) -> Floats:
    """Return mean and log variance of each image's latents, f4[n,2,latent_dim]."""
    model = build(visual, images.shape[1])
    load(model, weights)
    model.eval()
    result = np.empty((len(images), 2, visual.latent_dim), np.float32)
    with torch.no_grad(), one_thread():
        for start in range(0, len(images), ENCODING_ROWS):
            mean, logvar = model.encode(pixels_of(images[start : start + ENCODING_ROWS]))
            result[start : start + ENCODING_ROWS, 0] = mean.numpy()
            result[start : start + ENCODING_ROWS, 1] = logvar.numpy()
    return result


def decode_means(visual: Visual, weights: Mapping[str, np.ndarray], means: Floats, img_size: int) -> Doubles:
    """Return the images decoded from latent means, rows of pixels on [0, 1]."""
    model = build(visual, img_size)
    load(model, weights)
    model.eval()
    with torch.no_grad(), one_thread():
        return model.decode(torch.from_numpy(np.ascontiguousarray(means))).double().numpy()
