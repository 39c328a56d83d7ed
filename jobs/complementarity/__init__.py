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

from typing import TYPE_CHECKING

from ..lazy import public_names

if TYPE_CHECKING:
    from . import reference
    from .advantage import objective
    from .params import Params
    from .selection import select
    from .simulation import PairBatch, simulate_pairs

__all__ = ["PairBatch", "Params", "objective", "reference", "select", "simulate_pairs"]

__getattr__ = public_names(
    __name__,
    {
        "advantage": ("objective",),
        "params": ("Params",),
        "selection": ("select",),
        "simulation": ("PairBatch", "simulate_pairs"),
    },
)
