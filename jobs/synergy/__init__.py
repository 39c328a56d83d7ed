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

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "Config": "config",
    "Dataset": "data",
    "Split": "data",
    "Unit": "data",
    "UnitResult": "result",
    "aggregate": "summary",
    "attributes": "labels",
    "condition_id": "conditions",
    "condition_key": "conditions",
    "epoch_order": "parameters",
    "forward": "model",
    "gradients": "model",
    "hls_to_rgb": "colour",
    "init_parameters": "parameters",
    "losses": "model",
    "make_dataset": "generation",
    "make_labels": "labels",
    "predictability": "metrics",
    "render": "drawing",
    "train_unit": "training",
    "train_units": "training",
    "xor_target": "target",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module.

    Raises:
        AttributeError: the study has no such name.
    """
    if name in ("information", "statistics"):
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    value = getattr(import_module("." + _HOMES[name], __name__), name)
    globals()[name] = value
    return value
