"""Fitted backward induction: values for worlds too large to enumerate, with their error measured against exact truth.

One network per level estimates the values of a configuration; everything else, policies included, is one exact step of
the exact solver's kernel on the network's estimates for the successors. Public interface:

    NeuralConfig             settings of one training
    fit                      world, params -> Fitted; `Training` is the same, step by step
    Fitted, Ensemble         expand(states), values(states), root_by_horizon
    tabulate                 fitted, graph -> Solution of the exact study
    bound, beam              the exact upper bound of values; the rows that a training starts from
    errors                   two Solutions -> errors per level
    spot_truth, residuals, accumulate, rollout_check     errors where no whole table can be had
    occupancy                exact probabilities of the states of every level
    fitted_rollouts          episodes as the exact study's `rollouts` plays them
    fresh_states             states to check, from episodes with random numbers of their own
    machine                  what a training's bits depend on beside its arguments

Names are loaded when they are first used, so that reading a config does not load the network library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import public_names

if TYPE_CHECKING:
    from .comparison import errors, occupancy
    from .distance import bound
    from .ensemble import Ensemble
    from .estimates import accumulate, fresh_states, residuals, spot_truth
    from .fitted import Fitted
    from .network import DivergedError, machine
    from .played import rollout_check
    from .rollouts import fitted_rollouts
    from .rows import beam
    from .settings import NeuralConfig
    from .stepping import Expansion
    from .tabulation import tabulate
    from .training import Training, fit

__all__ = [
    "DivergedError",
    "Ensemble",
    "Expansion",
    "Fitted",
    "NeuralConfig",
    "Training",
    "accumulate",
    "beam",
    "bound",
    "errors",
    "fit",
    "fitted_rollouts",
    "fresh_states",
    "machine",
    "occupancy",
    "residuals",
    "rollout_check",
    "spot_truth",
    "tabulate",
]

__getattr__ = public_names(
    __name__,
    {
        "comparison": ("errors", "occupancy"),
        "distance": ("bound",),
        "ensemble": ("Ensemble",),
        "estimates": ("accumulate", "fresh_states", "residuals", "spot_truth"),
        "fitted": ("Fitted",),
        "network": ("DivergedError", "machine"),
        "played": ("rollout_check",),
        "rollouts": ("fitted_rollouts",),
        "rows": ("beam",),
        "settings": ("NeuralConfig",),
        "stepping": ("Expansion",),
        "tabulation": ("tabulate",),
        "training": ("Training", "fit"),
    },
    modules=(),
)
