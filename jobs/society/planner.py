"""The planner: what a resident's objective, or the civic rule, suggests to do next.

A suggestion is (kind, argument): the destination of a move, the number of a checklist field, the document to read.
"""

from __future__ import annotations

from .objectives import Objectives
from .vocabulary import (
    CENTER,
    CITE,
    FILL_FIELD,
    LIBRARY,
    MOVE,
    PLACES,
    PROPOSE_PLAN,
    RESEARCH,
    SCAN,
    SQUARE,
    SUBMIT_PLAN,
    SUBMIT_REPORT,
    TALK,
    WORK,
)
from .world import World

Suggestion = tuple[int, int]

_SCHEDULE = (RESEARCH, RESEARCH, CITE, SUBMIT_REPORT)
_N_PLACES = len(PLACES)
_TARGETS: dict[str, tuple[int, int]] = {
    "research": (LIBRARY, -1),
    "research_facts": (LIBRARY, -1),
    "gather": (LIBRARY, CITE),
    "report": (LIBRARY, SUBMIT_REPORT),
    "work": (CENTER, WORK),
    "socialize": (CENTER, TALK),
    "collaborate": (CENTER, TALK),
    "community": (CENTER, TALK),
    "explore": (SQUARE, MOVE),
}


class Planner:
    """Suggestions from objectives.

    Args:
        from_checklist: fields continue from the resident's checklist, not from the objective's own count, and
            research goes on with the next unread document.
    """

    def __init__(self, world: World, objectives: Objectives, from_checklist: bool) -> None:
        self.world, self.objectives, self.from_checklist = world, objectives, from_checklist

    def suggest(self, resident: int, tick: int, forced: bool) -> Suggestion:
        """Return a fresh suggestion: to talk where that is forced, the objective's plan, else the civic rule."""
        if forced:
            return TALK, 0
        plan = self._objective_plan(resident, tick)
        if plan is None:
            plan = (RESEARCH, 0) if self.world.place[resident] == LIBRARY else (MOVE, LIBRARY)
        if plan[0] == RESEARCH and self.from_checklist:
            return RESEARCH, unread_document(self.world, resident)
        return plan

    def _objective_plan(self, resident: int, tick: int) -> Suggestion | None:
        objectives = self.objectives
        preset = objectives.preset(resident)
        if preset is None:
            return None
        here = self.world.place[resident]
        if preset.type == "policy":
            return self._policy_plan(resident, here)
        if preset.type == "navigation":
            done = objectives.progress[resident].get(SCAN, 0)
            index = (done + tick) % _N_PLACES
            if here != index and tick % 2 == 0:
                return MOVE, index
            if done < objectives.required(resident).get(SCAN, 0):
                return SCAN, 0
            return MOVE, (index + 1) % _N_PLACES
        target = _TARGETS.get(preset.type)
        if target is None:
            return None
        place, kind = target
        if here != place:
            return MOVE, place
        if kind == MOVE:
            return MOVE, next(other for other in range(_N_PLACES) if other != here)
        return (_SCHEDULE[tick % 4] if kind < 0 else kind), 0

    def _policy_plan(self, resident: int, here: int) -> Suggestion | None:
        if here != CENTER:
            return MOVE, CENTER
        progress, required = self.objectives.progress[resident], self.objectives.required(resident)
        done = progress.get(FILL_FIELD, 0)
        if done < required.get(FILL_FIELD, 0):
            return FILL_FIELD, len(self.world.checklist[resident]) + 1 if self.from_checklist else done + 1
        for kind in (PROPOSE_PLAN, SUBMIT_PLAN):
            if progress.get(kind, 0) < required.get(kind, 0):
                return kind, 0
        return None


def unread_document(world: World, resident: int) -> int:
    """Return the first document that a resident has not read, else the first."""
    read = world.read[resident]
    return next((document for document in range(3) if document not in read), 0)
