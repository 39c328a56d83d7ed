"""Statistics over replicates against other programs, and their coverage where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from quintet.jobs.society.comparison import (
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
from quintet.jobs.society.decisions import gumbel_choice
from quintet.jobs.society.mock import MockBackend, W
from quintet.jobs.society.streams import ACTION, uniforms
from quintet.jobs.society.vocabulary import ARGUE, MOVE, REST, TALK, WORK
from quintet.merge.society.results import moments
from scipy import stats

RNG = np.random.Generator(np.random.PCG64(5))
OPTIONS = [MOVE, TALK, WORK, REST, ARGUE]


def test_moments_along_the_tree_agree_with_two_passes() -> None:
    values = RNG.normal(3.0, 2.0, (11, 4, 3))
    values[2, 1, 0] = values[7, 3, 2] = np.nan
    n, mean, m2 = np.moveaxis(moments(values), -1, 0)
    np.testing.assert_array_equal(n, np.isfinite(values).sum(axis=0))
    np.testing.assert_allclose(mean, np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(m2, np.nansum((values - np.nanmean(values, axis=0)) ** 2, axis=0), rtol=1e-12)


def test_intervals_and_tests_are_those_of_scipy() -> None:
    values = RNG.normal(0.4, 1.0, 9)
    triple = moments(values[:, None])[0]
    found, expected = t_interval(*triple), stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert t_p_value(*triple) == pytest.approx(expected.pvalue)
    assert sign_test(values)[2] == pytest.approx(stats.binomtest(int((values > 0).sum()), 9).pvalue)
    single = t_interval(1.0, 2.0, 0.0)
    assert single.mean == 2.0 and np.isnan(single.low)


def test_trends_are_those_of_scipy() -> None:
    doses, values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), RNG.normal(0, 1, (8, 5)) + np.arange(5)
    np.testing.assert_allclose(slopes(doses, values), [np.polyfit(doses, row, 1)[0] for row in values])
    expected = stats.page_trend_test(values, method="asymptotic")
    statistic, p = page_trend(values)
    assert statistic == expected.statistic and p == pytest.approx(min(1.0, 2 * expected.pvalue), rel=1e-9)
    assert page_trend(-values)[1] == pytest.approx(p)
    means = np.array([0.1, 0.3, 0.2, 0.5, 0.9])
    assert spearman(doses, means) == pytest.approx(stats.spearmanr(doses, means).statistic)
    assert [monotone(np.array(v)) for v in ([1, 2, 3], [3, 2, 1], [1, 1, 2], [1, np.nan, 3])] == [
        "rising",
        "falling",
        "no",
        "no",
    ]


def test_holm_is_that_of_statsmodels_and_passes_over_nan() -> None:
    from statsmodels.stats.multitest import multipletests

    p = [0.01, 0.04, 0.03, 0.2, 0.005]
    expected = multipletests(p, method="holm")[1]
    np.testing.assert_allclose(holm(p), expected)
    np.testing.assert_allclose(holm([*p, float("nan")])[:5], expected)


def test_bootstrap_intervals_hold_the_share_and_repeat_bit_by_bit() -> None:
    counts = RNG.multinomial(200, [0.5, 0.3, 0.2, 0.0], size=12)
    share, low, high = share_intervals(counts, 7, 3)
    np.testing.assert_allclose(share, counts.sum(axis=0) / counts.sum())
    assert (low <= share).all() and (share <= high).all() and high[3] == 0
    again = share_intervals(counts, 7, 3)
    assert all((a == b).all() for a, b in zip((share, low, high), again, strict=True))
    assert np.isnan(share_intervals(counts[:1], 7, 3)[1]).all()


def shares_of_talk(seed: int, doses: np.ndarray, residents: int) -> np.ndarray:
    """Share of talk among decisions with one fixed option set, by dose of extraversion."""
    mock = MockBackend()
    found = []
    for dose in doses:
        kinds = []
        for resident in range(residents):
            logprobs = mock.logprobs(seed, 0, resident, [dose, 0, 0, 0, 0])[OPTIONS]
            kinds.append(gumbel_choice(logprobs, uniforms(seed, ACTION, 0, resident, np.arange(len(OPTIONS))), 1.0)[0])
        found.append(np.mean(np.array(kinds) == OPTIONS.index(TALK)))
    return np.array(found)


def test_the_exact_slope_lies_in_its_interval_as_often_as_it_should() -> None:
    doses = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    weights = np.exp(np.outer(doses, W[0, OPTIONS]))
    exact = slopes(doses, (weights / weights.sum(axis=1, keepdims=True))[None, :, OPTIONS.index(TALK)])[0]
    hits = 0
    for study in range(100):
        values = np.stack([shares_of_talk(1000 * study + replicate, doses, 30) for replicate in range(4)])
        found = t_interval(*moments(slopes(doses, values)[:, None])[0])
        hits += found.low <= exact <= found.high
    assert hits >= 88
