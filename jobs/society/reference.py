"""The heuristic dynamics in plain Python: the slow twin of `Simulation`, written to be read and tested against.

A tick: draw the encounters; let every participant decide from the state at the start of the tick; carry the decisions
out in order; credit objectives. The rules are those of persona-society-sim (github.com/dyllonj/persona-society-sim,
commit b3f3532) with the members of a place taken in sorted order.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from .config import RunConfig
from .history import Action, FinalState, History
from .objectives import presets_of
from .residents import Resident, sample_residents
from .scheduler import Encounter
from .statistics import gini, polarization
from .vocabulary import (
    DOCUMENT_FACTS,
    DOCUMENTS,
    PLACES,
    TARGET_FACTS,
    ObjectivePreset,
    required_fields,
    tokens_per_place,
)

Suggestion = tuple[str, dict[str, Any]]

SCHEDULE = ("research", "research", "cite", "submit_report")
TARGET_PLACE = {
    "research": "library",
    "research_facts": "library",
    "gather": "library",
    "report": "library",
    "work": "community_center",
    "socialize": "community_center",
    "collaborate": "community_center",
    "community": "community_center",
    "explore": "town_square",
}
TARGET_ACTION = {
    "gather": "cite",
    "report": "submit_report",
    "work": "work",
    "socialize": "talk",
    "collaborate": "talk",
    "community": "talk",
}


class Town:
    """Everything that changes."""

    def __init__(self, config: RunConfig, residents: list[Resident]) -> None:
        self.config = config
        ids = [resident.id for resident in residents]
        self.place = {resident.id: resident.place for resident in residents}
        count = tokens_per_place(config.env, config.difficulty)
        self.tokens = {place: [f"{place}_token_{k}" for k in range(1, count + 1)] for place in PLACES}
        self.credits: dict[str, int] = {}
        self.satisfaction = dict.fromkeys(ids, 0.0)
        self.checklists: dict[str, list[str]] = {}
        self.read: dict[str, list[str]] = {name: [] for name in ids}
        self.facts: dict[str, set[str]] = {name: set() for name in ids}
        self.citations: dict[str, set[str]] = {name: set() for name in ids}
        self.rules = [("council", "advisory", 0)]
        self.proposed: set[str] = set()
        self.presets = presets_of(config)
        self.draw = random.Random(config.objectives.seed or config.seed)
        self.objective: dict[str, ObjectivePreset] = {}
        self.progress: dict[str, dict[str, int]] = {}
        self.serial = dict.fromkeys(ids, 0)
        if config.objectives.enabled:
            for name in ids:
                self.assign(name)

    def assign(self, name: str) -> None:
        """Draw a new objective."""
        preset = self.presets[self.draw.choice(sorted(self.presets))]
        self.objective[name] = preset
        self.serial[name] += 1
        self.progress[name] = dict.fromkeys(preset.requirements, 0)

    def credit(self, action: Action) -> None:
        """Count a successful action towards its resident's objective."""
        name = action.resident
        if name not in self.objective or action.outcome != "success":
            return
        preset, progress = self.objective[name], self.progress[name]
        if action.kind not in progress:
            return
        progress[action.kind] = min(progress[action.kind] + 1, preset.requirements[action.kind])
        if all(progress[kind] >= count for kind, count in preset.requirements.items()):
            self.satisfaction[name] += preset.satisfaction
            self.assign(name)


def go(place: str) -> Suggestion:
    """Return the suggestion to go to a place."""
    return "move", {"destination": place}


