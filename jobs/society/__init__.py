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

from typing import TYPE_CHECKING

from ..lazy import public_names

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

__getattr__ = public_names(
    __name__,
    {
        "backend": ("Backend", "Choice", "Generation", "Row", "load_backend"),
        "config": ("RunConfig",),
        "contrast": ("ContrastItem", "load_contrast_items"),
        "history": ("Action", "FinalState", "History"),
        "lanes": ("Lanes",),
        "memory": ("Memory", "MemoryEvent"),
        "probes": ("parse_behavior", "parse_likert"),
        "residents": ("Resident", "sample_residents"),
        "safety": ("SafetyEvent", "review_utterance"),
        "scheduler": ("Encounter",),
        "simulation": ("Simulation",),
        "statistics": ("gini", "polarization"),
        "steering": ("PersonaVectors", "Steering", "steer"),
        "streams": ("uniform",),
        "templates": ("load_config", "merge_templates"),
        "traits": ("trait_band",),
        "utterances": ("clean_utterance",),
        "vectors": ("answer_gaps", "compute_vectors"),
        "verification": ("Verdict", "verify_steering"),
    },
)
