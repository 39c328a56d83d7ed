"""Statistics of the measured outcomes: intervals, paired tests, agreement with the search, bands.

The closed forms are written out here because importing `scipy.stats` takes 55 MB, a fifth of what a merge may
use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtr, gammaln, ndtr, ndtri, stdtr

from .aggregate import Aggregate
from .layout import AxisName
from .moments import GROUPS
from .simulation import CATEGORIES
from .tracker import MAIN_METRIC

CONFIDENCE = 0.95
BOOTSTRAP_SEED = 20_260_301
SESSIONS_AT_ONCE = 200
N_RESAMPLES = 1000


def wilson_interval(successes: Any, trials: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson (1927) score interval at 95 % of proportions, elementwise; NaN where `trials` is 0.

    Args:
        successes: integers [...].
        trials: integers of the same shape.
    """
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(n > 0, k / n, np.nan)
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def paired_advantage(
    only_first: Any, only_second: Any, pairs: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Difference of two success rates on the same clients, with Agresti and Min's (2005) 95 % interval.

    Args:
        only_first: pairs in which only the first therapist succeeds, integers [...].
        only_second: pairs in which only the second does.
        pairs: all pairs; 0 gives NaN.

    Returns:
        Difference (first minus second), lower and upper end, float64 [...].
    """
    b, c, n = (np.asarray(x, dtype=np.float64) for x in (only_first, only_second, pairs))
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = np.where(n > 0, (b - c) / n, np.nan)
        centre = np.where(n > 0, (b - c) / (n + 2), np.nan)
        error = np.sqrt(b + c + 1 - (b - c) ** 2 / (n + 2)) / (n + 2)
    return difference, np.maximum(centre - z * error, -1.0), np.minimum(centre + z * error, 1.0)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value of McNemar's (1947) test on the discordant pairs; 1 where there are none."""
    discordant = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), discordant, 0.5)))


def fisher_p(first: int, second: int, n: int) -> float:
    """Two-sided p-value of Fisher's (1935) exact test that two groups of `n` have the same success rate.

    Sums the hypergeometric probabilities of all tables that are no likelier than the one found.

    Args:
        first, second: successes of either group, 0 to n.
        n: size of each group, at least 1.
    """
    total = first + second
    k = np.arange(max(0, total - n), min(n, total) + 1)
    ways = -(gammaln(k + 1) + gammaln(n - k + 1) + gammaln(total - k + 1) + gammaln(n - total + k + 1))
    weights = np.exp(ways - ways.max())
    found = weights[first - k[0]]
    # Tables that are exactly as likely differ by rounding only.
    return min(1.0, float(weights[weights <= found * (1 + 1e-7)].sum() / weights.sum()))


def two_proportion_z(first: int, second: int, n: int) -> tuple[float, float]:
    """Two-sided z-test, pooled variance, that two groups of `n` have the same success rate: z and p.

    Args:
        first, second: successes of either group, 0 to n; where all or none succeed, z is 0 and p is 1.
        n: size of each group, at least 1.
    """
    pooled = (first + second) / (2 * n)
    if pooled in (0, 1):
        return 0.0, 1.0
    z = (first - second) / n / np.sqrt(pooled * (1 - pooled) * 2 / n)
    return float(z), float(2 * ndtr(-abs(z)))


def two_proportion_power(rate: float, other: float, n: int, alpha: float) -> float:
    """Power of the two-sided z-test on two groups of `n`, by the arcsine effect size (Cohen, 1988, section 6).

    Args:
        rate, other: success rates, 0 to 1.
        n: size of each group.
        alpha: significance level.
    """
    shift = arcsine_effect(rate, other) * np.sqrt(n / 2)
    critical = ndtri(1 - alpha / 2)
    return float(ndtr(shift - critical) + ndtr(-shift - critical))


