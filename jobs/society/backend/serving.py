"""Serving simulations: turns, answers and questions of one or several runs as batches of rows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..prompts import INTERVIEW_SYSTEM, OPENING
from ..requests import Answer, Question, Request, Spoken, Turn, TurnResult
from ..vocabulary import KINDS, SPOKEN
from .core import coefficient_map
from .rows import Row
from .sampling import Sampling

if TYPE_CHECKING:
    from .core import Backend

MOMENT_TOKENS = 110
QUESTION_TOKENS = 32
_MARK = "\x00"
_QUESTION_TOKENS_FIRST = 10_000


@dataclass(frozen=True)
class _Prompt:
    """Ids of a turn's prompt, the lengths that can be shared, and how many last positions are steered."""

    row: Row
    cuts: tuple[int, int]
    text: str


def served(backend: Backend, request: Request, voices: Sequence[Any]) -> Generator[None, None, list[Any]]:
    """Answer a request; yields between batches and between decoding steps."""
    results: list[Any] = [None] * len(request.items)
    groups = [list(range(len(voices)))]
    if backend.invariance == "tolerance":
        # results must not depend on which runs are computed together
        owners = {id(voice): index for index, voice in reversed(list(enumerate(voices)))}
        groups = [
            [i for i, voice in enumerate(voices) if owners[id(voice)] == owner] for owner in sorted(owners.values())
        ]
    for group in groups:
        items, mine = [request.items[i] for i in group], [voices[i] for i in group]
        if request.kind == "turns":
            part = yield from _turns(backend, items, mine)
        elif request.kind == "answers":
            part = yield from _answers(backend, items, mine)
        else:
            part = yield from _questions(backend, items, mine)
        for index, result in zip(group, part, strict=True):
            results[index] = result
    return results


@lru_cache(maxsize=8)
def _frame(backend: Backend, system: str) -> tuple[str, str]:
    """Return what a chat has before and behind the user's words."""
    before, behind = backend.tokenizer.render(system, _MARK).split(_MARK)
    return before, behind


def turn_prompt(backend: Backend, turn: Turn, voice: Any, limit: int) -> _Prompt:
    """Return the prompt of a turn, shortened to its budget: memories go first, then old utterances.

    Raises:
        ValueError: nothing is left to drop and the prompt is too long for the model.
    """
    before, behind = _frame(backend, turn.system)
    encode = backend.tokenizer.encode
    head, block = encode(before), encode(turn.block)
    moment = turn.moment
    budget = MOMENT_TOKENS if backend.folder is not None else None
    while True:
        tail = encode(moment.text() + behind + OPENING)
        room = backend.max_position - limit - len(head) - len(block)
        if len(tail) <= room and (budget is None or len(tail) <= budget):
            break
        shorter = moment.shorter()
        if shorter is None:
            if len(tail) <= room:
                break
            raise ValueError(
                f"prompt of resident {turn.resident} at tick {turn.tick}: {len(head) + len(block) + len(tail)} tokens; "
                f"at most {backend.max_position - limit} leave room for {limit} new ones"
            )
        moment = shorter
    ids = [*head, *block, *tail]
    steered = len(encode(OPENING)) + 1
    if voice.config.steering.positions == "all":
        steered = len(ids)
    row = Row(ids, coefficient_map(turn.coefficients), steered, limit, (turn.tick, turn.resident))
    return _Prompt(row, (len(head), len(head) + len(block)), before + turn.block + moment.text() + behind + OPENING)


def request_costs(backend: Backend, request: Request, voices: Sequence[Any]) -> list[int]:
    """Return about how many tokens each item of a request takes: of its prompt, and of what it may grow by."""
    if request.kind == "turns":
        longest = [_longest(voice) for voice in voices]
        turns = zip(request.items, voices, longest, strict=True)
        return [len(turn_prompt(backend, turn, voice, limit).row.ids) + limit for turn, voice, limit in turns]
    if request.kind == "answers":
        encode = backend.tokenizer.encode
        return [len(backend.prompt(item.question)) + len(encode(item.text)) for item in request.items]
    return [len(backend.prompt(item.text)) + QUESTION_TOKENS for item in request.items]


def _longest(voice: Any) -> int:
    """Return how many tokens a turn may grow by: its verb, what introduces speech, and the text."""
    return max(voice.config.inference.max_new_tokens, 1) + 16


