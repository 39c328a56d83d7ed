"""What a simulation asks of a language model: turns of residents, scores of answers, replies to questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Spoken:
    """How a turn goes on once its kind is chosen: what is appended, how long it may get, where it stops."""

    kind: int
    option: int
    logp: float
    text: str
    limit: int
    stop: str


@dataclass
class Turn:
    """One decision of a resident.

    Attributes:
        tick, resident: whose decision, for the random numbers of its text.
        parts: prompt texts: system, resident, moment (a function that gives shorter ones when asked again).
        coefficients: the five effective coefficients, in trait order.
        options: indices of the available kinds; one of them for a decision already made.
        choose: takes f8[options] log-probabilities of the verbs (empty for a decision already made).
    """

    tick: int
    resident: int
    system: str
    block: str
    moment: Any
    coefficients: tuple[float, ...]
    options: tuple[int, ...]
    choose: Callable[[Vector], Spoken]


@dataclass(frozen=True)
class TurnResult:
    """What came of a turn."""

    spoken: Spoken
    text: str
    tokens_in: int
    tokens_out: int
    prompt: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """An answer whose mean log-probability per token is asked for, after a question or alone."""

    tick: int
    resident: int
    trait: int
    question: str
    text: str
    coefficients: tuple[float, ...]


@dataclass(frozen=True)
class Question:
    """A question that is answered in a generated text."""

    tick: int
    resident: int
    index: int
    text: str
    coefficients: tuple[float, ...]


@dataclass(frozen=True)
class Request:
    """A list of one of the three; a simulation yields it and is sent the list of results."""

    kind: str
    items: list[Any]
