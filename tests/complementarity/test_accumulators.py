"""The exact sums: equal to plain means over a dense array, and the same however the work is divided."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from quintet.jobs.complementarity import PairBatch, Params, simulate_pairs
from quintet.jobs.complementarity.accumulators import accumulate, unit_payload
from quintet.jobs.complementarity.aggregate import Aggregate
from quintet.jobs.complementarity.client import utility_matrix
from quintet.jobs.complementarity.layout import FORK_OFFSETS, Layout, row_datasets, row_starts
from quintet.jobs.complementarity.moments import WelfordMoments, empty_welford, summed, tree_combined
from quintet.jobs.complementarity.reference import simulate_pair
from quintet.jobs.complementarity.satisfaction import satisfaction_percentiles
from quintet.jobs.complementarity.tracker import METRICS, SATISFACTION, metric_trajectory

from .study_sample import MAX_SESSIONS, N_BINS, WINDOW_SIZE, aggregate, batch_of, configs, rows_of

N = 150


def trajectories_of(batch: PairBatch, name: str, window_size: int = WINDOW_SIZE) -> list[NDArray[np.float64]]:
    """One metric along every run, from the plain tracker."""
    runs = batch.v2
    assert runs is not None
    octants = runs.enacted if METRICS[name].perspective == "enacted" else runs.perceived
    return [metric_trajectory(name, runs.client(i), octants(i), window_size) for i in range(len(runs))]


def dense_session(batch: PairBatch, name: str, length: int, window_size: int = WINDOW_SIZE) -> NDArray[np.float64]:
    """Runs by sessions, NaN where a run has no value."""
    dense = np.full((len(batch), length), np.nan)
    for row, values in zip(dense, trajectories_of(batch, name, window_size), strict=True):
        row[: len(values)] = values
    return dense


def dense_normalized(batch: PairBatch, name: str, window_size: int = WINDOW_SIZE) -> NDArray[np.float64]:
    """Runs by bins, by numpy's own interpolation and the float64 rule of which bins exist."""
    horizon = batch.params.max_sessions
    grid = np.arange(N_BINS) * (1 / N_BINS)
    dense = np.full((len(batch), N_BINS), np.nan)
    for row, values in zip(dense, trajectories_of(batch, name, window_size), strict=True):
        exists = grid <= (len(values) - 1) / horizon
        # The session of bin b is b * horizon / N_BINS in exact arithmetic.
        session = np.arange(N_BINS) * horizon / N_BINS
        whole = np.arange(N_BINS) * horizon % N_BINS == 0
        row[exists] = np.interp(session, np.arange(len(values)), values)[exists]
        row[exists & whole] = values[session[exists & whole].astype(int)]
    return dense


