"""A run of the town: ticks of meeting, deciding and acting, with states that continue bit-identically.

A tick has two phases. All participants decide from the state at its start, in waves: the k-th participants of all
encounters together, each hearing what was said before in its own encounter. Then the decisions are carried out in
order. Only the second phase changes the state, so that a tick that is broken off leaves nothing behind.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arms import DOSED_ARMS
from .config import RunConfig
from .decisions import Decider, Decision, Plan
from .generator_state import restored, stored
from .history import Action, FinalState, History
from .interview import interview
from .log import ACTION_COLUMNS, Log, decoded
from .measures import INTEGER_METRICS, METRICS, TalkGraph, tick_metrics
from .memory import Memory
from .objectives import Objectives
from .planner import Planner
from .prompts import shortened
from .requests import Request
from .residents import Resident, resident_id, sample_residents
from .safety import review_utterance
from .scheduler import Encounter, sample_encounters
from .traits import TRAITS
from .vocabulary import (
    ARGUE,
    BROADCAST,
    CITE,
    GIFT,
    KIND_NAMES,
    MOVE,
    OUTCOMES,
    PLACES,
    RESEARCH,
    SPOKEN,
    SUBMIT_REPORT,
    TALK,
)
from .voice import Voice
from .world import SUCCESS, World, effect_of

if TYPE_CHECKING:
    from .backend import Backend

EDGE_KINDS = {TALK: 0, GIFT: 1, ARGUE: 2}

State = dict[str, Any]
"""A state: JSON values and NumPy arrays by name."""


class Simulation:
    """One run of one condition.

    Args:
        config: what to run.
        backend: the language model; None makes it from `config.model_name` when it is first needed.
        vectors: persona vectors; None computes them from the packaged contrast items when they are needed.
        prior: f8[13], the calibrated log-probability of each kind of action; None computes it when it is needed.
        voice: model, vectors and prior of another simulation of the same config, instead of the three before.

    Attributes:
        tick: the next tick.
        residents: as initialised.
        log: everything logged since the start of this object, or of the run it was restored from.
        commonest_prompt: share of the last tick's prompts that the most frequent one makes up.
    """

    def __init__(
        self,
        config: RunConfig,
        backend: Backend | None = None,
        *,
        vectors: Any = None,
        prior: Any = None,
        voice: Voice | None = None,
    ) -> None:
        self.config = config
        self.residents: list[Resident] = sample_residents(config)
        self.tick = 0
        self.planner_calls = 0
        n = len(self.residents)
        self.world = World(config, self.residents)
        self.objectives = Objectives(config, n)
        self.planner = Planner(self.world, self.objectives, from_checklist=config.policy.kind == "model")
        self.voice = voice or Voice(config, backend, vectors, prior)
        self.plans: list[Plan | None] = [None] * n
        self.silence = [-1] * len(PLACES)
        self.personas = np.array([[resident.persona[trait] for trait in TRAITS] for resident in self.residents])
        self.overrides = np.zeros((n, len(TRAITS)))
        self.prompts_seen: set[int] = set()
        self.commonest_prompt = 0.0
        self.graph = TalkGraph()
        self.log = Log(METRICS)
        self.memories: list[Memory] = self._memories() if self.voice.remembers else []
        self.decider = Decider(self)
        self._meet = random.Random(config.seed)
        self._refresh_coefficients()

    def _memories(self) -> list[Memory]:
        section = self.config.memory
        embed = self.voice.embed if section.scoring == "embedding" else None
        memo = self.config.optimization.retrieval_cache
        return [Memory(section.scoring, section.capacity, embed, memo=memo) for _ in self.residents]

    def _refresh_coefficients(self) -> None:
        clip = self.config.safety.alpha_clip if self.config.arm in DOSED_ARMS else 0.0
        self.effective = np.clip(self.personas + self.overrides, -clip, clip)
        self.doses = self.voice.logged_doses(self.effective)
        self.coefficient_rows = [tuple(row) for row in self.effective.tolist()]

    @property
    def done(self) -> bool:
        """Whether all ticks of the config are run."""
        return self.tick >= self.config.steps

    def run(self, ticks: int | None = None) -> History:
        """Run the next `ticks` ticks (None: all that are left) and return their history.

        Raises:
            ValueError: `ticks` is negative.
        """
        if ticks is not None and ticks < 0:
            raise ValueError(f"ticks: found {ticks}; allowed is an integer of at least 0")
        end = self.config.steps if ticks is None else self.tick + ticks
        marks, calls, first = self.log.marks(), self.planner_calls, self.tick
        while self.tick < end:
            for _ in self.voice.answered(self.tick_steps()):
                pass
        return self.history(marks, calls, first)

    def forced(self, present: list[list[int]]) -> frozenset[int]:
        """Return who is made to talk: everybody in a place that was silent for too long."""
        section = self.config.meta_orchestrator
        if not section.enabled:
            return frozenset()
        quiet = [
            residents
            for place, residents in enumerate(present)
            if len(residents) > 1 and self.tick - self.silence[place] > section.silence_ticks
        ]
        return frozenset(resident for residents in quiet for resident in residents)

    def tick_steps(self) -> Generator[Request, list[Any], None]:
        """Run one tick: yields what it asks of the language model and is sent the answers."""
        meet = random.Random()
        meet.setstate(self._meet.getstate())
        present = self.world.present()
        encounters = sample_encounters(meet, present, self.config.max_events_per_tick)
        crowd = [len(residents) for residents in present]
        decisions, plans, calls = yield from self.decider.decide(encounters, self.forced(present), crowd)
        probes, fluency = yield from interview(self, decisions)
        self._meet = meet
        self.planner_calls += calls
        for resident, plan in plans.items():
            self.plans[resident] = plan
        self._apply(encounters, decisions, crowd, probes, fluency)
        self.tick += 1

    def _apply(
        self,
        encounters: list[tuple[int, tuple[int, ...]]],
        decisions: list[list[Decision]],
        crowd: list[int],
        probes: list[tuple[Any, ...]],
        fluency: float | None,
    ) -> None:
        tick, world, log = self.tick, self.world, self.log
        records: list[tuple[Any, ...]] = []
        sizes: list[int] = []
        texts: list[str] = []
        edges: list[tuple[int, int, int, int]] = []
        base = log.rows("actions")
        details: dict[str, list[tuple[Any, ...]]] = {"facts": [], "citations": [], "grades": [], "safety": []}
        duplicates = 0
        for index, ((_, members), chosen) in enumerate(zip(encounters, decisions, strict=True)):
            for order, decision in enumerate(chosen):
                resident, kind = decision.resident, decision.kind
                place = world.place[resident]
                outcome, a, b, _ = world.perform(tick, resident, kind, decision.argument, decision.text)
                records.append(
                    (
                        tick,
                        index,
                        order,
                        resident,
                        kind,
                        decision.argument if kind == MOVE else -1,
                        outcome,
                        place,
                        world.place[resident],
                        decision.tokens_in,
                        decision.tokens_out,
                        decision.suggested,
                        decision.logp,
                        decision.planned,
                        decision.argument,
                        a,
                        b,
                    )
                )
                sizes.append(len(members))
                texts.append(decision.text)
                if decision.prompt_hash in self.prompts_seen:
                    duplicates += 1
                else:
                    self.prompts_seen.add(decision.prompt_hash)
                if kind == TALK:
                    edges += [(tick, resident, peer, 0) for peer in members if peer != resident]
                elif kind in EDGE_KINDS:
                    edges.append((tick, resident, decision.argument, EDGE_KINDS[kind]))
                elif kind == RESEARCH:
                    details["facts"].append((tick, resident, a, b))
                elif kind == CITE:
                    details["citations"].append((tick, resident, a))
                elif kind == SUBMIT_REPORT:
                    details["grades"].append((tick, resident, a, b, a + 0.5 * b))
                if kind in BROADCAST and decision.text:
                    world.say(place, resident, decision.text)
        coefficients, doses = self.effective, self.doses
        acting = [record[3] for record in records]
        log.extend("actions", records)
        log.messages(texts, coefficients[acting], doses[acting])
        if self.config.logging.prompts:
            log.prompts([decision.prompt for chosen in decisions for decision in chosen])
        if self.config.logging.token_ids:
            log.token_ids([decision.token_ids for chosen in decisions for decision in chosen])
        log.extend("encounters", [(tick, place, len(members)) for place, members in encounters])
        log.extend("members", [(resident,) for _, members in encounters for resident in members])
        log.extend("edges", edges)
        log.extend("probes", probes)
        self._reward(records)
        self._silence(records)
        details["safety"] = self._govern(records, texts, base)
        hashes = Counter(decision.prompt_hash for chosen in decisions for decision in chosen)
        self.commonest_prompt = max(hashes.values(), default=0) / max(len(records), 1)
        for table, rows in details.items():
            log.extend(table, rows)
        if self.memories:
            self._remember(encounters, decisions)
        values = tick_metrics(records, sizes, crowd, world, texts)
        values["prompt_duplicates"] = duplicates / len(records) if records else np.nan
        self._further_metrics(values, acting, edges, probes, fluency)
        log.metrics(values)

    def _further_metrics(
        self,
        values: dict[str, float],
        acting: list[int],
        edges: list[tuple[int, int, int, int]],
        probes: list[tuple[Any, ...]],
        fluency: float | None,
    ) -> None:
        if fluency is not None:
            values["fluency"] = fluency
        if acting:
            for trait, dose in zip(TRAITS, np.abs(self.doses[acting]).mean(axis=0).tolist(), strict=True):
                values[f"dose_{trait}"] = dose
        for index, trait in enumerate(TRAITS):
            scores = [row[5] for row in probes if row[4] == index and row[2] == 0]
            if scores:
                values[f"probe_{trait}"] = sum(scores) / len(scores)
        self.graph.add([(src, dst) for _, src, dst, kind in edges if kind == 0])
        if self.tick % self.config.probes.cadence == 0:
            values.update(self.graph.metrics(self.personas.tolist()))

    def _reward(self, records: list[tuple[Any, ...]]) -> None:
        completed = []
        for record in records:
            if record[6] == SUCCESS:
                done = self.objectives.credit(record[3], record[4])
                if done is not None:
                    self.world.satisfaction[record[3]] += done[1]
                    completed.append((self.tick, record[3], self.objectives.names.index(done[0]), done[1]))
        self.log.extend("objectives", completed)

    def _silence(self, records: list[tuple[Any, ...]]) -> None:
        for record in records:
            if record[4] == TALK:
                self.silence[self.world.place[record[3]]] = self.tick + 1

    def _govern(self, records: list[tuple[Any, ...]], texts: list[str], base: int) -> list[tuple[Any, ...]]:
        section = self.config.safety
        events: list[tuple[Any, ...]] = []
        for offset, (record, text) in enumerate(zip(records, texts, strict=True)):
            if not text:
                continue
            resident = record[3]
            coefficients = dict(zip(TRAITS, self.coefficient_rows[resident], strict=True))
            event = review_utterance(text, coefficients, section.governor_backoff, section.toxicity_threshold)
            if event is not None:
                for trait, change in event.overrides.items():
                    self.overrides[resident, TRAITS.index(trait)] += change
                events.append((self.tick, resident, 0 if event.severity == "medium" else 1, base + offset))
        if events:
            self._refresh_coefficients()
        return events

    def _remember(self, encounters: list[tuple[int, tuple[int, ...]]], decisions: list[list[Decision]]) -> None:
        for (_, members), chosen in zip(encounters, decisions, strict=True):
            for decision in chosen:
                name = self.residents[decision.resident].name
                if decision.kind in SPOKEN and decision.text:
                    self.memories[decision.resident].add(
                        self.tick, f"I said: {shortened(decision.text)}", "utterance_own"
                    )
                    for peer in members:
                        if peer != decision.resident:
                            heard = f"{name} said: {shortened(decision.text)}"
                            self.memories[peer].add(self.tick, heard, "utterance_heard")
                else:
                    done = f"I did {KIND_NAMES[decision.kind].replace('_', ' ')}"
                    self.memories[decision.resident].add(self.tick, done, "observation")

    def history(self, marks: Mapping[str, int] | None = None, calls: int = 0, first_tick: int = 0) -> History:
        """Return the history since marks of the log; by default all of it."""
        columns = self.log.since(marks)
        metrics = {}
        for name, values in zip(METRICS, columns["ticks/metrics"].T, strict=True):
            metrics[name] = values.astype(np.int64) if name in INTEGER_METRICS else values.copy()
        texts = decoded(columns["messages/bytes"], columns["messages/length"])
        return History(
            residents=list(self.residents),
            encounters=_encounters(columns, first_tick, self.tick),
            actions=_actions(columns),
            planner_calls=self.planner_calls - calls,
            metrics=metrics,
            final=self.final(),
            columns=columns,
            utterances=texts,
        )

    def final(self) -> FinalState:
        """Return the world as it is now."""
        world, ids = self.world, [resident.id for resident in self.residents]
        objectives = self.objectives
        progress = {
            ids[resident]: {KIND_NAMES[kind]: count for kind, count in objectives.progress[resident].items()}
            for resident in range(len(ids))
            if objectives.enabled
        }
        return FinalState(
            places={PLACES[place]: [ids[r] for r in residents] for place, residents in enumerate(world.present())},
            credits={ids[r]: world.credits[r] for r in range(len(ids)) if world.account[r]},
            tokens_left={name: world.tokens_left(place) for place, name in enumerate(PLACES)},
            checklists={
                ids[r]: [f"policy_field_{number}" for number in world.checklist[r]]
                for r in range(len(ids))
                if world.checklist[r]
            },
            rules=[(proposer, priority, tick) for proposer, priority, tick, _ in world.rules],
            satisfaction=dict(zip(ids, world.satisfaction, strict=True)),
            objective_progress=progress,
        )

    def checkpoint(self) -> State:
        """Return the state after the last finished tick: a copy, JSON values and arrays, for `restore`."""
        layout, packed = self.log.packed()
        return {
            "config": self.config.model_dump(mode="json"),
            "tick": self.tick,
            "planner_calls": self.planner_calls,
            "world": self.world.state(),
            "objectives": self.objectives.state(),
            "meet": stored(self._meet),
            "plans": [None if plan is None else list(plan) for plan in self.plans],
            "silence": list(self.silence),
            "graph": [[list(edge) for edge in edges] for edges in self.graph.ticks],
            "memories": [memory.state() for memory in self.memories],
            "overrides": self.overrides.copy(),
            "prompts_seen": np.array(sorted(self.prompts_seen), np.uint64),
            "log_layout": layout,
            "log": packed,
        }

    @classmethod
    def restore(
        cls,
        state: State,
        backend: Backend | None = None,
        *,
        vectors: Any = None,
        prior: Any = None,
        voice: Voice | None = None,
    ) -> Simulation:
        """Return a simulation that goes on from a state, to the same bits as one that was never stopped.

        `voice` takes over the model, vectors and prior of a simulation of the same config.
        """
        simulation = cls(RunConfig(**state["config"]), backend, vectors=vectors, prior=prior, voice=voice)
        simulation.tick = int(state["tick"])
        simulation.planner_calls = int(state["planner_calls"])
        simulation.world.restore(state["world"])
        simulation.objectives.restore(state["objectives"])
        simulation._meet = restored(state["meet"])
        simulation.plans = [None if plan is None else Plan(*plan) for plan in state["plans"]]
        simulation.silence = list(state["silence"])
        for edges in state["graph"]:
            simulation.graph.add([(src, dst) for src, dst in edges])
        for memory, stored_memory in zip(simulation.memories, state["memories"], strict=True):
            memory.restore(stored_memory)
        simulation.overrides = np.array(state["overrides"])
        simulation.prompts_seen = {int(number) for number in state["prompts_seen"]}
        simulation.log.unpack(state["log_layout"], state["log"])
        simulation._refresh_coefficients()
        return simulation


def _actions(columns: Mapping[str, NDArray[Any]]) -> list[Action]:
    """Return the rows of the action table as actions."""
    names = [name for name in ACTION_COLUMNS if name not in ("enc", "ord", "tokens_in", "tokens_out", "chosen_logp")]
    rows = zip(*(columns[f"actions/{name}"].tolist() for name in names), strict=True)
    actions = []
    for tick, resident, kind, _, outcome, place, _, _, _, argument, a, b in rows:
        parameters, result = effect_of(kind, outcome, argument, a, b, place)
        actions.append(Action(tick, resident_id(resident), KIND_NAMES[kind], OUTCOMES[outcome], parameters, result))
    return actions


def _encounters(columns: Mapping[str, NDArray[Any]], first: int, end: int) -> list[list[Encounter]]:
    """Return the encounters of each tick."""
    ticks: list[list[Encounter]] = [[] for _ in range(end - first)]
    members = [resident_id(resident) for resident in columns["members/resident"].tolist()]
    start = 0
    sizes = columns["encounters/size"].tolist()
    for tick, place, size in zip(
        columns["encounters/tick"].tolist(), columns["encounters/place"].tolist(), sizes, strict=True
    ):
        ticks[tick - first].append(Encounter(PLACES[place], members[start : start + size]))
        start += size
    return ticks
