"""Sweeps and their regressions are those of the reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quintet.jobs.induction import PREDICTORS, Prior, lowess, regress, sobol_parameters, sweep, sweep_parameters
from quintet.jobs.induction.regression import outcome_values, raw_values

from .golden_files import golden, golden_world

ROWS = golden("sweep")["rows"]
FITS = golden("sweep")["regressions"]
FIRST = ("left", "right", "both", "neither")
COLUMNS = {name: np.array([row[name] for row in ROWS]) for name in ROWS[0] if name != "p_first"}


def test_parameters_follow_from_seeds() -> None:
    found = sweep_parameters([row["seed"] for row in ROWS])
    for name, column in found.items():
        np.testing.assert_array_almost_equal_nulp(column.astype(float), COLUMNS[name].astype(float), 1)
    assert found["seed"].dtype == found["max_steps"].dtype == np.int64


def test_first_samples_of_the_sweep() -> None:
    check_sweep(12)


@pytest.mark.slow
def test_all_samples_of_the_sweep() -> None:
    check_sweep(len(ROWS))


def check_sweep(n: int) -> None:
    world = golden_world("asymmetric_freeing_simple")
    found = sweep(world, sweep_parameters([row["seed"] for row in ROWS[:n]]))
    for name in ("p_left", "pi_r", "X_h"):
        np.testing.assert_allclose(found[name], COLUMNS[name][:n], rtol=0, atol=1e-9)
    for name in ("Q_r", "V_r"):
        np.testing.assert_allclose(found[name], COLUMNS[name][:n], rtol=1e-9, atol=0)
    first = np.array([[row["p_first"][key] for key in FIRST] for row in ROWS[:n]])
    np.testing.assert_allclose(found["p_first"], first, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found["n_states_nonterminal"], COLUMNS["n_states_nonterminal"][:n])
    np.testing.assert_allclose(found["W_h"], np.log2(found["X_h"]))
    y = (found["X_h"] ** -found["xi"][:, None]).mean(axis=1)
    np.testing.assert_allclose(found["U_r"], -(y ** found["eta"]), rtol=1e-12)


def assert_fit(found: Any, expected: dict[str, Any]) -> None:
    assert found.terms == tuple(expected["terms"])
    assert found.n == expected["n"]
    tolerances = {"se": 1e-5, "stat": 1e-5, "p": 1e-3}
    for name in expected.keys() - {"terms", "n"}:
        relative = tolerances.get(name, 1e-6)
        absolute = 1e-9 if name == "p" else 0.0
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=relative, atol=absolute, err_msg=name)


@pytest.mark.parametrize(
    "outcome",
    ["pi_r_ratio", "Q_r_ratio", "X_h_ratio", "neg_log2_negV_r", "log2_X_h1", "log2_X_h2", "log2_X_h_diff"],
)
def test_regression_of_an_outcome(outcome: str) -> None:
    assert_fit(regress(COLUMNS, outcome), FITS[outcome])


def test_regression_of_p_left() -> None:
    full = regress(COLUMNS, "p_left")
    assert_fit(full, FITS["p_left_full"])
    assert full.quasi_scale == pytest.approx(FITS["quasi_scale_p_left_full"], rel=1e-6)
    assert_fit(regress(COLUMNS, "p_left", interactions=True), FITS["p_left_interactions"])
    for name in PREDICTORS:
        assert_fit(regress(COLUMNS, "p_left", (name,)), FITS["p_left_univariate"][name])


def test_predictors_without_variance_are_skipped() -> None:
    columns = {**COLUMNS, "xi": np.ones(len(ROWS))}
    found = regress(columns, "p_left", interactions=True)
    assert found.skipped == ("xi",)
    assert "xi" not in found.terms
    assert "zeta_x_xi" not in found.terms


def test_turns_are_those_of_the_first_robot_whatever_others_do() -> None:
    pi_r = np.random.default_rng(0).dirichlet(np.ones(16), size=12)
    columns = {"pi_r": pi_r, "Q_r": -pi_r}
    left, right = pi_r[:, 4:8].sum(axis=1), pi_r[:, 8:12].sum(axis=1)
    np.testing.assert_allclose(raw_values(columns, "pi_r_ratio"), left / (left + right), rtol=1e-15)
    with pytest.raises(ValueError, match="Q_r_ratio"):
        raw_values(columns, "Q_r_ratio")


def test_shares_are_clipped_for_the_models_only() -> None:
    columns = {"p_disabled": np.array([[0.0, 1.0], [0.5, 0.25]])}
    assert raw_values(columns, "p_disabled_pause").tolist() == [0.0, 0.5]
    assert outcome_values(columns, "p_disabled_kill").tolist() == [0.999, 0.25]


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="9 valid rows"):
        regress({name: column[:9] for name, column in COLUMNS.items()}, "p_left")
    with pytest.raises(ValueError, match="outcome is 'left'"):
        regress(COLUMNS, "left")


def test_lowess_curve() -> None:
    x, fitted = lowess(COLUMNS["gamma_r"], COLUMNS["p_left"])
    expected = np.array(FITS["lowess_p_left_on_gamma_r"])
    np.testing.assert_allclose(x, expected[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fitted, expected[:, 1], rtol=0, atol=1e-6)


def test_sobol_points_do_not_depend_on_how_many_are_drawn() -> None:
    whole = sobol_parameters(range(40), 1000)
    part = sobol_parameters([7, 39], 1000)
    for name, column in part.items():
        np.testing.assert_array_equal(column, whole[name][[7, 39]])
    assert whole["max_steps"].min() >= 8
    assert whole["max_steps"].max() <= 14
    assert ((whole["beta_h"] >= 5) & (whole["beta_h"] <= 100)).all()


def test_prior_refuses_bounds_in_the_wrong_order() -> None:
    with pytest.raises(ValueError, match="zeta_min 3"):
        Prior(zeta_min=3, zeta_max=2)
