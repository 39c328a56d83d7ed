"""Steering: the recorded hook arithmetic, the algebra of doses, and arms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from quintet.jobs.society import PersonaVectors, RunConfig, Steering, load_contrast_items, steer
from quintet.jobs.society.arms import placebo_map, steering_of

from .golden_files import golden

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("as_tuple", [False, True])
def test_hooks_add_the_recorded_doses_and_leave_nothing_behind(as_tuple: bool) -> None:
    case = golden("hooks")
    raw = {t: {int(b): np.array(v, np.float32) for b, v in blocks.items()} for t, blocks in case["vectors"].items()}
    vectors = PersonaVectors(raw, {t: dict.fromkeys(blocks, 1.0) for t, blocks in raw.items()})
    dose = Steering(vectors, (0, 1), layer_scale="none").dose(case["alphas"])

    class Block(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return (x, "more") if as_tuple else x

    blocks = {0: Block(), 1: Block()}
    x = torch.tensor(case["x"])
    for number, block in blocks.items():
        with steer(blocks, dose):
            out = block(x)
        hidden = out[0] if as_tuple else out
        np.testing.assert_allclose(hidden.numpy(), np.array(case[f"layer{number}_out"]), atol=1e-5)
        with steer(blocks, dose, last=1):
            out = block(x)
        hidden = out[0] if as_tuple else out
        assert torch.equal(hidden[:, :-1], x[:, :-1]) and not torch.equal(hidden[:, -1], x[:, -1])
        after = block(x)
        assert torch.equal(after[0] if as_tuple else after, x)
        assert not block._forward_hooks


def small_vectors(blocks: tuple[int, ...] = (0, 1, 2)) -> PersonaVectors:
    rng = np.random.Generator(np.random.PCG64(3))
    directions = {t: {b: rng.normal(size=8).astype(np.float32) for b in blocks} for t in "EACON"}
    norms = {t: {b: float(rng.uniform(1, 5)) for b in blocks} for t in "EACON"}
    return PersonaVectors(directions, norms, "abc")


def test_doses_follow_the_formula() -> None:
    vectors = small_vectors()
    rows = [{"E": 1.0}, {"E": -0.5, "N": 2.0}, {}]
    one = Steering(vectors, (0, 2)).dose(rows)
    assert set(one) == {0, 2} and one[0].dtype == np.float32 and one[0].shape == (3, 8)
    np.testing.assert_allclose(one[2][0], vectors.norms["E"][2] * vectors.directions["E"][2] / 2, rtol=1e-6)
    np.testing.assert_array_equal(one[0][2], np.zeros(8))
    gains = Steering(vectors, (0, 2), strength=3.0, layer_scale="none", vector_norm={"E": 0.5}).dose(rows)
    expected = 3.0 * (
        -0.25 * vectors.norms["E"][0] * vectors.directions["E"][0].astype(float)
        + 2.0 * vectors.norms["N"][0] * vectors.directions["N"][0].astype(float)
    )
    np.testing.assert_allclose(gains[0][1], expected, rtol=1e-5)
    assert all(abs(np.linalg.norm(u) - 1) < 1e-6 for t in vectors.directions.values() for u in t.values())


def test_bad_vectors_and_blocks_are_named() -> None:
    vectors = small_vectors()
    with pytest.raises(ValueError, match="found 7; E has vectors for blocks 0 to 2"):
        Steering(vectors, (7,))
    with pytest.raises(ValueError, match="strength"):
        Steering(vectors, (0,), strength=-1)
    with pytest.raises(ValueError, match="'X'"):
        Steering(vectors, (0,)).dose([{"X": 1.0}])
    with pytest.raises(ValueError, match="abc, this is def"):
        vectors.checked_for("def", 8)
    with pytest.raises(ValueError, match="width is 8, the model's is 9"):
        vectors.checked_for("abc", 9)


def test_orthogonalised_vectors_keep_their_norms() -> None:
    vectors = small_vectors()
    done = vectors.orthogonalised("gram_schmidt")
    assert done.norms == vectors.norms
    table = np.array([done.directions[t][1] for t in "EACON"])
    np.testing.assert_allclose(table @ table.T, np.eye(5), atol=1e-5)
    np.testing.assert_array_equal(done.directions["E"][1], vectors.directions["E"][1])
    assert vectors.orthogonalised("none") is vectors


@pytest.mark.parametrize("seed", range(20))
def test_the_placebo_leaves_no_trait_in_place(seed: int) -> None:
    mapping = placebo_map(seed)
    assert sorted(mapping.values()) == sorted("EACON") and all(a != b for a, b in mapping.items())


def test_arms_take_the_vectors_that_they_should(tiny: object, tiny_vectors: PersonaVectors) -> None:
    def arm(mode: str) -> Steering:
        return steering_of(RunConfig(run_id="a", layers=[2], steering={"mode": mode}), tiny, tiny_vectors)

    targeted, placebo, random = arm("targeted"), arm("placebo"), arm("random")
    other = placebo_map(7)["E"]
    np.testing.assert_array_equal(placebo.dose([{"E": 1.0}])[2], targeted.dose([{other: 1.0}])[2])
    drawn = random.dose([{"E": 1.0}])[2]
    assert np.linalg.norm(drawn) == pytest.approx(np.linalg.norm(targeted.dose([{"E": 1.0}])[2]), rel=1e-5)
    with pytest.raises(ValueError, match="blocks 0 to 3"):
        steering_of(RunConfig(run_id="a", layers=[4]), tiny, tiny_vectors)


def test_train_and_eval_items_are_disjoint() -> None:
    items = load_contrast_items()
    assert list(items) == ["E", "A", "C", "O", "N"]
    for entries in items.values():
        assert [sum(item.split == split for item in entries) for split in ("train", "eval")] == [16, 8]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"high": ""}, "item b: high is missing"),
        ({"id": "a"}, "item a is a train and an eval item"),
        ({"stem": "A party,  TONIGHT."}, "eval item b repeats a train item"),
        ({"split": "test"}, "found 'test'"),
    ],
)
def test_contrast_files_without_two_answers_or_with_overlap_are_refused(
    tmp_path: Path, change: dict[str, str], words: str
) -> None:
    train = {"id": "a", "split": "train", "stem": "A party tonight.", "high": "I go.", "low": "I stay."}
    held_out = {"id": "b", "split": "eval", "stem": "A call.", "high": "I answer.", "low": "I let it ring.", **change}
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"traits": {"E": {"items": [train, held_out]}}}))
    with pytest.raises(ValueError, match=words):
        load_contrast_items(path)
