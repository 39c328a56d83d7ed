"""The canonical tree: its root is a function of the blocks alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quintet.merge.moments import Moments, combined
from quintet.shard import tree
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.phases import Stats
from quintet.shard.run import Plan

METRICS, CELLS = 2, 3
STATS = Stats(tuple(f"m{k}" for k in range(METRICS)), CELLS)


def leaves_of(seed: int, blocks: int, empty: float = 0.0) -> np.ndarray:
    """Return one leaf per block; a share of the cells, and of whole blocks, has no sample."""
    rng = np.random.default_rng(seed)
    leaves = np.empty((blocks, METRICS, 3, CELLS))
    for block in range(blocks):
        for metric in range(METRICS):
            leaves[block, metric] = tree.welford(rng.normal(1e3, 1.0, (rng.integers(1, 4), CELLS)))
        if rng.random() < empty:
            leaves[block] = 0.0
    hollow = rng.random((blocks, METRICS, CELLS)) < empty
    return np.where(hollow[:, :, None, :], 0.0, leaves)


def nodes_of(leaves: np.ndarray, lo: int, hi: int) -> np.ndarray:
    """Return what a shard publishes: the maximal aligned nodes of its blocks."""
    reducer = tree.Reducer()
    reducer.next_block = lo
    for block in range(lo, hi):
        reducer.add(0, block, leaves[block])
    nodes = list(reducer.nodes())
    assert [node[:2] for node in nodes] == tree.cover(lo, hi)
    return np.stack([triples for _, _, triples in nodes])


def plain_root(leaves: np.ndarray) -> np.ndarray:
    """Return the root by the definition: level by level, absent siblings are the identity."""
    level = list(leaves)
    while len(level) > 1:
        pairs = [level[k : k + 2] for k in range(0, len(level), 2)]
        level = [tree.combine(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0] if level else np.zeros((METRICS, 3, CELLS))


def merged_root(leaves: np.ndarray, cuts: list[int]) -> np.ndarray:
    moments = Moments(STATS)
    for lo, hi in pairwise(cuts):
        if lo < hi:
            moments.take(lo, hi, nodes_of(leaves, lo, hi))
    return moments.root(len(leaves))


@pytest.mark.parametrize("blocks", [1, 2, 3, 64, 129, 700])
@pytest.mark.parametrize("shards", [1, 2, 3, 7, 64, None])
def test_root_has_the_same_bits_for_any_number_of_shards(blocks: int, shards: int | None) -> None:
    leaves = leaves_of(blocks, blocks, empty=0.1)
    count = shards or blocks
    cuts = [blocks * shard // count for shard in range(count + 1)]
    assert merged_root(leaves, cuts).tobytes() == plain_root(leaves).tobytes()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 40),
    st.lists(st.integers(0, 40), max_size=12),
    st.sampled_from([0.0, 0.4, 1.0]),
)
def test_root_has_the_same_bits_for_any_cuts_empty_blocks_and_cells(
    seed: int, blocks: int, cuts: list[int], empty: float
) -> None:
    leaves = leaves_of(seed, blocks, empty)
    bounds = sorted({0, blocks, *(min(cut, blocks) for cut in cuts)})
    assert merged_root(leaves, bounds).tobytes() == plain_root(leaves).tobytes()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 40), st.sets(st.integers(0, 39), max_size=20))
def test_a_missing_block_is_the_identity(seed: int, blocks: int, missing: set[int]) -> None:
    leaves = leaves_of(seed, blocks)
    moments = Moments(STATS)
    for block in range(blocks):
        if block in missing:
            moments.skip(block, block + 1)
        else:
            moments.take(block, block + 1, leaves[block : block + 1])
    hollow = leaves.copy()
    hollow[[block for block in missing if block < blocks]] = 0.0
    assert moments.root(blocks).tobytes() == plain_root(hollow).tobytes()


def test_stacked_combination_has_the_bits_of_the_definition() -> None:
    leaves = leaves_of(5, 512)
    assert combined(leaves[0::2], leaves[1::2]).tobytes() == tree.combine(leaves[0::2], leaves[1::2]).tobytes()
    leaves = leaves_of(6, 512, empty=0.3)
    assert combined(leaves[0::2], leaves[1::2]).tobytes() == tree.combine(leaves[0::2], leaves[1::2]).tobytes()


def test_root_is_the_variance_of_all_samples() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(1e6, 1.0, (1000, 4, CELLS))
    moments = Moments(Stats(("m",), CELLS))
    for block, values in enumerate(samples):
        moments.take(block, block + 1, tree.welford(values)[None, None])
    count, mean, m2 = moments.root(len(samples))[0]
    everything = samples.reshape(-1, CELLS)
    assert (count == 4000).all()
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(m2 / count, everything.var(axis=0), rtol=1e-9)


def test_nodes_that_overlap_or_leave_a_gap_are_refused() -> None:
    leaves = leaves_of(3, 8)
    moments = Moments(STATS)
    moments.take(0, 4, nodes_of(leaves, 0, 4))
    with pytest.raises(ValueError, match="do not begin at block 4"):
        moments.take(3, 8, nodes_of(leaves, 3, 8))
    with pytest.raises(ValueError, match="do not begin at block 4"):
        moments.take(5, 8, nodes_of(leaves, 5, 8))
    with pytest.raises(ValueError, match="cover blocks 0:4"):
        moments.root(8)


@pytest.mark.parametrize(
    ("shards", "word"), [(((0, 4), (3, 8)), "twice"), (((0, 4), (5, 8)), "in no shard"), (((0, 9),), "twice")]
)
def test_a_plan_that_counts_a_block_twice_or_never_is_refused(shards: tuple[tuple[int, int], ...], word: str) -> None:
    from quintet.merge.intake import tiled

    plan = Plan("s", "p", "map", "c" * 64, {}, 1, 8, 1, 8, shards, (), (), {}, {})
    with pytest.raises(QuintetError, match=word) as caught:
        list(tiled(plan))
    assert caught.value.code is Exit.INPUT


def test_a_count_that_no_sample_gives_is_refused() -> None:
    leaves = leaves_of(3, 2)
    for value in (-1.0, np.nan):
        moments = Moments(STATS)
        bad = leaves.copy()
        bad[1, 0, 0, 0] = value
        moments.take(0, 1, bad[:1])
        moments.take(1, 2, bad[1:])
        with pytest.raises(ValueError, match="negative or NaN"):
            moments.root(2)
