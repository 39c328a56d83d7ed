"""What a resident remembers and how it is recalled.

A memory's score is the sum of how well it matches the query, its importance, its recency max(0.1, 1 - 0.01 age) and
half the product of its trait tags with the resident's coefficients. With keywords, the match is |K & W| + |F & W| / 4
for the words K of the query, F of the focus and W of the memory; with embeddings it is twice the cosine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .traits import TRAITS, TraitMap, trait_row

Embed = Callable[[str], NDArray[np.float32]]

_TAGS: tuple[tuple[str, tuple[tuple[float, str], ...]], ...] = (
    ("E", ((0.8, "party social meet talk chat community"), (-0.5, "alone quiet read solitary"))),
    ("A", ((0.6, "help agree support kind"), (-0.6, "argue fight disagree rude"))),
    ("C", ((0.8, "work task plan schedule duty report"), (-0.5, "lazy late forgot messy"))),
    ("O", ((0.8, "learn read library research explore new"),)),
    ("N", ((0.8, "worry scared stress panic nervous"), (-0.5, "calm relax peace steady"))),
)


def _compiled(whole_words: bool) -> tuple[tuple[str, tuple[tuple[float, re.Pattern[str]], ...]], ...]:
    form = r"\b(?:{})(?:s|ed|ing)?\b" if whole_words else "(?:{})"
    return tuple(
        (trait, tuple((weight, re.compile(form.format(words.replace(" ", "|")))) for weight, words in lists))
        for trait, lists in _TAGS
    )


_WHOLE_WORDS, _SUBSTRINGS = _compiled(True), _compiled(False)


def trait_tags(text: str, scoring: str = "embedding") -> dict[str, float]:
    """Return the traits that a text speaks of; the first list that matches counts.

    Words count as a whole with the endings s, ed and ing; with `"keyword"` scoring also inside other words.
    """
    lowered = text.lower()
    tags = {}
    for trait, lists in _SUBSTRINGS if scoring == "keyword" else _WHOLE_WORDS:
        for weight, pattern in lists:
            if pattern.search(lowered):
                tags[trait] = weight
                break
    return tags


def hashed_embedding(text: str, size: int = 256) -> NDArray[np.float32]:
    """Return a signed hash of the words of a text, of unit length; what models without weights embed with."""
    import hashlib

    vector = np.zeros(size, np.float32)
    for word in re.findall(r"\w+", text.lower()):
        number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        vector[number % size] += 1.0 if number >> 63 else -1.0
    return _unit(vector)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a vector at unit length; 0 stays 0."""
    vector = np.asarray(vector, np.float32)
    norm = float(np.sqrt((vector * vector).sum(dtype=np.float64)))
    return vector / np.float32(norm) if norm > 0 else vector


@dataclass(frozen=True)
class MemoryEvent:
    """One memory; `number` counts arrivals from 0."""

    number: int
    tick: int
    text: str
    kind: str
    importance: float
    tags: dict[str, float]


