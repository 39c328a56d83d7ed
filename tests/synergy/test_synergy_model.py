"""Initial weights, order, losses and gradients agree with float64 automatic differentiation on every backend."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from quintet.jobs.synergy import Split, epoch_order, forward, gradients, init_parameters, losses, reference
from quintet.jobs.synergy.native import NativeMember
from quintet.jobs.synergy.objective import EXPERIMENT_TYPES, Objective, Optimiser, type_weights
from quintet.jobs.synergy.parameters import NETS, layout_of

from .samples import golden, split_of, synthetic

CASES = golden("model_steps")
BACKENDS = ("cpu", "torch", "torch-stacked")


def case_parameters(case: dict[str, Any]) -> dict[str, np.ndarray]:
    keys = ("hidden_dim", "decoder_hidden_dim", "n_layers")
    return init_parameters(case["seed"], case["workspace_dim"], **{key: case[key] for key in keys})


def of_net(arrays: dict[str, np.ndarray], net: str) -> list[np.ndarray]:
    return [array.astype(np.float64) for name, array in arrays.items() if name.startswith(f"{net}.")]


def test_initial_weights_are_those_of_the_streams() -> None:
    for case in golden("init"):
        found = case_parameters(case)
        assert sum(array.size for array in found.values()) == case["n_params"]
        assert all(array.dtype == np.float32 for array in found.values())
        for net, expected in case["abs_sum_per_net"].items():
            assert sum(np.abs(array).sum() for array in of_net(found, net)) == pytest.approx(expected, rel=1e-12)
        np.testing.assert_array_equal(found["enc_attr.0.W"][0], np.array(case["enc_attr_0_W_row0"], "f4"))
        np.testing.assert_array_equal(
            found[f"dec_attr.{case['n_layers'] + 1}.b"], np.array(case["dec_attr_last_b"], "f4")
        )
    assert list(found)[:2] == ["enc_attr.0.W", "enc_attr.0.b"]


def test_orders_are_those_of_the_streams() -> None:
    for case in golden("data_order"):
        order = epoch_order(case["seed"], case["epoch"], case["n"])
        assert order.dtype == np.int64 and order[:20].tolist() == case["first20"]
        assert hashlib.sha256(order.tobytes()).hexdigest() == case["sha256_i8"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"dim{case['workspace_dim']}")
def test_outputs_and_losses_are_the_exact_ones(case: dict[str, Any]) -> None:
    parameters, split = case_parameters(case), split_of(case)
    for name, check in case["init_checks"].items():
        assert parameters[f"{name}.W"][0, 0] == np.float32(check["W00"])
        assert parameters[f"{name}.b"].astype(np.float64).sum() == pytest.approx(check["b_sum"], abs=1e-6)
    found = forward(parameters, split, fusion_weights=case["fusion_weights"])
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, case[name], rtol=2e-5, atol=1e-6)
    for experiment, expected in case["experiments"].items():
        values = losses(parameters, split, experiment, loss_scale=case["synergy_scale"])
        for name, value in {**case["losses"], "total_loss": expected["total_loss"]}.items():
            assert values[name] == pytest.approx(value, rel=2e-5, abs=1e-6), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"dim{case['workspace_dim']}")
def test_gradients_are_the_exact_ones(case: dict[str, Any], backend: str) -> None:
    parameters, split = case_parameters(case), split_of(case)
    for experiment, expected in case["experiments"].items():
        found = gradients(parameters, split, experiment, loss_scale=case["synergy_scale"], backend=backend)
        assert list(found) == list(parameters)
        norms = {net: np.sqrt(sum((array**2).sum() for array in of_net(found, net))) for net in NETS}
        for net, norm in expected["grad_norm_per_net"].items():
            assert norms[net] == pytest.approx(norm, rel=2e-5, abs=1e-6)
        for name, total in expected["grad_sum_per_layer"].items():
            wide = found[name].astype(np.float64)
            room = 2e-5 * (abs(total) + np.sqrt((wide**2).sum()))
            room += 1e-7 * expected["grad_norm_per_net"][name.split(".")[0]]
            assert abs(wide.sum() - total) <= room, (experiment, name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"dim{case['workspace_dim']}")
def test_steps_of_adam_are_the_exact_ones(case: dict[str, Any]) -> None:
    split, start = split_of(case), case_parameters(case)
    layout, scale = layout_of(start), case["synergy_scale"]
    for experiment, expected in case["experiments"].items():
        objective = Objective(type_weights(experiment))
        optimiser = Optimiser(case["lr"], 0.0, case["grad_clip"], len(split))
        member = NativeMember(layout, layout.flat(start), scale, objective, optimiser)
        for step, point in enumerate(expected["trajectory"]):
            member.begin_epoch()
            assert member.steps(split, np.arange(len(split)), 0, 1, step) == -1
            assert member.norms[0] == pytest.approx(point["grad_norm"], rel=2e-5, abs=1e-6)
        found = layout.named(member.parameters)
        after = losses(found, split, experiment, loss_scale=scale)
        assert after["total_loss"] == pytest.approx(expected["total_loss_after"], rel=2e-5)
        for net, total in expected["param_abs_sum_after_per_net"].items():
            assert sum(np.abs(array).sum() for array in of_net(found, net)) == pytest.approx(total, rel=2e-5)


@pytest.mark.parametrize("experiment", EXPERIMENT_TYPES)
@pytest.mark.parametrize(
    ("dim", "hidden", "decoder", "layers", "rows", "n_v", "n_bins"),
    [(1, 1, 1, 0, 1, 13, 8), (7, 33, 65, 1, 37, 12, 5), (40, 64, 32, 2, 100, 13, 2), (12, 128, 96, 0, 1200, 13, 8)],
)
def test_the_kernel_and_its_plain_twin_agree(
    experiment: str, dim: int, hidden: int, decoder: int, layers: int, rows: int, n_v: int, n_bins: int
) -> None:
    sizes = {"hidden_dim": hidden, "decoder_hidden_dim": decoder, "n_layers": layers, "n_bins": n_bins, "n_v": n_v}
    parameters, split = init_parameters(3, dim, **sizes), synthetic(rows, 1, n_v, n_bins)
    wide = {name: array.astype(np.float64) for name, array in parameters.items()}
    objective = Objective(type_weights(experiment), (0.3, 0.9))
    _, _, exact = reference.judge(wide, split, objective, 2.0)
    for backend in ("cpu", "torch"):
        found = gradients(parameters, split, experiment, loss_scale=2.0, fusion_weights=(0.3, 0.9), backend=backend)
        for net in NETS:
            error = sum(((found[name] - exact[name]) ** 2).sum() for name in found if name.startswith(net))
            size = sum((exact[name] ** 2).sum() for name in found if name.startswith(net))
            assert error <= (1e-5 * np.sqrt(size) + 1e-9) ** 2, (net, backend)


def test_no_loss_scale_means_no_gradient_of_the_logits() -> None:
    parameters, split = init_parameters(0, 4, hidden_dim=8, n_layers=1), synthetic(20, 0)
    for backend in BACKENDS:
        found = gradients(parameters, split, "all_losses", loss_scale=0.0, backend=backend)
        assert not found["dec_attr.2.W"][11:].any() and not found["dec_attr.2.b"][11:].any()
        assert found["dec_attr.2.W"][:11].any()


@pytest.mark.parametrize(
    "change",
    [
        {"experiment_type": "fusion"},
        {"loss_scale": -1.0},
        {"fusion_weights": (-1.0, 1.0)},
        {"fusion_weights": (1.0, 1.0, 1.0)},
        {"fusion_weights": {"attr": 1.0, "vision": 1.0}},
        {"backend": "numpy"},
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any]) -> None:
    parameters, split = init_parameters(0, 4, hidden_dim=8, n_layers=1), synthetic(20, 0)
    with pytest.raises(ValueError):
        gradients(parameters, split, **change)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_that_does_not_fit_the_parameters_is_refused(backend: str) -> None:
    parameters, split = init_parameters(0, 4, hidden_dim=8, n_layers=1), synthetic(20, 0)
    narrow = synthetic(20, 0, n_v=12)
    with pytest.raises(ValueError, match="v: 12 columns"):
        gradients(parameters, narrow, backend=backend)
    with pytest.raises(ValueError, match="v: 12 columns"):
        forward(parameters, narrow)
    for wrong in (8, 300, -1):
        bins = split.xor_bin.astype(np.int64)
        bins[3] = wrong
        for call in (losses, lambda *given: gradients(*given, backend=backend)):
            with pytest.raises(ValueError, match="xor_bin"):
                call(parameters, Split(split.attr, split.v, bins))


def test_any_numbers_that_fit_are_taken_as_single_precision() -> None:
    parameters, split = init_parameters(0, 4, hidden_dim=8, n_layers=1), synthetic(5, 0)
    wide = Split(split.attr.astype(float), split.v.astype(float), split.xor_bin.astype(int))
    doubles = {name: array.astype(float) for name, array in parameters.items()}
    assert losses(doubles, wide) == losses(parameters, split)
    for name, array in gradients(doubles, wide).items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, gradients(parameters, split)[name])


@pytest.mark.parametrize("sizes", [{"workspace_dim": 0}, {"hidden_dim": 0}, {"n_layers": -1}, {"n_bins": 1}])
def test_sizes_that_no_net_has_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(sizes))):
        init_parameters(0, **{"workspace_dim": 4, **sizes})
