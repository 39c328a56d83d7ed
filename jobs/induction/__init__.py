"""Exact human-power planning by backward induction on the state graph of a grid world.

A robot shares a grid world with humans whose goals it does not know; it softly maximises their power, the ability to
reach whatever goals they might have. Public interface:

    World                    a world file; `world.transitions(state, profile)`
    build                    world -> StateGraph, all states that can be reached
    Params                   parameters of the theory
    solve                    graph, params -> Solution, values and policies of every state
    freed_first, deactivation    exact probabilities under the solved policies
    rollouts                 episodes played with the solved policies
    Prior, sweep_parameters, sweep    many parameter sets on one world
    regress, lowess, PREDICTORS      outcomes of a sweep explained by its parameters
    reference                the plain twin: `reference.transitions`, `reference.build`, `reference.solve`

Names are loaded when they are first used, so that reading a config does not load the compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import public_names

if TYPE_CHECKING:
    from . import reference
    from .derived import chain_values, compare_phases, deactivation, freed_first, power_in_bits
    from .episodes import Rollout, rollout, rollouts
    from .graph import StateGraph, TooManyStatesError, build
    from .levels import PowerlessError
    from .params import Params
    from .regression import PREDICTORS, Regression, lowess, regress
    from .samples import Prior, grid_parameters, sobol_parameters, sweep, sweep_parameters
    from .solution import Solution
    from .solver import Solver, solve
    from .transitions import Store
    from .world import World, WorldError

__all__ = [
    "PREDICTORS",
    "Params",
    "PowerlessError",
    "Prior",
    "Regression",
    "Rollout",
    "Solution",
    "Solver",
    "StateGraph",
    "Store",
    "TooManyStatesError",
    "World",
    "WorldError",
    "build",
    "chain_values",
    "compare_phases",
    "deactivation",
    "freed_first",
    "grid_parameters",
    "lowess",
    "power_in_bits",
    "reference",
    "regress",
    "rollout",
    "rollouts",
    "sobol_parameters",
    "solve",
    "sweep",
    "sweep_parameters",
]

__getattr__ = public_names(
    __name__,
    {
        "derived": ("chain_values", "compare_phases", "deactivation", "freed_first", "power_in_bits"),
        "episodes": ("Rollout", "rollout", "rollouts"),
        "graph": ("StateGraph", "TooManyStatesError", "build"),
        "levels": ("PowerlessError",),
        "params": ("Params",),
        "regression": ("PREDICTORS", "Regression", "lowess", "regress"),
        "samples": ("Prior", "grid_parameters", "sobol_parameters", "sweep", "sweep_parameters"),
        "solution": ("Solution",),
        "solver": ("Solver", "solve"),
        "transitions": ("Store",),
        "world": ("World", "WorldError"),
    },
)
