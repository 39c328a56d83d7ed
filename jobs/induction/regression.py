"""Regression of a sweep's outcomes on its parameters: logit models of shares, linear models of log values.

Logit: generalised linear model, binomial family, fitted by iteratively reweighted least squares; standard errors from
the weights of the last fit, dispersion 1. Linear: ordinary least squares.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .world_file import ACTION_SETS

PREDICTORS = ("max_steps", "beta_h", "gamma_h", "gamma_r", "zeta", "eta", "xi")
INTERACTIONS = (("beta_h", "gamma_h"), ("gamma_r", "gamma_h"), ("zeta", "xi"), ("max_steps", "beta_h"))
SHARES = (
    "p_left",
    "pi_r_ratio",
    "Q_r_ratio",
    "X_h_ratio",
    "p_first_h1",
    "p_first_h2",
    "p_first_neither",
    "p_disabled_pause",
    "p_disabled_kill",
)
LOGARITHMS = ("neg_log2_negV_r", "log2_X_h1", "log2_X_h2", "log2_X_h_diff")
OUTCOMES = SHARES + LOGARITHMS
"""What is explained, as far as a world has it."""
LOWEST_SHARE, HIGHEST_SHARE = 0.001, 0.999
FEWEST_ROWS = 10
MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
TURN_LEFT, TURN_RIGHT = 1, 2


@dataclass(frozen=True)
class Regression:
    """One fitted model; terms are const, predictors, then interactions such as `beta_h_x_gamma_h`.

    Attributes:
        outcome: what is explained.
        terms: names of the coefficients, k.
        coef, se, stat, p: f8 [k]; stat is z (logit) or t (linear), p two-sided.
        robust_se: HC0 standard errors, f8 [k].
        n: rows used.
        skipped: predictors without variance, left out.
        deviance, null_deviance, pearson_chi2, llf, llnull, aic, quasi_scale: logit only. quasi_scale is
            pearson_chi2 / (n - k); quasi standard errors are se * sqrt(quasi_scale).
        r2, adj_r2, F, F_p: linear only.
    """

    outcome: str
    terms: tuple[str, ...]
    coef: NDArray[np.float64]
    se: NDArray[np.float64]
    stat: NDArray[np.float64]
    p: NDArray[np.float64]
    robust_se: NDArray[np.float64]
    n: int
    skipped: tuple[str, ...] = ()
    deviance: float | None = None
    null_deviance: float | None = None
    pearson_chi2: float | None = None
    llf: float | None = None
    llnull: float | None = None
    aic: float | None = None
    quasi_scale: float | None = None
    r2: float | None = None
    adj_r2: float | None = None
    F: float | None = None
    F_p: float | None = None

    @property
    def mcfadden(self) -> float | None:
        """McFadden's pseudo R2 of a logit model, 1 - llf / llnull."""
        return None if self.llf is None or not self.llnull else 1.0 - self.llf / self.llnull

    @property
    def quasi_se(self) -> NDArray[np.float64] | None:
        """Standard errors with the estimated dispersion (logit only)."""
        return None if self.quasi_scale is None else self.se * np.sqrt(self.quasi_scale)


def significance(p: float) -> str:
    """Return *** below 0.001, ** below 0.01, * below 0.05, else nothing."""
    return next((mark for level, mark in MARKS if p < level), "")


