"""What there is in the town: places, roles, goals, documents, kinds of action and presets of objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PLACES = ("town_square", "community_center", "library")
"""All adjacent to each other; the order is that of every loop and draw."""

SQUARE, CENTER, LIBRARY = range(3)


@dataclass(frozen=True)
class PlaceFacts:
    """What is fixed of a place: how many it holds, what it stores, where it stands, how prompts describe it."""

    capacity: int
    resources: Mapping[str, int]
    coordinates: tuple[float, float]
    title: str
    description: str


PLACE_FACTS = (
    PlaceFacts(
        20,
        {"credits": 40, "tokens": 3, "produce": 12, "tools": 6},
        (0.0, 0.0),
        "town square",
        "market and meeting place",
    ),
    PlaceFacts(14, {"supplies": 5, "credits": 15}, (-6.0, -8.0), "community center", "meetings and civic work"),
    PlaceFacts(10, {"scrolls": 4, "credits": 5}, (-9.0, 7.5), "library", "quiet work and study"),
)

DOCUMENTS = ("doc1", "doc2", "doc3")
DOCUMENT_FACTS = (("fact_a", "fact_b"), ("fact_c", "fact_d"), ("fact_e", "fact_f"))
TARGET_FACTS = ("fact_a", "fact_c", "fact_e")
TARGETS_IN = tuple(tuple(fact for fact in facts if fact in TARGET_FACTS) for facts in DOCUMENT_FACTS)

GOALS = (
    "organize meetup",
    "research town policy",
    "write collaborative brief",
    "share research findings",
    "document sources at the library",
    "improve community wellbeing",
    "explore new ideas",
)

ROLES = {
    "research": (
        "Principal Investigator",
        "Field Researcher",
        "Citation Librarian",
        "Report Assembler",
        "QA Reviewer",
    ),
    "policy": ("Requirements Lead", "Field Owner", "Policy Drafter", "Compliance Submitter", "QA Auditor"),
    "nav": ("Route Planner", "Room Scout", "Signal Relay", "Data Logger", "Recovery/Support"),
}


@dataclass(frozen=True)
class Kind:
    """One kind of action: the verb that the model chooses it by, its share of the token limit, where it belongs.

    `cooperative` and `collaborative` are the sets of the cooperation rate and of the collaboration ratio;
    `directed` actions count as goal-directed.
    """

    name: str
    verb: str
    tokens: float
    cooperative: bool = False
    collaborative: bool = False
    directed: bool = False


KINDS = (
    Kind("move", " go", 1 / 6),
    Kind("talk", " talk", 1.0, cooperative=True, collaborative=True),
    Kind("work", " work", 1 / 3, cooperative=True, collaborative=True),
    Kind("gift", " give", 1 / 2, cooperative=True),
    Kind("research", " research", 1 / 3, cooperative=True, collaborative=True, directed=True),
    Kind("cite", " cite", 1 / 4, cooperative=True, collaborative=True, directed=True),
    Kind("submit_report", " submit", 2 / 3, cooperative=True, collaborative=True, directed=True),
    Kind("scan", " explore", 1 / 6, directed=True),
    Kind("fill_field", " write", 1 / 3, directed=True),
    Kind("propose_plan", " plan", 2 / 3, directed=True),
    Kind("submit_plan", " share", 1 / 3, directed=True),
    Kind("rest", " rest", 1 / 6),
    Kind("argue", " complain", 2 / 3),
)
KIND_NAMES = tuple(kind.name for kind in KINDS)
KIND_INDEX = {name: index for index, name in enumerate(KIND_NAMES)}
(MOVE, TALK, WORK, GIFT, RESEARCH, CITE, SUBMIT_REPORT, SCAN, FILL_FIELD, PROPOSE_PLAN, SUBMIT_PLAN, REST, ARGUE) = (
    range(len(KINDS))
)
SPOKEN = (TALK, GIFT, ARGUE)
"""Kinds whose text is speech."""
BROADCAST = (*SPOKEN, WORK)
"""Kinds whose text everybody in the room hears."""

OUTCOMES = ("success", "fail")


@dataclass(frozen=True)
class ObjectivePreset:
    """A template of an objective: its type, what it requires and the satisfaction that it brings."""

    type: str
    description: str
    requirements: Mapping[str, int]
    satisfaction: float = field(default=0.0)


def default_presets(env: str, difficulty: int) -> dict[str, ObjectivePreset]:
    """Return the objective of a scenario; `difficulty` is the number of facts, fields or tokens required."""
    d = max(1, difficulty)
    if env == "policy":
        return {
            "policy_checklist": ObjectivePreset(
                "policy", "fill the policy checklist and submit the plan", {"fill_field": d, "submit_plan": 1}, 3.0
            )
        }
    if env == "nav":
        return {
            "navigation_discovery": ObjectivePreset("navigation", "scan the town for hidden tokens", {"scan": d}, 2.5)
        }
    return {
        "research_facts": ObjectivePreset(
            "research", "collect facts and submit a report", {"research": d, "submit_report": 1}, 3.0
        )
    }


PRESETS: dict[str, ObjectivePreset] = {
    "socialize": ObjectivePreset("socialize", "talk with three residents", {"talk": 3}, 3.0),
    "work_project": ObjectivePreset("work", "work twice on the community project", {"work": 2}, 2.0),
    "share_findings": ObjectivePreset(
        "report", "research, cite a source and hand in a report", {"research": 1, "cite": 1, "submit_report": 1}, 2.5
    ),
    "explore": ObjectivePreset("explore", "visit three places", {"move": 3}, 2.0),
    "collaborate": ObjectivePreset("collaborate", "talk and work with others", {"talk": 2, "work": 1}, 3.5),
    "gather": ObjectivePreset("gather", "collect two citations", {"cite": 2}, 2.0),
    "community_builder": ObjectivePreset(
        "community", "talk, give and visit around town", {"talk": 2, "gift": 1, "move": 1}, 4.0
    ),
}


def preset_of(entry: Mapping[str, Any]) -> ObjectivePreset:
    """Return the preset that a config's mapping describes."""
    return ObjectivePreset(
        entry["type"], entry["description"], dict(entry["requirements"]), float(entry["reward"].get("satisfaction", 0))
    )


def required_fields(env: str, difficulty: int) -> int:
    """Return how many checklist fields a plan needs."""
    return max(1, difficulty) if env == "policy" else 3


def tokens_per_place(env: str, difficulty: int) -> int:
    """Return how many scan tokens lie in each place at the start."""
    goal = max(1, difficulty) if env == "nav" else 3
    return max(3, 2 * goal)
