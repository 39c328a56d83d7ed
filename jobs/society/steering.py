"""Activation steering: persona vectors, doses, and the hook that adds them to a model's residual stream.

The dose of row i at the output of block l is

    delta[i, l] = (s / m) sum_T c[i, T] kappa_T n[T, l] u[T, l]

with strength s, the number m of blocks (1 where `layer_scale` is `"none"`), coefficients c, gains kappa, and for each
trait T the norm n and the direction u of the mean difference between answers of high and low scorers (contrastive
activation addition, Rimsky et al. 2024). Coefficient 1 at strength 1 adds exactly that mean difference.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .traits import TRAITS, TraitMap, checked_traits

if TYPE_CHECKING:
    import torch

Direction = NDArray[np.float32]
Dose = dict[int, NDArray[np.float32]]


@dataclass(frozen=True)
class PersonaVectors:
    """Directions of unit length and the norms that belong to them, by trait and block.

    Attributes:
        directions: {trait: {block: f4[hidden]}}, normalised on construction.
        norms: {trait: {block: float}}.
        model_sha256: the model they were extracted from; empty where unknown.
        quality: by trait and block, what extraction found: agreement of the items, d', split-half cosine.
    """

    directions: dict[str, dict[int, Direction]]
    norms: dict[str, dict[int, float]]
    model_sha256: str = ""
    quality: Any = None

    def __post_init__(self) -> None:
        checked_traits(dict.fromkeys(self.directions, 0.0), "directions")
        unit: dict[str, dict[int, Direction]] = {}
        for trait, blocks in self.directions.items():
            unit[trait] = {}
            for block, direction in blocks.items():
                values = np.asarray(direction, np.float64)
                length = float(np.sqrt((values * values).sum()))
                if not length > 0 or not np.isfinite(length):
                    raise ValueError(f"directions.{trait}.{block}: found a vector of length {length}; allowed is > 0")
                unit[trait][int(block)] = (values / length).astype(np.float32)
                if int(block) not in {int(other) for other in self.norms.get(trait, {})}:
                    raise ValueError(f"norms.{trait}: block {block} is missing")
        object.__setattr__(self, "directions", unit)
        norms = {t: {int(b): float(value) for b, value in blocks.items()} for t, blocks in self.norms.items()}
        object.__setattr__(self, "norms", norms)

    @property
    def hidden(self) -> int:
        """The length of the vectors."""
        return next(len(vector) for blocks in self.directions.values() for vector in blocks.values())

    def checked_for(self, sha256: str, hidden: int) -> PersonaVectors:
        """Return these vectors if they belong to a model.

        Raises:
            ValueError: another model or another width; both are named.
        """
        if self.hidden != hidden:
            raise ValueError(f"vectors: their width is {self.hidden}, the model's is {hidden}")
        if self.model_sha256 and self.model_sha256 != sha256:
            raise ValueError(f"vectors: extracted from model {self.model_sha256[:12]}, this is {sha256[:12]}")
        return self

    def mapped(self, mapping: Mapping[str, str]) -> PersonaVectors:
        """Return vectors in which each trait has those of another one (the arm `placebo`)."""
        return replace(
            self,
            directions={trait: self.directions[other] for trait, other in mapping.items()},
            norms={trait: self.norms[other] for trait, other in mapping.items()},
        )

    def randomised(self, seed: int) -> PersonaVectors:
        """Return random directions with the same norms (the arm `random`)."""
        generator = np.random.Generator(np.random.PCG64(seed))
        directions = {
            trait: {block: generator.standard_normal(len(blocks[block])).astype(np.float32) for block in sorted(blocks)}
            for trait, blocks in sorted(self.directions.items())
        }
        return replace(self, directions=directions)

    def orthogonalised(self, how: Literal["none", "soft", "gram_schmidt"]) -> PersonaVectors:
        """Return vectors with their overlaps reduced, in trait order; norms stay.

        `soft` subtracts half of the projection on each earlier direction where |cosine| is above 0.2,
        `gram_schmidt` all of it.
        """
        if how == "none":
            return self
        directions: dict[str, dict[int, Direction]] = {trait: {} for trait in self.directions}
        for block in sorted({block for blocks in self.directions.values() for block in blocks}):
            done: list[NDArray[np.float64]] = []
            for trait in TRAITS:
                if block not in self.directions.get(trait, {}):
                    continue
                vector = self.directions[trait][block].astype(np.float64)
                for earlier in done:
                    overlap = float((vector * earlier).sum())
                    if how == "gram_schmidt":
                        vector = vector - overlap * earlier
                    elif abs(overlap) > 0.2 * float(np.sqrt((vector * vector).sum())):
                        vector = vector - 0.5 * overlap * earlier
                vector = vector / np.sqrt((vector * vector).sum())
                done.append(vector)
                directions[trait][block] = vector.astype(np.float32)
        return replace(self, directions=directions)


class Steering:
    """Doses from coefficients.

    Args:
        vectors: persona vectors.
        layers: blocks at whose output doses are added.
        strength: global multiplier s.
        layer_scale: `"mean"` divides by the number of layers, `"none"` does not.
        vector_norm: gain of each trait; a missing trait has 1.

    Raises:
        ValueError: no layers, one without vectors, a negative strength, an unknown scale or trait.
    """

    def __init__(
        self,
        vectors: PersonaVectors,
        layers: Sequence[int] = (16,),
        *,
        strength: float = 1.0,
        layer_scale: Literal["mean", "none"] = "mean",
        vector_norm: TraitMap | None = None,
    ) -> None:
        if layer_scale not in ("mean", "none"):
            raise ValueError(f"layer_scale: found {layer_scale!r}; allowed are mean, none")
        if not strength >= 0:
            raise ValueError(f"strength: found {strength}; allowed is a number of at least 0")
        checked_traits(vector_norm or {}, "vector_norm")
        self.vectors, self.layers = vectors, tuple(int(layer) for layer in layers)
        if not self.layers:
            raise ValueError("layers: found none; allowed is at least one block")
        self.strength, self.layer_scale = float(strength), layer_scale
        self.vector_norm = {trait: float((vector_norm or {}).get(trait, 1.0)) for trait in TRAITS}
        self._scaled: dict[int, dict[str, NDArray[np.float64]]] = {}
        share = self.strength / (len(self.layers) if layer_scale == "mean" else 1)
        for layer in self.layers:
            self._scaled[layer] = {}
            for trait, blocks in vectors.directions.items():
                if layer not in blocks:
                    known = sorted(blocks)
                    raise ValueError(f"layers: found {layer}; {trait} has vectors for blocks {known[0]} to {known[-1]}")
                gain = share * self.vector_norm[trait] * vectors.norms[trait][layer]
                self._scaled[layer][trait] = gain * blocks[layer].astype(np.float64)

    def dose(self, coefficients: Sequence[TraitMap]) -> Dose:
        """Return what is added to each row at each block, {block: f4[rows, hidden]}; nothing is clipped."""
        for values in coefficients:
            checked_traits(values)
        doses: Dose = {}
        for layer, scaled in self._scaled.items():
            total = np.zeros((len(coefficients), self.vectors.hidden))
            for trait in TRAITS:
                if trait in scaled:
                    column = np.array([float(values.get(trait, 0.0)) for values in coefficients])
                    total += column[:, None] * scaled[trait][None, :]
            doses[layer] = total.astype(np.float32)
        return doses


@contextmanager
def steer(
    blocks: Mapping[int, torch.nn.Module], dose: Mapping[int, Any], last: int | None = None
) -> Generator[None, None, None]:
    """Add doses to the outputs of decoder blocks while the context is open.

    Args:
        blocks: the modules by number; an output is a tensor [rows, positions, hidden], or a tuple that begins with one.
        dose: what is added, {block: [rows, hidden]}.
        last: how many last positions are steered; None: all.

    Raises:
        KeyError: a dose is given for a block that is not.
    """
    missing = [block for block in dose if block not in blocks]
    if missing:
        raise KeyError(f"dose: block {missing[0]} is not among the blocks {sorted(blocks)}")
    import torch

    def hook(delta: Any) -> Any:
        values = torch.as_tensor(np.asarray(delta) if not isinstance(delta, torch.Tensor) else delta)

        def add(module: torch.nn.Module, inputs: Any, output: Any) -> Any:
            hidden = output if isinstance(output, torch.Tensor) else output[0]
            placed = values.to(hidden.device, hidden.dtype)[:, None, :]
            positions = hidden.shape[1]
            count = positions if last is None else min(last, positions)
            changed = hidden.clone()
            changed[:, positions - count :] += placed
            return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

        return add

    handles = []
    try:
        for block, delta in dose.items():
            handles.append(blocks[block].register_forward_hook(hook(delta)))
        yield
    finally:
        for handle in handles:
            handle.remove()
