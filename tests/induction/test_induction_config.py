"""The config resolves to problems, and refuses what no mode takes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from quintet.jobs.induction import World, build
from quintet.jobs.induction.config import Config, problem_params
from quintet.jobs.induction.memory import largest_horizon, predicted_bytes, reference_bytes

from .golden_files import golden_world

BAD: list[tuple[dict[str, Any], str]] = [
    ({"slab": {}}, "slab: belongs to mode slab"),
    ({"sweep": {}}, "sweep: belongs to mode sweep"),
    ({"mode": "sweep", "problems": [{}]}, "problems: belongs"),
    ({"mode": "slab", "grid": {"nu": [0.1]}}, "grid: belongs"),
    ({"mode": "sweep", "grid": {"zeta": [1]}}, "grid: belongs"),
    ({"mode": "sweep", "sweep": {"sampler": "grid"}}, "needs lists"),
    ({"grid": {"world": []}}, "grid.world"),
    ({"grid": {"slab": [1]}}, "grid.slab"),
    ({"grid": {"nu": [2.0]}}, "nu: found 2.0"),
    ({"problems": [{"zeta": 0}]}, "zeta: found 0"),
    ({"problems": [{"gamma_h": 0.9, "rho_h": 0.1}]}, "exclude each other"),
    ({"gamma_h": 0.9, "rho_h": 0.1}, "exclude each other"),
    ({"gamma_h": 1.0, "rho_h": 0}, "exclude each other"),
    ({"grid": {"gamma_h": [1.0], "rho_h": [0]}}, "exclude each other"),
    ({"keep_policies": "none"}, "rollouts: need the policies"),
    ({"grid": {"keep_policies": ["none", "robot"]}}, "rollouts: need the policies"),
    ({"problems": [{}, {"keep_policies": "none"}]}, "rollouts: need the policies"),
    ({"unknown": 1}, "unknown"),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=str)
def test_bad_configs_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**values)


def test_problems_and_grid_multiply_last_fastest() -> None:
    config = Config(
        rho_h=0.1,
        problems=({"world": "a", "gamma_h": 0.9}, {"max_steps": 3}),  # type: ignore[arg-type]
        grid={"zeta": (1, 2), "beta_r": (5, math.inf)},
    )
    problems = list(config.resolved_problems())
    assert [(p.get("world"), p["zeta"], p["beta_r"]) for p in problems[:5]] == [
        ("a", 1, 5),
        ("a", 1, math.inf),
        ("a", 2, 5),
        ("a", 2, math.inf),
        (None, 1, 5),
    ]
    assert problem_params(problems[0]).gamma_h == 0.9
    assert problem_params(problems[-1]).gamma_h == math.exp(-0.1)


@pytest.mark.parametrize("mode", ["solve", "sweep", "slab"])
def test_a_resolved_config_resolves_to_itself(mode: Any) -> None:
    config = Config(mode=mode, rho_r=0.2)
    assert Config(**config.model_dump()) == config
    assert Config(**config.model_dump(mode="json")) == config


def test_rho_as_text_is_a_discount() -> None:
    config = Config(rho_h="1e-1", grid={"rho_r": ("1e-2",)})  # type: ignore[arg-type]
    (problem,) = config.resolved_problems()
    assert config.gamma_h == problem_params(problem).gamma_h == math.exp(-0.1)
    assert problem_params(problem).gamma_r == math.exp(-0.01)
    assert Config(**config.model_dump(mode="json")) == config


def test_a_sweep_takes_an_infinite_exponent() -> None:
    config = Config(mode="sweep", sweep={"beta_r": math.inf})  # type: ignore[arg-type]
    assert config.sweep is not None and config.sweep.prior.beta_r == math.inf
    assert Config(**config.model_dump(mode="json")) == config


def test_sweep_profiles() -> None:
    deactivation = Config(mode="sweep", sweep={"profile": "deactivation"}).sweep  # type: ignore[arg-type]
    assert deactivation is not None
    assert (deactivation.max_steps_min, deactivation.max_steps_max, deactivation.xi_max) == (10, 16, 1.0)
    quick = Config(mode="sweep", sweep={"quick": True}).sweep  # type: ignore[arg-type]
    assert quick is not None
    assert (quick.n_samples, quick.max_steps_min, quick.max_steps_max) == (3, 8, 8)


def test_predicted_bytes_of_the_freeing_world() -> None:
    world = golden_world("asymmetric_freeing_11x6")
    sizes = [1, 36, 128, 224, 368, 496, 592, 752, 1144, 1968, 3400, 5752, 9276, 12836, 15332, 18028]
    found = predicted_bytes(world, sizes)
    assert found["transitions"] == 4 * 64 * 15332
    assert found["value levels"] == 2 * (2 * 2 * 18 * 8 + 8) * 18028
    assert found["total"] == sum(size for name, size in found.items() if name != "total")
    assert reference_bytes(world, 70_333)["total"] == pytest.approx(19e9, rel=0.1)
    assert largest_horizon(world, sizes, 10**10) == 15
    assert largest_horizon(world, sizes, found["total"] - 1, spills=False) == 14


def test_too_many_states_name_the_horizon_that_fits() -> None:
    world: World = golden_world("asymmetric_freeing_11x6")
    with pytest.raises(ValueError, match="largest horizon that fits is 5") as error:
        build(world, max_states=1300)
    assert error.value.level_sizes[:6] == (1, 36, 128, 224, 368, 496)  # type: ignore[attr-defined]
    assert build(world, 5, max_states=1253).n_states == 1253
