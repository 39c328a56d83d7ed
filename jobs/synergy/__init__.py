"""Does a narrow global workspace keep synergistic information? Trainings, metrics and statistics of the study.

A model fuses two modalities into a shared vector and decodes both from it; the synergy target can be read only from
the combination of the inputs. Public interface, NumPy in and out:

    data        make_labels, attributes, hls_to_rgb, render, xor_target, make_dataset, Split, Dataset
    training    Config, Unit, train_unit, train_units, UnitResult
    model       init_parameters, epoch_order, forward, losses, gradients
    measures    predictability, information, statistics
    sweeps      condition_key, condition_id, aggregate

Names are loaded when they are first used: labels, statistics and aggregation need neither the compiler nor PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import public_names

if TYPE_CHECKING:
    from . import information, statistics
    from .colour import hls_to_rgb
    from .conditions import condition_id, condition_key
    from .config import Config
    from .data import Dataset, Split, Unit
    from .drawing import render
    from .generation import make_dataset
    from .labels import attributes, make_labels
    from .metrics import predictability
    from .model import forward, gradients, losses
    from .parameters import epoch_order, init_parameters
    from .result import UnitResult
    from .summary import aggregate
    from .target import xor_target
    from .training import train_unit, train_units

__all__ = [
    "Config",
    "Dataset",
    "Split",
    "Unit",
    "UnitResult",
    "aggregate",
    "attributes",
    "condition_id",
    "condition_key",
    "epoch_order",
    "forward",
    "gradients",
    "hls_to_rgb",
    "information",
    "init_parameters",
    "losses",
    "make_dataset",
    "make_labels",
    "predictability",
    "render",
    "statistics",
    "train_unit",
    "train_units",
    "xor_target",
]

__getattr__ = public_names(
    __name__,
    {
        "colour": ("hls_to_rgb",),
        "conditions": ("condition_id", "condition_key"),
        "config": ("Config",),
        "data": ("Dataset", "Split", "Unit"),
        "drawing": ("render",),
        "generation": ("make_dataset",),
        "labels": ("attributes", "make_labels"),
        "metrics": ("predictability",),
        "model": ("forward", "gradients", "losses"),
        "parameters": ("epoch_order", "init_parameters"),
        "result": ("UnitResult",),
        "summary": ("aggregate",),
        "target": ("xor_target",),
        "training": ("train_unit", "train_units"),
    },
    ("information", "statistics"),
)
