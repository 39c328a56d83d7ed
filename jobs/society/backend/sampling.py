"""Choosing the next token: greedy, or nucleus sampling with one uniform number a token.

All is computed row by row in float64 on the CPU, so that the token of a row depends on nothing but its logits, its
history and its random number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..streams import TOKENS, uniform

if TYPE_CHECKING:
    from .tokenizer import ChatTokenizer

_FIRST_LOOK = 256


def penalised(logits: NDArray[np.float64], generated: Sequence[int], penalty: float) -> NDArray[np.float64]:
    """Return logits with those of tokens already generated divided by the penalty, or multiplied where negative.

    Source: Keskar et al. 2019, "CTRL", section 4.1, in the form that keeps the sign.
    """
    if penalty == 1.0 or not generated:
        return logits
    result = logits.copy()
    seen = np.unique(np.asarray(generated))
    values = result[seen]
    result[seen] = np.where(values > 0, values / penalty, values * penalty)
    return result


def next_token(
    logits: NDArray[np.float32],
    generated: Sequence[int],
    *,
    temperature: float,
    top_p: float,
    penalty: float,
    number: float,
) -> int:
    """Return the next token of one row.

    Tokens are sorted by probability, ties by id; the smallest prefix that holds at least `top_p` is kept, and the
    inverse distribution function is taken at `number`.

    Args:
        logits: f4[vocabulary].
        generated: the tokens generated before.
        temperature: 0 is greedy (the lowest id among equals).
        top_p: share of probability that is kept.
        penalty: repetition penalty.
        number: in [0, 1).

    Raises:
        FloatingPointError: a logit is not a number.
    """
    if np.isnan(logits).any():
        raise FloatingPointError("NaN in the logits")
    wide = penalised(logits.astype(np.float64), generated, penalty)
    if temperature == 0.0:
        return int(np.argmax(wide))
    scaled = (wide - wide.max()) / temperature
    weights = np.exp(scaled)
    target = top_p * float(weights.sum())
    size = len(weights)
    look = min(_FIRST_LOOK, size)
    while True:
        if look < size:
            least = np.partition(weights, size - look)[size - look]
            candidates = np.nonzero(weights >= least)[0]
        else:
            candidates = np.arange(size)
        order = candidates[np.argsort(-weights[candidates], kind="stable")]
        running = np.cumsum(weights[order])
        if running[-1] >= target or len(order) == size:
            break
        look = min(size, look * 8)
    kept = min(int(np.searchsorted(running, target, side="left")) + 1, len(order))
    point = number * running[kept - 1]
    return int(order[min(int(np.searchsorted(running[:kept], point, side="right")), kept - 1)])


class Sampling:
    """One row's text as it grows.

    `stop` ends it early: at a closing quote (`"quote"`, or the second sentence end), at a sentence end, or never.
    """

    def __init__(
        self,
        temperature: float,
        top_p: float,
        penalty: float,
        seed: int,
        tick: int,
        resident: int,
        limit: int,
        stop: str = "never",
        first: int = 0,
    ) -> None:
        self.temperature, self.top_p, self.penalty = temperature, top_p, penalty
        self.seed, self.tick, self.resident, self.limit, self.stop = seed, tick, resident, limit, stop
        self.first = first
        self.tokens: list[int] = []

    @property
    def wants_more(self) -> bool:
        """Whether the limit is not reached yet."""
        return len(self.tokens) < self.limit

    @property
    def place(self) -> str:
        """Whose text it is, for messages."""
        return f"resident {self.resident} at tick {self.tick}, token {len(self.tokens)}"

    def next(self, logits: NDArray[np.float32]) -> int:
        """Return the next token."""
        place = self.first + len(self.tokens)
        number = uniform(self.seed, TOKENS, self.tick, self.resident, place) if self.temperature else 0.0
        return next_token(
            logits,
            self.tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            penalty=self.penalty,
            number=number,
        )

    def ended(self, tokenizer: ChatTokenizer) -> bool:
        """Whether the text is complete after its last token."""
        if not self.wants_more:
            return True
        if self.stop == "never":
            return False
        text = tokenizer.decode(self.tokens)
        ends = sum(text.count(mark) for mark in ".!?")
        return ends >= 1 if self.stop == "sentence" else '"' in text or "”" in text or ends >= 2