class Memory:
    """The memories of one resident.

    Beyond `capacity` the memory of lowest importance is dropped, the oldest among equals.

    Args:
        scoring: how memories are matched with a query.
        capacity: how many memories are kept.
        embed: text -> f4 vector; needed for `"embedding"`.
        memo: whether matches are kept while neither memories nor query change; the same memories are found without.

    Attributes:
        lookups, hits: how often matches were needed, and found in the memo.

    Raises:
        ValueError: the scoring is unknown, the capacity below 1, or `embed` is missing.
    """

    def __init__(
        self,
        scoring: Literal["embedding", "keyword"] = "embedding",
        capacity: int = 2000,
        embed: Embed | None = None,
        *,
        memo: bool = True,
    ) -> None:
        if scoring not in ("embedding", "keyword"):
            raise ValueError(f"scoring: found {scoring!r}; allowed are embedding, keyword")
        if capacity < 1:
            raise ValueError(f"capacity: found {capacity}; allowed is an integer of at least 1")
        if scoring == "embedding" and embed is None:
            raise ValueError("embed: missing; scoring by embedding needs a function text -> vector")
        self.scoring, self.capacity, self._embed = scoring, capacity, embed
        self.events: list[MemoryEvent] = []
        self.version = 0
        self.lookups = self.hits = 0
        self._memo: tuple[Any, NDArray[np.float64]] | None = None
        self._keep_memo = memo
        self._words: list[frozenset[str]] = []
        self._numbers = np.zeros((16, 2 + len(TRAITS)))
        self._vectors: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.events)

    def add(self, tick: int, text: str, kind: str = "observation") -> MemoryEvent:
        """Store a memory and return it."""
        importance = min(1.0, 0.3 + 0.05 * len(text.split()))
        event = MemoryEvent(self.version, tick, text, kind, importance, trait_tags(text, self.scoring))
        self._store(event)
        self.version += 1
        if len(self.events) > self.capacity:
            self._drop(int(np.argmin(self._numbers[: len(self.events), 1])))
        return event

    def _store(self, event: MemoryEvent) -> None:
        count = len(self.events)
        if count == len(self._numbers):
            self._numbers = np.concatenate([self._numbers, np.zeros_like(self._numbers)])
        self._numbers[count] = (event.tick, event.importance, *trait_row(event.tags))
        if self.scoring == "keyword":
            self._words.append(frozenset(event.text.lower().split()))
        else:
            assert self._embed is not None
            vector = _unit(self._embed(event.text))
            if self._vectors is None:
                self._vectors = np.zeros((16, len(vector)), np.float32)
            if count == len(self._vectors):
                self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
            self._vectors[count] = vector
        self.events.append(event)

    def _drop(self, index: int) -> None:
        count = len(self.events)
        del self.events[index]
        self._numbers[index : count - 1] = self._numbers[index + 1 : count]
        if self.scoring == "keyword":
            del self._words[index]
        elif self._vectors is not None:
            self._vectors[index : count - 1] = self._vectors[index + 1 : count]

    def _remembered_matches(self, query: str, focus: tuple[str, ...]) -> NDArray[np.float64]:
        key = (query, focus, self.version)
        self.lookups += 1
        if self._memo is not None and self._memo[0] == key:
            self.hits += 1
            return self._memo[1]
        matches = self._matches(query, focus)
        if self._keep_memo:
            self._memo = (key, matches)
        return matches

    def _matches(self, query: str, focus: Sequence[str]) -> NDArray[np.float64]:
        count = len(self.events)
        if self.scoring == "keyword":
            wanted = frozenset(query.lower().split())
            near = frozenset(word for term in focus for word in term.lower().split())
            return np.array([len(wanted & words) + 0.25 * len(near & words) for words in self._words], float)
        assert self._embed is not None and self._vectors is not None
        cosines = np.einsum(
            "ij,j->i", self._vectors[:count], _unit(self._embed(query)), dtype=np.float64, casting="unsafe"
        )
        return 2.0 * cosines

    def top(
        self, query: str, focus: Sequence[str], coefficients: TraitMap, tick: int, k: int = 10
    ) -> list[MemoryEvent]:
        """Return the `k` memories of highest score, best first, the earlier one among equals.

        Args:
            query: what is looked for, such as the goals joined.
            focus: terms of the moment, such as the current place; they count with keywords only.
            coefficients: the resident's trait map.
            tick: now.
            k: how many.
        """
        count = len(self.events)
        if count == 0 or k <= 0:
            return []
        numbers = self._numbers[:count]
        recency = np.maximum(0.1, 1.0 - 0.01 * np.maximum(0.0, tick - numbers[:, 0]))
        leaning = np.zeros(count)
        for column, coefficient in enumerate(trait_row(coefficients)):
            leaning += numbers[:, 2 + column] * coefficient
        scores = self._remembered_matches(query, tuple(focus)) + numbers[:, 1] + recency + 0.5 * leaning
        order = np.argsort(-scores, kind="stable")[:k]
        return [self.events[index] for index in order]

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs: JSON values only; embeddings are computed anew from the texts."""
        return {
            "version": self.version,
            "events": [[event.number, event.tick, event.text, event.kind] for event in self.events],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the memories of a state."""
        self.events, self._words, self._memo = [], [], None
        self._numbers, self._vectors = np.zeros((16, 2 + len(TRAITS))), None
        for number, tick, text, kind in state["events"]:
            importance = min(1.0, 0.3 + 0.05 * len(text.split()))
            self._store(MemoryEvent(number, tick, text, kind, importance, trait_tags(text, self.scoring)))
        self.version = state["version"]
