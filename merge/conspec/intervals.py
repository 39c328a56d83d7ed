"""Means over trials with their 95 % t intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 3
LEVEL = 0.95
SHARES = ("success_rate", "auc_success", "positive_reward_rate")


@dataclass(frozen=True)
class Interval:
    """A mean of n values and the ends of its 95 % t interval, NaN for fewer than three values."""

    n: int
    mean: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there are enough values for an interval."""
        return math.isfinite(self.low)

    def text(self, digits: int = 3, sign: bool = False) -> str:
        """Return mean and interval for a table."""
        if not self.n:
            return "n/a"
        form = f"{'+' if sign else ''}.{digits}f"
        return f"{self.mean:{form}}" + (f" ({self.low:{form}} to {self.high:{form}})" if self.known else "")


def interval(values: NDArray[np.float64]) -> Interval:
    """Return the mean of values and its t interval (Student 1908)."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    n = len(numbers)
    if not n:
        return Interval(0, math.nan, math.nan, math.nan)
    mean = float(numbers.mean())
    if n < FEWEST:
        return Interval(n, mean, math.nan, math.nan)
    from scipy.stats import t

    half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * float(numbers.std(ddof=1)) / math.sqrt(n)
    return Interval(n, mean, mean - half, mean + half)


def interval_of(metric: str, values: NDArray[np.float64], least: float = 0.0) -> Interval:
    """Return the interval of a metric; one of a share is cut at `least` (-1 for differences) and 1."""
    found = interval(values)
    if metric not in SHARES or not found.known:
        return found
    return Interval(found.n, found.mean, max(found.low, least), min(found.high, 1.0))
