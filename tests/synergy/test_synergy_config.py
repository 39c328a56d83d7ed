"""The config takes the reference's layout, refuses what is wrong by name, and the presets have their sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from quintet.jobs.synergy import Config, Unit, make_dataset
from quintet.jobs.synergy.conditions import grid
from quintet.jobs.synergy.presets import NETWORKS, PRESETS, merged

BAD = [
    ({"data": {"batch_size": 0}}, "batch_size"),
    ({"data": {"batch_size": 101, "n_train": 100}}, "batch_size 101"),
    ({"data": {"n_bins": 1}}, "n_bins"),
    ({"data": {"min_scale": 14}}, "min_scale 14"),
    ({"data": {"max_scale": 40}}, "max_scale 40"),
    ({"data": {"colour": 1}}, "colour"),
    ({"training": {"epochs": 0}}, "epochs"),
    ({"training": {"optimizer": {"type": "SGD"}}}, "Adam"),
    ({"training": {"loss_configs": [{"name": "a", "weights": {}}, {"name": "a", "weights": {}}]}}, "defined twice"),
    ({"training": {"loss_configs": [{"name": "z", "weights": {}}]}}, "'z' has no weight above 0"),
    ({"run": {"gpu_memory_percent": 0.5}}, "gpu_memory_percent"),
    ({"run": {"gpu_memory_percent": 100.5}}, "gpu_memory_percent"),
    ({"sweep": {"experiment_type": "nothing"}}, "experiment_type"),
    ({"sweep": {"dims": []}}, "dims"),
    ({"sweep": {"dims": [8.5]}}, "dims"),
    ({"sweep": {"dims": [0]}}, "dims"),
    ({"sweep": {"synergy_scales": [-1.0]}}, "synergy_scales"),
    ({"sweep": {"synergy_scales": [float("nan")]}}, "synergy_scales"),
    ({"sweep": {"runs_per_condition": 0}}, "runs_per_condition"),
    ({"synergy": {"domains": ["attr", "w"]}}, "domains"),
    ({"synergy": {"unique_indices": {"attr": [11]}}}, "unique_indices.attr: 11"),
    ({"synergy": {"noise": {"train_std": 0.1}}}, "not supported: synergy.noise"),
    ({"model": {"domains": [{"name": "v"}]}}, "exactly attr and v"),
    ({"model": {"fusion_weights": {"attr": -1}}}, "fusion_weights"),
]


@pytest.mark.parametrize(("values", "named"), BAD, ids=[named for _, named in BAD])
def test_bad_values_are_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named.replace(".", r"\.")):
        Config(**values)


@pytest.mark.filterwarnings("ignore:config")
def test_a_config_of_the_reference_loads_with_warnings() -> None:
    with pytest.warns(UserWarning, match="num_workers"):
        config = Config(
            data={"num_workers": 4, "image_dir": "images", "batch_size": 64},
            model={
                "domains": [
                    {"name": "attr", "domain_type": "attr", "checkpoint_path": "a.ckpt"},
                    {"name": "v", "domain_type": "v_latents"},
                ],
                "workspace_dim": 12,
            },
            synergy={"domains": ["attr", "v"], "loss_scale": 2.0, "noise": {"train_std": 0.0}},
            training={
                "reset_model_per_experiment": True,
                "loss_configs": [{"name": "mine", "weights": {"fusion": 1.0, "cycle": 0.1}, "epochs": 7}],
            },
            experiment={"wandb_project": "p", "log_to_wandb": False},
        )
    assert config.epochs("mine") == 7 and config.epochs("fusion_only") == 50
    assert config.objective("mine").weights == (1.0, 0.0, 0.1, 0.0)


def test_presets_and_networks_have_their_sizes() -> None:
    for name, count in (("quick", 8), ("medium", 60), ("full", 210), ("comprehensive", 1000)):
        for network in NETWORKS.values():
            sweep = Config(**merged(PRESETS[name], network)).sweep
            assert len(grid(sweep.dims, sweep.synergy_scales, sweep.runs_per_condition)) == count
    small = Config(**NETWORKS["small"])
    assert (small.model.hidden_dim, small.model.n_layers, small.training.epochs) == (64, 2, 25)
    assert small.optimiser().learning_rate == 2e-3 and small.data.n_train == 20_000


def test_units_are_in_canonical_order_with_paired_seeds() -> None:
    units = grid([8, 2], [1.0, 0.1, 1.0], 2)
    assert units[:3] == [Unit(2, 0.1, 0, 42), Unit(2, 0.1, 1, 43), Unit(2, 1.0, 0, 42)] and len(units) == 8


def test_a_data_set_of_principal_axes() -> None:
    config = Config(data={"n_train": 300, "n_val": 50, "n_test": 40}, visual={"kind": "pca", "max_val_mse": None})
    found, again = make_dataset(config), make_dataset(config)
    assert found.test is not None and found.train.v.shape == (300, 13) and found.train.attr.shape == (300, 11)
    assert found.train.v.dtype == np.float32 and found.train.xor_bin.dtype == np.uint8
    np.testing.assert_array_equal(found.train.v, again.train.v)
    np.testing.assert_allclose(found.train.v[:, :12].std(axis=0, ddof=1), 1.0, rtol=1e-5)
    sizes = np.rint(found.train.v[:, 12] * 7).astype(int)
    u_bins = np.floor(found.train.attr[:, 10] * 8).astype(int)
    np.testing.assert_array_equal((sizes + u_bins) % 8, found.train.xor_bin)


def test_a_poor_visual_domain_is_refused() -> None:
    config = Config(data={"n_train": 100, "n_val": 20, "n_test": 8}, visual={"kind": "pca", "max_val_mse": 1e-6})
    with pytest.raises(ValueError, match=r"visual\.max_val_mse"):
        make_dataset(config)


def test_keys_that_follow_from_others_have_their_values_and_may_be_set() -> None:
    config = Config()
    assert (config.visual.lr, config.model.decoder_hidden_dim, config.run.group) == (2e-3, 128, 1)
    assert Config(visual={"kind": "vae_conv"}).visual.lr == 5e-3
    assert Config(visual={"kind": "vae_conv", "lr": 1e-4}).visual.lr == 1e-4
    for model in ({"hidden_dim": 64}, {"hidden_dim": 64, "decoder_hidden_dim": None}):
        assert Config(model=model).model.decoder_hidden_dim == 64
    assert Config(run={"backend": "torch-stacked"}).run.group == Config(run={"device": "cuda"}).run.group == 256
    assert Config(run={"backend": "torch-stacked", "group": "dim"}).run.group == "dim"
    for section in ({"visual": {"lr": 0.0}}, {"model": {"decoder_hidden_dim": 0}}, {"run": {"group": 0}}):
        with pytest.raises(ValidationError):
            Config(**section)
