"""The town as it changes: who is where, what each resident owns, has read and has filled in."""

from __future__ import annotations

from collections import deque
from typing import Any

from .config import RunConfig
from .residents import Resident, resident_id
from .vocabulary import (
    ARGUE,
    CITE,
    DOCUMENTS,
    FILL_FIELD,
    GIFT,
    MOVE,
    PLACE_FACTS,
    PLACES,
    PROPOSE_PLAN,
    RESEARCH,
    SCAN,
    SUBMIT_PLAN,
    SUBMIT_REPORT,
    TARGET_FACTS,
    TARGETS_IN,
    WORK,
    required_fields,
    tokens_per_place,
)

ROOM_HISTORY = 8
BROADCAST_LIMIT = 280
ADVISORY = "advisory"
SUCCESS, FAIL = 0, 1
NOTE_NO_OP, NOTE_FULL = 1, 2

Effect = tuple[int, int, int, int]
"""Outcome, then three numbers whose meaning is the action's (see `perform`)."""

_FACT_BITS = tuple(sum(1 << TARGET_FACTS.index(fact) for fact in facts) for facts in TARGETS_IN)


class World:
    """Everything of the town that changes, coded by index of resident and place."""

    def __init__(self, config: RunConfig, residents: list[Resident]) -> None:
        n = len(residents)
        self.capacity_holds = config.world.enforce_capacity and config.policy.kind == "model"
        self.required_fields = required_fields(config.env, config.difficulty)
        self.tokens_at_start = tokens_per_place(config.env, config.difficulty)
        self.place = [PLACES.index(resident.place) for resident in residents]
        self.credits = [0] * n
        self.account = [False] * n
        self.satisfaction = [0.0] * n
        self.tokens_taken = [0] * len(PLACES)
        self.checklist: list[list[int]] = [[] for _ in range(n)]
        self.read: list[list[int]] = [[] for _ in range(n)]
        self.facts = [0] * n
        self.citations = [0] * n
        self.reward = [0.0] * n
        self.plans: dict[int, str] = {}
        self.rules: list[tuple[str, str, int, str]] = [
            ("council", ADVISORY, 0, "Residents are asked to research in the library.")
        ]
        self.rooms: list[deque[tuple[int, str]]] = [deque(maxlen=ROOM_HISTORY) for _ in PLACES]

    def present(self) -> list[list[int]]:
        """Return the residents of each place, in index order."""
        rooms: list[list[int]] = [[] for _ in PLACES]
        for resident, place in enumerate(self.place):
            rooms[place].append(resident)
        return rooms

    def tokens_left(self, place: int) -> int:
        """Return how many scan tokens still lie in a place."""
        return self.tokens_at_start - self.tokens_taken[place]

    def say(self, place: int, speaker: int, text: str) -> None:
        """Broadcast an utterance in a room, cut at 280 characters."""
        self.rooms[place].append((speaker, text[:BROADCAST_LIMIT]))

    def perform(self, tick: int, resident: int, kind: int, argument: int, plan: str = "") -> Effect:
        """Carry out an action.

        Args:
            tick: now.
            resident: who acts.
            kind: index of the action.
            argument: destination of a move, document of research, number of a checklist field, peer of a gift or
                an argument.
            plan: text of a proposed plan.

        Returns:
            (outcome, a, b, c): move (note, 0, 0); work (balance, 0, 0); research (document, facts, 0);
            cite (document, 0, 0); submit_report (facts correct, valid citations, 0); scan (token number, 0, 0);
            fill_field (field number, 0, 0); propose_plan (fields, 0, 0); submit_plan (fields, required, 0).
        """
        if kind == MOVE:
            if self.place[resident] == argument:
                return SUCCESS, NOTE_NO_OP, 0, 0
            if self.capacity_holds and self.place.count(argument) >= PLACE_FACTS[argument].capacity:
                return FAIL, NOTE_FULL, 0, 0
            self.place[resident] = argument
            return SUCCESS, 0, 0, 0
        if kind == RESEARCH:
            documents = self.read[resident]
            if argument in documents:
                documents.remove(argument)
            documents.append(argument)
            self.facts[resident] |= _FACT_BITS[argument]
            return SUCCESS, argument, len(TARGETS_IN[argument]), 0
        if kind == CITE:
            document = self.read[resident][-1] if self.read[resident] else 0
            self.citations[resident] |= 1 << document
            return SUCCESS, document, 0, 0
        if kind == SUBMIT_REPORT:
            correct, valid = self.facts[resident].bit_count(), self.citations[resident].bit_count()
            self.reward[resident] += correct + 0.5 * valid
            return SUCCESS, correct, valid, 0
        if kind == WORK:
            self.credits[resident] += 1
            self.account[resident] = True
            return SUCCESS, self.credits[resident], 0, 0
        if kind == SCAN:
            place = self.place[resident]
            if self.tokens_left(place) == 0:
                return FAIL, 0, 0, 0
            self.tokens_taken[place] += 1
            return SUCCESS, self.tokens_taken[place], 0, 0
        if kind == FILL_FIELD:
            if argument in self.checklist[resident]:
                return FAIL, argument, 0, 0
            self.checklist[resident].append(argument)
            return SUCCESS, argument, 0, 0
        if kind == GIFT:
            if self.credits[resident] < 1:
                return FAIL, 0, 0, 0
            self.credits[resident] -= 1
            self.credits[argument] += 1
            self.account[resident] = self.account[argument] = True
            return SUCCESS, 1, 0, 0
        if kind == ARGUE:
            self.satisfaction[resident] -= 0.5
            self.satisfaction[argument] -= 0.5
            return SUCCESS, 0, 0, 0
        if kind == PROPOSE_PLAN:
            self.plans[resident] = plan
            return SUCCESS, len(self.checklist[resident]), 0, 0
        if kind == SUBMIT_PLAN:
            done = len(self.checklist[resident])
            if done < self.required_fields:
                return FAIL, done, self.required_fields, 0
            if resident in self.plans:
                self.rules.append((resident_id(resident), ADVISORY, tick, self.plans[resident]))
            return SUCCESS, done, self.required_fields, 0
        return SUCCESS, 0, 0, 0

    def state(self) -> dict[str, Any]:
        """Return the world as JSON values."""
        return {
            "place": list(self.place),
            "credits": list(self.credits),
            "account": list(self.account),
            "satisfaction": list(self.satisfaction),
            "tokens_taken": list(self.tokens_taken),
            "checklist": [list(fields) for fields in self.checklist],
            "read": [list(documents) for documents in self.read],
            "facts": list(self.facts),
            "citations": list(self.citations),
            "reward": list(self.reward),
            "plans": [[resident, text] for resident, text in self.plans.items()],
            "rules": [list(rule) for rule in self.rules],
            "rooms": [[list(entry) for entry in room] for room in self.rooms],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        for key in ("place", "credits", "account", "satisfaction", "tokens_taken", "facts", "citations", "reward"):
            setattr(self, key, list(state[key]))
        self.checklist = [list(fields) for fields in state["checklist"]]
        self.read = [list(documents) for documents in state["read"]]
        self.plans = dict(state["plans"])
        self.rules = [(rule[0], rule[1], rule[2], rule[3]) for rule in state["rules"]]
        self.rooms = [deque(((who, text) for who, text in room), maxlen=ROOM_HISTORY) for room in state["rooms"]]


def effect_of(kind: int, outcome: int, argument: int, a: int, b: int, place: int) -> tuple[dict[str, Any], dict]:
    """Return an action's parameters and result fields, as logged, from its numbers.

    `place` is where the resident stood before the action.
    """
    if kind == MOVE:
        note = {NOTE_NO_OP: {"note": "no_op"}, NOTE_FULL: {"note": "full"}}.get(a, {})
        return {"destination": PLACES[argument], "from": PLACES[place]}, note
    if kind == WORK:
        return {"task": "community project"}, {"balance": a, "resource": "credits"}
    if kind == RESEARCH:
        return {}, {"doc_id": DOCUMENTS[a], "note": "ok", "facts": b}
    if kind == CITE:
        return {}, {"doc_id": DOCUMENTS[a]}
    if kind == SUBMIT_REPORT:
        return {}, {"facts_correct": a, "citations_valid": b, "reward_points": a + 0.5 * b}
    if kind == SCAN:
        return {}, {"token": f"{PLACES[place]}_token_{a}"} if outcome == SUCCESS else {"note": "no_tokens"}
    if kind == FILL_FIELD:
        field = {"field_name": f"policy_field_{a}"}
        return field, {"unique": 1} if outcome == SUCCESS else {"note": "already_completed", "unique": 0}
    if kind == PROPOSE_PLAN:
        return {}, {"fields": a}
    if kind == SUBMIT_PLAN:
        status = "submitted" if outcome == SUCCESS else "incomplete"
        return {}, {"status": status, "fields_completed": a, "required": b}
    if kind == GIFT:
        peer = {"recipient": resident_id(argument)}
        return peer, {"item": "credits", "qty": 1} if outcome == SUCCESS else {"note": "insufficient"}
    if kind == ARGUE:
        return {"target": resident_id(argument)}, {}
    return {}, {}