def moments_of(dense: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Count, mean and population standard deviation per column, cut after the last value."""
    count = np.isfinite(dense).sum(axis=0)
    length = int(np.flatnonzero(count)[-1]) + 1 if count.any() else 0
    mean, std = np.full(length, np.nan), np.full(length, np.nan)
    some = np.flatnonzero(count)
    mean[some] = np.nanmean(dense[:, some], axis=0)
    std[some] = np.nanstd(dense[:, some], axis=0)
    return count[:length], mean, std


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_equals_the_plain_mean_over_a_dense_array(name: str) -> None:
    metrics = tuple(dict.fromkeys(("distance_enacted", name)))
    folded = Aggregate.from_rows(rows_of(60, 60, metrics), configs(), N_BINS, WINDOW_SIZE, metrics)
    batches = [batch_of(k, 0, 60) for k in range(len(MAX_SESSIONS))]
    category = np.concatenate([batch.category for batch in batches])
    session = np.concatenate([dense_session(batch, name, max(MAX_SESSIONS)) for batch in batches])
    normalized = np.concatenate([dense_normalized(batch, name) for batch in batches])
    assert len(np.unique(category)) == 4
    for axis, dense in (("session", session), ("normalized", normalized)):
        for group, members in (("v2_adv", (0,)), ("baseline_adv", (1,)), ("remaining", (2, 3)), ("both_fail", (3,))):
            count, mean, std = moments_of(dense[np.isin(category, members)])
            band = folded.band(axis, group, name)  # type: ignore[arg-type]
            assert_array_equal(band.count, count)
            assert_allclose(band.mean, mean, rtol=1e-12, atol=1e-12)
            assert_allclose(band.std, std, rtol=1e-9, atol=1e-7)


def test_exact_sums_equal_welford_fed_one_trajectory_at_a_time() -> None:
    batch = batch_of(0, 0, N)
    band = Aggregate.from_rows(rows_of(N, N), configs(), N_BINS, WINDOW_SIZE).moments["session", "distance_enacted"]
    welford = [empty_welford((4, MAX_SESSIONS[0]))]
    for k in range(len(MAX_SESSIONS)):
        batch = batch_of(k, 0, N)
        for i, values in enumerate(trajectories_of(batch, "distance_enacted")):
            one = empty_welford((4, MAX_SESSIONS[0]))
            one.count[batch.category[i], : len(values)] = 1
            one.mean[batch.category[i], : len(values)] = values
            welford.append(welford.pop().combined(one))
    for members in ((0,), (1,), (2, 3)):
        exact, online = band.band(members), welford[0].band(members)
        assert_array_equal(exact.count, online.count)
        assert_allclose(exact.mean, online.mean, rtol=1e-12, atol=1e-12)
        assert_allclose(exact.std, online.std, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("block", [1, 7, 60, N])
def test_the_division_into_units_does_not_change_a_bit(block: int) -> None:
    whole, divided = aggregate(N, N), aggregate(N, block)
    for curve, moments in whole.moments.items():
        for members in ((0,), (1,), (2,), (3,), (2, 3)):
            one, other = moments.band(members), divided.moments[curve].band(members)
            assert one.count.tobytes() == other.count.tobytes()
            assert one.mean.tobytes() == other.mean.tobytes()
            assert one.std.tobytes() == other.std.tobytes()
    assert_array_equal(whole.config_sum, divided.config_sum)
    assert whole.config_sum.dtype == divided.config_sum.dtype == np.int32
    assert_array_equal(whole.categories, divided.categories)


def test_counts_start_at_the_category_and_never_grow_and_means_stay_in_range() -> None:
    result = aggregate(N)
    assert result.totals.sum() == N * len(MAX_SESSIONS)
    for number, group in enumerate(("v2_adv", "baseline_adv", "both_success", "both_fail")):
        band = result.band("session", group)
        assert band.count[0] == result.totals[number]
        assert (np.diff(band.count) <= 0).all()
        assert (band.mean >= 0).all()
        assert (band.mean <= 4).all()
    remaining = result.band("session", "remaining")
    both = [result.band("session", group) for group in ("both_success", "both_fail")]
    assert remaining.count[0] == sum(band.count[0] for band in both)


def test_the_fork_axis_shows_each_run_around_its_first_departure() -> None:
    result = aggregate(N, N)
    rows: list[NDArray[np.float64]] = []
    categories: list[int] = []
    for k in range(len(MAX_SESSIONS)):
        batch = batch_of(k, 0, N)
        for i, values in enumerate(trajectories_of(batch, "distance_enacted")):
            if batch.fork_session[i] == 0:
                continue
            at = FORK_OFFSETS + int(batch.fork_session[i]) - 1
            inside = (at >= 0) & (at < len(values))
            row = np.full(len(FORK_OFFSETS), np.nan)
            row[inside] = values[at[inside]]
            rows.append(row)
            categories.append(int(batch.category[i]))
    for number, group in enumerate(("v2_adv", "baseline_adv", "both_success", "both_fail")):
        count, mean, std = moments_of(np.array(rows)[np.array(categories) == number])
        band = result.band("fork", group)
        assert_array_equal(band.count, count)
        assert_allclose(band.mean, mean, rtol=1e-12, atol=1e-12)
        assert_allclose(band.std, std, rtol=1e-9, atol=1e-9)
        before = band.mean[FORK_OFFSETS < 0]
        assert (before[np.isfinite(before)] == 0).all()


def test_a_wide_window_falls_back_to_welford_and_says_so_in_the_names() -> None:
    window = 30
    layout = Layout(N_BINS, window, MAX_SESSIONS[0], N, ("distance_enacted", "rate_enacted_cold"))
    assert layout.exact("session", "distance_enacted")
    assert not layout.exact("normalized", "distance_enacted")
    batch = batch_of(0, 0, N, window)
    assert batch.v2 is not None
    sums = accumulate(layout, batch.v2, batch.category, batch.fork_session, batch.params)
    assert "rows/session/distance_enacted/sum" in sums
    for axis, name, dense in (
        ("normalized", "distance_enacted", dense_normalized(batch, "distance_enacted", window)),
        ("session", "rate_enacted_cold", dense_session(batch, "rate_enacted_cold", MAX_SESSIONS[0], window)),
    ):
        parts = [sums[f"rows/float/{axis}/{name}/{part}"] for part in ("count", "mean", "m2")]
        band = WelfordMoments(*parts).band((2, 3))
        count, mean, std = moments_of(dense[batch.category >= 2])
        assert_array_equal(band.count, count)
        assert_allclose(band.mean, mean, rtol=1e-12, atol=1e-12)
        assert_allclose(band.std, std, rtol=1e-9, atol=1e-7)
    folded = Aggregate.from_rows(rows_of(N, 50, window_size=window), configs(), N_BINS, window)
    assert isinstance(folded.moments["normalized", "distance_enacted"], WelfordMoments)
    assert folded.band("normalized", "remaining").count[0] == folded.totals[2:].sum()


def test_sums_beyond_63_bits_are_exact() -> None:
    large = np.full((3, 2), 2**62 + 1, np.int64)
    total = summed([large, large], (2,))
    assert total.tolist() == [6 * (2**62 + 1)] * 2


def test_float_leaves_combine_along_the_canonical_tree_whatever_stands_in_between() -> None:
    rng = np.random.default_rng(3)
    leaves = [
        WelfordMoments(rng.integers(0, 5, (4, 3)), rng.normal(size=(4, 3)), rng.random((4, 3))) for _ in range(11)
    ]
    empty = empty_welford((4, 3))

    def node(level: int, index: int) -> WelfordMoments:
        if level == 0:
            return leaves[index] if index < len(leaves) else empty
        return node(level - 1, 2 * index).combined(node(level - 1, 2 * index + 1))

    expected, found = node(4, 0), tree_combined(leaves, empty)
    assert_array_equal(found.count, expected.count)
    some = expected.count > 0
    assert found.mean[some].tobytes() == expected.mean[some].tobytes()
    assert found.m2[some].tobytes() == expected.m2[some].tobytes()


def test_the_payload_of_a_unit_is_what_was_declared() -> None:
    batch = batch_of(1, 0, 60)
    layout = Layout(N_BINS, WINDOW_SIZE, max(MAX_SESSIONS), 60)
    payload = unit_payload(batch, layout, config_idx=1, trial_number=7, trajectories=("v2", "baseline"))
    declared = row_datasets(layout, ("v2", "baseline"))
    lengths = {f"{dataset.name}_length" for dataset in declared if dataset.ragged}
    assert set(payload) == {dataset.name for dataset in declared} | lengths
    for dataset in declared:
        array = payload[dataset.name]
        assert array.dtype == np.dtype(dataset.dtype)
        if dataset.ragged:
            assert payload[f"{dataset.name}_length"].tolist() == [len(array)]
        else:
            assert array.shape == (1, *dataset.shape)
    assert batch.v2 is not None
    assert_array_equal(row_starts(payload["rows/outcome/v2_sessions"]), batch.v2.row_start)
    flags = payload["rows/outcome/flags"]
    assert_array_equal(flags & 1, batch.v2_success)
    assert_array_equal(flags >> 1 & 1, batch.baseline_success)
    assert payload["rows/summary/categories"].sum() == 60


def test_a_config_without_units_is_left_out_and_not_counted_as_failure() -> None:
    rows = rows_of(60, 60)
    kept = rows["rows/units/config_idx"] != 2
    some = {name: array[kept] for name, array in rows.items() if len(array) == len(kept)}
    result = Aggregate.from_rows(some, configs(), N_BINS, WINDOW_SIZE)
    assert result.used.tolist() == [True, True, False, True]
    assert np.isnan(result.measured_advantage[2])
    assert result.totals.sum() == 180


@pytest.mark.parametrize(
    ("metrics", "word"),
    [
        (("distance_felt",), "distance_felt"),
        (("rate_enacted",), "distance_enacted"),
        (("distance_enacted",) * 2, "twice"),
    ],
)
def test_a_wrong_list_of_metrics_is_refused_in_one_line(metrics: tuple[str, ...], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Layout(N_BINS, WINDOW_SIZE, 100, 10, metrics)


def test_a_batch_that_does_not_fit_is_refused() -> None:
    batch = batch_of(0, 0, 60)
    with pytest.raises(ValueError, match="does not fit"):
        unit_payload(batch, Layout(N_BINS, WINDOW_SIZE, 60, 60), config_idx=0, trial_number=0)
    bare = simulate_pairs(batch.params, range(3))
    with pytest.raises(ValueError, match="no trajectories"):
        unit_payload(bare, Layout(N_BINS, WINDOW_SIZE, 120, 60), config_idx=0, trial_number=0)


@pytest.mark.parametrize("axis", ["session", "normalized"])
def test_percentiles_of_satisfaction_and_bond_equal_the_plain_means(axis: str) -> None:
    metrics = ("distance_enacted", *SATISFACTION)
    folded = Aggregate.from_rows(rows_of(60, 20, metrics), configs(), N_BINS, WINDOW_SIZE, metrics)
    batches = [batch_of(k, 0, 60) for k in range(len(MAX_SESSIONS))]
    category = np.concatenate([batch.category for batch in batches])
    for place, name in enumerate(SATISFACTION):
        rows = []
        for batch in batches:
            runs, params = batch.v2, batch.params
            assert runs is not None
            for i in range(len(batch)):
                values = satisfaction_percentiles(params, int(batch.seeds[i]), runs.client(i), runs.perceived(i))[place]
                row = np.full(max(MAX_SESSIONS) if axis == "session" else N_BINS, np.nan)
                if axis == "session":
                    row[: len(values)] = values
                else:
                    at = np.arange(N_BINS) * params.max_sessions / N_BINS
                    exists = np.arange(N_BINS) * (1 / N_BINS) <= (len(values) - 1) / params.max_sessions
                    row[exists] = np.interp(at, np.arange(len(values)), values)[exists]
                rows.append(row)
        dense = np.array(rows)
        for group, members in (("v2_adv", (0,)), ("baseline_adv", (1,)), ("remaining", (2, 3))):
            count, mean, std = moments_of(dense[np.isin(category, members)])
            band = folded.band(axis, group, name)  # type: ignore[arg-type]
            assert_array_equal(band.count, count)
            assert_allclose(band.mean, mean, rtol=1e-10)
            assert_allclose(band.std, std, rtol=1e-7, atol=1e-7)


def test_satisfaction_recomputed_from_octants_equals_the_simulated_one() -> None:
    params = Params(threshold=0.9, bond_alpha=7.0, bond_offset=0.6, max_sessions=60)
    pair = simulate_pair(params, 5)
    batch = simulate_pairs(params, [5], trajectories=True)
    assert batch.v2 is not None
    rs, bond = satisfaction_percentiles(params, 5, batch.v2.client(0), batch.v2.perceived(0))
    assert_allclose(bond, [100 * session.bond for session in pair.v2.sessions], rtol=1e-10)
    u = np.array(utility_matrix(5, None))
    expected = (np.array([session.rs for session in pair.v2.sessions]) - u.min()) / (u.max() - u.min())
    assert_allclose(rs, 100 * expected, rtol=1e-10)
