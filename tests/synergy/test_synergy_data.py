"""Labels, colours, images, attributes and the target are the reference's, bit for bit."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import numpy as np
import pytest
from quintet.jobs.synergy import attributes, hls_to_rgb, make_labels, render, xor_target
from scipy.stats import chi2_contingency

from .samples import golden


def sha(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize("case", golden("labels"), ids=lambda case: f"seed{case['seed']}-{case['counts']['train']}")
def test_labels_and_targets_are_the_published_ones(case: dict[str, Any]) -> None:
    ranges = {key: case[key] for key in ("min_scale", "max_scale", "min_lightness", "max_lightness", "img_size")}
    found = make_labels(case["counts"], data_seed=case["seed"], u_seed=case["seed_u"], **ranges)
    for name, expected in case["splits"].items():
        labels, u = found[name].labels, found[name].u
        assert labels.dtype == u.dtype == np.float32
        assert sha(labels) == expected["labels_sha256_f32"]
        assert sha(u) == expected["u_sha256_f32"]
        attr = attributes(labels, u)
        assert attr.dtype == np.float32 and attr.shape == (len(labels), 11)
        np.testing.assert_array_equal(attr[: len(expected["attr11"])], np.array(expected["attr11"], "f4"))
        own = xor_target(labels[:, 3], u, size_range="split")
        for key in ("size_bin", "u_bin", "xor_bin"):
            assert sha(getattr(own, key)) == expected[f"{key}_sha256_u1"]
        fixed = xor_target(labels[:, 3], u)
        assert sha(fixed.xor_bin) == expected["xor_bin_fixed_range_sha256_u1"]
        np.testing.assert_array_equal(own.size_normalized[:4], expected["size_normalized"][:4])
        rows = len(expected["xor_target_normalized"])
        np.testing.assert_array_equal(
            own.xor_target_normalized[:rows], np.array(expected["xor_target_normalized"], "f4")
        )


def test_all_colours_are_the_reference_librarys() -> None:
    expected = golden("hls_to_rgb")
    pairs = expected["pairs"]
    np.testing.assert_array_equal(
        hls_to_rgb(np.array([pair["hls"] for pair in pairs], np.uint8)), [pair["rgb"] for pair in pairs]
    )
    digest = hashlib.sha256()
    rest = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), -1).reshape(-1, 2)
    for hue in range(181):
        hls = np.column_stack([np.full(len(rest), hue), rest]).astype(np.uint8)
        digest.update(hls_to_rgb(hls).tobytes())
    assert digest.hexdigest() == expected["all_181x256x256_rgb_sha256_u1"]


def test_images_are_the_references() -> None:
    for source in golden("images"):
        for entry in source["images"]:
            content = zlib.decompress(base64.b64decode(entry["png_like_zlib_b64"]))
            expected = np.frombuffer(content, np.uint8).reshape(32, 32, 3)
            found = render(np.array([entry["label"]], np.float32))[0]
            assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2


def test_images_scale_with_the_canvas() -> None:
    label = np.array([[0, 30, 30, 20, 0.0, 200, 100, 50, 0, 0, 0, 0]], np.float32)
    image = render(label, img_size=64)[0]
    assert image.shape == (64, 64, 3) and image[64 - 30, 30].tolist() == [200, 100, 50]
    assert image[0].max() == 0


def test_target_bins_are_the_tabled_ones() -> None:
    table = golden("xor_table")
    for entry in table["u_edges"]:
        assert xor_target([7], [entry["u"]]).u_bin[0] == entry["bin"]
    for other in table["other_bins"]:
        for entry in other["u"]:
            assert xor_target([7.0], [entry["u"]], n_bins=other["n_bins"]).u_bin[0] == entry["bin"]
        for size, size_bin in other["size_bins"].items():
            assert xor_target([int(size)], [0.0], n_bins=other["n_bins"]).size_bin[0] == size_bin
    sizes, us = np.repeat(np.arange(7, 15), 8), np.tile((np.arange(8) + 0.5) / 8, 8)
    np.testing.assert_array_equal(xor_target(sizes, us).xor_bin.reshape(8, 8), table["table"])


def test_split_range_of_equal_sizes_is_the_middle() -> None:
    found = xor_target([9, 9], [0.0, 1.0], size_range="split")
    assert found.size_normalized.tolist() == [0.5, 0.5] and found.u_bin.tolist() == [0, 7]


@pytest.mark.parametrize(
    ("size", "u", "options"),
    [([7], [1.5], {}), ([7], [0.5], {"n_bins": 1}), ([7, 8], [0.5], {}), ([7], [0.5], {"size_range": "both"})],
)
def test_bad_target_input_is_refused(size: list[int], u: list[float], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        xor_target(size, u, **options)


def test_the_target_is_independent_of_either_input() -> None:
    found = make_labels({"train": 50_000})["train"]
    target = xor_target(found.labels[:, 3], found.u)
    for source in (target.size_bin, target.u_bin):
        table = np.zeros((8, 8))
        np.add.at(table, (source, target.xor_bin), 1)
        assert chi2_contingency(table).pvalue > 0.001


def test_bad_labels_and_colours_are_refused() -> None:
    for ranges in ({"max_scale": 40}, {"min_scale": 15}, {"min_lightness": 256}, {"max_lightness": 300}):
        with pytest.raises(ValueError, match=next(iter(ranges))):
            make_labels({"train": 3}, **ranges)
    with pytest.raises(ValueError, match="counts"):
        make_labels({"validation": 3})
    with pytest.raises(ValueError, match="hls"):
        hls_to_rgb(np.zeros((2, 6), np.uint8))
    for wrong in (-1, 3):
        label = make_labels({"train": 2})["train"].labels
        label[1, 0] = wrong
        with pytest.raises(ValueError, match="class"):
            render(label)


def test_splits_are_drawn_in_their_order_whatever_the_order_of_counts() -> None:
    one = make_labels({"train": 4, "val": 2, "test": 3})
    other = make_labels({"test": 3, "val": 2, "train": 4})
    assert set(one) == set(other)
    for name, found in one.items():
        np.testing.assert_array_equal(found.labels, other[name].labels)
        np.testing.assert_array_equal(found.u, other[name].u)
