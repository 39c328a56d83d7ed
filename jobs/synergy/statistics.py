"""Summaries, curves, comparisons and intervals of the study's outcomes, in double precision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .data import Doubles

MOST_EXACT_PAIRS = 12
"""Up to so many pairs all 2^n sign flips are counted; beyond, Wilcoxon's signed-rank test is used."""


def number(value: Any) -> float | None:
    """Return a value as a finite float; None where it is none. Numeric strings and booleans count."""
    if value is None or isinstance(value, (bytes, bytearray, list, tuple, dict)):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def cleaned(values: Iterable[Any]) -> Doubles:
    """Return the finite numbers among the values, in their order."""
    numbers = (number(value) for value in values)
    return np.array([value for value in numbers if value is not None], np.float64)


def t_quantile(probability: float, df: float) -> float:
    """Return the quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def t_p_value(t: float, df: float) -> float:
    """Return the two-sided p value of Student's t."""
    from scipy.special import stdtr

    return float(2.0 * stdtr(df, -abs(t)))


def half_width(sem: float, n: int, confidence: float) -> float:
    """Return half the t interval of a mean."""
    return t_quantile(1.0 - (1.0 - confidence) / 2.0, n - 1) * sem


def checked_confidence(confidence: float) -> float:
    """Return a confidence level that is one.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: {confidence}; it must be between 0 and 1")
    return confidence


def summarise(values: Iterable[Any], confidence: float = 0.95) -> dict[str, Any] | None:
    """Return mean, std (ddof 1), n, t interval, sem, min, max and median; None where no value is a finite number.

    A single value has std and sem 0 and an interval of no width, with `ci_defined` False.
    """
    checked_confidence(confidence)
    kept = cleaned(values)
    n = len(kept)
    if n == 0:
        return None
    mean = float(kept.mean())
    std = float(kept.std(ddof=1)) if n > 1 else 0.0
    sem = std / math.sqrt(n)
    half = half_width(sem, n, confidence) if n > 1 else 0.0
    return {
        "mean": mean,
        "std": std,
        "n": n,
        "ci_lower": mean - half,
        "ci_upper": mean + half,
        "sem": sem,
        "min": float(kept.min()),
        "max": float(kept.max()),
        "median": float(np.median(kept)),
        "ci_defined": n > 1,
    }


def summarise_curves(series: Iterable[Sequence[Any]], confidence: float = 0.95) -> dict[str, Any]:
    """Return per epoch (from 0) mean, std, ci_lower, ci_upper and n_observed over runs, and n_runs.

    A run that ended early, or an epoch of it without a value, counts with the last value before; `n_observed` says
    how many were real. Runs without any value are not counted; where no run has one yet, the entry is None.
    """
    checked_confidence(confidence)
    runs = [[number(value) for value in run] for run in series]
    runs = [run for run in runs if any(value is not None for value in run)]
    length = max((len(run) for run in runs), default=0)
    table = np.full((len(runs), length), np.nan)
    for row, run in zip(table, runs, strict=True):
        row[: len(run)] = [math.nan if value is None else value for value in run]
    observed = np.isfinite(table).sum(axis=0)
    for epoch in range(1, length):
        missing = np.isnan(table[:, epoch])
        table[missing, epoch] = table[missing, epoch - 1]
    points = [summarise(table[:, epoch], confidence) for epoch in range(length)]
    keys = ("mean", "std", "ci_lower", "ci_upper")
    return {
        **{key: [None if point is None else point[key] for point in points] for key in keys},
        "n_runs": len(runs),
        "epochs": list(range(length)),
        "n_observed": observed.tolist(),
    }


def moments(values: Iterable[Any]) -> dict[str, Any]:
    """Return {n, mean, m2, min, max}: the partial that `combine` takes. Empty: n 0, and an empty range."""
    kept = cleaned(values)
    if len(kept) == 0:
        return {"n": 0, "mean": 0.0, "m2": 0.0, "min": math.inf, "max": -math.inf}
    mean = float(kept.mean())
    m2 = float(((kept - mean) ** 2).sum())
    return {"n": len(kept), "mean": mean, "m2": m2, "min": float(kept.min()), "max": float(kept.max())}


def combine(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Return the moments of two samples together (Chan, Golub and LeVeque 1983)."""
    if left["n"] == 0 or right["n"] == 0:
        return dict(right if left["n"] == 0 else left)
    n = left["n"] + right["n"]
    delta = right["mean"] - left["mean"]
    return {
        "n": n,
        "mean": left["mean"] + delta * right["n"] / n,
        "m2": left["m2"] + right["m2"] + delta * delta * left["n"] * right["n"] / n,
        "min": min(left["min"], right["min"]),
        "max": max(left["max"], right["max"]),
    }


