"""Blocks of simulate on the small random model: lanes, resuming, failures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quintet.jobs.society import RunConfig
from quintet.jobs.society.backend.core import Backend
from quintet.shard.society.rows import TIMING
from quintet.shard.society.simulate_phase import SimulateBlock

from .town_runs import TINY_STUDY, driven, same_rows

pytest.importorskip("torch")
PRIOR = np.full(13, -5.0)


@pytest.fixture(scope="module")
def voice(tiny: Any, tiny_vectors: Any) -> dict[str, Any]:
    return {"backend": tiny, "vectors": tiny_vectors, "prior": PRIOR}


@pytest.fixture(scope="module")
def together(voice: dict[str, Any]) -> dict[str, Any]:
    return driven(RunConfig(**TINY_STUDY), range(4), voice).result()


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "counts/actions"}
    return {**whole, "counts/actions": sum(part["counts/actions"] for part in parts)}


def test_units_do_not_depend_on_their_lanes_or_batches(voice: dict[str, Any], together: dict[str, Any]) -> None:
    config = RunConfig(**{**TINY_STUDY, "inference": {"max_new_tokens": 4, "batch_size": 5}})
    parts = [driven(config, range(unit, unit + 1), voice).result() for unit in range(4)]
    same_rows(together, joined(parts))


def test_a_block_goes_on_from_every_tick_to_the_same_bits(voice: dict[str, Any], together: dict[str, Any]) -> None:
    config = RunConfig(**TINY_STUDY)
    block = SimulateBlock(config, range(4), voice, pause=0.0)
    seen = set()
    while block.advance():
        state = block.state()
        seen.add(state["0/tick"])
        block = SimulateBlock(config, range(4), voice, pause=0.0)
        block.restore(state)
    assert seen == {1, 2}
    same_rows(together, block.result())


def test_what_a_block_cost_is_shared_out_and_no_part_of_the_rows(together: dict[str, Any]) -> None:
    costs = dict(zip(TIMING, together["meta/timing"].T, strict=True))
    assert costs["decisions"].sum() == len(together["rows/actions/tick"])
    assert (costs["cpu_s"] > 0).all() and (costs["forwards"] > 0).all() and (costs["bitwise"] == 1).all()
    assert (costs["embedding_hits"] <= costs["embedding_lookups"]).all()


def test_a_unit_whose_model_gives_nan_is_a_row_and_its_companions_go_on(
    voice: dict[str, Any], together: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Backend.verb_logprobs

    def broken(self: Any, batch: Any, hidden: Any, verbs: Any, places: Any = ()) -> Any:
        strongest = max((float(delta.float().norm(dim=1).max()) for delta in batch.dose.values()), default=0.0)
        if strongest > 50:
            raise FloatingPointError(f"NaN logits, {places[0]}; a lower steering.strength may help")
        return whole(self, batch, hidden, verbs, places)

    monkeypatch.setattr(Backend, "verb_logprobs", broken)
    study = {"single_traits": ["E"], "doses": [-1.0, 1.0, 1e6], "replicates": 2}
    result = driven(RunConfig(**{**TINY_STUDY, "study": study}), range(3), voice).result()
    assert result["rows/units/status"].tolist() == [0, 0, 1]
    assert result["rows/units/ticks"].tolist() == [3, 3, 0]
    reason = result["rows/units/reason"].tobytes().decode()
    assert reason.startswith("tick 0: NaN logits, resident ") and "steering.strength" in reason
    assert np.isnan(result["rows/scalars"][2]).all() and np.isfinite(result["rows/scalars"][:2, 0]).all()
    np.testing.assert_array_equal(result["rows/scalars"][:2], together["rows/scalars"][:2])