def _turns(backend: Backend, turns: Sequence[Turn], voices: Sequence[Any]) -> Generator[None, None, list[Any]]:
    results: list[Any] = [None] * len(turns)
    longest = [_longest(voice) for voice in voices]
    prompts = [
        turn_prompt(backend, turn, voice, limit) for turn, voice, limit in zip(turns, voices, longest, strict=True)
    ]
    verbs = backend.verb_ids([kind.verb for kind in KINDS])
    for picked in backend.batches([prompt.row for prompt in prompts]):
        rows = [prompts[i].row for i in picked]
        steering = [voices[i].steering for i in picked]
        room = [longest[i] for i in picked]
        batch, hidden = backend.opened(rows, steering, room, None, [prompts[i].cuts for i in picked])
        yield
        needed = sorted({kind for i in picked for kind in turns[i].options if len(turns[i].options) > 1})
        table = np.zeros((len(picked), len(KINDS)))
        if needed:
            places = [f"resident {turns[i].resident} at tick {turns[i].tick}" for i in picked]
            table[:, needed] = backend.verb_logprobs(batch, hidden, [verbs[kind] for kind in needed], places)
        spoken = [turns[i].choose(table[place, list(turns[i].options)]) for place, i in enumerate(picked)]
        settings = yield from _spoken(backend, batch, spoken, [turns[i] for i in picked], [voices[i] for i in picked])
        for place, i in enumerate(picked):
            tokens = settings[place].tokens
            text = _text(backend, spoken[place], tokens)
            results[i] = TurnResult(
                spoken[place], text, len(rows[place].ids), len(tokens), prompts[i].text, tuple(tokens)
            )
    return results


def _spoken(
    backend: Backend, batch: Any, spoken: Sequence[Spoken], turns: Sequence[Turn], voices: Sequence[Any]
) -> Generator[None, None, list[Sampling]]:
    """Append what was chosen to each row and generate its text."""
    settings = []
    for choice, turn, voice in zip(spoken, turns, voices, strict=True):
        section = voice.config.inference
        settings.append(
            Sampling(
                section.sampling_temperature,
                section.top_p,
                section.repetition_penalty,
                voice.seed,
                turn.tick,
                turn.resident,
                choice.limit,
                choice.stop,
            )
        )
    alive = [row for row, choice in enumerate(spoken) if choice.limit > 0]
    if alive:
        backend.engine.keep(batch, alive)
        new = [backend.tokenizer.encode(spoken[number].text) for number in batch.order]
        with backend.engine.torch.inference_mode():
            steered = [len(tokens) if batch.dose else 0 for tokens in new]
            hidden = backend.engine.forward(batch, new, steered)
        yield
        yield from backend.continued(batch, hidden, settings)
    return settings


def _text(backend: Backend, spoken: Spoken, tokens: Sequence[int]) -> str:
    """Return what was said, up to the closing quote, or the sentence that began with the verb."""
    if not spoken.limit:
        return ""
    text = backend.tokenizer.decode(list(tokens))
    if spoken.kind in SPOKEN:
        return text.replace("”", '"').split('"', 1)[0]
    ends = [text.index(mark) for mark in ".!?\n" if mark in text]
    return f"I{spoken.text}{text[: min(ends) + 1] if ends else text}"


def _answers(backend: Backend, items: Sequence[Answer], voices: Sequence[Any]) -> Generator[None, None, list[float]]:
    before, _ = _frame(backend, INTERVIEW_SYSTEM)
    head = len(backend.tokenizer.encode(before))
    rows, answers, steering = [], [], []
    for item, voice in zip(items, voices, strict=True):
        row = Row(backend.prompt(item.question), coefficient_map(item.coefficients), 1, 0)
        if voice.config.steering.positions == "all":
            row = replace(row, steered=len(row.ids))
        rows.append(row)
        answers.append(backend.tokenizer.encode(item.text) or [0])
        # an answer of a neutral resident measures fluency: nothing is added
        steering.append(voice.steering if any(item.coefficients) else None)
    result = np.zeros(len(rows))
    cuts = [(head, len(row.ids) - 1) for row in rows]
    places = [f"resident {item.resident} at tick {item.tick}" for item in items]
    yield from backend.answer_steps(rows, answers, steering, result, cuts, places)
    return [float(score) for score in result]


def _questions(backend: Backend, items: Sequence[Question], voices: Sequence[Any]) -> Generator[None, None, list[str]]:
    rows = [
        Row(
            backend.prompt(item.text),
            coefficient_map(item.coefficients),
            1,
            QUESTION_TOKENS,
            (item.tick, item.resident),
        )
        for item in items
    ]
    results = [""] * len(rows)
    for picked in backend.batches(rows):
        chosen = [rows[i] for i in picked]
        batch, hidden = backend.opened(chosen, [voices[i].steering for i in picked], [QUESTION_TOKENS] * len(picked))
        yield
        settings = [
            Sampling(
                voices[i].config.inference.sampling_temperature,
                voices[i].config.inference.top_p,
                voices[i].config.inference.repetition_penalty,
                voices[i].seed,
                items[i].tick,
                items[i].resident,
                QUESTION_TOKENS,
                "never",
                _QUESTION_TOKENS_FIRST * items[i].index,
            )
            for i in picked
        ]
        yield from backend.continued(batch, hidden, settings)
        for i, setting in zip(picked, settings, strict=True):
            results[i] = backend.tokenizer.decode(setting.tokens)
    return results
