"""Aggregated complementarity dynamics: when does a strategic therapist beat an always complementary one?

Two-person model of psychotherapy on the interpersonal circumplex. Public interface:

    Params             one config, `Params(**trial.params)`
    simulate_pairs     both therapists on the clients of many seeds -> PairBatch
    reference          the plain twin: `reference.simulate_pair(params, seed, ...)`
    objective          advantage of the strategic therapist, as a search maximises it
    select             configs from the trials of a search

Names are loaded when they are first used, so that reading a config does not load the compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import reference
    from .advantage import objective
    from .params import Params
    from .selection import select
    from .simulation import PairBatch, simulate_pairs

__all__ = ["PairBatch", "Params", "objective", "reference", "select", "simulate_pairs"]

_HOMES = {
    "PairBatch": "simulation",
    "Params": "params",
    "objective": "advantage",
    "select": "selection",
    "simulate_pairs": "simulation",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module.

    Raises:
        AttributeError: the study has no such name.
    """
    if name == "reference":
        return import_module(".reference", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    value = getattr(import_module("." + _HOMES[name], __name__), name)
    globals()[name] = value
    return value