def objective_plan(town: Town, name: str, tick: int) -> Suggestion | None:
    """Return what a resident's objective asks for, or nothing."""
    if name not in town.objective:
        return None
    preset, progress, here = town.objective[name], town.progress[name], town.place[name]
    required = preset.requirements
    if preset.type == "policy":
        if here != "community_center":
            return go("community_center")
        done = progress.get("fill_field", 0)
        if done < required.get("fill_field", 0):
            return "fill_field", {"field_name": f"policy_field_{done + 1}"}
        for kind in ("propose_plan", "submit_plan"):
            if progress.get(kind, 0) < required.get(kind, 0):
                return kind, {}
        return None
    if preset.type == "navigation":
        done = progress.get("scan", 0)
        index = (done + tick) % len(PLACES)
        if here != PLACES[index] and tick % 2 == 0:
            return go(PLACES[index])
        if done < required.get("scan", 0):
            return "scan", {}
        return go(PLACES[(index + 1) % len(PLACES)])
    target = TARGET_PLACE.get(preset.type)
    if target is None:
        return None
    if here != target:
        return go(target)
    if preset.type in ("research", "research_facts"):
        return SCHEDULE[tick % 4], {}
    if preset.type == "explore":
        return go(next(place for place in PLACES if place != here))
    kind = TARGET_ACTION[preset.type]
    return kind, {"task": "community project"} if kind == "work" else {}


def suggest(town: Town, name: str, tick: int, forced: bool) -> Suggestion:
    """Return a fresh suggestion: collaboration where it is forced, the objective's plan, else the civic rule."""
    if forced:
        return "talk", {}
    plan = objective_plan(town, name, tick)
    if plan is not None:
        return plan
    return ("research", {}) if town.place[name] == "library" else go("library")


def perform(town: Town, tick: int, name: str, suggestion: Suggestion) -> Action:
    """Carry out a suggestion and return the action as logged."""
    kind, parameters = suggestion
    here = town.place[name]
    if kind == "move":
        destination = parameters["destination"]
        logged = {"destination": destination, "from": here}
        if destination == here:
            return Action(tick, name, "move", "success", logged, {"note": "no_op"})
        town.place[name] = destination
        return Action(tick, name, "move", "success", logged, {})
    if kind == "work":
        town.credits[name] = town.credits.get(name, 0) + 1
        return Action(tick, name, "work", "success", parameters, {"balance": town.credits[name], "resource": "credits"})
    if kind == "research":
        document = DOCUMENTS[0]
        targets = [fact for fact in DOCUMENT_FACTS[0] if fact in TARGET_FACTS]
        if document in town.read[name]:
            town.read[name].remove(document)
        town.read[name].append(document)
        town.facts[name].update(targets)
        return Action(tick, name, "research", "success", {}, {"doc_id": document, "note": "ok", "facts": len(targets)})
    if kind == "cite":
        document = town.read[name][-1] if town.read[name] else DOCUMENTS[0]
        town.citations[name].add(document)
        return Action(tick, name, "cite", "success", {}, {"doc_id": document})
    if kind == "submit_report":
        correct, valid = len(town.facts[name]), len(town.citations[name])
        grade = {"facts_correct": correct, "citations_valid": valid, "reward_points": correct + 0.5 * valid}
        return Action(tick, name, "submit_report", "success", {}, grade)
    if kind == "scan":
        if not town.tokens[here]:
            return Action(tick, name, "scan", "fail", {}, {"note": "no_tokens"})
        return Action(tick, name, "scan", "success", {}, {"token": town.tokens[here].pop(0)})
    if kind == "fill_field":
        fields = town.checklists.setdefault(name, [])
        if parameters["field_name"] in fields:
            return Action(tick, name, "fill_field", "fail", parameters, {"note": "already_completed", "unique": 0})
        fields.append(parameters["field_name"])
        return Action(tick, name, "fill_field", "success", parameters, {"unique": 1})
    if kind == "propose_plan":
        town.proposed.add(name)
        return Action(tick, name, "propose_plan", "success", {}, {"fields": len(town.checklists.get(name, ()))})
    if kind == "submit_plan":
        done = len(town.checklists.get(name, ()))
        required = required_fields(town.config.env, town.config.difficulty)
        ready = done >= required
        if ready and name in town.proposed:
            town.rules.append((name, "advisory", tick))
        status = "submitted" if ready else "incomplete"
        result = {"status": status, "fields_completed": done, "required": required}
        return Action(tick, name, "submit_plan", "success" if ready else "fail", {}, result)
    return Action(tick, name, kind, "success", {}, {})


