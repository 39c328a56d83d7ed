"""Parameters of the model: their order and shapes, initial values, and the order of the training rows.

All random numbers are doubles of Generator(PCG64(SeedSequence([seed, stream, ...]))), so that every backend starts
from the same numbers. Stream 1 gives the weights of layer l of net k: W = (2 random([out, in]) - 1) / sqrt(in), then
b = (2 random(out) - 1) / sqrt(in), the distribution of PyTorch's Linear; stream 2 gives the order of an epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .data import Floats, Integers
from .sums import N_ATTR

NETS = ("enc_attr", "enc_v", "dec_attr", "dec_v")
WEIGHT_STREAM, ORDER_STREAM = 1, 2
LEAST_SIZES = {"workspace_dim": 1, "hidden_dim": 1, "decoder_hidden_dim": 1, "n_layers": 0, "n_bins": 2, "n_v": 1}
Parameters = dict[str, Floats]


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the generator of one stream."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *key])))


@dataclass(frozen=True)
class Layout:
    """Sizes of the four nets, and where each array stands in the flat parameter vector."""

    workspace_dim: int
    hidden_dim: int
    decoder_hidden_dim: int
    n_layers: int
    n_bins: int
    n_v: int

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ValueError: one is too small.
        """
        for name, least in LEAST_SIZES.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)}; it must be at least {least}")

    @cached_property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of activations of each net, from input to output: n_layers + 3 each."""
        d, hidden = self.workspace_dim, (self.hidden_dim,) * (self.n_layers + 1)
        decoder = (self.decoder_hidden_dim,) * (self.n_layers + 1)
        ends = ((N_ATTR, d), (self.n_v, d), (d, N_ATTR + self.n_bins), (d, self.n_v))
        return tuple((a, *(hidden if net < 2 else decoder), b) for net, (a, b) in enumerate(ends))

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array by name, in their order: `enc_attr.0.W` [out, in], `enc_attr.0.b` [out], ..."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, sizes in zip(NETS, self.sizes, strict=True):
            for layer, (width, height) in enumerate(itertools.pairwise(sizes)):
                shapes[f"{name}.{layer}.W"] = (height, width)
                shapes[f"{name}.{layer}.b"] = (height,)
        return shapes

    @cached_property
    def places(self) -> dict[str, int]:
        """Index of the first element of every array in the flat vector."""
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes.values())])
        return dict(zip(self.shapes, ends[:-1].tolist(), strict=True))

    @cached_property
    def n_params(self) -> int:
        """Number of parameters."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    @cached_property
    def step_flops(self) -> int:
        """Floating-point operations per sample of a fusion step, forward and backward."""
        return 6 * sum(int(np.prod(shape)) for shape in self.shapes.values() if len(shape) == 2)

    def flat(self, parameters: Mapping[str, Floats]) -> Floats:
        """Return the arrays one after the other.

        Raises:
            ValueError: an array is missing or has another shape.
        """
        for name, shape in self.shapes.items():
            if name not in parameters or parameters[name].shape != shape:
                found = parameters[name].shape if name in parameters else "nothing"
                raise ValueError(f"parameters: {name}: found {found}; it must have the shape {shape}")
        return np.concatenate([np.asarray(parameters[name], np.float32).ravel() for name in self.shapes])

    def named(self, flat: Floats) -> Parameters:
        """Return copies of the arrays by name."""
        return {
            name: flat[place : place + int(np.prod(shape))].reshape(shape).copy()
            for (name, shape), place in zip(self.shapes.items(), self.places.values(), strict=True)
        }


def layout_of(parameters: Mapping[str, Floats]) -> Layout:
    """Return the layout that parameters have.

    Raises:
        ValueError: the arrays are not those of this model.
    """
    try:
        hidden, n_attr = parameters["enc_attr.0.W"].shape
        depth = sum(name.startswith("enc_attr.") and name.endswith(".W") for name in parameters)
        d = parameters[f"enc_attr.{depth - 1}.W"].shape[0]
        decoder_hidden = parameters["dec_attr.0.W"].shape[0]
        n_out = parameters[f"dec_attr.{depth - 1}.W"].shape[0]
        n_v = parameters["enc_v.0.W"].shape[1]
    except KeyError as error:
        raise ValueError(f"parameters: {error.args[0]} is missing") from None
    if n_attr != N_ATTR:
        raise ValueError(f"parameters: enc_attr.0.W takes {n_attr} attributes; it must take {N_ATTR}")
    layout = Layout(d, hidden, decoder_hidden, depth - 2, n_out - N_ATTR, n_v)
    layout.flat(parameters)
    return layout


def initial_vector(seed: int, layout: Layout) -> Floats:
    """Return the initial parameters as one vector f4[n_params]."""
    flat = np.empty(layout.n_params, np.float32)
    position = 0
    for net, sizes in enumerate(layout.sizes):
        for layer, (width, height) in enumerate(itertools.pairwise(sizes)):
            generator = stream(seed, WEIGHT_STREAM, net, layer)
            for count in (height * width, height):
                flat[position : position + count] = (2.0 * generator.random(count) - 1.0) / np.sqrt(width)
                position += count
    return flat


def init_parameters(
    seed: int,
    workspace_dim: int,
    *,
    hidden_dim: int = 128,
    decoder_hidden_dim: int | None = None,
    n_layers: int = 4,
    n_bins: int = 8,
    n_v: int = 13,
) -> Parameters:
    """Return the initial parameters of a seed, f4, by name in their order.

    Names are `enc_attr.0.W` [out, in], `enc_attr.0.b` [out], ..., `enc_v...`, `dec_attr...`, `dec_v...`; each net has
    `n_layers` + 2 linear maps. `decoder_hidden_dim` None is `hidden_dim`.

    Raises:
        ValueError: a size is too small, or the seed negative.
    """
    decoder = hidden_dim if decoder_hidden_dim is None else decoder_hidden_dim
    layout = Layout(workspace_dim, hidden_dim, decoder, n_layers, n_bins, n_v)
    return layout.named(initial_vector(seed, layout))


def epoch_order(seed: int, epoch: int, n: int) -> Integers:
    """Return the order i8[n] in which an epoch (from 0) takes the training rows."""
    return np.argsort(stream(seed, ORDER_STREAM, epoch).random(n), kind="stable").astype(np.int64)
