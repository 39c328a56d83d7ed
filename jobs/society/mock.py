"""The back end without a model: template sentences, and log-probabilities that follow a published matrix.

The log-probability of action a is `sum_T W[T, a] dose_T + 0.1 (u - 1/2)`, the score of a probe of trait T is
`dose_T + 0.1 (u - 1/2)`, so that a study run with it has a known answer.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .memory import hashed_embedding
from .requests import Answer, Question, Request, Spoken, Turn, TurnResult
from .streams import MOCK_NOISE, TOKENS, uniform, uniforms
from .traits import TRAITS
from .vocabulary import KINDS

NOISE = 0.1
PROBE_INDEX = 100
_EFFECTS = {
    "E": {"talk": 1.0, "rest": -1.0},
    "A": {"argue": -1.0, "gift": 0.7},
    "C": {"work": 0.7, "submit_report": 1.0, "rest": -0.3},
    "O": {"research": 0.8, "move": 0.8},
    "N": {"argue": 0.8, "rest": -0.5},
}
W: NDArray[np.float64] = np.array(
    [[_EFFECTS[trait].get(kind.name, 0.0) for kind in KINDS] for trait in TRAITS], np.float64
)
"""f8[5,13]: the effect of one unit of dose of each trait on the log-probability of each action."""

_SUBJECTS = (
    "the market",
    "the library",
    "our report",
    "the meetup",
    "the checklist",
    "the new plan",
    "the citations",
    "the square",
)
_FRAMES = (
    "I think we should talk about {} today.",
    "I have been looking at {} since this morning.",
    "I would like to help with {}.",
    "Let us take care of {} together.",
    "I am not sure that {} can wait.",
    "Somebody should look at {} again.",
)
SENTENCES = tuple(frame.format(subject) for frame in _FRAMES for subject in _SUBJECTS)


class MockBackend:
    """Answers of a known form, at no cost."""

    name = "mock"
    sha256 = "mock"
    dtype = "none"
    invariance = "bitwise"
    n_blocks = 0

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return the signed word hash of a text."""
        return hashed_embedding(text)

    def sentence(self, seed: int, tick: int, resident: int) -> str:
        """Return the template sentence of a resident at a tick."""
        return SENTENCES[int(uniform(seed, TOKENS, tick, resident, 0) * len(SENTENCES))]

    def sentences(self, seed: int, tick: int, residents: Sequence[int]) -> list[str]:
        """Return the template sentences of several residents at a tick."""
        picks = uniforms(seed, TOKENS, tick, np.asarray(residents), 0) * len(SENTENCES)
        return [SENTENCES[index] for index in picks.astype(np.int64)]

    def logprobs(self, seed: int, tick: int, resident: int, doses: Sequence[float]) -> NDArray[np.float64]:
        """Return f8[13], the log-probability of each kind of action in table order."""
        noise = uniforms(seed, MOCK_NOISE, tick, resident, np.arange(len(KINDS))) - 0.5
        return np.asarray(doses, np.float64) @ W + NOISE * noise

    def score(self, seed: int, answer: Answer, dose: float) -> float:
        """Return the probe score of a resident's trait."""
        return dose + NOISE * (
            uniform(seed, MOCK_NOISE, answer.tick, answer.resident, PROBE_INDEX + answer.trait) - 0.5
        )

    def serve(self, request: Request, voices: Sequence[Any]) -> Generator[None, None, list[Any]]:
        """Answer a request; `voices` gives, for each item, the seed and the doses of its run."""
        results: list[Any] = []
        for item, voice in zip(request.items, voices, strict=True):
            if isinstance(item, Turn):
                results.append(self._turn(item, voice.seed, voice.mock_doses(item.coefficients)))
            elif isinstance(item, Answer):
                results.append(self.score(voice.seed, item, voice.mock_doses(item.coefficients)[item.trait]))
            elif isinstance(item, Question):
                results.append(self.sentence(voice.seed, item.tick, item.resident))
        yield
        return results

    def _turn(self, turn: Turn, seed: int, doses: Sequence[float]) -> TurnResult:
        prompt = turn.system + turn.block + turn.moment.text()
        logprobs = self.logprobs(seed, turn.tick, turn.resident, doses)[list(turn.options)]
        spoken: Spoken = turn.choose(logprobs)
        text = self.sentence(seed, turn.tick, turn.resident) if spoken.limit else ""
        return TurnResult(spoken, text, math.ceil(len(prompt) / 4), spoken.limit, prompt)