def turns(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64] | None:
    """Return the first robot's pi_r or Q_r of turning left and right, f8 [n, 2]; None without a robot.

    pi_r is summed over what other robots do, who are the faster digits of a joint action; Q_r, which is that of joint
    actions, is None where there are several robots.
    """
    values = np.asarray(columns[name], np.float64)
    n, joint = values.shape
    is_power = {a: joint > 1 and a ** round(math.log(joint, a)) == joint for a in ACTION_SETS.values()}
    n_actions = next((a for a, holds in is_power.items() if holds), None)
    if n_actions is None or (name == "Q_r" and joint > n_actions):
        return None
    return values.reshape(n, n_actions, joint // n_actions).sum(axis=2)[:, [TURN_LEFT, TURN_RIGHT]]


def outcome_values(columns: Mapping[str, NDArray[Any]], outcome: str) -> NDArray[np.float64]:
    """Return an outcome of every row as the models take it, f8 [n]: shares are clipped to [0.001, 0.999].

    Raises:
        ValueError: as `raw_values`.
    """
    values = raw_values(columns, outcome)
    return np.clip(values, LOWEST_SHARE, HIGHEST_SHARE) if outcome in SHARES else values


def raw_values(columns: Mapping[str, NDArray[Any]], outcome: str) -> NDArray[np.float64]:
    """Return an outcome of every row, f8 [n].

    Raises:
        ValueError: no such outcome, or not for so many humans or robots' actions.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome is {outcome!r}; allowed are {', '.join(OUTCOMES)}")
    try:
        return np.asarray(_outcome(columns, outcome), np.float64)
    except (KeyError, IndexError):
        raise ValueError(f"outcome {outcome!r} cannot be had from the columns {', '.join(columns)}") from None


def _outcome(columns: Mapping[str, NDArray[Any]], outcome: str) -> Any:
    if outcome == "p_left":
        return columns["p_left"]
    if outcome == "neg_log2_negV_r":
        return -np.log2(-np.asarray(columns["V_r"], np.float64))
    if outcome in ("pi_r_ratio", "Q_r_ratio"):
        found = turns(columns, outcome.removesuffix("_ratio"))
        if found is None:
            raise KeyError(outcome)
        values = np.abs(found)
        return values[:, 0] / (values[:, 0] + values[:, 1])
    if outcome.startswith("p_first_"):
        return np.asarray(columns["p_first"])[:, {"h1": 0, "h2": 1, "neither": -1}[outcome.removeprefix("p_first_")]]
    if outcome.startswith("p_disabled_"):
        return np.asarray(columns["p_disabled"])[:, {"pause": 0, "kill": 1}[outcome.removeprefix("p_disabled_")]]
    powers = np.asarray(columns["X_h"], np.float64)
    first, second = powers[:, 0], powers[:, 1] if outcome != "log2_X_h1" else powers[:, 0]
    return {
        "X_h_ratio": lambda: first / (first + second),
        "log2_X_h1": lambda: np.log2(first),
        "log2_X_h2": lambda: np.log2(second),
        "log2_X_h_diff": lambda: np.log2(first) - np.log2(second),
    }[outcome]()


def _design(
    columns: Mapping[str, NDArray[Any]], predictors: Sequence[str], interactions: bool, rows: NDArray[np.bool_]
) -> tuple[tuple[str, ...], NDArray[np.float64], tuple[str, ...]]:
    chosen = {name: np.asarray(columns[name], np.float64)[rows] for name in predictors}
    skipped = tuple(name for name, values in chosen.items() if np.ptp(values) == 0.0)
    design = {name: values for name, values in chosen.items() if name not in skipped}
    if interactions:
        for first, second in INTERACTIONS:
            if first in design and second in design:
                design[f"{first}_x_{second}"] = design[first] * design[second]
    terms = ("const", *design)
    return terms, np.column_stack([np.ones(int(rows.sum())), *design.values()]), skipped


def regress(
    columns: Mapping[str, NDArray[Any]],
    outcome: str,
    predictors: Sequence[str] = PREDICTORS,
    *,
    interactions: bool = False,
) -> Regression:
    """Fit one outcome of a sweep.

    Args:
        columns: as `sweep` returns them; rows with a value that is not finite are left out.
        outcome: p_left, pi_r_ratio, Q_r_ratio, X_h_ratio, p_first_..., p_disabled_... (logit); neg_log2_negV_r,
            log2_X_h1, log2_X_h2, log2_X_h_diff (linear).
        predictors: columns to explain it by; those without variance are left out.
        interactions: also the products beta_h gamma_h, gamma_r gamma_h, zeta xi, max_steps beta_h.

    Raises:
        ValueError: an unknown outcome or predictor, or fewer than 10 valid rows.
    """
    unknown = [name for name in predictors if name not in columns]
    if unknown:
        raise ValueError(f"predictors {', '.join(unknown)} are no columns")
    y = outcome_values(columns, outcome)
    rows = np.isfinite(y)
    for name in predictors:
        rows &= np.isfinite(np.asarray(columns[name], np.float64))
    if rows.sum() < FEWEST_ROWS:
        raise ValueError(f"outcome {outcome!r} has {int(rows.sum())} valid rows; at least {FEWEST_ROWS} are needed")
    terms, X, skipped = _design(columns, predictors, interactions, rows)
    fit = _logit if outcome in SHARES else _linear
    return Regression(outcome=outcome, terms=terms, n=int(rows.sum()), skipped=skipped, **fit(y[rows], X))


def _logit(y: NDArray[np.float64], X: NDArray[np.float64]) -> dict[str, Any]:
    import statsmodels.api as sm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sm.GLM(y, X, family=sm.families.Binomial()).fit(maxiter=100, tol=1e-8)
        aic = float(found.aic)
        covariance = np.asarray(found.normalized_cov_params)
        score = X * (y - found.mu)[:, None]
        robust = covariance @ (score.T @ score) @ covariance
        return {
            "coef": np.asarray(found.params),
            "se": np.asarray(found.bse),
            "stat": np.asarray(found.tvalues),
            "p": np.asarray(found.pvalues),
            "robust_se": np.sqrt(np.diag(robust)),
            "deviance": float(found.deviance),
            "null_deviance": float(found.null_deviance),
            "pearson_chi2": float(found.pearson_chi2),
            "llf": float(found.llf),
            "llnull": float(found.llnull),
            "aic": aic,
            "quasi_scale": float(found.pearson_chi2 / (len(y) - X.shape[1])),
        }


def _linear(y: NDArray[np.float64], X: NDArray[np.float64]) -> dict[str, Any]:
    import statsmodels.api as sm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sm.OLS(y, X).fit()
        return {
            "coef": np.asarray(found.params),
            "se": np.asarray(found.bse),
            "stat": np.asarray(found.tvalues),
            "p": np.asarray(found.pvalues),
            "robust_se": np.asarray(found.HC0_se),
            "r2": float(found.rsquared),
            "adj_r2": float(found.rsquared_adj),
            "F": float(found.fvalue),
            "F_p": float(found.f_pvalue),
        }


def lowess(
    x: NDArray[np.float64], y: NDArray[np.float64], *, frac: float = 0.3, iterations: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (x sorted, fitted), both f8 [n]: a robust local linear fit (Cleveland 1979).

    At every x a line over the floor(frac n) nearest rows with tricube weights, then `iterations` rounds of bisquare
    reweighting with 6 times the median absolute residual.

    Raises:
        ValueError: x and y differ in length, frac is not in (0, 1], or iterations is negative.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"x and y must be of one length; found shapes {x.shape} and {y.shape}")
    if not 0.0 < frac <= 1.0 or iterations < 0:
        raise ValueError(f"frac {frac} must be in (0, 1] and iterations {iterations} not negative")
    from statsmodels.nonparametric.smoothers_lowess import lowess as fit

    fitted = fit(y, x, frac=frac, it=iterations, delta=0.0, return_sorted=True)
    return fitted[:, 0], fitted[:, 1]
