"""Cleaning of generated text before anybody hears it."""

from __future__ import annotations

import re

_QUOTE_PAIRS = (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"))

_LEAKAGE = re.compile(
    r"""
      \bwrite\ (?:the|your|a)\ next\ response
    | \bend\ of\ (?:the\ )?(?:response|mission)\b
    | \bmission\ (?:complete|accomplished)
    | \bdelete\ file\ ?:
    | \bshut\ ?down\ ?:
    | \(edited\ to\ follow\ (?:the\ )?rules
    | \bnote:\s*\S
    | \bshow\ (?:more|less)\b
    | ^next:\s*\(
    | \bhere['’]?s\ a\ sample\ response:
    | \bagent-\d{3,}['’]s\ response:
    """,
    re.IGNORECASE | re.VERBOSE,
)
_RULE_LINE = re.compile(r"[-–—_=*•·\s]{5,}|[.…\s]{5,}")
_SENTENCE = re.compile(r"[^.!?]*[.!?]+|[^.!?]+$")


def _without_outer_quotes(text: str) -> str:
    for opening, closing in _QUOTE_PAIRS:
        if len(text) >= 2 and text.startswith(opening) and text.endswith(closing):
            text = text[1:-1].strip()
    return text


def _at_most_twice(text: str) -> str:
    """Cut runs of one sentence to two."""
    kept: list[str] = []
    last, run = "", 0
    for match in _SENTENCE.finditer(text):
        sentence = match.group()
        key = sentence.strip()
        run = run + 1 if key == last else 1
        last = key
        if run <= 2 or not key:
            kept.append(sentence)
    return "".join(kept).strip()


def clean_utterance(text: str) -> str:
    """Return a generated text without what does not belong to speech; the empty string where nothing is left.

    Outer quotes, lines that leak instructions, rules and repeated lines go; a sentence stands at most twice in a row.
    """
    lines: list[str] = []
    for line in _without_outer_quotes(text.strip()).splitlines():
        line = line.strip()
        if not line or line.count("#") >= 3 or _RULE_LINE.fullmatch(line) or _LEAKAGE.search(line):
            continue
        if not lines or lines[-1] != line:
            lines.append(line)
    return _at_most_twice(re.sub(r"\s{3,}", "  ", "\n".join(lines)))
