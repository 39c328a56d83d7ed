"""However the blocks are cut into shards, shuffled and doubled, and whatever they hold, a merge has the same bits."""

from __future__ import annotations

import json
import math
import random
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quintet.merge.phase import Request, merge_run
from quintet.shard.context import Context, inputs_digest
from quintet.shard.partial import Card, build, read_arrays, read_card
from quintet.shard.payload import Payload
from quintet.shard.publish import Outcome, publish
from quintet.shard.run import Run

from .synthetic import Config, block_of, planned


def cut(folder: Path, units: int, cuts: list[int]) -> Run:
    """Plan the measurement with shards that end at these blocks; two equal ends make a shard without blocks."""
    run = planned(folder, 1, Config(units=units))
    path = run.plan_folder / "measure.json"
    plan = json.loads(path.read_text())
    plan["shards"] = list(pairwise([0, *sorted(cuts), plan["blocks"]]))
    path.write_text(json.dumps(plan))
    return run


def publish_all(run: Run, order: list[int]) -> list[Outcome]:
    """Publish shards in an order, some of them again; blocks may be empty, and cells without a sample."""
    context, outcomes = Context.of(run, "measure"), []
    plan = context.plan
    for shard in order:
        lo, hi = plan.shards[shard]
        payload = Payload(context.phase, lo)
        for block in range(lo, hi):
            units = plan.units_of(block)
            payload.add(block_of("measure", units, empty_blocks=True), len(units))
        inputs = inputs_digest(run, plan)
        card = Card("synthetic", "measure", shard, lo, hi, plan.config_sha256[:16], inputs, units=payload.units)
        content, card = build(card, payload.arrays(), {"hostname": f"n{shard}"})
        outcomes.append(publish(run.shard_file("measure", shard), content, card, run.path / "quarantine"))
    return outcomes


def merged(run: Run) -> dict[str, np.ndarray]:
    merge_run(run, "measure", Request(), lambda line: None)
    return read_arrays(run.merged("measure"))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(units=st.integers(1, 120), seed=st.integers(0, 2**32), data=st.data())
def test_any_cuts_order_and_duplicates_give_the_bits_of_one_shard(
    tmp_path_factory: pytest.TempPathFactory, units: int, seed: int, data: st.DataObject
) -> None:
    folder, blocks = tmp_path_factory.mktemp("cuts"), math.ceil(units / 2)
    whole = cut(folder / "whole", units, [])
    publish_all(whole, [0])
    expected = merged(whole)
    cuts = data.draw(st.lists(st.integers(0, blocks), max_size=9))
    run, dice = cut(folder / "run", units, cuts), random.Random(seed)
    filled = [shard for shard, (lo, hi) in enumerate(run.plan("measure").shards) if lo < hi]
    order = dice.sample(filled, len(filled))
    again = [dice.choice(filled) for _ in range(3)]
    outcomes = publish_all(run, order + again)
    assert outcomes == [Outcome.PUBLISHED] * len(order) + [Outcome.DUPLICATE] * 3
    found = merged(run)
    assert read_card(run.merged("measure")).pd == read_card(whole.merged("measure")).pd
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)
    assert not np.isnan(found["stats"]).any()
    shutil.rmtree(folder)


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 64, 100])
def test_the_usual_numbers_of_shards_give_equal_payloads(tmp_path: Path, shards: int) -> None:
    blocks = 100
    whole = cut(tmp_path / "whole", 2 * blocks, [])
    publish_all(whole, [0])
    merged(whole)
    run = cut(tmp_path / "run", 2 * blocks, [blocks * k // shards for k in range(1, shards)])
    publish_all(run, random.Random(shards).sample(range(shards), shards))
    merged(run)
    assert read_card(run.merged("measure")).pd == read_card(whole.merged("measure")).pd
