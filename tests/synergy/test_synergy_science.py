"""A small network learns the synergy target where it should, and no modality alone reveals it."""

from __future__ import annotations

import numpy as np
import pytest
from quintet.jobs.synergy import Config, Dataset, Split, Unit, make_dataset, train_unit

from .samples import synthetic

SMALL = {"hidden_dim": 64, "n_layers": 2}
RATE = {"optimizer": {"lr": 2e-3}}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    sizes = {"n_train": 20_000, "n_val": 4_000, "n_test": 8}
    return make_dataset(Config(data=sizes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dim", "scale", "least", "most", "redundant"),
    [
        (16, 1.0, 4, 5, (0.0, 1.0)),
        (32, 0.1, 4, 5, (0.9, 1.0)),
        (4, 10.0, 3, 5, (0.0, 0.5)),
        (4, 0.1, 0, 1, (0.7, 1.0)),
        (2, 1.0, 0, 0, (0.0, 1.0)),
    ],
)
def test_the_workspace_keeps_synergy_where_it_should(
    dataset: Dataset, dim: int, scale: float, least: int, most: int, redundant: tuple[float, float]
) -> None:
    config = Config(model=SMALL, training={"epochs": 25, **RATE})
    found = [train_unit(dataset, Unit(dim, scale, run), config).metrics for run in range(5)]
    assert least <= sum(metrics["learned"] for metrics in found) <= most
    assert redundant[0] <= np.mean([metrics["predictability/redundant_r2"] for metrics in found]) <= redundant[1]
    if dim == 16:
        assert np.median([metrics["predictability/synergy_acc"] for metrics in found]) >= 0.80
        assert np.median([metrics["predictability/synergy_norm_ce"] for metrics in found]) >= 0.75
    room = 4 * np.sqrt(0.125 * 0.875 / len(dataset.val))
    for metrics in found:
        assert abs(metrics["unimodal/attr_acc"] - 0.125) <= room
        assert abs(metrics["unimodal/v_acc"] - 0.125) <= room


@pytest.mark.slow
def test_two_backends_learn_equally_well(dataset: Dataset) -> None:
    config = Config(model=SMALL, training={"epochs": 12, **RATE})
    found = {
        backend: [train_unit(dataset, Unit(16, 1.0, run), config, backend=backend).metrics for run in range(8)]
        for backend in ("cpu", "torch")
    }
    for name, missing in (("predictability/synergy_acc", 0.0), ("onset_epoch", 13.0)):
        arms = [
            np.array([missing if metrics[name] is None else metrics[name] for metrics in runs], float)
            for runs in found.values()
        ]
        error = np.sqrt(sum(arm.var(ddof=1) / len(arm) for arm in arms))
        assert abs(arms[0].mean() - arms[1].mean()) <= 3 * error + 1e-12, name


def two_bins(rows: int, seed: int) -> Split:
    """The target with two bins: exclusive or of a size that only v has and of u."""
    base = synthetic(rows, seed)
    size = np.rint(base.v[:, -1]).astype(np.int64)
    base.v[:, -1] = size
    base.attr[:, 10] = np.rint(base.attr[:, 10])
    return Split(base.attr, base.v, ((size + base.attr[:, 10].astype(np.int64)) % 2).astype(np.uint8))


def test_the_kernel_learns_an_exclusive_or() -> None:
    data = Dataset(two_bins(8_000, 0), two_bins(1_000, 1), None, 2)
    found = train_unit(data, Unit(16, 5.0), Config(model=SMALL, training={"epochs": 8, **RATE})).metrics
    assert found["predictability/synergy_acc"] > 0.95 and found["info/synergy_bits"] > 0.7
    assert abs(found["unimodal/attr_acc"] - 0.5) < 0.1 and abs(found["unimodal/v_acc"] - 0.5) < 0.1
