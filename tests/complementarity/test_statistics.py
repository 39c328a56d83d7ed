"""Statistics of outcomes, of the search and of seeds: equal to textbook values and to independent routines."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from quintet.jobs.complementarity import search_analysis, seed_analysis, statistics
from quintet.jobs.complementarity.aggregate import Aggregate
from quintet.jobs.complementarity.client import utility_matrix
from quintet.jobs.complementarity.config_view import config_view
from quintet.jobs.complementarity.layout import Layout, row_datasets
from quintet.jobs.complementarity.params import Params
from quintet.jobs.complementarity.statistics import (
    bootstrap_band,
    fisher_p,
    mcnemar_p,
    paired_advantage,
    per_config_table,
    spearman,
    stored_against_measured,
    summary,
    survivorship,
    two_proportion_power,
    two_proportion_z,
    wilson_interval,
)
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_confint, proportion_effectsize, proportions_ztest

from .study_sample import MAX_SESSIONS, N_BINS, WINDOW_SIZE, aggregate, batch_of, configs

SPACE = {
    "bond_alpha": optuna.distributions.FloatDistribution(1, 15),
    "perception_window": optuna.distributions.IntDistribution(7, 20),
    "quick_seed_actions_threshold": optuna.distributions.IntDistribution(1, 5),
}


def trials(n: int) -> pd.DataFrame:
    """Synthetic search in which only `bond_alpha` matters, with a failed and an infinite trial among the others."""
    rng = np.random.default_rng(5)
    records = []
    for number in range(n):
        params = {
            "bond_alpha": float(rng.uniform(1, 15)),
            "perception_window": int(rng.integers(7, 21)),
            "quick_seed_actions_threshold": int(rng.integers(1, 6)),
        }
        base = float(rng.integers(0, 40)) / 50
        gain = round(50 * (0.02 * (params["bond_alpha"] - 8) + rng.normal(0, 0.02))) / 50
        success = min(max(base + gain, 0.0), 1.0)
        rates = {"omniscient_success": success, "complementary_success": base}
        records.append(
            SimpleNamespace(number=number, value=success - base, state="COMPLETE", params=params, user_attrs=rates)
        )
    records.append(SimpleNamespace(number=n, value=None, state="FAIL", params={}, user_attrs={}))
    records.append(SimpleNamespace(number=n + 1, value=float("inf"), state="COMPLETE", params={}, user_attrs={}))
    return search_analysis.trials_frame(records)


def test_wilson_intervals_equal_statsmodels() -> None:
    successes, n = np.array([0, 3, 50, 100, 9999]), np.array([10, 10, 100, 100, 10_000])
    expected = proportion_confint(successes, n, method="wilson")
    assert_allclose(wilson_interval(successes, n), expected, rtol=1e-12, atol=1e-15)
    assert np.isnan(wilson_interval(0, 0)).all()


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 5), (12, 3), (0, 8), (700, 790), (200_000, 201_000)])
def test_mcnemar_equals_statsmodels(b: int, c: int) -> None:
    expected = mcnemar([[4, b], [c, 9]], exact=True).pvalue if b + c else 1.0
    assert mcnemar_p(b, c) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("k", "b", "n"), [(0, 0, 50), (50, 50, 50), (3, 3, 10), (1, 9, 10), (52, 30, 60), (900, 1000, 2000)]
)
def test_two_rates_are_compared_as_by_scipy_and_statsmodels(k: int, b: int, n: int) -> None:
    assert fisher_p(k, b, n) == pytest.approx(stats.fisher_exact([[k, n - k], [b, n - b]]).pvalue, rel=1e-9)
    expected = (0.0, 1.0) if k + b in (0, 2 * n) else proportions_ztest([k, b], [n, n])
    assert two_proportion_z(k, b, n) == pytest.approx(expected, rel=1e-12)
    effect = abs(proportion_effectsize(k / n, b / n))
    if effect:
        power = NormalIndPower().power(effect, n, 0.01)
        assert two_proportion_power(k / n, b / n, n, 0.01) == pytest.approx(power, rel=1e-10)


def test_spearman_equals_scipy_with_ties() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 10, 40).astype(float)
    y = x + rng.integers(-4, 5, 40).astype(float)
    expected = stats.spearmanr(x, y)
    assert spearman(x, y) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    assert spearman(np.arange(4.0), np.arange(4.0)) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-6))


def test_the_paired_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(200, (0.12, 0.05, 0.4, 0.43), size=4000)
    difference, low, high = paired_advantage(drawn[:, 0], drawn[:, 1], np.full(4000, 200))
    covered = ((low <= 0.07) & (high >= 0.07)).mean()
    assert 0.94 <= covered <= 0.97
    assert difference.mean() == pytest.approx(0.07, abs=0.003)


def test_the_bootstrap_band_holds_the_mean_and_is_the_same_every_time() -> None:
    band, again = bootstrap_band(aggregate(), "remaining", 200), bootstrap_band(aggregate(), "remaining", 200)
    assert band.low.tobytes() == again.low.tobytes()
    some = np.isfinite(band.low)
    assert some[0]
    assert (band.low[some] <= band.mean[some] + 1e-12).all()
    assert (band.high[some] >= band.mean[some] - 1e-12).all()
    assert_allclose(band.mean, aggregate().band("session", "remaining").mean, rtol=1e-12)


def test_a_band_drawn_in_pieces_is_the_same_band(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [bootstrap_band(aggregate(), group, 200) for group in ("v2_adv", "remaining")]
    monkeypatch.setattr(statistics, "SESSIONS_AT_ONCE", 37)
    for band, group in zip(whole, ("v2_adv", "remaining"), strict=True):
        pieces = bootstrap_band(aggregate(), group, 200)
        for name in ("mean", "low", "high"):
            assert getattr(pieces, name).tobytes() == getattr(band, name).tobytes()


def test_a_band_of_long_therapies_needs_little_memory_beside_the_sums() -> None:
    n, length = 400, 2000
    layout = Layout(N_BINS, WINDOW_SIZE, length, 5, ("distance_enacted",))
    declared = [row for row in row_datasets(layout, ()) if not row.ragged]
    rows = {row.name: np.broadcast_to(np.ones(row.shape, row.dtype), (n, *row.shape)) for row in declared}
    rows |= {"rows/units/config_idx": np.arange(n), "rows/units/n_seeds": np.full(n, 4)}
    chosen = [{**configs()[0], "max_sessions": length} for _ in range(n)]
    tracemalloc.start()
    result = Aggregate.from_rows(rows, chosen, N_BINS, WINDOW_SIZE)
    bootstrap_band(result, "remaining", 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * 2 * 4 * (n * 4 * length)


def test_the_table_of_configs_holds_their_counts_parameters_and_both_advantages() -> None:
    result = aggregate()
    table = per_config_table(result)
    assert table["config_idx"].tolist() == [0, 1, 2, 3]
    assert table["bond_alpha"].tolist() == [config["params"]["bond_alpha"] for config in configs()]
    batch = batch_of(1, 0, 60)
    first = aggregate(60, 60)
    assert per_config_table(first).loc[1, "mean_v2_sessions"] == pytest.approx(batch.v2_sessions.mean())
    assert per_config_table(first).loc[1, "never_forked_share"] == (batch.fork_session == 0).mean()
    assert per_config_table(first).loc[1, "v2_dropouts"] == batch.v2_dropout.sum()
    advantage = batch.v2_success.mean() - batch.baseline_success.mean()
    assert per_config_table(first).loc[1, "measured_advantage"] == pytest.approx(advantage)
    assert (table["measured_advantage_low"] <= table["measured_advantage"]).all()


def test_the_summary_adds_up_and_names_what_is_not_there() -> None:
    numbers = summary(aggregate(), "session")
    assert sum(numbers["breakdown"].values()) == numbers["total_pairs"] == 150 * len(MAX_SESSIONS)
    assert numbers["total_simulations"] == 2 * numbers["total_pairs"]
    last = aggregate().band("session", "v2_adv").mean[-1]
    assert numbers["v2_advantage_final_mean_distance"] == last
    found = stored_against_measured(aggregate())
    assert found["mean_stored"] == pytest.approx(np.mean([config["advantage"] for config in configs()]))


def test_survivorship_counts_are_those_of_the_runs() -> None:
    counts = survivorship(aggregate(60, 60), "session")
    batches = [batch_of(k, 0, 60) for k in range(len(MAX_SESSIONS))]
    sessions = np.concatenate([batch.v2_sessions for batch in batches])
    category = np.concatenate([batch.category for batch in batches])
    for number, count in enumerate(counts.values()):
        expected = [(sessions[category == number] >= s + 1).sum() for s in range(len(count))]
        assert_array_equal(count, expected)


def test_only_usable_trials_enter_the_analyses() -> None:
    frame = trials(40)
    assert frame["number"].tolist() == list(range(40))
    assert search_analysis.parameter_names(frame) == list(SPACE)
    assert search_analysis.trials_frame([]).empty


def test_the_parameter_that_matters_is_found_and_an_inert_one_is_not() -> None:
    frame = trials(200)
    shares = search_analysis.importance(frame, SPACE)
    assert next(iter(shares)) == "bond_alpha"
    assert shares["bond_alpha"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    contrast = search_analysis.extremes_contrast(frame)
    assert contrast["parameter"][0] == "bond_alpha"
    assert contrast["cohens_d"][0] > 2
    labels = search_analysis.convergence(frame).set_index("parameter")["label"]
    assert labels["quick_seed_actions_threshold"] == "WIDE"
    assert search_analysis.importance(frame.head(5), SPACE) == {}


def test_significance_is_corrected_for_all_trials_of_the_search() -> None:
    frame = trials(60)
    table = search_analysis.significance(frame, 50)
    best = search_analysis.best_trials(frame, 1).iloc[0]
    k, b = round(50 * best["omniscient_success"]), round(50 * best["complementary_success"])
    assert table["fisher_p"][0] == pytest.approx(stats.fisher_exact([[k, 50 - k], [b, 50 - b]]).pvalue)
    pooled = (k + b) / 100
    z = (k - b) / 50 / np.sqrt(pooled * (1 - pooled) * 2 / 50)
    assert table["z"][0] == pytest.approx(z)
    assert_allclose(table["fisher_bonferroni_p"], np.minimum(1, 60 * table["fisher_p"]))


def test_bins_by_baseline_rate_hold_every_trial_once() -> None:
    frame = trials(60)
    table = search_analysis.advantage_by_baseline(frame)
    assert table["n_trials"].sum() == 60
    inside = (frame["complementary_success"] >= 0.2) & (frame["complementary_success"] < 0.4)
    assert table["mean_advantage"][1] == pytest.approx(frame["value"][inside].mean())


def test_the_projected_number_of_clients_reaches_the_power() -> None:
    table, needed = search_analysis.power_projection(0.4, 0.3, 1)
    assert 350 <= needed <= 360
    assert table["power"].is_monotonic_increasing
    assert search_analysis.power_projection(0.4, 0.3, 100)[1] > needed
    assert search_analysis.power_projection(0.3, 0.3)[1] == float("inf")


def test_negative_results_are_counted() -> None:
    found = search_analysis.negative_results(trials(60))
    assert found["n_positive"] + found["n_zero"] + found["n_negative"] == found["n_trials"] == 60


def test_overlap_tells_shared_seeds_from_chance() -> None:
    rng = np.random.default_rng(2)
    alone = np.where(rng.random((200, 300)) < 0.1, 0, 3).astype(np.uint8)
    shared = np.full((200, 300), 3, np.uint8)
    shared[:, :30] = 0
    assert seed_analysis.seed_overlap(alone)["variance_ratio"] == pytest.approx(1, abs=0.35)
    found = seed_analysis.seed_overlap(shared)
    assert found["in_at_least"] == {0.5: 0.1, 0.8: 0.1, 0.9: 0.1, 1.0: 0.1}
    assert found["variance_ratio"] > 50
    assert found["configs_per_seed"][:30].tolist() == [200] * 30


def test_regret_is_what_the_complementary_answer_misses() -> None:
    features = seed_analysis.matrix_features(np.array([0, 9], np.uint32))
    u = utility_matrix(9, None)
    regret = [max(u[c]) - u[c][complement] for c, complement in enumerate((4, 3, 2, 1, 0, 7, 6, 5))]
    assert features["total_regret"][1] == pytest.approx(sum(regret))
    assert features["largest_regret"][1] == pytest.approx(max(regret))
    assert features["octants_with_better_answer"][1] == sum(r > 0 for r in regret)


def test_behaviour_and_its_contrasts_follow_the_stored_octants() -> None:
    batch = batch_of(2, 0, 60)
    assert batch.v2 is not None
    features = seed_analysis.behaviour_features(batch.v2)
    for i in (0, 17, 59):
        away = np.array([t != (12 - c) % 8 for c, t in zip(batch.v2.client(i), batch.v2.enacted(i), strict=True)])
        assert features["non_complementary_share"][i] == pytest.approx(away.mean())
        shown = np.bincount(batch.v2.client(i)).max() / len(away)
        assert features["stuck"][i] == (shown > 0.8)
    contrasts = seed_analysis.category_contrasts(features, batch.category).set_index("feature")
    groups = [features["non_complementary_share"][batch.category == k] for k in range(4)]
    h, p = stats.kruskal(*[group for group in groups if len(group)])
    assert contrasts.loc["non_complementary_share", "kruskal_h"] == pytest.approx(h)
    assert contrasts.loc["non_complementary_share", "kruskal_p"] == pytest.approx(p)


def test_a_config_view_averages_the_runs_that_are_still_in_therapy() -> None:
    params = Params(**configs()[0]["params"], max_sessions=40)
    view = config_view(params, range(12), pattern="mixed_random", therapist_version="v1")
    assert (view.pattern, view.therapist_version) == ("mixed_random", "v1")
    assert sum(view.breakdown.values()) == 12
    assert len(view.curves) == 14
    assert view.curves["distance_enacted"][0] == 0
    assert ((view.curves["bond_percentile"] >= 0) & (view.curves["bond_percentile"] <= 100)).all()
