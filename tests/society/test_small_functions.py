"""Random streams, text cleaning, inequality, bands, safety, probes, memory and verification against golden files."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from quintet.jobs.society import (
    Memory,
    clean_utterance,
    gini,
    parse_behavior,
    parse_likert,
    polarization,
    review_utterance,
    trait_band,
    uniform,
    verify_steering,
)
from quintet.jobs.society.memory import hashed_embedding
from quintet.jobs.society.prompts import persona_words
from quintet.jobs.society.statistics import assortativity, degree_centrality, modularity
from quintet.jobs.society.streams import uniforms

from .golden_files import golden

UNITS = golden("units")
LETTERS = {name: name[0] for name in ("Extraversion", "Agreeableness", "Conscientiousness", "Openness", "Neuroticism")}


def test_random_streams_are_exact() -> None:
    for arguments, value in golden("rng")["cases"]:
        assert uniform(*arguments) == value
        seed, stream, tick, resident, k = arguments
        assert uniforms(seed, stream, [tick], resident, k).tolist() == [value]


def test_texts_are_cleaned_as_expected() -> None:
    for case in UNITS["sanitize"]:
        assert clean_utterance(case["text"]) == case["expected"], case


def test_gini_and_variance_are_exact() -> None:
    for values, expected in UNITS["gini"]:
        assert gini(values) == pytest.approx(expected, abs=1e-12)
    for values, expected in UNITS["polarization"]:
        assert polarization(values) == pytest.approx(expected, abs=1e-12)


def test_bands_name_the_dominant_trait() -> None:
    for persona, snapshot, expected in UNITS["trait_band_key"]:
        total = {trait: persona.get(trait, 0.0) + snapshot.get(trait, 0.0) for trait in "EACON"}
        assert trait_band(total, threshold=1.5) == expected
    assert trait_band({"E": 0.5}) == "E:high"
    assert trait_band({"N": -0.9}) == "N:low"
    assert trait_band({"O": 0.2}) == "O:neutral"


def test_the_governor_reads_whole_words() -> None:
    safety = UNITS["safety"]
    for case in safety["cases"]:
        event = review_utterance(case["text"], safety["alphas"], safety["backoff"])
        found = None if event is None else [event.kind, event.severity, event.overrides]
        assert found == case["expected"], case
    assert review_utterance("kill", {"E": 1.0}, threshold=0.5) is None


def test_probe_answers_are_read_as_expected() -> None:
    cases = golden("probe_parsing")
    for case in cases["likert"]:
        assert list(parse_likert(case["text"])) == case["expected"], case
    for case in cases["behavior"]:
        outcomes = cases["behavior_defs"][case["probe"]]["outcomes"]
        assert list(parse_behavior(case["text"], outcomes)) == case["expected"], case
    assert parse_behavior("I do not share it", {"share": ["give"], "refuse": ["keep"]}) == ("refuse", "share")


def test_keyword_memories_are_ranked_as_recorded() -> None:
    for case in golden("memory_keyword_scoring")["cases"]:
        memory = Memory("keyword")
        for number, tick, text, importance, tags in case["events"]:
            event = memory.add(tick, text)
            assert event.number == number
            assert event.importance == pytest.approx(importance, abs=1e-12)
            assert event.tags == {LETTERS[name]: weight for name, weight in tags.items()}
        found = memory.top(case["query"], case["focus"], case["persona"], case["current_tick"], k=50)
        assert [event.number for event in found] == case["order"]


@pytest.mark.parametrize("scoring", ["keyword", "embedding"])
def test_memos_change_no_selection_and_states_restore(scoring: str) -> None:
    memories = [Memory(scoring, 30, hashed_embedding, memo=memo) for memo in (True, False)]  # type: ignore[arg-type]
    for tick in range(60):
        for memory in memories:
            memory.add(tick, f"the report {tick % 7} of the library meeting {'help ' * (tick % 5)}")
        picks = [
            memory.top("report library", ["library"], {"A": 0.5}, tick + shift, 5)
            for memory in memories
            for shift in (0, 40, 150)
        ]
        assert picks[:3] == picks[3:]
    assert memories[0].hits > 0 and memories[1].hits == 0
    assert len(memories[0]) == 30
    again = Memory(scoring, 30, hashed_embedding)  # type: ignore[arg-type]
    again.restore(memories[0].state())
    assert again.top("report", [], {}, 60, 30) == memories[0].top("report", [], {}, 60, 30)
    assert again.add(61, "new").number == 60


def test_embedded_memories_are_ranked_by_their_angle_to_the_query() -> None:
    places = {"near": [1.0, 0.0], "far": [10.0, 10.0], "nothing": [0.0, 0.0], "query": [2.0, 0.0]}
    memory = Memory("embedding", embed=lambda text: np.array(places[text], "f4"))
    for text in ("far", "nothing", "near"):
        memory.add(0, text)
    assert [event.text for event in memory.top("query", [], {}, 0)] == ["near", "far", "nothing"]


@pytest.mark.parametrize(
    "form, words",
    [
        ("none", ""),
        ("labels", " High extraversion, conscientiousness; low neuroticism."),
        ("description", " You are very outgoing, careful, calm."),
    ],
)
def test_personas_are_told_in_few_words(form: str, words: str) -> None:
    assert persona_words((0.9, 0.05, 0.4, 0.0, -0.3), form) == words
    assert persona_words((0.0,) * 5, form) == ""


def test_a_full_memory_drops_the_least_important_and_of_these_the_oldest() -> None:
    memory = Memory("keyword", capacity=3)
    for text in ("one two three", "a b", "c d", "e f g h"):
        memory.add(0, text)
    assert [event.text for event in memory.events] == ["one two three", "c d", "e f g h"]


def test_verification_gives_the_recorded_statistics() -> None:
    cases = golden("verify_steering")
    for ticks in (20, 3):
        verdict, expected = verify_steering(cases["rows"], ticks), cases[f"num_files_{ticks}"]
        assert (verdict.messages, verdict.residents) == (expected["messages"], expected["agents"])
        assert verdict.sampled_residents == expected["sampled_agents"]
        for trait, values in expected["traits"].items():
            assert asdict(verdict.traits[trait]) == pytest.approx(values, abs=1e-6)
        assert verdict.diversity == pytest.approx(expected["inter_agent_var"], abs=1e-6)
        assert verdict.exit_code == 0
        assert verify_steering(cases["rows"], ticks, strict=True).exit_code == 1


def test_verification_fails_without_steering_and_refuses_no_ticks() -> None:
    assert verify_steering([(0, "agent-000", {})]).exit_code == 1
    assert verify_steering([]).exit_code == 1
    flat = verify_steering([(0, "agent-000", {"E": 0.005})])
    assert flat.exit_code == 1 and any("near zero" in line for line in flat.lines)
    with pytest.raises(ValueError, match="num_ticks"):
        verify_steering([], 0)


def test_graph_metrics_of_two_triangles() -> None:
    edges = {(0, 1): 1.0, (1, 2): 1.0, (0, 2): 1.0, (3, 4): 1.0, (4, 5): 1.0, (3, 5): 1.0, (2, 3): 1.0}
    assert modularity(edges) == pytest.approx(6 / 7 - 0.5)
    assert degree_centrality(edges, 6) == (pytest.approx(14 / 30), pytest.approx(0.6))
    values = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    x = [values[a] for a, b in edges] + [values[b] for a, b in edges]
    y = [values[b] for a, b in edges] + [values[a] for a, b in edges]
    assert assortativity(edges, values) == pytest.approx(float(np.corrcoef(x, y)[0, 1]))
    assert np.isnan(assortativity(edges, [1.0] * 6))
    assert modularity({(0, 1): 1.0}) == 0.0
