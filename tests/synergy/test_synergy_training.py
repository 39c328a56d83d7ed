"""Whole trainings are the exact ones, and the same bits alone, in a group and after a stop."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from quintet.jobs.synergy import Config, Dataset, Split, Unit, UnitResult, train_unit, train_units
from quintet.jobs.synergy.config import EarlyStopping
from quintet.jobs.synergy.member import Member
from quintet.jobs.synergy.objective import EXPERIMENT_TYPES
from quintet.jobs.synergy.training import Training

from .samples import golden, small_config, small_dataset, split_of, synthetic

BACKENDS = ("cpu", "torch", "torch-stacked")
UNITS = [Unit(3, 1.0), Unit(8, 0.1, 1), Unit(5, 5.0, 2)]


def assert_same(one: UnitResult, other: UnitResult) -> None:
    """Equal to the last bit, cost aside."""
    assert one.status == other.status and one.metrics == other.metrics
    assert json.dumps(one.history) == json.dumps(other.history)
    np.testing.assert_array_equal(one.confusion, other.confusion)
    for name, array in one.parameters.items():
        np.testing.assert_array_equal(array, other.parameters[name])
    assert (one.best_parameters is None) == (other.best_parameters is None)
    for name, array in (one.best_parameters or {}).items():
        np.testing.assert_array_equal(array, (other.best_parameters or {})[name])


def case_config(case: dict[str, Any]) -> Config:
    return Config(
        data={"batch_size": case["batch_size"]},
        model={key: case[key] for key in ("hidden_dim", "decoder_hidden_dim", "n_layers")},
        training={
            "epochs": case["epochs"],
            "grad_clip": case["grad_clip"],
            "optimizer": {"lr": case["lr"], "weight_decay": case["weight_decay"]},
        },
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", golden("training_small"), ids=lambda case: case["experiment_type"])
def test_small_trainings_are_the_exact_ones(case: dict[str, Any], backend: str) -> None:
    unit = Unit(case["workspace_dim"], case["synergy_scale"], seed=case["seed"])
    dataset = Dataset(split_of(case["train"]), split_of(case["val"]))
    kind = case["experiment_type"]
    found = train_unit(dataset, unit, case_config(case), experiment_type=kind, backend=backend)
    assert found.status == "done" and found.seed == case["seed"]
    weights = EXPERIMENT_TYPES[kind]._asdict()
    trained = tuple(f"{name}_" for name, weight in weights.items() if weight)
    for epoch, expected in enumerate(case["history"]):
        rel = 2e-5 if epoch == 0 else 2e-4
        pairs = [("train_loss", expected["train"]["total_loss"]), ("val_loss", expected["val"]["total_loss"])]
        pairs += [(key, expected[key]) for key in ("grad_norm_first", "grad_norm_last")]
        for phase in ("train", "val"):
            for name, value in expected[phase].items():
                if name.startswith(trained):
                    pairs.append((f"{phase}_{name}", value))
                elif "/" in name:
                    pairs.append((name, value))
        for name, value in pairs:
            assert found.history[name][epoch] == pytest.approx(value, rel=rel, abs=1e-9), (name, epoch)
    assert found.steps == sum(entry["steps"] for entry in case["history"])


@pytest.mark.parametrize("kind", EXPERIMENT_TYPES)
def test_native_training_stays_with_torch(kind: str) -> None:
    dataset, unit, config = small_dataset(), Unit(6, 2.0), small_config(training={"grad_accumulation": 2})
    native = train_unit(dataset, unit, config, experiment_type=kind, backend="cpu")
    other = train_unit(dataset, unit, config, experiment_type=kind, backend="torch")
    assert set(native.metrics) == set(other.metrics) and set(native.history) == set(other.history)
    for name, values in native.history.items():
        np.testing.assert_allclose(values, other.history[name], rtol=2e-4, atol=1e-6, err_msg=name)
    for name in ("val_loss_unscaled", "test_loss", "reconstruction/attr_mse", "unimodal/v_acc", "info/synergy_bits"):
        assert native.metrics[name] == pytest.approx(other.metrics[name], rel=2e-3, abs=2e-3), name


def test_a_native_unit_is_the_same_alone_and_in_a_group() -> None:
    dataset, config = small_dataset(), small_config()
    group = Training(dataset, UNITS, config, "all_losses", "cpu").run()
    for unit, one, listed in zip(
        UNITS, group, train_units(dataset, UNITS, config, experiment_type="all_losses"), strict=True
    ):
        assert_same(one, train_unit(dataset, unit, config, experiment_type="all_losses", backend="cpu"))
        assert_same(one, listed)


def test_a_padded_stack_is_close_to_separate_trainings_and_repeats_itself() -> None:
    dataset, config = small_dataset(), small_config()
    stack = train_units(dataset, UNITS, config, experiment_type="all_losses", backend="torch-stacked")
    again = train_units(dataset, UNITS, config, experiment_type="all_losses", backend="torch-stacked")
    for unit, one, other in zip(UNITS, stack, again, strict=True):
        assert_same(one, other)
        alone = train_unit(dataset, unit, config, experiment_type="all_losses", backend="torch")
        for name, array in one.parameters.items():
            assert array.shape == alone.parameters[name].shape
            np.testing.assert_allclose(array, alone.parameters[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stops", [1, 4, 9])
def test_a_stopped_training_goes_on_to_the_same_bits(backend: str, stops: int) -> None:
    dataset = small_dataset()
    config = small_config(training={"epochs": 3, "grad_accumulation": 2, "eval_every": 2})
    whole = Training(dataset, UNITS, config, "fusion_cycle", backend).run()
    first = Training(dataset, UNITS, config, "fusion_cycle", backend)
    first._engine.chunk = 2
    for _ in range(stops):
        first.advance()
    assert {result.status for result in first.result()} == ({"interrupted"} if stops < 9 else {"done"})
    kept = {
        name: value.copy() if isinstance(value, np.ndarray) else json.loads(json.dumps(value, allow_nan=False))
        for name, value in first.state().items()
    }
    second = Training(dataset, UNITS, config, "fusion_cycle", backend)
    second.restore(kept)
    second._engine.chunk = 3
    for one, other in zip(whole, second.run(), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_unit_that_overflows_fails_alone(backend: str) -> None:
    dataset, config = small_dataset(), small_config()
    units = [UNITS[0], Unit(4, 3e38, 7), UNITS[2]]
    group = Training(dataset, units, config, backend=backend).run()
    assert [result.status for result in group] == ["done", "failed", "done"]
    assert "step 1" in group[1].error and group[1].epochs_done == 0 and group[1].steps == 0
    record = group[1].record()
    assert record["status"] == "failed" and record["best_val_loss"] is None
    json.dumps(record, allow_nan=False)
    if backend != "torch-stacked":
        for unit, one in zip(units, group, strict=True):
            assert_same(one, train_unit(dataset, unit, config, backend=backend))


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_give_the_same_training(parts: int) -> None:
    dataset, unit = small_dataset(), UNITS[0]
    whole = train_unit(dataset, unit, small_config())
    divided = train_unit(dataset, unit, small_config(training={"grad_accumulation": parts}))
    for name, values in whole.history.items():
        np.testing.assert_allclose(values, divided.history[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_order_of_validation_rows_changes_no_metric() -> None:
    dataset = small_dataset(test=False)
    order = np.random.default_rng(3).permutation(len(dataset.val))
    val = Split(dataset.val.attr[order], dataset.val.v[order], dataset.val.xor_bin[order])
    one, other = (train_unit(data, UNITS[0], small_config()) for data in (dataset, Dataset(dataset.train, val)))
    for name, value in one.metrics.items():
        if isinstance(value, float):
            assert other.metrics[name] == pytest.approx(value, rel=1e-12, abs=1e-15), name


def test_scale_changes_neither_initial_weights_nor_order() -> None:
    dataset, config = small_dataset(), small_config(training={"epochs": 1})
    one, other = (
        train_unit(dataset, Unit(4, scale), config, experiment_type="translation_only") for scale in (0.1, 9.0)
    )
    for name, array in one.parameters.items():
        np.testing.assert_array_equal(array, other.parameters[name])


def test_metrics_have_the_promised_names() -> None:
    found = train_unit(small_dataset(), UNITS[0], small_config())
    expected = {
        "train_loss", "val_loss", "best_val_loss", "best_epoch", "final_val_loss", "val_loss_unscaled", "test_loss",
        "fusion_attr_synergy_source_feature_mse", "val_fusion_attr_synergy_loss", "test_fusion_loss",
        "predictability/synergy_acc", "predictability/synergy_ce", "predictability/synergy_norm_ce",
        "predictability/attr_unique_r2", "predictability/v_unique_r2", "predictability/attr_redundant_r2",
        "predictability/v_redundant_r2", "predictability/unique_r2", "predictability/redundant_r2",
        "unimodal/attr_acc", "unimodal/v_acc", "info/synergy_bits", "info/synergy_bits_mm", "onset_epoch", "learned",
        "reconstruction/attr_mse", "reconstruction/v_mse", "reconstruction/per_column", "test/info/synergy_bits",
        "test/predictability/synergy_acc", "grad_norm_first", "grad_norm_last",
    }  # fmt: skip
    assert expected <= set(found.metrics)
    assert found.metrics["best_val_loss"] == min(found.history["val_loss"])
    assert found.metrics["best_epoch"] == 1 + int(np.argmin(found.history["val_loss"]))
    assert found.confusion.sum() == 70 and found.confusion.dtype == np.int64
    accuracy = found.confusion.trace() / 70
    assert found.metrics["predictability/synergy_acc"] == pytest.approx(accuracy)
    record = found.record(with_history=True)
    assert record["condition_id"] == "dim_3_scale_1.0_run_0" and record["seed"] == 42
    assert record["checkpoint_path"] is None and len(record["history"]["val_loss"]) == 2
    assert {"cpu_seconds", "n_params", "steps"} <= set(record) and not {"cpu_seconds", "steps"} & set(found.metrics)
    json.dumps(record, allow_nan=False)


def test_epochs_without_evaluation_are_missing_values() -> None:
    found = train_unit(small_dataset(), UNITS[0], small_config(training={"epochs": 5, "eval_every": 2}))
    missing = np.isnan(found.history["val_loss"])
    assert missing.tolist() == [True, False, True, False, False]
    assert not np.isnan(found.history["train_loss"]).any()
    assert found.metrics["best_epoch"] in (2, 4, 5)


def test_early_stopping_ends_a_unit_and_leaves_the_others() -> None:
    rule = {"enabled": True, "patience": 2, "min_delta": 1e9}
    config = small_config(training={"epochs": 9, "early_stopping": rule})
    found = train_unit(small_dataset(), UNITS[0], config)
    assert found.status == "done" and found.epochs_done == 3
    watched = small_config(training={"early_stopping": {"enabled": True, "metric": "nothing"}})
    with pytest.raises(ValueError, match=r"early_stopping\.metric"):
        train_unit(small_dataset(), UNITS[0], watched)


@pytest.mark.parametrize(
    ("metric", "values", "improves"),
    [
        ("predictability/synergy_ce", (2.0, 1.5, 1.0), True),
        ("predictability/synergy_ce", (1.0, 1.5, 2.0), False),
        ("predictability/synergy_norm_ce", (0.1, 0.4, 0.7), True),
        ("predictability/synergy_norm_ce", (0.7, 0.4, 0.1), False),
        ("val_loss", (2.0, 1.5, 1.0), True),
    ],
)
def test_early_stopping_knows_which_way_a_metric_improves(
    metric: str, values: tuple[float, ...], improves: bool
) -> None:
    config = small_config()
    rule = EarlyStopping(enabled=True, patience=2, metric=metric)
    member = Member(UNITS[0], config.layout(4, 8, 13), "fusion_only", config.objective("fusion_only"), 8, rule)
    state = {"status": "running", "error": "", "steps": 0, "names": [metric], "final": {}, "final_names": []}
    history = {"history": np.array([values]), "lengths": np.array([3])}
    member.restore(state, {**history, "final": np.zeros(0), "confusion": np.zeros((8, 8)), "best": np.zeros(0)})
    assert member.out_of_patience is not improves


def test_without_a_target_the_synergy_metrics_are_null() -> None:
    config = small_config(synergy={"feature_indices": {}})
    results = [train_unit(small_dataset(), Unit(3, scale), config) for scale in (0.1, 10.0)]
    assert results[0].metrics["predictability/synergy_acc"] is None and results[0].metrics["learned"] is None
    np.testing.assert_array_equal(results[0].parameters["dec_v.0.W"], results[1].parameters["dec_v.0.W"])


@pytest.mark.parametrize("rows", [1, 5, 32, 33])
def test_any_number_of_rows_trains(rows: int) -> None:
    dataset = Dataset(synthetic(rows, 0), synthetic(1, 1), synthetic(3, 2))
    for kind in ("fusion_only", "all_losses"):
        assert train_unit(dataset, UNITS[0], small_config(), experiment_type=kind).status == "done"


def test_twelve_columns_of_v_have_no_unique_one() -> None:
    dataset = Dataset(synthetic(80, 0, n_v=12, n_bins=5), synthetic(40, 1, n_v=12, n_bins=5), None, 5)
    found = train_unit(dataset, Unit(4, 1.0), small_config(data={"append_size": False}))
    assert found.metrics["predictability/v_unique_r2"] is None
    assert found.parameters["dec_attr.2.b"].shape == (16,) and found.confusion.shape == (5, 5)


@pytest.mark.parametrize(
    ("unit", "options"),
    [
        (Unit(0, 1.0), {}),
        (Unit(4, -1.0), {}),
        (Unit(4, float("nan")), {}),
        (Unit(4, 1.0), {"experiment_type": "none"}),
        (Unit(4, 1.0), {"backend": "gpu"}),
    ],
)
def test_bad_units_and_options_are_refused(unit: Unit, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        train_unit(small_dataset(), unit, small_config(), **options)


def test_native_training_does_not_load_torch() -> None:
    program = (
        "import sys, numpy as np, quintet.jobs.synergy as s\n"
        "g = np.random.default_rng(0)\n"
        "x = s.Split(g.random((8, 11), np.float32), g.random((8, 13), np.float32), np.arange(8, dtype=np.uint8))\n"
        "r = s.train_unit(s.Dataset(x, x), s.Unit(3, 1.0), s.Config(training={'epochs': 1}))\n"
        "print(r.status, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert found.split() == ["done", "False"]
