"""What goes into the back end and what comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """One prompt.

    Attributes:
        ids: token ids of the prompt.
        coefficients: trait map of the row's steering; a missing trait is 0.
        steered: how many last positions of the prompt are steered; generated tokens are too.
        max_new_tokens: upper limit of generated tokens.
        key: (tick, resident) of the row's random numbers; None takes them from the ids, so that equal prompts get
            equal texts in whatever company.
    """

    ids: Sequence[int]
    coefficients: Mapping[str, float] = field(default_factory=dict)
    steered: int = 1
    max_new_tokens: int = 48
    key: tuple[int, int] | None = None

    def counter(self) -> tuple[int, int]:
        """Return the words that key the row's random numbers."""
        if self.key is not None:
            return self.key
        digest = hashlib.blake2b(np.asarray(self.ids, np.int64).tobytes(), digest_size=16).digest()
        return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


@dataclass(frozen=True)
class Generation:
    """A generated text, without prompt and end token."""

    token_ids: list[int]
    text: str


@dataclass(frozen=True)
class Choice:
    """Preferences between verbs.

    Attributes:
        logprobs: f8[rows, verbs], log-softmax over the vocabulary at each verb.
        probabilities: f8[rows, verbs], softmax over the verbs of gain (logprobs - prior) / temperature.
    """

    logprobs: NDArray[np.float64]
    probabilities: NDArray[np.float64]


def check_rows(rows: Sequence[Row], vocabulary: int, max_position: int) -> None:
    """Raise ValueError for the first row that is empty, holds unknown ids, or is too long for its limit."""
    for number, row in enumerate(rows):
        if len(row.ids) == 0:
            raise ValueError(f"row {number}: the prompt is empty")
        if not 0 <= min(row.ids) <= max(row.ids) < vocabulary:
            raise ValueError(f"row {number}: ids: allowed are 0 to {vocabulary - 1}")
        if not 0 <= row.steered <= len(row.ids):
            raise ValueError(f"row {number}: steered: found {row.steered}; allowed is 0 to {len(row.ids)}")
        if row.max_new_tokens < 0:
            raise ValueError(f"row {number}: max_new_tokens: found {row.max_new_tokens}; allowed is at least 0")
        if len(row.ids) > max_position - row.max_new_tokens:
            raise ValueError(
                f"row {number}: the prompt has {len(row.ids)} tokens; at most "
                f"{max_position - row.max_new_tokens} leave room for {row.max_new_tokens} new ones"
            )
