"""The doctor of slow runs: what it finds about caches and prompts, and whether its mends mend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quintet.jobs.society import RunConfig, Simulation
from quintet.shard.society.doctor import Evidence, caches, prompts


def evidence(prompt_tokens: float = float("nan"), costs: dict[str, float] | None = None, **config: Any) -> Evidence:
    timing = {name: np.array([value]) for name, value in (costs or {}).items()}
    return Evidence(RunConfig(**{"run_id": "d", "model_name": "tiny-random", **config}), None, timing, prompt_tokens)


def hits(embedding: float, memory: float) -> dict[str, float]:
    return {"embedding_lookups": 1e3, "embedding_hits": embedding, "memory_lookups": 1e3, "memory_hits": memory}


@pytest.mark.parametrize(
    ("costs", "level", "words"),
    [
        (hits(700, 0), "ok", "memory 0 % (inevitable: every action adds a memory)"),
        (hits(700, 500), "ok", "memory 50 %"),
        (hits(700, 100), "warn", "-> memory: {capacity: 200}"),
        (hits(100, 0), "warn", "-> memory: {scoring: keyword}"),
    ],
)
def test_a_cache_that_hits_rarely_is_named_with_its_mend(costs: dict[str, float], level: str, words: str) -> None:
    found = caches(evidence(costs=costs))
    assert found is not None and found.level == level and words in found.line


def test_an_embedding_cache_that_is_off_is_named() -> None:
    found = caches(evidence(optimization={"embedding_cache": False}))
    assert found is not None and found.fix == "optimization: {embedding_cache: true}"
    assert caches(evidence(optimization={"embedding_cache": False}, memory={"scoring": "keyword"})) is None


def test_the_retrieval_cache_of_a_town_never_hits() -> None:
    simulation = Simulation(RunConfig(run_id="d", model_name="mock", population=6, steps=20))
    simulation.run()
    lookups = sum(memory.lookups for memory in simulation.memories)
    assert lookups > 50 and sum(memory.hits for memory in simulation.memories) == 0


def test_the_mend_for_long_prompts_shortens_them() -> None:
    found = prompts(evidence(400.0))
    assert found is not None and found.fix == "memory: {top_k: 1}"
    wordy = {
        "memory": {"top_k": 1},
        "steering": {"mode": "prompt"},
        "inference": {"persona_prompt": "description"},
        "meta_orchestrator": {"recurring_reminders": ["Think of all that was said before."]},
    }
    said = prompts(evidence(400.0, **wordy))
    assert said is not None and "top_k" not in said.fix
    assert "persona_prompt: labels" in said.fix and "recurring_reminders" in said.fix

    def tokens(top_k: int) -> float:
        config = RunConfig(run_id="d", model_name="mock", population=6, steps=12, memory={"top_k": top_k})
        return float(Simulation(config).run().columns["actions/tokens_in"].mean())

    assert tokens(1) < tokens(3) == tokens(10)
