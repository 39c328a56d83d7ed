"""Probes: how answers to Likert questions and behaviour scenarios are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from .tables import packaged_table

NUMERIC, UNPARSED = "numeric", "unparsed"

_LIKERT = (
    (1, ("strongly disagree", "completely disagree", "absolutely not", "definitely not")),
    (2, ("do not agree", "don't agree", "probably not", "disagree", "doubt", "unlikely")),
    (5, ("strongly agree", "completely agree", "absolutely", "definitely")),
    (4, ("agree", "support", "probably", "likely")),
    (3, ("neutral", "unsure", "mixed", "uncertain")),
    (1, ("never", "refuse")),
)
_PHRASES = tuple(
    (re.compile(rf"\b{re.escape(phrase)}\b", re.IGNORECASE), score, phrase)
    for score, phrases in _LIKERT
    for phrase in phrases
)
_NUMBER = re.compile(r"(?<![\d.])[1-5](?!\d)")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
_NEGATIONS = frozenset(("not", "no", "never", "cannot"))


def parse_likert(text: str) -> tuple[int | None, str]:
    """Return the score from 1 to 5 and what it was read from: `"numeric"`, a phrase, or `"unparsed"`.

    The first free-standing integer counts, else the first phrase of an ordered list that occurs in the text.
    """
    number = _NUMBER.search(text)
    if number:
        return int(number.group()), NUMERIC
    plain = text.replace("’", "'")
    for pattern, score, phrase in _PHRASES:
        if pattern.search(plain):
            return score, phrase
    return None, UNPARSED


@cache
def _keyword(term: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z]){re.escape(term.lower())}[a-z]{{0,3}}(?![a-z])")


def parse_behavior(text: str, outcomes: dict[str, list[str]]) -> tuple[str | None, str]:
    """Return the outcome of a scenario and the label or keyword that it was read from, as listed.

    The earliest match counts, the longest among equals. With two outcomes a negation among the three words before it
    means the other one.
    """
    lowered = text.replace("’", "'").lower()
    best: tuple[int, int, str, str] | None = None
    for outcome, keywords in outcomes.items():
        for term in (outcome, *keywords):
            match = _keyword(term).search(lowered)
            if match and (best is None or (match.start(), -len(match.group())) < best[:2]):
                best = (match.start(), -len(match.group()), outcome, term)
    if best is None:
        return None, UNPARSED
    start, _, outcome, term = best
    before = _WORD.findall(lowered[:start])[-3:]
    if len(outcomes) == 2 and any(word in _NEGATIONS or word.endswith("n't") for word in before):
        outcome = next(other for other in outcomes if other != outcome)
    return outcome, term


def hints_of(outcomes: Mapping[str, Sequence[str]] | None = None) -> tuple[str, ...]:
    """Return what an answer can be read from, by the codes of the log: 0 is a number, the phrases follow as listed.

    `outcomes` are those of a scenario, labels before their keywords; None stands for a Likert question.
    """
    if outcomes is None:
        return (NUMERIC, *(phrase for _, _, phrase in _PHRASES))
    return (NUMERIC, *(term for outcome, keywords in outcomes.items() for term in (outcome, *keywords)))


def hint_code(matched: str, outcomes: Mapping[str, Sequence[str]] | None = None) -> int:
    """Return the place in `hints_of` of what a parser matched, the first of equal ones; -1 for `"unparsed"`."""
    known = hints_of(outcomes)
    return known.index(matched) if matched in known else -1


def scenarios() -> dict[str, dict[str, Any]]:
    """Return the packaged behaviour scenarios: `{name: {trait, preferred, question, outcomes}}`."""
    return dict(packaged_table("probes.yaml")["behavior"])


def likert_questions() -> dict[str, dict[str, str]]:
    """Return the packaged Likert questions: `{name: {trait, question}}`."""
    return dict(packaged_table("probes.yaml")["likert"])
