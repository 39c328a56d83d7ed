"""Interviews: probes of residents' traits and the fluency of what they said, at every few ticks."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from .contrast import ContrastItem, eval_items
from .decisions import Decision
from .probes import hint_code, likert_questions, parse_behavior, parse_likert, scenarios
from .prompts import INTERVIEW_QUESTION
from .requests import Answer, Question, Request
from .streams import PROBES, uniform
from .traits import TRAITS
from .vocabulary import SPOKEN

if TYPE_CHECKING:
    from .simulation import Simulation

LOGIT, BEHAVIOR, LIKERT = range(3)
"""Kinds of rows in the table of probes."""
_NEUTRAL = (0.0,) * len(TRAITS)


def interview(
    simulation: Simulation, decisions: list[list[Decision]]
) -> Generator[Request, list[Any], tuple[list[tuple[Any, ...]], float | None]]:
    """Return the rows of the table of probes and the fluency of this tick's utterances, NaN-free.

    Everybody who acts is asked. Yields the requests to the language model and is sent their results.
    """
    section = simulation.config.probes
    if simulation.tick % section.cadence:
        return [], None
    rows: list[tuple[Any, ...]] = []
    acting = [decision.resident for chosen in decisions for decision in chosen]
    if section.enabled and acting:
        if section.mode in ("logit", "both"):
            rows += yield from _logit_probes(simulation, acting)
        if section.mode in ("text", "both"):
            rows += yield from _text_probes(simulation, acting)
    if not section.fluency or simulation.voice.is_mock:
        return rows, None
    texts = [(d.resident, d.text) for chosen in decisions for d in chosen if d.kind in SPOKEN and d.text]
    if not texts:
        return rows, None
    answers = [Answer(simulation.tick, resident, 0, "What do you say?", text, _NEUTRAL) for resident, text in texts]
    scores: list[float] = yield Request("answers", answers)
    return rows, float(sum(scores) / len(scores))


def _question(item: ContrastItem) -> str:
    return f"{item.stem} {INTERVIEW_QUESTION}"


def _logit_probes(simulation: Simulation, acting: list[int]) -> Generator[Request, list[Any], list[tuple[Any, ...]]]:
    seed, tick = simulation.config.seed, simulation.tick
    items = eval_items()
    asked = []
    answers = []
    for resident in acting:
        for index, trait in enumerate(TRAITS):
            number = int(uniform(seed, PROBES, tick, resident, index) * len(items[trait]))
            item = items[trait][number]
            asked.append((resident, index, number))
            coefficients = simulation.coefficient_rows[resident]
            answers.append(Answer(tick, resident, index, _question(item), item.high, coefficients))
            if not simulation.voice.is_mock:
                answers.append(Answer(tick, resident, index, _question(item), item.low, coefficients))
    scores: list[float] = yield Request("answers", answers)
    if not simulation.voice.is_mock:
        scores = [high - low for high, low in zip(scores[0::2], scores[1::2], strict=True)]
    return [
        (tick, resident, LOGIT, number, index, score, -1, -1)
        for (resident, index, number), score in zip(asked, scores, strict=True)
    ]


def _text_probes(simulation: Simulation, acting: list[int]) -> Generator[Request, list[Any], list[tuple[Any, ...]]]:
    """Ask each resident one scenario and one Likert question; an answer that cannot be read has outcome -1."""
    tick, seed = simulation.tick, simulation.config.seed
    behavior, likert = list(scenarios().values()), list(likert_questions().values())
    asked, questions = [], []
    for resident in acting:
        scenario = int(uniform(seed, PROBES, tick, resident, 10) * len(behavior))
        scale = int(uniform(seed, PROBES, tick, resident, 11) * len(likert))
        coefficients = simulation.coefficient_rows[resident]
        asked += [(resident, BEHAVIOR, scenario), (resident, LIKERT, scale)]
        questions += [
            Question(tick, resident, 100, behavior[scenario]["question"], coefficients),
            Question(tick, resident, 200, likert[scale]["question"], coefficients),
        ]
    replies: list[str] = yield Request("questions", questions)
    rows: list[tuple[Any, ...]] = []
    for (resident, kind, number), reply in zip(asked, replies, strict=True):
        if kind == BEHAVIOR:
            scenario_of = behavior[number]
            outcome, matched = parse_behavior(reply, scenario_of["outcomes"])
            code = -1 if outcome is None else list(scenario_of["outcomes"]).index(outcome)
            score = float("nan") if outcome is None else float(outcome == scenario_of["preferred"])
            hint = hint_code(matched, scenario_of["outcomes"])
            rows.append((tick, resident, kind, number, TRAITS.index(scenario_of["trait"]), score, code, hint))
        else:
            value, matched = parse_likert(reply)
            trait = TRAITS.index(likert[number]["trait"])
            score = float("nan") if value is None else float(value)
            rows.append((tick, resident, kind, number, trait, score, value or -1, hint_code(matched)))
    return rows
