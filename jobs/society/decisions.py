"""How residents decide: perceive, recall, plan, and choose an action that fits the moment."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .planner import Suggestion, unread_document
from .prompts import (
    SHOWN_MEMORIES,
    SHOWN_UTTERANCES,
    SYSTEM,
    Moment,
    continuation,
    persona_words,
    resident_block,
    shortened,
    suggestion_phrase,
    suggestion_text,
)
from .requests import Request, Spoken, Turn, TurnResult, Vector
from .streams import ACTION, TARGETS, uniform, uniforms
from .tables import playbook
from .traits import TRAITS
from .utterances import clean_utterance
from .vocabulary import (
    ARGUE,
    CENTER,
    CITE,
    FILL_FIELD,
    GIFT,
    KINDS,
    LIBRARY,
    MOVE,
    PLACE_FACTS,
    PLACES,
    PROPOSE_PLAN,
    RESEARCH,
    REST,
    SCAN,
    SPOKEN,
    SUBMIT_PLAN,
    SUBMIT_REPORT,
    TALK,
    WORK,
)

if TYPE_CHECKING:
    from .config import MetaSection
    from .simulation import Simulation

_DESTINATION, _PEER = 0, 1
"""Counters of the stream of targets."""
_SMALLEST = 2.0**-54


class Plan(NamedTuple):
    """A cached suggestion: when, where and for which objective it was made."""

    kind: int
    argument: int
    place: int
    tick: int
    serial: int


@dataclass(slots=True)
class Decision:
    """What one resident does at one tick, not yet carried out."""

    resident: int
    kind: int
    argument: int
    suggested: int
    planned: bool
    logp: float
    tokens_in: int
    tokens_out: int
    text: str
    prompt_hash: int
    prompt: str = ""
    token_ids: tuple[int, ...] = ()


def text_hash(text: str) -> int:
    """Return 63 bits of a text's digest."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def gumbel_choice(scores: Vector, uniform_numbers: Vector, temperature: float) -> tuple[int, float]:
    """Return the index drawn with softmax(scores / temperature), and the log-probability that it had.

    Source: the Gumbel-max trick; ties go to the lower index.
    """
    scaled = scores / temperature
    noise = -np.log(-np.log(np.clip(uniform_numbers, _SMALLEST, 1.0 - _SMALLEST)))
    index = int(np.argmax(scaled + noise))
    shifted = scaled - scaled.max()
    return index, float(shifted[index] - math.log(np.exp(shifted).sum()))


def reminders(role: str, section: MetaSection, book: Mapping[str, Any]) -> list[str]:
    """Return what a resident of a role is reminded of, a line a tick in turn.

    The goals of all come first; then the config's own reminders, else the playbook's hints and reminders for the role
    and for everybody.
    """
    goals = [f"All of you want to {goal}." for goal in section.global_goals]
    told = book["roles"].get(role, {})
    lines = section.recurring_reminders or [
        *told.get("hints", ()),
        *told.get("reminders", ()),
        *book.get("reminders", ()),
    ]
    return [*goals, *lines]


