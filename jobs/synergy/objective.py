"""What is minimised: the loss terms, their weights in each experiment type, and the losses that follow from sums.

mse is the mean over batch and columns, CE the mean over the batch in nats, D a domain, base(dec_attr) the first 11
columns, z = tanh(w_attr enc_attr(attr) + w_v enc_v(v)) and z_D = tanh(enc_D(x_D)):

    fusion_attr   mse(base(dec_attr(z)), attr) + loss_scale CE(logits(dec_attr(z)), xor_bin)
    fusion        (fusion_attr + mse(dec_v(z), v)) / 2
    demi_cycle    mean over D of mse(base(dec_D(z_D)), x_D)
    translation   mean over both directions of mse(base(dec_Y(z_X)), x_Y)
    cycle         mean over both orders of mse(base(dec_X(tanh(enc_Y(base(dec_Y(z_X)))))), x_X)
    total         w_f fusion + w_d demi_cycle + w_c cycle + w_t translation

Only the fusion term sees the synergy target. A term of weight 0 is not computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from . import sums as at
from .data import Doubles

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's constants (Kingma and Ba 2015); epsilon is added after the square root."""


class Weights(NamedTuple):
    """Weights of the four terms."""

    fusion: float = 0.0
    demi_cycle: float = 0.0
    cycle: float = 0.0
    translation: float = 0.0


EXPERIMENT_TYPES = {
    "fusion_only": Weights(fusion=1.0),
    "fusion_demi": Weights(fusion=1.0, demi_cycle=1.0),
    "fusion_cycle": Weights(fusion=1.0, cycle=1.0),
    "translation_only": Weights(translation=1.0),
    "all_losses": Weights(0.5, 0.5, 0.5, 0.5),
}


@dataclass(frozen=True)
class Objective:
    """Weights of the terms and of the two domains in the fusion; `synergy` False leaves the cross entropy out."""

    weights: Weights
    fusion_weights: tuple[float, float] = (0.5, 0.5)
    synergy: bool = True

    @property
    def with_fusion(self) -> Objective:
        """The same with the fused pass computed, which the metrics of every type need."""
        return replace(self, weights=self.weights._replace(fusion=self.weights.fusion or 1.0))

    @property
    def with_everything(self) -> Objective:
        """The same with every term computed."""
        return replace(self, weights=Weights(*(weight or 1.0 for weight in self.weights)))

    @property
    def relative_cost(self) -> float:
        """Work of a step, roughly, in units of a fusion step."""
        fusion, demi, cycle, translation = (weight != 0.0 for weight in self.weights)
        return 0.5 + 0.5 * (fusion + demi + (translation or cycle)) + 1.0 * cycle


@dataclass(frozen=True)
class Optimiser:
    """Adam's settings and how a batch is taken."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    grad_clip: float | None = 1.0
    batch_size: int = 32
    grad_accumulation: int = 1

    @property
    def micro_batch(self) -> int:
        """Most samples of one micro-batch."""
        return -(-self.batch_size // self.grad_accumulation)


def type_weights(experiment_type: str) -> Weights:
    """Return the weights of a predefined experiment type.

    Raises:
        ValueError: there is none of that name.
    """
    if experiment_type not in EXPERIMENT_TYPES:
        raise ValueError(f"experiment_type: {experiment_type!r}; it must be one of {', '.join(EXPERIMENT_TYPES)}")
    return EXPERIMENT_TYPES[experiment_type]


def fusion_pair(fusion_weights: Mapping[str, float] | Sequence[float] | None) -> tuple[float, float]:
    """Return fusion weights given as None (0.5/0.5), {attr, v} or a pair, as a pair; a missing one is 0.5.

    Raises:
        ValueError: there are other weights than these two, or one is negative or not finite.
    """
    given = {} if fusion_weights is None else fusion_weights
    named = given if isinstance(given, Mapping) else dict(zip(("attr", "v"), given, strict=True))
    if not set(named) <= {"attr", "v"}:
        raise ValueError(f"fusion_weights: found {', '.join(map(str, named))}; allowed are attr and v")
    pair = (float(named.get("attr", 0.5)), float(named.get("v", 0.5)))
    if not all(np.isfinite(weight) and weight >= 0.0 for weight in pair):
        raise ValueError(f"fusion_weights: {pair}; both must be finite and at least 0")
    return pair


def components(sums: Doubles, n: int, scale: float, synergy: bool = True) -> dict[str, float]:
    """Return every loss of n samples from their sums; terms that were not computed come out as zeros."""
    n_v = len(sums) - at.N_FIXED - at.N_ATTR
    attr, v = sums[at.FUSED : at.FUSED + at.N_ATTR] / n, sums[at.FUSED + at.N_ATTR :] / n
    reconstruction, entropy = attr.mean(), sums[at.CE] / n
    scaled = scale * entropy if synergy else 0.0
    losses = {
        "fusion_attr_non_synergy_loss": reconstruction,
        "fusion_attr_non_synergy_features_mse": attr[:-1].mean(),
        "fusion_attr_synergy_source_feature_mse": attr[-1],
    }
    if synergy:
        losses["fusion_attr_synergy_loss"] = entropy
        losses["fusion_attr_synergy_loss_scaled"] = scaled
    losses["fusion_attr_loss"] = reconstruction + scaled
    losses["fusion_v_non_synergy_loss"] = losses["fusion_v_loss"] = v.mean()
    losses["fusion_loss"] = (losses["fusion_attr_loss"] + losses["fusion_v_loss"]) / 2
    losses["demi_cycle_attr_loss"] = sums[at.DEMI_ATTR] / (n * at.N_ATTR)
    losses["demi_cycle_v_loss"] = sums[at.DEMI_V] / (n * n_v)
    losses["demi_cycle_loss"] = (losses["demi_cycle_attr_loss"] + losses["demi_cycle_v_loss"]) / 2
    losses["translation_attr_to_v_loss"] = sums[at.TO_V] / (n * n_v)
    losses["translation_v_to_attr_loss"] = sums[at.TO_ATTR] / (n * at.N_ATTR)
    losses["translation_loss"] = (losses["translation_attr_to_v_loss"] + losses["translation_v_to_attr_loss"]) / 2
    losses["cycle_attr_via_v_loss"] = sums[at.CYCLE_ATTR] / (n * at.N_ATTR)
    losses["cycle_v_via_attr_loss"] = sums[at.CYCLE_V] / (n * n_v)
    losses["cycle_loss"] = (losses["cycle_attr_via_v_loss"] + losses["cycle_v_via_attr_loss"]) / 2
    return {name: float(value) for name, value in losses.items()}


def total(losses: dict[str, float], weights: Weights) -> float:
    """Return the weighted sum of the four terms."""
    terms = ("fusion_loss", "demi_cycle_loss", "cycle_loss", "translation_loss")
    return sum(weight * losses[term] for weight, term in zip(weights, terms, strict=True) if weight != 0.0)


def weighted_components(losses: dict[str, float], weights: Weights) -> dict[str, float]:
    """Return the losses that belong to a term with a weight."""
    prefixes = tuple(
        prefix
        for prefix, weight in zip(("fusion_", "demi_cycle_", "cycle_", "translation_"), weights, strict=True)
        if weight != 0.0
    )
    return {name: value for name, value in losses.items() if name.startswith(prefixes)}