def arcsine_effect(rate: float, other: float) -> float:
    """Cohen's (1988) effect size h of two proportions, without its sign."""
    return float(abs(2 * (np.arcsin(np.sqrt(rate)) - np.arcsin(np.sqrt(other)))))


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Spearman's rank correlation of n >= 3 values each, and its two-sided p-value by Student's t."""
    n = len(x)
    rho = float(np.corrcoef(pd.Series(x).rank(), pd.Series(y).rank())[0, 1])
    if abs(rho) >= 1:
        return rho, 0.0
    t = rho * np.sqrt((n - 2) / (1 - rho**2))
    return rho, float(2 * stdtr(n - 2, -abs(t)))


def stored_against_measured(aggregate: Aggregate) -> dict[str, float | int | None]:
    """How the advantage that the search stored agrees with the one measured here.

    The best configs of a search are partly the lucky ones, so their stored advantage shrinks when it is
    measured again ("winner's curse"); `top_stored` and `top_measured` are the means over the tenth with the
    largest stored one.

    Returns:
        `spearman`, `spearman_p` (None with fewer than 3 configs or a constant), `mean_stored`,
        `mean_measured`, `top_n`, `top_stored`, `top_measured`.
    """
    used = aggregate.used & np.isfinite(aggregate.stored_advantage)
    stored, measured = aggregate.stored_advantage[used], aggregate.measured_advantage[used]
    if len(stored) == 0:
        return dict.fromkeys(
            ("spearman", "spearman_p", "mean_stored", "mean_measured", "top_n", "top_stored", "top_measured")
        )
    rho = p = None
    if len(stored) >= 3 and np.ptp(stored) > 0 and np.ptp(measured) > 0:
        rho, p = spearman(stored, measured)
    top_n = max(1, len(stored) // 10)
    top = np.argsort(-stored, kind="stable")[:top_n]
    return {
        "spearman": rho,
        "spearman_p": p,
        "mean_stored": float(stored.mean()),
        "mean_measured": float(measured.mean()),
        "top_n": top_n,
        "top_stored": float(stored[top].mean()),
        "top_measured": float(measured[top].mean()),
    }


@dataclass(frozen=True)
class BootstrapBand:
    """Mean per session over all configs and its 95 % percentile interval, float64[T] or NaN."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def bootstrap_band(aggregate: Aggregate, group: str, resamples: int = N_RESAMPLES) -> BootstrapBand:
    """Band of the mean distance per session when *configs* are drawn anew (Efron's percentile bootstrap).

    A resample draws as many configs as there are, with replacement, and pools their simulations; the band
    says how much the curve owes to the configs that happen to be in the sample, which more seeds would not
    change.

    Args:
        aggregate: the study's result.
        group: a key of `GROUPS`.
        resamples: number of resamples; a function of nothing but this and the number of configs.
    """
    used = np.flatnonzero(aggregate.used)
    length = len(aggregate.band("session", group))
    if len(used) == 0 or length == 0:
        empty = np.empty(0)
        return BootstrapBand(empty, empty, empty)
    drawn = _resampled(len(used), resamples).astype(np.float64)
    denominators = np.array(aggregate.layout.denominators("session", MAIN_METRIC)[:length], dtype=np.float64)
    estimate, low, high = (np.full(length, np.nan) for _ in range(3))
    tail = 50 * (1 - CONFIDENCE)
    for first in range(0, length, SESSIONS_AT_ONCE):
        part = slice(first, min(first + SESSIONS_AT_ONCE, length))
        count, total = aggregate.config_sums(GROUPS[group], used, part)
        # All products and sums are integers below 2^53: the matrix product is exact in whatever order BLAS adds.
        counts, totals = drawn @ count.astype(float), drawn @ total.astype(float)
        pooled = count.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(counts > 0, totals / (counts * denominators[part]), np.nan)
            estimate[part] = np.where(pooled > 0, total.sum(axis=0) / (pooled * denominators[part]), np.nan)
        # Where many resamples hold no simulation at all, percentiles of the rest would understate the doubt.
        sound = np.isfinite(means).mean(axis=0) > CONFIDENCE
        if sound.any():
            ends = np.nanpercentile(means[:, sound], [tail, 100 - tail], axis=0)
            low[part][sound], high[part][sound] = ends
    return BootstrapBand(estimate, low, high)


def advantage_over_configs(aggregate: Aggregate, resamples: int = N_RESAMPLES) -> dict[str, float | None]:
    """Mean measured advantage of a config and its 95 % bootstrap interval when configs are drawn anew.

    Returns:
        `mean`, `low`, `high`; None without configs.
    """
    advantage = aggregate.measured_advantage[aggregate.used]
    n = len(advantage)
    if n == 0:
        return {"mean": None, "low": None, "high": None}
    means = (_resampled(n, resamples) * advantage).sum(axis=1) / n
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail])
    return {"mean": float(advantage.mean()), "low": float(low), "high": float(high)}


def _resampled(n: int, resamples: int) -> NDArray[np.int64]:
    """How often each of n configs is drawn in each resample, i8[resamples, n]."""
    rng = np.random.default_rng(np.random.SeedSequence(BOOTSTRAP_SEED, spawn_key=(n,)))
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples)


