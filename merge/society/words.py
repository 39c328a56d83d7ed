"""Numbers as a reader wants them."""

from __future__ import annotations

import math

from ...jobs.society.comparison import Interval


def number(value: float, digits: int = 2) -> str:
    """Return a number with its sign; a dash where it is undefined."""
    return f"{value:+.{digits}f}" if math.isfinite(value) else "–"


def interval_text(found: Interval, scale: float = 1.0, unit: str = "") -> str:
    """Return a mean with its interval."""
    if not found.n:
        return "–"
    digits = 1 if scale == 100 else 3 if abs(scale * found.mean) < 0.1 else 2
    if not math.isfinite(found.low):
        return f"{number(scale * found.mean, digits)}{unit} (one replicate)"
    low, high = number(scale * found.low, digits), number(scale * found.high, digits)
    return f"{number(scale * found.mean, digits)}{unit} [{low}, {high}]"


def chance(p: float) -> str:
    """Return a p-value."""
    if not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def listed(words: list[str]) -> str:
    """Return words as a list in a sentence."""
    return ", ".join(words) if words else "none"
