"""Several devices: rows shared out by tokens, costs summed over replicas, a model too large for one device."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.jobs.society import Lanes, Row, RunConfig, Simulation, load_backend
from quintet.jobs.society.backend import modules
from quintet.jobs.society.backend.foreign import HookEngine
from quintet.jobs.society.backend.modules import load_module
from quintet.jobs.society.backend.placement import shared_out, weight_bytes
from quintet.jobs.society.backend.replicas import ReplicatedBackend
from quintet.shard.society.rows import TIMING
from quintet.shard.society.simulate_phase import SimulateBlock

from .town_runs import TINY_STUDY, driven, same_rows

torch = pytest.importorskip("torch")
GB = 2**30


@pytest.fixture(scope="module")
def pair() -> Any:
    return load_backend("tiny-random", devices=["cpu:0", "cpu:1"])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_rows_are_cut_into_runs_of_about_equal_cost(pair: Any, count: int) -> None:
    replicas = ReplicatedBackend([pair.replicas[0]] * count, ["cpu"] * count)
    rng = np.random.Generator(np.random.PCG64(count))
    for rows in (0, 1, 2, 7, 40):
        costs = rng.integers(1, 300, rows).tolist()
        parts = replicas.shares(costs)
        assert list(chain.from_iterable(parts)) == list(range(rows)) and len(parts) == count
        for part in parts:
            # a cut is off by half a row at most, at either end
            assert sum(costs[i] for i in part) <= sum(costs) / count + max(costs, default=0)
    assert ReplicatedBackend(pair.replicas, pair.places).shares([1, 1, 1, 1]) == [[0, 1], [2, 3]]
    assert ReplicatedBackend(pair.replicas, pair.places).shares([90, 10, 40, 40]) == [[0], [1, 2, 3]]


def crowded(backend: Any, vectors: Any) -> Simulation:
    """A town in which all remember and say a lot, so that prompts differ in length."""
    config = RunConfig(
        run_id="d", model_name="tiny-random", population=9, steps=4, layers=[2],
        inference={"max_new_tokens": 8}, probes={"cadence": 2, "mode": "both"},
    )  # fmt: skip
    return Simulation(config, backend, vectors=vectors, prior=np.zeros(13))


def test_a_wave_is_shared_out_by_tokens_and_changes_no_bit(
    tiny: Any, tiny_vectors: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    shares = ReplicatedBackend.shares

    def watched(self: ReplicatedBackend, costs: list[int]) -> list[list[int]]:
        seen.append(list(costs))
        return shares(self, costs)

    monkeypatch.setattr(ReplicatedBackend, "shares", watched)
    found, alone = crowded(pair, tiny_vectors), crowded(tiny, tiny_vectors)
    for simulation in (found, alone):
        lanes = Lanes([simulation])
        while lanes.advance(1.0):
            pass
    for name, values in alone.log.since().items():
        np.testing.assert_array_equal(found.log.since()[name], values, err_msg=name)
    columns = alone.log.since()
    first_wave = columns["actions/tokens_in"][(columns["actions/tick"] == 0) & (columns["actions/ord"] == 0)]
    assert seen[0] == (first_wave + 8 + 16).tolist() and len(set(seen[0])) > 1
    assert all(len(set(costs)) > 1 for costs in seen if len(costs) > 4)


def test_costs_are_summed_over_devices(tiny: Any, tiny_vectors: Any) -> None:
    prior = np.full(13, -5.0)
    config = RunConfig(**TINY_STUDY)
    one = driven(config, range(2), {"backend": load_backend("tiny-random"), "vectors": tiny_vectors, "prior": prior})
    pair = load_backend("tiny-random", devices=["cpu:0", "cpu:1"])
    two: SimulateBlock = driven(config, range(2), {"backend": pair, "vectors": tiny_vectors, "prior": prior})
    assert all(replica.engine.rows for replica in pair.replicas)
    costs = [dict(zip(TIMING, block.result()["meta/timing"].sum(axis=0), strict=True)) for block in (one, two)]
    assert costs[1]["rows"] == sum(replica.engine.rows for replica in pair.replicas) >= costs[0]["rows"]
    assert costs[1]["forwards"] == sum(replica.engine.forwards for replica in pair.replicas)
    assert costs[1]["tokens"] == sum(replica.engine.tokens for replica in pair.replicas)
    same_rows(one.result(), two.result())


def sizes(**gigabytes: float) -> Any:
    return lambda place: gigabytes[place.replace(":", "")] * GB


def test_a_model_too_large_for_a_device_is_shared_out_over_all() -> None:
    cards = ["cuda:0", "cuda:1"]
    even = sizes(cuda0=24, cuda1=24)
    assert shared_out(18 * GB, cards, even) is None
    assert shared_out(30 * GB, ["cuda:0"], even) is None  # nothing to share it with
    assert shared_out(30 * GB, cards, even) == {0: "20480MiB", 1: "20480MiB"}
    # one small card is enough: every replica must be whole
    assert shared_out(18 * GB, cards, sizes(cuda0=24, cuda1=12)) == {0: "20480MiB", 1: "10240MiB"}
    # a cap counts as the card's size
    assert shared_out(12 * GB, cards, even, gpu_gb=12) == {0: "10240MiB", 1: "10240MiB"}
    assert shared_out(60 * GB, cards, even, cpu_gb=64) == {0: "20480MiB", 1: "20480MiB", "cpu": "65536MiB"}
    with pytest.raises(ValueError, match=r"60.0 GB do not fit into 24.0 \+ 24.0 GB of cuda:0, cuda:1"):
        shared_out(60 * GB, cards, even)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a tokenizer of words."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=128, intermediate_size=512, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("devices") / "model"
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    words = {f"w{number}": number for number in range(40)}
    tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0")).save(str(path / "tokenizer.json"))
    return path


def test_the_size_of_weights_follows_their_numbers(folder: Path) -> None:
    embeddings, norms = 2 * 40 * 128, 13 * 128
    layers = 6 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 512)
    assert weight_bytes(folder, torch.float32) == 4 * (embeddings + layers + norms)
    assert weight_bytes(folder, torch.bfloat16) == 2 * (embeddings + layers + norms)
    assert weight_bytes(folder, torch.bfloat16, "int8") == 2 * (embeddings + norms) + layers


def test_devices_hold_replicas_or_one_model_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = load_backend(str(folder))
    rows = [Row(list(range(3, 9 + number)), {}, 1, 5) for number in range(4)]
    whole = load_backend(str(folder), devices=["cpu:0", "cpu:1"])
    assert isinstance(whole, ReplicatedBackend)
    small, loaded = 0.7 * weight_bytes(folder, torch.float32), []
    monkeypatch.setattr("quintet.jobs.society.backend.loading.device_bytes", lambda place: small)

    def watched(*arguments: Any) -> Any:
        loaded.append(dict(arguments[-1]))
        return load_module(*arguments)

    monkeypatch.setattr(modules, "load_module", watched)
    shared = load_backend(str(folder), devices=["cpu:0", "cpu:1"])
    assert not isinstance(shared, ReplicatedBackend) and isinstance(shared.engine, HookEngine)
    assert loaded == [{"cpu": f"{int(2 * small / 1.2 / 2**20)}MiB"}]
    expected = alone.generate(rows, temperature=0)
    assert shared.generate(rows, temperature=0) == expected == whole.generate(rows, temperature=0)