def survivorship(aggregate: Aggregate, axis: AxisName) -> dict[str, NDArray[np.int64]]:
    """Number of simulations at every position of an axis, by category name; i8[T] each, trimmed."""
    groups = {"v2_advantage": "v2_adv", "baseline_advantage": "baseline_adv"}
    return {name: aggregate.band(axis, groups.get(name, name)).count for name in CATEGORIES}


def per_config_table(aggregate: Aggregate) -> pd.DataFrame:
    """One row per config: parameters, stored and measured advantage, counts, sessions, dropouts."""
    n = aggregate.n_seeds
    measured, low, high = paired_advantage(aggregate.categories[:, 0], aggregate.categories[:, 1], n)
    names = list(dict.fromkeys(name for config in aggregate.configs for name in config["params"]))
    with np.errstate(invalid="ignore", divide="ignore"):
        sessions = np.where(aggregate.used[:, None], aggregate.sessions / n[:, None], np.nan)
        never_forked = np.where(aggregate.used, aggregate.never_forked / n, np.nan)
    columns: dict[str, Any] = {
        "config_idx": [config["config_idx"] for config in aggregate.configs],
        "trial": [config["trial_number"] for config in aggregate.configs],
    }
    columns |= {name: [config["params"].get(name) for config in aggregate.configs] for name in names}
    columns |= {
        "effective_max_sessions": aggregate.max_sessions,
        "n_seeds": n,
        "stored_advantage": aggregate.stored_advantage,
        "measured_advantage": measured,
        "measured_advantage_low": low,
        "measured_advantage_high": high,
        **{name: aggregate.categories[:, k] for k, name in enumerate(CATEGORIES)},
        "mean_v2_sessions": sessions[:, 0],
        "mean_baseline_sessions": sessions[:, 1],
        "v2_dropouts": aggregate.dropouts[:, 0],
        "baseline_dropouts": aggregate.dropouts[:, 1],
        "never_forked_share": never_forked,
    }
    return pd.DataFrame(columns)


def summary(aggregate: Aggregate, axis: AxisName, resamples: int = N_RESAMPLES) -> dict[str, Any]:
    """The study's numbers in one JSON-ready mapping.

    Args:
        aggregate: the study's result.
        axis: main axis, of which the final mean distances are taken.
        resamples: number of bootstrap resamples.

    Returns:
        `breakdown`, `<group>_final_mean_distance`, shares with Wilson intervals, the paired advantage with
        McNemar's p, the agreement with the stored advantages, and dropouts.
    """
    totals = aggregate.totals
    pairs = int(totals.sum())
    low, high = wilson_interval(totals, np.full(4, pairs))
    difference, lower, upper = paired_advantage(totals[0], totals[1], pairs)
    final = {
        name: _last(aggregate.band(axis, group).mean)
        for name, group in (
            ("v2_advantage", "v2_adv"),
            ("baseline_advantage", "baseline_adv"),
            ("remaining", "remaining"),
        )
    }
    return {
        "n_configs": int(aggregate.used.sum()),
        "n_configs_planned": len(aggregate),
        "n_seeds_per_config": aggregate.seeds_per_config,
        "total_pairs": pairs,
        "total_simulations": 2 * pairs,
        "axis": axis,
        "breakdown": {name: int(totals[k]) for k, name in enumerate(CATEGORIES)},
        **{f"{name}_final_mean_distance": value for name, value in final.items()},
        "shares": {
            name: {"share": totals[k] / pairs, "low": float(low[k]), "high": float(high[k])}
            for k, name in enumerate(CATEGORIES)
            if pairs
        },
        "paired_advantage": {
            "advantage": _number(difference),
            "low": _number(lower),
            "high": _number(upper),
            "mcnemar_p": mcnemar_p(int(totals[0]), int(totals[1])),
        },
        "advantage_over_configs": advantage_over_configs(aggregate, resamples),
        "stored_against_measured": stored_against_measured(aggregate),
        "dropouts": {
            "v2": int(aggregate.dropouts[:, 0].sum()),
            "baseline": int(aggregate.dropouts[:, 1].sum()),
        },
        "never_forked": int(aggregate.never_forked.sum()),
        "mean_sessions": {
            "v2": _number(aggregate.sessions[:, 0].sum() / pairs) if pairs else None,
            "baseline": _number(aggregate.sessions[:, 1].sum() / pairs) if pairs else None,
        },
    }


def _last(values: NDArray[np.float64]) -> float | None:
    return float(values[-1]) if len(values) else None


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
