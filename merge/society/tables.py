"""Tables of a study: summaries, shares, paired contrasts, dose-response."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ...jobs.society.comparison import (
    holm,
    monotone,
    page_trend,
    share_intervals,
    sign_test,
    slopes,
    spearman,
    t_interval,
    t_p_value,
)
from ...jobs.society.conditions import Condition
from ...jobs.society.measures import METRICS
from ...jobs.society.outcomes import OUTCOMES
from ...jobs.society.summaries import BAND_METRICS, BANDS
from ...jobs.society.vocabulary import KIND_NAMES
from ...jobs.society.vocabulary import OUTCOMES as ACTION_OUTCOMES
from .results import Result, moments

TICK_METRICS = (
    "n_actions",
    "n_messages",
    "cooperation_rate",
    "conflicts",
    "gini_all",
    "satisfaction_mean",
    "satisfaction_variance",
    "talk_edges",
)
"""Metrics that `ticks.csv` shows; `merged/simulate.h5` has all of them."""


def identity(one: Condition) -> dict[str, Any]:
    """Return the columns that say which condition a row is of."""
    return {
        "condition_id": one.id,
        "arm": one.arm,
        "profile": one.profile,
        "trait": one.trait,
        "dose": one.dose,
        "strength": one.strength,
        "override": one.override,
    }


def summary_table(result: Result) -> pd.DataFrame:
    """Return a row per condition and outcome: replicates, how many are undefined, mean, deviation, interval."""
    rows = []
    for index, one in enumerate(result.known):
        whole = int((result.status[:, index] == 0).sum())
        for column, name in enumerate(OUTCOMES):
            found = t_interval(*result.outcome_moments[index, column])
            rows.append(
                {
                    **identity(one),
                    "metric": name,
                    "n": found.n,
                    "undefined": whole - found.n,
                    "mean": found.mean,
                    "sd": found.sd,
                    "ci_low": found.low,
                    "ci_high": found.high,
                }
            )
    return pd.DataFrame(rows)


def share_table(result: Result) -> pd.DataFrame:
    """Return a row per condition and kind of action: counts, share, and its bootstrap interval over units."""
    rows = []
    for index, one in enumerate(result.known):
        units = result.counts[result.status[:, index] == 0, index]
        by_kind = units.sum(axis=2)
        share, low, high = share_intervals(by_kind, result.config.seed, index)
        for kind, name in enumerate(KIND_NAMES):
            rows.append(
                {
                    **identity(one),
                    "action": name,
                    "units": len(units),
                    "count": int(by_kind[:, kind].sum()),
                    **{outcome: int(units[:, kind, k].sum()) for k, outcome in enumerate(ACTION_OUTCOMES)},
                    "share": share[kind],
                    "ci_low": low[kind],
                    "ci_high": high[kind],
                }
            )
    return pd.DataFrame(rows)


def band_table(result: Result) -> pd.DataFrame:
    """Return a row per condition, trait band and metric."""
    rows = []
    for index, one in enumerate(result.known):
        for (b, band), (m, metric) in itertools.product(enumerate(BANDS), enumerate(BAND_METRICS)):
            found = t_interval(*result.band_moments[index, b, m])
            if found.n and (metric != "n_actions" or found.mean):
                rows.append(
                    {
                        **identity(one),
                        "band": band,
                        "metric": metric,
                        "n": found.n,
                        "mean": found.mean,
                        "ci_low": found.low,
                        "ci_high": found.high,
                    }
                )
    return pd.DataFrame(rows, columns=[*identity(result.known[0]), "band", "metric", "n", "mean", "ci_low", "ci_high"])


def tick_table(result: Result) -> pd.DataFrame:
    """Return a row per condition, tick and metric of `TICK_METRICS`."""
    rows = []
    columns = [METRICS.index(name) for name in TICK_METRICS]
    for index, one in enumerate(result.known):
        for tick in range(result.ticks.shape[2]):
            for name, column in zip(TICK_METRICS, columns, strict=True):
                found = t_interval(*result.tick_moments[index, tick, column])
                if found.n:
                    rows.append(
                        {
                            "condition_id": one.id,
                            "tick": tick,
                            "metric": name,
                            "n": found.n,
                            "mean": found.mean,
                            "ci_low": found.low,
                            "ci_high": found.high,
                        }
                    )
    return pd.DataFrame(rows, columns=["condition_id", "tick", "metric", "n", "mean", "ci_low", "ci_high"])


def pairs(result: Result) -> Iterator[tuple[int, int, str]]:
    """Yield what is compared: condition, the one it is held against, and why (`reference` or `placebo`)."""
    for index, one in enumerate(result.known):
        reference = result.index(one.reference) if one.reference else None
        if reference is not None:
            yield index, reference, "reference"
        if one.arm == "targeted":
            twin = result.index("placebo" + one.id.removeprefix("targeted"))
            if twin is not None:
                yield index, twin, "placebo"


def contrast_table(result: Result) -> pd.DataFrame:
    """Return a row per pair of conditions and outcome: the paired difference over replicates, its interval and tests.

    `p_holm` is adjusted over all pairs of an outcome.
    """
    compared = list(pairs(result))
    rows = []
    for column, name in enumerate(OUTCOMES):
        mine = []
        for index, against, kind in compared:
            difference = result.values[:, index, column] - result.values[:, against, column]
            triple = moments(difference[:, None])[0]
            found = t_interval(*triple)
            plus, minus, sign_p = sign_test(difference)
            mine.append(
                {
                    **identity(result.known[index]),
                    "against": result.known[against].id,
                    "kind": kind,
                    "metric": name,
                    "n": found.n,
                    "difference": found.mean,
                    "ci_low": found.low,
                    "ci_high": found.high,
                    "p": t_p_value(*triple),
                    "positive": plus,
                    "negative": minus,
                    "p_sign": sign_p,
                }
            )
        adjusted = holm([row["p"] for row in mine])
        rows += [{**row, "p_holm": p} for row, p in zip(mine, adjusted, strict=True)]
    return pd.DataFrame(rows)


def dose_table(result: Result) -> pd.DataFrame:
    """Return a row per trait, arm and outcome: slope per unit of dose, its interval, and three views of the trend."""
    rows = []
    for trait, (arm, override) in itertools.product(result.dosed_traits, result.dosed_arms):
        series = result.series(trait, arm, override)
        doses = np.array([result.known[index].dose for index in series], float)
        for column, name in enumerate(OUTCOMES):
            values = result.values[:, series, column]
            triple = moments(slopes(doses, values)[:, None])[0]
            found = t_interval(*triple)
            means = result.outcome_moments[series, column, 1].copy()
            means[result.outcome_moments[series, column, 0] == 0] = np.nan
            page, page_p = page_trend(values)
            rows.append(
                {
                    "trait": trait,
                    "arm": arm,
                    "override": override,
                    "outcome": name,
                    "n": found.n,
                    "slope": found.mean,
                    "ci_low": found.low,
                    "ci_high": found.high,
                    "p": t_p_value(*triple),
                    "spearman": spearman(doses, means),
                    "page_l": page,
                    "page_p": page_p,
                    "monotone": monotone(means),
                    **{f"mean_{dose:+g}": mean for dose, mean in zip(doses, means, strict=True)},
                }
            )
    return pd.DataFrame(rows)
