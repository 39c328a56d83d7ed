"""Prompts: what a resident is told before it decides, in an order that lets prefixes be shared.

A prompt has three parts: the town and its rules (the same for all), the resident (constant over a run), and the moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .residents import Resident
from .tables import packaged_table
from .traits import TRAIT_NAMES, TRAITS
from .vocabulary import (
    ARGUE,
    CITE,
    FILL_FIELD,
    GIFT,
    KINDS,
    MOVE,
    PLACE_FACTS,
    PROPOSE_PLAN,
    RESEARCH,
    REST,
    SCAN,
    SUBMIT_PLAN,
    SUBMIT_REPORT,
    TALK,
    WORK,
)

SYSTEM = (
    "You live in a small town with three places: the town square, the community center and the library. "
    "Residents meet, talk, work, give gifts, do research and write reports together. Always speak in the first person, "
    "stay in character, and answer with one or two short sentences. Never speak for anybody else."
)
INTERVIEW_SYSTEM = "You are a resident of a small town. You answer in the first person."
INTERVIEW_QUESTION = "What do you do?"
OPENING = "I decide to"
SHOWN_UTTERANCES = 3
SHOWN_MEMORIES = 3
_SHORT = 60
_LABEL_THRESHOLD, _VERY = 0.1, 0.6

CONTINUATIONS = {
    TALK: ' talk. I say: "',
    GIFT: ' give a gift. I say: "',
    ARGUE: ' complain. I say: "',
}
"""What follows the opening for kinds that speak; others go on after their verb."""

PHRASES = {
    MOVE: "go to the {place}",
    TALK: "talk with the others",
    WORK: "work on the community project",
    GIFT: "give somebody a gift",
    RESEARCH: "research in the documents",
    CITE: "cite a document",
    SUBMIT_REPORT: "submit the report",
    SCAN: "explore this place for tokens",
    FILL_FIELD: "write a field of the checklist",
    PROPOSE_PLAN: "plan the policy and propose it",
    SUBMIT_PLAN: "share the finished plan",
    REST: "rest a while",
    ARGUE: "complain about somebody",
}


def persona_words(persona: Sequence[float], form: str) -> str:
    """Return the sentence that tells a persona in words; empty where `form` is `"none"`.

    Args:
        persona: coefficients in trait order.
        form: `"none"`, `"labels"` (High extraversion, openness; low neuroticism.) or `"description"` (You are very
            outgoing, imaginative, calm.); both keep a resident's block within its 50 tokens.
    """
    told = [(trait, value) for trait, value in zip(TRAITS, persona, strict=True) if abs(value) > _LABEL_THRESHOLD]
    if form == "none" or not told:
        return ""
    if form == "labels":
        levels = {
            "high": [trait for trait, value in told if value > 0],
            "low": [trait for trait, value in told if value < 0],
        }
        words = "; ".join(
            f"{level} {', '.join(TRAIT_NAMES[t] for t in traits)}" for level, traits in levels.items() if traits
        )
        return f" {words.capitalize()}."
    return f" You are {', '.join(_adjective(trait, value) for trait, value in told)}."


def _adjective(trait: str, value: float) -> str:
    """Return the first word of a trait's description at a coefficient."""
    description = packaged_table("contrast_items.json")["persona_words"][trait]["high" if value > 0 else "low"]
    return f"{'very ' if abs(value) > _VERY else ''}{description.split(',')[0]}"


def resident_block(resident: Resident, words: str = "") -> str:
    """Return the part of a prompt that is constant for a resident."""
    return f"You are {resident.name}, the {resident.role.lower()}. Your goals: {'; '.join(resident.goals)}.{words}\n"


def shortened(text: str, limit: int = _SHORT) -> str:
    """Return the first line of a text, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[:limit].rsplit(" ", 1)[0] + "..."


@dataclass(frozen=True)
class Moment:
    """The part of a prompt that changes with every decision."""

    place: int
    crowd: int
    peers: tuple[str, ...]
    heard: tuple[str, ...]
    memories: tuple[str, ...]
    task: str
    steps_left: int
    suggestion: str
    reminder: str

    def text(self) -> str:
        """Return the moment as a prompt shows it."""
        facts = PLACE_FACTS[self.place]
        near = ", ".join(self.peers) if self.peers else "nobody"
        lines = [f"\nPlace: {facts.title} ({facts.description}), {self.crowd} people. Near you: {near}."]
        lines += [f"- {line}" for line in self.heard]
        if self.memories:
            lines.append(f"You remember: {'; '.join(self.memories)}.")
        steps = f" ({self.steps_left} step{'' if self.steps_left == 1 else 's'} left)" if self.steps_left else ""
        task = f"Task: {self.task}{steps}. " if self.task else ""
        thought = f"You could {self.suggestion}. " if self.suggestion else ""
        reminder = f"{self.reminder} " if self.reminder else ""
        lines.append(f"{task}{thought}{reminder}What do you do next?")
        return "\n".join(lines)

    def shorter(self) -> Moment | None:
        """Return the moment without its last memory, else without its oldest utterance; nothing to drop: None."""
        if self.memories:
            return replace(self, memories=self.memories[:-1])
        if self.heard:
            return replace(self, heard=self.heard[1:])
        return None


def suggestion_phrase(kind: int, argument: int) -> str:
    """Return a suggestion in words."""
    place = PLACE_FACTS[argument].title if kind == MOVE else ""
    return PHRASES[kind].format(place=place)


def suggestion_text(kind: int, argument: int) -> str:
    """Return the sentence that stands in where no text was generated or nothing of it was left."""
    return f"I want to {suggestion_phrase(kind, argument)}."


def continuation(kind: int) -> str:
    """Return what is appended to the opening once a kind is chosen."""
    return CONTINUATIONS.get(kind, KINDS[kind].verb)
