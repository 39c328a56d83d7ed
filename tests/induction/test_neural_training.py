"""A training is a pure function of its arguments, learns, resumes with the same bits, and says what is wrong."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from quintet.jobs.induction import Params, PowerlessError, World, build, rollouts
from quintet.jobs.induction.neural import (
    DivergedError,
    Ensemble,
    Fitted,
    NeuralConfig,
    Training,
    accumulate,
    bound,
    fit,
    fresh_states,
    machine,
    residuals,
    rollout_check,
    tabulate,
)
from quintet.jobs.induction.neural.distance import Bound
from quintet.jobs.induction.neural.features import Features
from quintet.jobs.induction.neural.level_fit import LevelFit, rate_at
from quintet.jobs.induction.neural.network import Evaluator, fresh
from quintet.jobs.induction.neural.rows import perturbed
from quintet.jobs.induction.neural.stepping import Steps
from quintet.jobs.induction.neural.streams import stream

from .golden_files import golden_world
from .neural_problems import SMALL, TINY, ExactValues, same_tensors, small_fit, solved

FREEING = "asymmetric_freeing_11x6"


def written(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint after a way through a file."""
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    return dict(np.load(file, allow_pickle=False))


def test_a_training_resumed_behind_any_level_has_the_same_bits() -> None:
    checkpoints: list[dict[str, Any]] = []
    whole = small_fit(on_level=checkpoints.append)
    assert len(checkpoints) == 8 and whole.curve["level"].tolist() == [4, 3, 2, 1] * 2
    for state in checkpoints:
        resumed = small_fit(resume=written(state))
        assert resumed == whole and same_tensors(resumed, whole)
        assert np.array_equal(resumed.curve["loss"], whole.curve["loss"])
        assert np.array_equal(resumed.root_by_horizon["Vr"], whole.root_by_horizon["Vr"])


def test_a_training_stopped_within_a_level_begins_that_level_again() -> None:
    world, whole = golden_world(FREEING), small_fit()
    training = Training(world, Params(), 5, SMALL)
    state = training.state()
    for _ in range(13):
        training.advance()
        state = training.state()
    second = Training(world, Params(), 5, SMALL)
    second.restore(written(state))
    while second.advance():
        pass
    assert second.fitted == whole


def test_another_process_and_another_thread_count_give_the_same_bits() -> None:
    code = (
        "import torch; torch.set_num_threads(2); import hashlib, sys; sys.path.insert(0, 'tests/..');"
        "from tests.induction.neural_problems import small_fit;"
        "t = small_fit().tensors(); print(hashlib.sha256(b''.join(t[n].tobytes() for n in sorted(t))).hexdigest());"
        "assert torch.get_num_threads() == 2"
    )
    tensors = small_fit().tensors()
    mine = hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == mine


def test_seeds_differ_and_equal_seeds_do_not() -> None:
    assert small_fit(3) == small_fit(3) and small_fit(3) != small_fit(3, seed=1)