class Decider:
    """The deciding phase of a simulation; it reads the simulation's state and changes none of it."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        config = simulation.config
        self.model_policy = config.policy.kind == "model"
        self.limits = [config.inference.limit(kind.name, kind.tokens) for kind in KINDS]
        form = config.inference.persona_prompt if config.arm in ("prompt", "hybrid") else "none"
        self.blocks = [
            resident_block(resident, persona_words(row, form))
            for resident, row in zip(simulation.residents, simulation.personas.tolist(), strict=True)
        ]
        section = config.meta_orchestrator
        book = playbook(section)
        self.reminders = [reminders(resident.role, section, book) for resident in simulation.residents]

    def decide(
        self, encounters: list[tuple[int, tuple[int, ...]]], forced: frozenset[int], crowd: list[int]
    ) -> Generator[Request, list[Any], tuple[list[list[Decision]], dict[int, Plan], int]]:
        """Return the decisions of every encounter, the plans that were made, and how many.

        Yields the requests to the language model and is sent their results.
        """
        simulation = self.simulation
        plans: dict[int, Plan] = {}
        decisions: list[list[Decision]] = [[] for _ in encounters]
        if not self.model_policy and simulation.voice.is_mock:
            self._decide_quickly(encounters, forced, crowd, decisions, plans)
            return decisions, plans, len(plans)
        for wave in range(3):
            turns, places = [], []
            for index, (place, members) in enumerate(encounters):
                if wave < len(members):
                    turn, suggestion, planned = self._turn(
                        members[wave], place, members, decisions[index], forced, crowd, plans
                    )
                    turns.append(turn)
                    places.append((index, suggestion, planned))
            if not turns:
                break
            results: list[TurnResult] = yield Request("turns", turns)
            for turn, result, (index, suggestion, planned) in zip(turns, results, places, strict=True):
                decisions[index].append(self._decision(turn, result, suggestion, planned, encounters[index][1]))
        return decisions, plans, len(plans)

    def _suggestion(self, resident: int, forced: bool, plans: dict[int, Plan], options: tuple[int, ...]) -> tuple:
        """Return the suggestion in force and whether it was made anew."""
        simulation = self.simulation
        tick, place = simulation.tick, simulation.world.place[resident]
        interval = simulation.config.optimization.reflect_every_n_ticks
        serial = simulation.objectives.serial[resident]
        plan = simulation.plans[resident]
        fresh = plan is None or plan.place != place
        if plan is not None and not fresh:
            if simulation.config.reflection.rule == "lazy":
                fresh = tick - plan.tick >= interval or plan.serial != serial or (forced and plan.kind != TALK)
                fresh = fresh or bool(options and plan.kind not in options)
            else:
                fresh = tick % interval == 0 or tick - plan.tick > 1
        if fresh or plan is None:
            kind, argument = simulation.planner.suggest(resident, tick, forced)
            plan = plans[resident] = Plan(kind, argument, place, tick, serial)
        return (plan.kind, plan.argument), fresh

    def _decide_quickly(
        self,
        encounters: list[tuple[int, tuple[int, ...]]],
        forced: frozenset[int],
        crowd: list[int],
        decisions: list[list[Decision]],
        plans: dict[int, Plan],
    ) -> None:
        """Decide by suggestion alone, with template sentences: nobody has to wait for what others say."""
        simulation = self.simulation
        tick = simulation.tick
        members_of = [members for _, members in encounters]
        speakers = [resident for members in members_of for resident in members]
        sentences = (
            iter(simulation.voice.mock.sentences(simulation.config.seed, tick, speakers)) if speakers else iter(())
        )
        for index, (place, members) in enumerate(encounters):
            for resident in members:
                (kind, argument), planned = self._suggestion(resident, resident in forced, plans, ())
                suggested = kind
                if tick == 0 and kind == MOVE and len(members) > 1:
                    kind, argument = TALK, 0
                sentence = next(sentences)
                limit = self.limits[kind]
                key = (resident, place, crowd[place], members, suggested, simulation.objectives.chosen[resident])
                prompt = self._quick_prompt(resident, place, crowd[place], members)
                decisions[index].append(
                    Decision(
                        resident,
                        kind,
                        argument,
                        suggested,
                        planned,
                        0.0,
                        -(-len(prompt) // 4),
                        limit,
                        sentence if limit else suggestion_text(kind, argument),
                        hash(key) & 0x7FFFFFFFFFFFFFFF,
                    )
                )

    def _quick_prompt(self, resident: int, place: int, crowd: int, members: tuple[int, ...]) -> str:
        names = ", ".join(self.simulation.residents[peer].name for peer in members if peer != resident)
        return f"{SYSTEM}{self.blocks[resident]}{PLACE_FACTS[place].title}{crowd}{names}"

    def options(self, resident: int, has_peer: bool) -> tuple[int, ...]:
        """Return the kinds of action that a resident can choose from, in table order."""
        world, env = self.simulation.world, self.simulation.config.env
        here = world.place[resident]
        available = {
            MOVE: True,
            TALK: has_peer,
            WORK: here != LIBRARY,
            GIFT: has_peer and world.credits[resident] >= 1,
            RESEARCH: here == LIBRARY,
            CITE: bool(world.read[resident]),
            SUBMIT_REPORT: world.facts[resident] != 0,
            SCAN: env == "nav",
            FILL_FIELD: env == "policy" and here == CENTER,
            PROPOSE_PLAN: env == "policy",
            SUBMIT_PLAN: env == "policy" and bool(world.checklist[resident]),
            REST: True,
            ARGUE: has_peer,
        }
        return tuple(kind for kind in range(len(KINDS)) if available[kind])

    def _turn(
        self,
        resident: int,
        place: int,
        members: tuple[int, ...],
        earlier: list[Decision],
        forced: frozenset[int],
        crowd: list[int],
        plans: dict[int, Plan],
    ) -> tuple[Turn, Suggestion, bool]:
        simulation = self.simulation
        tick, config = simulation.tick, simulation.config
        options = self.options(resident, len(members) > 1) if self.model_policy else ()
        suggestion, planned = self._suggestion(resident, resident in forced, plans, options)
        if not self.model_policy:
            greets = tick == 0 and suggestion[0] == MOVE and len(members) > 1
            options = (TALK,) if greets else (suggestion[0],)
        prior = simulation.voice.prior[list(options)] if self.model_policy else np.zeros(1)
        pull = np.array([config.policy.planner_weight if kind == suggestion[0] else 0.0 for kind in options])

        def choose(logprobs: Vector) -> Spoken:
            index, logp = 0, 0.0
            if self.model_policy:
                scores = config.policy.gain * (logprobs - prior) + pull
                numbers = uniforms(config.seed, ACTION, tick, resident, np.asarray(options))
                index, logp = gumbel_choice(scores, numbers, config.policy.temperature)
            kind = options[index]
            stop = "quote" if kind in SPOKEN else "sentence"
            return Spoken(kind, index, logp, continuation(kind), self.limits[kind], stop)

        moment = self._moment(resident, place, members, earlier, suggestion, crowd[place])
        coefficients = simulation.coefficient_rows[resident]
        turn = Turn(tick, resident, SYSTEM, self.blocks[resident], moment, coefficients, options, choose)
        return turn, suggestion, planned

    def _moment(
        self,
        resident: int,
        place: int,
        members: tuple[int, ...],
        earlier: list[Decision],
        suggestion: Suggestion,
        crowd: int,
    ) -> Moment:
        simulation = self.simulation
        residents = simulation.residents
        said = [(decision.resident, decision.text) for decision in earlier if decision.kind in SPOKEN and decision.text]
        heard = [(who, text) for who, text in [*simulation.world.rooms[place], *said] if who != resident]
        memories: tuple[str, ...] = ()
        if simulation.memories:
            query = " ".join(residents[resident].goals)
            coefficients = dict(zip(TRAITS, simulation.coefficient_rows[resident], strict=True))
            found = simulation.memories[resident].top(
                query, [PLACES[place]], coefficients, simulation.tick, simulation.config.memory.top_k
            )
            memories = tuple(shortened(event.text).rstrip(".") for event in found[:SHOWN_MEMORIES])
        preset = simulation.objectives.preset(resident)
        return Moment(
            place,
            crowd,
            tuple(residents[peer].name for peer in members if peer != resident),
            tuple(f"{residents[who].name}: {shortened(text)}" for who, text in heard[-SHOWN_UTTERANCES:]),
            memories,
            preset.description if preset else "",
            simulation.objectives.remaining(resident) if preset else 0,
            suggestion_phrase(*suggestion),
            self._reminder(resident),
        )

    def _reminder(self, resident: int) -> str:
        if not self.simulation.config.meta_orchestrator.enabled:
            return ""
        lines = self.reminders[resident]
        return lines[self.simulation.tick % len(lines)] if lines else ""

    def _decision(
        self, turn: Turn, result: TurnResult, suggestion: Suggestion, planned: bool, members: tuple[int, ...]
    ) -> Decision:
        kind = result.spoken.kind
        argument = self._argument(turn.resident, kind, suggestion, members)
        text = clean_utterance(result.text) or suggestion_text(kind, argument)
        return Decision(
            turn.resident,
            kind,
            argument,
            suggestion[0],
            planned,
            result.spoken.logp,
            result.tokens_in,
            result.tokens_out,
            text,
            text_hash(result.prompt),
            result.prompt,
            result.token_ids,
        )

    def _argument(self, resident: int, kind: int, suggestion: Suggestion, members: tuple[int, ...]) -> int:
        """Return the destination, peer, document or field of an action."""
        simulation = self.simulation
        seed, tick, world = simulation.config.seed, simulation.tick, simulation.world
        if kind == suggestion[0] and kind not in (GIFT, ARGUE):
            return suggestion[1]
        if kind == MOVE:
            others = [place for place in range(len(PLACES)) if place != world.place[resident]]
            return others[int(uniform(seed, TARGETS, tick, resident, _DESTINATION) * len(others))]
        if kind in (GIFT, ARGUE):
            peers = [peer for peer in members if peer != resident]
            return peers[int(uniform(seed, TARGETS, tick, resident, _PEER) * len(peers))]
        if kind == RESEARCH:
            return unread_document(world, resident)
        if kind == FILL_FIELD:
            return len(world.checklist[resident]) + 1
        return 0
