"""Society: a town of language-model residents whose personality is set by activation steering.

Public interface:

    load_config, RunConfig, merge_templates      configs with template inheritance
    Simulation, History, reference               runs of the town; the plain twin of the heuristic dynamics
    load_backend, Row, Backend                   language models: generate, choose
    load_contrast_items, compute_vectors         persona vectors from pairs of answers
    PersonaVectors, Steering, steer              doses, and the hook that adds them to a foreign model
    answer_gaps, verify_steering                 does steering work, and was it applied?

Names are loaded when they are first used: a heuristic simulation needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import reference
    from .backend import Backend, Choice, Generation, Row, load_backend
    from .config import RunConfig
    from .contrast import ContrastItem, load_contrast_items
    from .history import Action, FinalState, History
    from .lanes import Lanes
    from .memory import Memory, MemoryEvent
    from .probes import parse_behavior, parse_likert
    from .residents import Resident, sample_residents
    from .safety import SafetyEvent, review_utterance
    from .scheduler import Encounter
    from .simulation import Simulation
    from .statistics import gini, polarization
    from .steering import PersonaVectors, Steering, steer
    from .streams import uniform
    from .templates import load_config, merge_templates
    from .traits import trait_band
    from .utterances import clean_utterance
    from .vectors import answer_gaps, compute_vectors
    from .verification import Verdict, verify_steering

_HOMES = {
    "Action": "history",
    "Backend": "backend",
    "Choice": "backend",
    "ContrastItem": "contrast",
    "Encounter": "scheduler",
    "FinalState": "history",
    "Generation": "backend",
    "History": "history",
    "Lanes": "lanes",
    "Memory": "memory",
    "MemoryEvent": "memory",
    "PersonaVectors": "steering",
    "Resident": "residents",
    "Row": "backend",
    "RunConfig": "config",
    "SafetyEvent": "safety",
    "Simulation": "simulation",
    "Steering": "steering",
    "Verdict": "verification",
    "answer_gaps": "vectors",
    "clean_utterance": "utterances",
    "compute_vectors": "vectors",
    "gini": "statistics",
    "load_backend": "backend",
    "load_config": "templates",
    "load_contrast_items": "contrast",
    "merge_templates": "templates",
    "parse_behavior": "probes",
    "parse_likert": "probes",
    "polarization": "statistics",
    "review_utterance": "safety",
    "sample_residents": "residents",
    "steer": "steering",
    "trait_band": "traits",
    "uniform": "streams",
    "verify_steering": "verification",
}

__all__ = [
    "Action",
    "Backend",
    "Choice",
    "ContrastItem",
    "Encounter",
    "FinalState",
    "Generation",
    "History",
    "Lanes",
    "Memory",
    "MemoryEvent",
    "PersonaVectors",
    "Resident",
    "Row",
    "RunConfig",
    "SafetyEvent",
    "Simulation",
    "Steering",
    "Verdict",
    "answer_gaps",
    "clean_utterance",
    "compute_vectors",
    "gini",
    "load_backend",
    "load_config",
    "load_contrast_items",
    "merge_templates",
    "parse_behavior",
    "parse_likert",
    "polarization",
    "reference",
    "review_utterance",
    "sample_residents",
    "steer",
    "trait_band",
    "uniform",
    "verify_steering",
]


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