def test_tensors_make_an_equal_object() -> None:
    fitted = small_fit(4)
    tensors = fitted.tensors()
    assert all(array.dtype == np.float32 for array in tensors.values())
    again = Fitted.from_tensors(fitted.world, fitted.params, 4, fitted.config, 0, tensors)
    assert again == fitted and np.array_equal(again.root_by_horizon["Qr"], fitted.root_by_horizon["Qr"])
    assert again != Fitted.from_tensors(fitted.world, fitted.params, 4, fitted.config, 1, tensors)
    for broken, message in (
        ({name: a for name, a in tensors.items() if name != "level/0002/bias1"}, "'level/0002/bias1' is missing"),
        (tensors | {"level/0009/bias1": tensors["level/0002/bias1"]}, "'level/0009/bias1' belongs to no level"),
        (tensors | {"level/0002/bias1": np.zeros(3, np.float32)}, r"has shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Fitted.from_tensors(fitted.world, fitted.params, 4, fitted.config, 0, broken)


def test_a_horizon_of_one_step_needs_no_network() -> None:
    world = golden_world("trivial")
    graph, exact = solved(world, Params(), 1)
    fitted = fit(world, Params(), 1, TINY)
    assert fitted.tensors() == {} and len(fitted.curve["loss"]) == 0
    assert np.array_equal(fitted.expand(graph.states(0)).Qr, exact.Qr[0])


def test_values_at_the_horizon_are_the_terminal_ones() -> None:
    fitted = small_fit(3)
    states = build(fitted.world, 3).states(3)
    Vm, Ve, Vr = fitted.values(states)
    assert not Vm.any() and not Ve.any() and (Vr == fitted.params.terminal_Vr).all()
    assert Vm.shape == (len(states), 2, 18)


def level_fit(t: int, n: int, **changes: Any) -> LevelFit:
    """A fit of exact targets at one level of the freeing world."""
    world, params = golden_world(FREEING), Params()
    graph, exact = solved(world, params, 5)
    source, features = ExactValues(graph, exact), Features(world, ("cells", "window", "pairs"))
    keys = graph.keys[:n, 0]
    start = fresh(features, (64, 64), 2 * 2 * 18 + 1, stream(0, 5, 1, t))
    settings = {"n_steps": 120, "batch": 64, "learning_rate": 5e-3, "robot_weight": 8.0, "order": stream(0, 4, 1, t)}
    targets = Steps(source).expand(t, keys)
    changes = {"start": start} | changes
    return LevelFit(features, Bound(world, params, 5), t, keys, targets, **(settings | changes))


def test_the_loss_falls_and_a_warm_start_begins_lower() -> None:
    one = level_fit(4, 220)
    one.advance(120)
    assert one.is_done and np.mean(one.losses[-5:]) < 0.1 * np.mean(one.losses[:5])
    warm = level_fit(3, 220, start=one.network().parameters)
    cold = level_fit(3, 220)
    warm.advance(1)
    cold.advance(1)
    assert warm.losses[0] < cold.losses[0]


def test_the_gradient_of_the_embedding_is_the_slope_of_the_loss() -> None:
    import torch
    from quintet.jobs.induction.neural.network import empty_sums, trained_outputs

    world = golden_world(FREEING)
    features = Features(world, ("cells", "window", "pairs"))
    seen = features.of(build(world, 3).keys[:9, 0])
    start = fresh(features, (6, 5), 4, stream(0, 5, 1, 1))

    def loss(arrays: list[Any]) -> Any:
        parameters = [torch.from_numpy(array.copy()).requires_grad_() for array in arrays]
        value = trained_outputs(features, parameters, seen, empty_sums(features, 6)).square().sum()
        value.backward()
        return float(value.detach()), parameters[0].grad

    _, gradient = loss(start)
    assert gradient.shape == start[0].shape
    touched = np.argwhere(np.abs(gradient.numpy()) > 0.05)
    for row, column in touched[:: max(1, len(touched) // 10)]:
        ends = []
        for change in (1e-3, -1e-3):
            moved = [array.copy() for array in start]
            moved[0][row, column] += change
            ends.append(loss(moved)[0])
        assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(float(gradient[row, column]), rel=0.05)


def test_a_configurations_bits_do_not_depend_on_its_company() -> None:
    world = golden_world(FREEING)
    features = Features(world, ("cells", "window", "pairs"))
    keys = build(world, 7).keys[:700, 0]
    network = Evaluator(features, fresh(features, (128, 256, 256), 73, stream(0, 5, 1, 1)))
    whole = network.outputs(features.of(keys))
    assert np.array_equal(network.outputs(features.of(keys[::-1].copy()))[::-1], whole)
    for part in (slice(0, 1), slice(5, 90), slice(255, 258), slice(300, 699)):
        assert np.array_equal(network.outputs(features.of(keys[part])), whole[part])


def test_identical_mobiles_may_be_listed_in_any_order() -> None:
    fitted = small_fit(3)
    for t, agents, mobiles, mutables in build(fitted.world, 3).states(2)[:20]:
        one = fitted.values([(t, agents, mobiles, mutables)])
        other = fitted.values([(t, agents, mobiles[::-1], mutables)])
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_window_turns_with_its_agent() -> None:
    world = World.from_dict(
        {
            "map": [
                "We" * 9,
                *["We" + ".." * 7 + "We"] * 3,
                "We" + ".." * 3 + "Ay" + ".." * 3 + "We",
                *["We" + ".." * 7 + "We"] * 3,
                "We" * 9,
            ]
        }
    )
    features = Features(world, ("cells", "window"))
    packing = world.packing

    def seen(x: int, y: int, direction: int) -> list[int]:
        vector = packing.vector((0, ((x, y, direction, 0, 0),), (), ()))
        place = int(features.of(packing.key(vector)).scenery[0, 0])
        return sorted(features.scenery_row[features.scenery_ptr[place] : features.scenery_ptr[place + 1]].tolist())

    assert seen(4, 4, 0) == []
    assert seen(7, 4, 0) == seen(4, 7, 1) == seen(1, 4, 2) == seen(4, 1, 3) != seen(7, 4, 1)
    assert seen(7, 2, 0) == seen(6, 7, 1) == seen(1, 6, 2) == seen(2, 1, 3)
    assert len(seen(7, 4, 0)) == 10 and len(seen(7, 7, 0)) == 16


def test_perturbed_rows_are_states_of_the_world() -> None:
    for name in ("asymmetric_freeing_11x6", "g_kill_pause", "g_lava"):
        world = golden_world(name)
        keys = build(world, 3).keys[:, 0]
        made = perturbed(world, keys, 500, stream(0, 2, 1, 3))
        assert 0 < len(made) <= 500 and len(np.unique(made)) == len(made)
        for vector in world.packing.vectors(made[:, None]):
            _, agents, mobiles, _ = world.packing.state(3, vector)
            cells = [agent[:2] for agent in agents] + [mobile[1:] for mobile in mobiles]
            assert len(set(cells)) == len(cells)
        assert len(np.setdiff1d(made, keys)) > 0


def test_levels_give_all_rows_they_have_and_no_more_than_asked() -> None:
    fitted = small_fit()
    rows = dict(zip(fitted.curve["level"][:4].tolist(), fitted.curve["n_rows"][:4].tolist(), strict=True))
    graph = build(fitted.world, 5)
    for t in range(1, 5):
        assert min(graph.level_sizes[t], round(0.75 * SMALL.rows)) <= rows[t] <= SMALL.rows


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [rate_at(step, 250, 5e-3) for step in range(250)]
    assert rates[0] == 5e-3 / 20 and max(rates) == rates[19] == rates[20] == 5e-3
    assert rates[20:] == sorted(rates[20:], reverse=True) and rates[-1] < 1e-5
    assert [rate_at(step, 1, 1e-3) for step in range(1)] == [1e-3]


def test_residuals_of_exact_values_are_zero_and_accumulate_by_discount() -> None:
    graph, exact = solved(golden_world("trivial"), Params(), 4)
    source = ExactValues(graph, exact)
    by_level = [residuals(source, graph.states(t)) for t in range(1, 4)]
    assert all(value == 0.0 for row in by_level for value in row.values())
    rows = [{"Vm": 1.0, "Ve": 2.0, "log_Vr": 4.0}, {"Vm": 0.0, "Ve": 0.5, "log_Vr": 1.0}]
    found = accumulate(rows, 0.5)
    assert found["Vm"].tolist() == [1.0, 0.0] and found["Ve"].tolist() == [2.25, 0.5]
    assert found["log_Vr"].tolist() == [5.0, 1.0] and found["level"].tolist() == [1, 2]
    assert accumulate({2: rows[1], 1: rows[0]}, 0.5)["Ve"].tolist() == [2.25, 0.5]
    with pytest.raises(ValueError, match=r"consecutive levels; found \[1, 3\]"):
        accumulate({1: rows[0], 3: rows[1]}, 0.5)


def test_rollouts_of_exact_values_return_the_root_values() -> None:
    world, params = golden_world("asymmetric_freeing_simple"), Params(beta_r=5.0)
    graph, exact = solved(world, params, 6)
    source = ExactValues(graph, exact)
    pairs = [(h, g) for h in range(2) for g in range(len(world.goals)) if exact.Ve[0][0, h, g] > 0.05][:4]
    found = rollout_check(source, 400, seed=3, goals=pairs)
    assert found["V_r"] == exact.Vr[0][0]
    assert abs(found["return_mean"] - found["V_r"]) <= 5 * found["return_se"]
    assert found["p_first"].sum() == pytest.approx(1.0) and found["p_first"].shape == (4,)
    for (human, goal), row in zip(pairs, found["goals"], strict=True):
        assert (row["human"], row["goal"], row["fitted"]) == (human, goal, exact.Ve[0][0, human, goal])
        assert abs(row["mean"] - row["fitted"]) <= 5 * max(row["se"], 1e-3)
    assert found["return_mean"] == rollout_check(source, 400, seed=3)["return_mean"]


def test_fresh_states_are_of_every_level_but_the_horizon() -> None:
    fitted = small_fit(4)
    levels = fresh_states(fitted, 7)
    assert [len(states) for states in levels] == [7] * 4
    assert all(state[0] == t for t, states in enumerate(levels) for state in states)
    assert levels == fresh_states(fitted, 7) != fresh_states(fitted, 7, seed=9)


def test_episodes_of_the_exact_study_are_played_with_a_fitted_table() -> None:
    fitted = small_fit(4)
    graph = build(fitted.world, 4)
    assert len(rollouts(graph, tabulate(fitted, graph), 2)[0].states) == 5


def test_the_machine_is_named() -> None:
    assert set(machine()) == {"torch", "cpu_capability"}


def test_a_loss_that_is_no_number_names_pass_and_level(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SMALL.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(DivergedError, match=r"pass 1: the loss is (nan|inf) at level \d, step \d+"):
        fit(golden_world(FREEING), Params(), 3, config)


def test_a_human_without_power_is_named() -> None:
    world = World.from_dict(
        {"map": ["We" * 5, "WeAy..AeWe", "We" * 5], "possible_goals": ["2,1"], "max_steps": 2}, coverage_check=False
    )
    with pytest.raises(PowerlessError, match=r"human 0 has power X_h = 0 in state .* power_floor"):
        fit(world, Params(), 2, TINY).expand([world.initial_state])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam": 100, "rows": 256}, "beam is 100; at least half of rows"),
        ({"mix": (0.5, 0.3, 0.3)}, "sums to 1.1"),
        ({"mix": (1.2, -0.2, 0.0)}, "mix"),
        ({"rows": 63}, "rows"),
        ({"batch": 8}, "batch"),
        ({"steps": 0}, "steps"),
        ({"passes": 0}, "passes"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"robot_weight": -1.0}, "robot_weight"),
        ({"hidden": ()}, "hidden"),
        ({"features": ("window",)}, "features are"),
        ({"features": ("cells", "colour")}, "features"),
        ({"rollouts": 0}, "rollouts"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NeuralConfig(**settings)


def test_wrong_arguments_are_refused_in_one_line() -> None:
    world, params = golden_world("trivial"), Params()
    fitted = fit(world, params, 3, TINY)
    other = fit(golden_world("tiny_test"), params, 3, TINY)
    states = build(world, 3)
    wide = World.from_dict(
        {"map": ["We" * 40, *(["We" + "..Ro" * 5 + ".." * 28 + "We"] * 2), "We" + "Ay" + ".." * 37 + "We", "We" * 40]}
    )
    for call, message in (
        (lambda: fit(wide, params, 2, TINY), "needs wide keys"),
        (lambda: fit(world, params, 0, TINY), "max_steps is 0"),
        (lambda: fit(world, params, 3, TINY, seed=-1), "seed is -1"),
        (lambda: fitted.values([world.initial_state]), "level 0 is out of range"),
        (lambda: fitted.values(states.states(1) + states.states(2)), r"states of one level.*\[1, 2\]"),
        (lambda: fitted.expand([]), "found none"),
        (lambda: fitted.expand(states.states(3)), "level 3 is out of range"),
        (lambda: fitted.expand([golden_world("g_lava").initial_state]), "is not a state of world"),
        (lambda: bound(world, params, states.states(3), 2), "level 3 is out of range"),
        (lambda: tabulate(fitted, build(golden_world("tiny_test"), 2)), "graph is of world"),
        (lambda: tabulate(fitted, build(world, 4)), "horizon 4; values were fitted up to 3"),
        (lambda: Ensemble([]), "at least one member"),
        (lambda: Ensemble([fitted, other]), "one world"),
        (lambda: Ensemble([fitted]).spread(states.states(1)), "at least two members"),
        (lambda: residuals(fitted, states.states(0)), "residuals exist at levels 1 to 2"),
        (lambda: rollout_check(fitted, 0), "n is 0"),
        (lambda: rollout_check(fitted, 5, goals=[(0, 99)]), r"goals holds \(0, 99\)"),
    ):
        with pytest.raises(ValueError, match=message) as found:
            call()
        assert "\n" not in str(found.value)


def test_reading_the_settings_loads_no_network_library() -> None:
    code = (
        "import sys; from quintet.jobs.induction.neural import NeuralConfig; NeuralConfig();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