def draw_encounters(draw: random.Random, town: Town, cap: int) -> list[Encounter]:
    """Return the encounters of one tick."""
    rooms = list(PLACES)
    draw.shuffle(rooms)
    encounters: list[Encounter] = []
    for room in rooms:
        if len(encounters) >= cap:
            break
        members = sorted(name for name, place in town.place.items() if place == room)
        if not members:
            continue
        draw.shuffle(members)
        while members and len(encounters) < cap:
            size = draw.choice((2, 3)) if len(members) >= 3 else len(members)
            encounters.append(Encounter(room, members[:size]))
            del members[:size]
    return encounters


def simulate(config: RunConfig) -> History:
    """Return the whole history of the heuristic policy."""
    residents = sample_residents(config)
    town = Town(config, residents)
    draw = random.Random(config.seed)
    interval = config.optimization.reflect_every_n_ticks
    silence = dict.fromkeys(PLACES, -1)
    cached: dict[str, tuple[Suggestion, str, int, int]] = {}
    history = History(residents)
    for tick in range(config.steps):
        encounters = draw_encounters(draw, town, config.max_events_per_tick)
        forced = set()
        if config.meta_orchestrator.enabled:
            for place in PLACES:
                present = [name for name, there in town.place.items() if there == place]
                if len(present) > 1 and tick - silence[place] > config.meta_orchestrator.silence_ticks:
                    forced.update(present)
        decisions: list[tuple[str, Suggestion]] = []
        for encounter in encounters:
            for name in encounter.members:
                suggestion, place, planned, serial = cached.get(name, (None, "", -1, 0))
                fresh = suggestion is None or place != town.place[name]
                if config.reflection.rule == "lazy":
                    fresh = fresh or tick - planned >= interval or serial != town.serial[name]
                    fresh = fresh or (name in forced and suggestion != ("talk", {}))
                else:
                    fresh = fresh or tick % interval == 0 or tick - planned > 1
                if fresh or suggestion is None:
                    suggestion = suggest(town, name, tick, name in forced)
                    cached[name] = (suggestion, town.place[name], tick, town.serial[name])
                    history.planner_calls += 1
                if tick == 0 and suggestion[0] == "move" and len(encounter.members) > 1:
                    suggestion = ("talk", {})
                decisions.append((name, suggestion))
        actions = [perform(town, tick, name, suggestion) for name, suggestion in decisions]
        for action in actions:
            town.credit(action)
        for action in actions:
            if action.kind == "talk":
                silence[town.place[action.resident]] = tick + 1
        acting = [action.resident for action in actions]
        partners = {name: len(encounter.members) - 1 for encounter in encounters for name in encounter.members}
        history.encounters.append(encounters)
        history.actions.extend(actions)
        history.record(
            {
                "gini_acting": gini(town.credits.get(name, 0) for name in acting),
                "satisfaction_variance_acting": polarization(town.satisfaction[name] for name in acting),
                "talk_edges": sum(partners[action.resident] for action in actions if action.kind == "talk"),
            }
        )
    history.final = FinalState(
        places={place: sorted(n for n, there in town.place.items() if there == place) for place in PLACES},
        credits={name: town.credits[name] for name in town.place if name in town.credits},
        tokens_left={place: len(names) for place, names in town.tokens.items()},
        checklists={name: town.checklists[name] for name in town.place if name in town.checklists},
        rules=list(town.rules),
        satisfaction=dict(town.satisfaction),
        objective_progress={name: dict(town.progress[name]) for name in town.progress},
    )
    history.metrics["talk_edges"] = history.metrics["talk_edges"].astype(np.int64)
    return history
