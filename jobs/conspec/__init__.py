"""Contrastive retrospection (Sun et al. 2023) on three key-door-goal worlds, and what a search needs.

Public interface:

    make_env              a vectorised world of either family -> VectorEnv
    image                 observation codes of a grid world -> 7 x 7 x 3 images
    reference             the plain twin: `reference.SingleEnv`
    prototype_scores      cosine of every frame with every prototype
    contrastive_loss      what the prototypes learn from
    intrinsic_reward      what a match with an active prototype pays
    epsilon, gae          schedule and advantages, NumPy arrays
    policy_loss           clipped loss of the epsilon mixture
    sample_parameters     the parameters of one trial of a random search
    ParameterGrid         the points of a grid search
    analyse               statistics of result records, per world
    train                 one trial -> TrialResult

Names are loaded when they are first used, so that reading a config loads neither the compiler nor PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import public_names

if TYPE_CHECKING:
    from . import reference
    from .analysis import analyse
    from .contrast import contrastive_loss, prototype_scores
    from .environment import VectorEnv, make_env
    from .image import image
    from .intrinsic import intrinsic_reward
    from .mixture import epsilon, policy_loss
    from .returns import gae
    from .search_space import ParameterGrid, sample_parameters
    from .trial import TrialResult, train

__all__ = [
    "ParameterGrid",
    "TrialResult",
    "VectorEnv",
    "analyse",
    "contrastive_loss",
    "epsilon",
    "gae",
    "image",
    "intrinsic_reward",
    "make_env",
    "policy_loss",
    "prototype_scores",
    "reference",
    "sample_parameters",
    "train",
]

__getattr__ = public_names(
    __name__,
    {
        "analysis": ("analyse",),
        "contrast": ("contrastive_loss", "prototype_scores"),
        "environment": ("VectorEnv", "make_env"),
        "image": ("image",),
        "intrinsic": ("intrinsic_reward",),
        "mixture": ("epsilon", "policy_loss"),
        "returns": ("gae",),
        "search_space": ("ParameterGrid", "sample_parameters"),
        "trial": ("TrialResult", "train"),
    },
)
