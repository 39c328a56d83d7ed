"""Statistics over replicates: t intervals, paired contrasts, trends over doses, and shares with bootstrap intervals.

Replicates have common random numbers, so that differences between conditions are taken within replicates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .streams import uniforms

Vector = NDArray[np.float64]

BOOTSTRAP = 14
"""Stream of the bootstrap's random numbers: draw, position, condition."""

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over replicates with its 95 % t interval; NaN where it is undefined (no interval from one replicate)."""

    n: int
    mean: float
    low: float
    high: float
    sd: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def t_interval(n: float, mean: float, m2: float) -> Interval:
    """Return mean +- t(0.975, n-1) sqrt(M2 / (n-1) / n) from Welford moments."""
    if n < 1:
        return Interval(0, math.nan, math.nan, math.nan, math.nan)
    if n < 2:
        return Interval(int(n), float(mean), math.nan, math.nan, math.nan)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * math.sqrt(m2 / (n - 1) / n)
    return Interval(int(n), float(mean), float(mean) - half, float(mean) + half, math.sqrt(m2 / (n - 1)))


def t_p_value(n: float, mean: float, m2: float) -> float:
    """Return the two-sided p of the t test that a mean is 0; 1 for no spread at 0, 0 for none elsewhere, else NaN."""
    if n < 2:
        return math.nan
    if m2 <= 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / math.sqrt(m2 / (n - 1) / n), n - 1))


def sign_test(differences: Vector) -> tuple[int, int, float]:
    """Return how many differences are positive, how many negative, and the two-sided p of the exact sign test."""
    finite = differences[np.isfinite(differences)]
    plus, minus = int((finite > 0).sum()), int((finite < 0).sum())
    if plus + minus == 0:
        return 0, 0, 1.0
    return plus, minus, float(stats.binomtest(plus, plus + minus).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values (Holm 1979); NaN stays NaN and counts for nothing."""
    order = sorted((p, index) for index, p in enumerate(p_values) if math.isfinite(p))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[index] = largest
    return adjusted


def slopes(doses: Vector, values: NDArray[np.float64]) -> Vector:
    """Return the least-squares slope over doses of each replicate, f8[replicates]; NaN below two finite doses.

    Args:
        doses: f8[doses].
        values: f8[replicates, doses].
    """
    found = np.full(len(values), np.nan)
    for row, series in enumerate(values):
        good = np.isfinite(series)
        x = doses[good]
        if len(x) > 1 and np.ptp(x) > 0:
            centred = x - x.mean()
            found[row] = float((centred * series[good]).sum() / (centred * centred).sum())
    return found


def page_trend(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return Page's L and its two-sided p by the normal approximation, replicates as blocks.

    Source: Page 1963, "Ordered hypotheses for multiple treatments", section 3; ties share ranks.

    Args:
        values: f8[replicates, doses] in rising order of the doses; replicates with a NaN are left out.
    """
    whole = values[np.isfinite(values).all(axis=1)]
    m, k = whole.shape
    if m < 1 or k < 3:
        return math.nan, math.nan
    ranks = stats.rankdata(whole, axis=1)
    statistic = float((ranks.sum(axis=0) * np.arange(1, k + 1)).sum())
    # with ties the ranks of a block scatter less than 1..k, and so does its part of the sum
    weights = ((np.arange(1, k + 1) - (k + 1) / 2) ** 2).sum()
    spread = ((ranks - (k + 1) / 2) ** 2).sum(axis=1)
    variance = float(weights * spread.sum() / (k - 1))
    if variance <= 0:
        return statistic, 1.0
    z = (statistic - m * k * (k + 1) ** 2 / 4) / math.sqrt(variance)
    return statistic, float(2 * stats.norm.sf(abs(z)))


def spearman(doses: Vector, means: Vector) -> float:
    """Return Spearman's rank correlation of doses and their means; NaN where one does not vary."""
    good = np.isfinite(means)
    if good.sum() < 2 or np.ptp(means[good]) == 0:
        return math.nan
    x, y = stats.rankdata(doses[good]), stats.rankdata(means[good])
    return float(np.corrcoef(x, y)[0, 1])


def monotone(means: Vector) -> str:
    """Return `"rising"`, `"falling"` or `"no"` of the means in order of their doses."""
    steps = np.diff(means)
    if len(steps) == 0 or not np.isfinite(steps).all():
        return "no"
    return "rising" if (steps > 0).all() else "falling" if (steps < 0).all() else "no"


def share_intervals(counts: NDArray[np.int64], seed: int, condition: int) -> tuple[Vector, Vector, Vector]:
    """Return shares of categories with the percentile interval of a bootstrap over units.

    Args:
        counts: i8[units, categories] of one condition.
        seed: of the study.
        condition: its index, for the random numbers.

    Returns:
        share, low and high, f8[categories] each; low and high are NaN for fewer than two units.
    """
    total = counts.sum(axis=0)
    share = total / total.sum() if total.sum() else np.full(len(total), np.nan)
    units = len(counts)
    if units < 2 or not total.sum():
        empty = np.full(len(total), np.nan)
        return share, empty, empty
    draws: Any = np.stack(
        [uniforms(seed, BOOTSTRAP, np.arange(DRAWS), position, condition) for position in range(units)]
    )
    picks = np.minimum((draws * units).astype(np.int64), units - 1)
    sums = counts[picks].sum(axis=0)
    sizes = sums.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = sums / sizes
    low, high = np.nanpercentile(resampled, [50 - 50 * LEVEL, 50 + 50 * LEVEL], axis=0)
    return share, low, high
