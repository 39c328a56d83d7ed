"""The trial store: which trials of a search exist, who works on them, and how they ended."""

from .records import Claim, FinishedTrial, LeaseLost, Owner, SearchSpec, SpaceExhausted
from .renewal import Renewal
from .space import Distribution, choice, integer, read_space, uniform
from .store import TrialStore

__all__ = [
    "Claim",
    "Distribution",
    "FinishedTrial",
    "LeaseLost",
    "Owner",
    "Renewal",
    "SearchSpec",
    "SpaceExhausted",
    "TrialStore",
    "choice",
    "integer",
    "read_space",
    "uniform",
]