def welch(a: Doubles, b: Doubles) -> dict[str, float | None]:
    """Return Welch's t test of two means; t, df and p are None where both samples are constant."""
    difference = float(a.mean() - b.mean())
    share_a, share_b = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    squared = share_a + share_b
    if squared == 0.0:
        return {"t": None, "df": None, "p": None, "mean_diff": difference}
    t = difference / math.sqrt(squared)
    df = squared * squared / (share_a * share_a / (len(a) - 1) + share_b * share_b / (len(b) - 1))
    return {"t": float(t), "df": float(df), "p": t_p_value(t, df), "mean_diff": difference}


def sign_flip_p(differences: Doubles) -> float:
    """Return the exact two-sided p value of the mean under all 2^n flips of signs."""
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    observed = abs(differences.sum())
    tolerance = 1e-12 * np.abs(differences).sum()
    return float((np.abs(sums) >= observed - tolerance).mean())


def wilcoxon_p(differences: Doubles) -> float | None:
    """Return the p value of Wilcoxon's signed-rank test; None where every difference is zero."""
    if not differences.any():
        return None
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences).pvalue)


def paired(differences: Doubles, confidence: float) -> dict[str, Any]:
    """Return the paired t test, its interval, and the sign-flip or signed-rank p value."""
    n = len(differences)
    mean, std = float(differences.mean()), float(differences.std(ddof=1))
    sem = std / math.sqrt(n)
    half = half_width(sem, n, confidence)
    t = mean / sem if sem > 0.0 else None
    exact = n <= MOST_EXACT_PAIRS
    name = "p_sign_flip_exact" if exact else "p_wilcoxon"
    return {
        "t": t,
        "df": n - 1,
        "p": None if t is None else t_p_value(t, n - 1),
        "mean_diff": mean,
        "ci_lower": mean - half,
        "ci_upper": mean + half,
        name: sign_flip_p(differences) if exact else wilcoxon_p(differences),
    }


def compare(a: Mapping[Any, Any], b: Mapping[Any, Any], confidence: float = 0.95) -> dict[str, Any] | None:
    """Compare two conditions, each a mapping run_id -> value; differences are a - b.

    Returns {welch, paired}; paired is over the run_ids that both have, None for fewer than two. None where either
    condition has fewer than two finite values.
    """
    checked_confidence(confidence)
    first = {run: value for run, value in ((run, number(value)) for run, value in a.items()) if value is not None}
    second = {run: value for run, value in ((run, number(value)) for run, value in b.items()) if value is not None}
    if len(first) < 2 or len(second) < 2:
        return None
    shared = [run for run in first if run in second]
    differences = np.array([first[run] - second[run] for run in shared])
    return {
        "welch": welch(np.array(list(first.values())), np.array(list(second.values()))),
        "paired": paired(differences, confidence) if len(shared) >= 2 else None,
    }


def adjust(p_values: Sequence[float | None]) -> dict[str, list[float | None]]:
    """Return Bonferroni's and Holm's adjusted p values in input order; an undefined one stays None, uncounted."""
    places = [place for place, p in enumerate(p_values) if number(p) is not None]
    m = len(places)
    bonferroni: list[float | None] = [None] * len(p_values)
    holm: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(places, key=lambda place: float(p_values[place] or 0.0))):
        p = float(p_values[place] or 0.0)
        largest = max(largest, min(1.0, (m - rank) * p))
        bonferroni[place], holm[place] = min(1.0, m * p), largest
    return {"bonferroni": bonferroni, "holm": holm}


def wilson(k: int, n: int, confidence: float = 0.95) -> dict[str, float | None]:
    """Return the share k / n and its Wilson interval (1927); without trials the share is None, the interval [0, 1].

    Raises:
        ValueError: k is not from 0 to n.
    """
    from scipy.special import ndtri

    checked_confidence(confidence)
    if not 0 <= k <= n:
        raise ValueError(f"k: {k}; it must be from 0 to n = {n}")
    if n == 0:
        return {"p": None, "lo": 0.0, "hi": 1.0}
    z = float(ndtri(1.0 - (1.0 - confidence) / 2.0))
    p = k / n
    scale = 1.0 + z * z / n
    middle = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1.0 - p) / n + z * z / (4 * n * n))
    return {"p": p, "lo": 0.0 if k == 0 else middle - half, "hi": 1.0 if k == n else middle + half}
