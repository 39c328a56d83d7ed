"""The model on a batch: forward pass, losses, and the gradient of the total loss on any backend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import reference
from .data import Floats, Split, check_classes, contiguous
from .objective import Objective, components, fusion_pair, total, type_weights
from .parameters import Layout, Parameters, layout_of
from .training import resolved_backend

FusionWeights = Mapping[str, float] | tuple[float, float] | None


def single_precision(parameters: Mapping[str, Floats]) -> Parameters:
    """Return the parameters as float32."""
    return {name: np.asarray(array, np.float32) for name, array in parameters.items()}


def objective_of(experiment_type: str, loss_scale: float, fusion_weights: FusionWeights) -> Objective:
    """Return what an experiment type minimises.

    Raises:
        ValueError: the type is unknown, or a scale or weight is negative or not finite.
    """
    if not (math.isfinite(loss_scale) and loss_scale >= 0.0):
        raise ValueError(f"loss_scale: {loss_scale}; it must be finite and at least 0")
    return Objective(type_weights(experiment_type), fusion_pair(fusion_weights))


def inputs_of(split: Split, layout: Layout) -> Split:
    """Return a batch as the nets take it.

    Raises:
        ValueError: it is no batch, or v has other columns than the parameters take.
    """
    rows = contiguous(split)
    if rows.v.shape[1] != layout.n_v:
        raise ValueError(f"v: {rows.v.shape[1]} columns; the parameters take {layout.n_v}")
    return rows


def judged_rows(split: Split, layout: Layout) -> Split:
    """Return a batch with a target for every row.

    Raises:
        ValueError: it does not fit the parameters, or a target is no class of theirs.
    """
    rows = inputs_of(split, layout)
    check_classes(rows.xor_bin, layout.n_bins)
    return rows


def forward(
    parameters: Mapping[str, Floats], split: Split, *, fusion_weights: FusionWeights = None
) -> dict[str, Floats]:
    """Return workspace_state f4[n,d], decoded_attr f4[n,11+n_bins] and decoded_v f4[n,n_v] of the fused input.

    `fusion_weights` None is 0.5 for both domains.

    Raises:
        ValueError: batch and parameters do not fit, or a weight is negative or not finite.
    """
    held = single_precision(parameters)
    rows = inputs_of(split, layout_of(held))
    z = reference.fused_state(held, rows, fusion_pair(fusion_weights))
    decoded = {f"decoded_{domain}": reference.apply(held, f"dec_{domain}", z)[0] for domain in ("attr", "v")}
    return {"workspace_state": z, **decoded}


def losses(
    parameters: Mapping[str, Floats],
    split: Split,
    experiment_type: str = "fusion_only",
    *,
    loss_scale: float = 1.0,
    fusion_weights: FusionWeights = None,
) -> dict[str, float]:
    """Return every loss of a batch by name, whatever the type, and the type's `total_loss`.

    Raises:
        ValueError: batch and parameters do not fit, the type is unknown, or a scale or weight is not allowed.
    """
    objective = objective_of(experiment_type, loss_scale, fusion_weights)
    held = single_precision(parameters)
    rows = judged_rows(split, layout_of(held))
    sums, _, _ = reference.judge(held, rows, objective.with_everything, loss_scale)
    found = components(sums, len(rows), loss_scale)
    return {**found, "total_loss": total(found, objective.weights)}


def gradients(
    parameters: Mapping[str, Floats],
    split: Split,
    experiment_type: str = "fusion_only",
    *,
    loss_scale: float = 1.0,
    fusion_weights: FusionWeights = None,
    backend: str = "auto",
) -> Parameters:
    """Return the gradient of `total_loss`, f4, by name in the parameters' order; not clipped, no weight decay.

    Backends are auto (the compiled kernel), cpu, torch and torch-stacked.

    Raises:
        ValueError: batch and parameters do not fit, type or backend is unknown, or a scale or weight is not allowed.
    """
    objective = objective_of(experiment_type, loss_scale, fusion_weights)
    held = single_precision(parameters)
    layout = layout_of(held)
    rows = judged_rows(split, layout)
    arguments: tuple[Any, ...] = (layout, layout.flat(held), rows, objective, loss_scale)
    if resolved_backend(backend) == "cpu":
        from .native import native_gradient

        found = layout.named(native_gradient(*arguments))
    else:
        from .stacked import torch_gradient

        found = layout.named(torch_gradient(*arguments))
    return {name: found[name] for name in parameters}
