"""One check's outcome."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """PASS: fit. WARN: works, with a caveat. FAIL: a run would lose time or results here."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """What was looked at, how it stands, what was found, and what to do about it."""

    name: str
    level: Level
    found: str
    advice: str = ""


def passed(name: str, found: str) -> Check:
    """Return a check that passed."""
    return Check(name, Level.PASS, found)


def warn(name: str, found: str, advice: str) -> Check:
    """Return a check with a caveat."""
    return Check(name, Level.WARN, found, advice)


def fail(name: str, found: str, advice: str) -> Check:
    """Return a check that failed."""
    return Check(name, Level.FAIL, found, advice)
