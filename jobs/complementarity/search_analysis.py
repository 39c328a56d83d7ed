"""What a finished search tells about the parameters: importance, significance, contrasts, convergence.

The functions take a table of trials as `trials_frame` makes it: one row per COMPLETE trial with a finite
value, columns `number`, `value` (the advantage), the success and dropout rates that the search stored, and
the parameters. Both therapists met the same clients, so Fisher's and the z-test, which take them for
independent groups, are conservative; they are kept because the literature reports them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from .selection import usable
from .statistics import arcsine_effect, fisher_p, two_proportion_power, two_proportion_z

RATES = ("omniscient_success", "complementary_success", "omniscient_dropout", "complementary_dropout")
LARGEST_SAMPLE = 10_000
ROUNDING = 1e-9
TIGHT = 0.10
MODERATE = 0.30
SIGNIFICANCE = 0.05
POWER = 0.80
PROJECTED_SEEDS = (50, 100, 200, 500, 1000, 2000, 5000, 10000)
BASELINE_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def trials_frame(trials: Iterable[Any]) -> pd.DataFrame:
    """Table of the usable trials, in the order of their numbers.

    Args:
        trials: records with `number`, `value`, `state`, `params` and `user_attrs`, such as Optuna's frozen
            trials.

    Returns:
        Columns `number`, `value`, those of `RATES` (NaN where a trial lacks one), then the parameters.
    """
    records = [
        {"number": trial.number, "value": float(trial.value)}
        | {rate: trial.user_attrs.get(rate, np.nan) for rate in RATES}
        | dict(trial.params)
        for trial in usable(trials)
    ]
    return pd.DataFrame(records, columns=None if records else ["number", "value", *RATES])


def clients_per_trial(frame: pd.DataFrame) -> int | None:
    """How many clients the trials had, from their success rates; None where the rates do not tell.

    A rate k/n is a fraction whose denominator divides n, so the least common multiple of all denominators is n as
    soon as one k has no divisor in common with it.
    """
    rates = frame[list(RATES[:2])].to_numpy(dtype=float).ravel()
    rates = rates[np.isfinite(rates)]
    found = math.lcm(*(Fraction(rate).limit_denominator(LARGEST_SAMPLE).denominator for rate in rates))
    if not 1 < found <= LARGEST_SAMPLE or np.abs(rates * found - np.round(rates * found)).max() > ROUNDING:
        return None
    return found


def parameter_names(frame: pd.DataFrame) -> list[str]:
    """Columns of a table of trials that are parameters."""
    return [name for name in frame.columns if name not in ("number", "value", *RATES)]


def _numeric(frame: pd.DataFrame) -> list[str]:
    names = parameter_names(frame)
    return [name for name in names if pd.api.types.is_numeric_dtype(frame[name])]


def importance(frame: pd.DataFrame, distributions: Mapping[str, Any]) -> dict[str, float]:
    """Share of each parameter in what makes a trial one of the best (PED-ANOVA, Watanabe et al., 2023).

    Args:
        frame: table of trials.
        distributions: Optuna distribution by parameter.

    Returns:
        Importances by parameter, largest first, summing to 1; empty where fewer than 10 trials or a constant
        value leave nothing to tell.
    """
    import optuna

    if len(frame) < 10 or frame["value"].nunique() < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    names = [name for name in parameter_names(frame) if name in distributions]
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: row[name] for name in names},
                distributions={name: distributions[name] for name in names},
                value=row["value"],
            )
            for row in frame.to_dict("records")
        ]
    )
    found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def covering(distributions: Sequence[Any], values: Sequence[Any]) -> Any | None:
    """One distribution of a parameter that holds all values that its trials have.

    Args:
        distributions: Optuna distributions that the parameter had, one a trial.
        values: its values.

    Returns:
        The trials' own where they share it and it holds all values; else one from the lowest to the highest end or
        value, or of all choices; None where some trials had numbers and others choices.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if {type(each) for each in distributions} == {CategoricalDistribution}:
        return CategoricalDistribution(list(dict.fromkeys(item for each in distributions for item in each.choices)))
    if any(isinstance(each, CategoricalDistribution) for each in distributions):
        return None
    first, whole = distributions[0], all(isinstance(each, IntDistribution) for each in distributions)
    low = min([each.low for each in distributions] + list(values))
    high = max([each.high for each in distributions] + list(values))
    ends = (first.low, first.high, first.step)
    if all(each == first for each in distributions) and ends == (low, high, 1 if whole else None):
        return first
    return IntDistribution(int(low), int(high)) if whole else FloatDistribution(float(low), float(high))


def best_trials(frame: pd.DataFrame, n: int) -> pd.DataFrame:
    """The `n` trials with the largest advantage, best first; equal ones by number."""
    return frame.sort_values(["value", "number"], ascending=[False, True], kind="stable").head(n)


def worst_trials(frame: pd.DataFrame, n: int) -> pd.DataFrame:
    """The `n` trials with the smallest advantage, worst first; equal ones by number."""
    return frame.sort_values(["value", "number"], kind="stable").head(n)


def significance(frame: pd.DataFrame, n_seeds: int, top: int = 10) -> pd.DataFrame:
    """Tests of the best trials' success rates against their baseline's, corrected for all trials of the
    search.

    Args:
        frame: table of trials.
        n_seeds: clients per trial.
        top: how many trials.

    Returns:
        Per trial `number`, `value`, both rates, `fisher_p`, `z`, `z_p` (two-sided) and `fisher_bonferroni_p`,
        `z_bonferroni_p`, multiplied by the number of trials and at most 1.
    """
    records = []
    for row in best_trials(frame.dropna(subset=list(RATES[:2])), top).to_dict("records"):
        k, b = (round(row[rate] * n_seeds) for rate in RATES[:2])
        fisher = fisher_p(k, b, n_seeds)
        z, z_p = two_proportion_z(k, b, n_seeds)
        records.append(
            {
                "number": row["number"],
                "value": row["value"],
                "omniscient_success": row["omniscient_success"],
                "complementary_success": row["complementary_success"],
                "fisher_p": fisher,
                "z": z,
                "z_p": z_p,
                "fisher_bonferroni_p": min(1.0, fisher * len(frame)),
                "z_bonferroni_p": min(1.0, z_p * len(frame)),
            }
        )
    return pd.DataFrame(records)


def advantage_by_baseline(frame: pd.DataFrame, edges: Sequence[float] = BASELINE_EDGES) -> pd.DataFrame:
    """Advantage in bins of the baseline's success rate: is there more to gain where the baseline fails?

    Returns:
        Per bin `low`, `high`, `n_trials`, `mean_advantage`, `largest_advantage`, `share_positive` (NaN where
        empty). Bins are closed below; the last one also above.
    """
    rate = frame["complementary_success"].to_numpy()
    bins = np.clip(np.searchsorted(edges, rate, side="right") - 1, 0, len(edges) - 2)
    records = []
    for k in range(len(edges) - 1):
        values = frame["value"].to_numpy()[(bins == k) & np.isfinite(rate)]
        some = len(values) > 0
        records.append(
            {
                "low": edges[k],
                "high": edges[k + 1],
                "n_trials": len(values),
                "mean_advantage": values.mean() if some else np.nan,
                "largest_advantage": values.max() if some else np.nan,
                "share_positive": (values > 0).mean() if some else np.nan,
            }
        )
    return pd.DataFrame(records)


def cohens_d(first: Any, second: Any) -> float:
    """Cohen's d of two samples, pooled standard deviation; NaN with fewer than two values or no spread."""
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if len(x) < 2 or len(y) < 2:
        return float("nan")
    pooled = ((len(x) - 1) * x.var(ddof=1) + (len(y) - 1) * y.var(ddof=1)) / (len(x) + len(y) - 2)
    return float((x.mean() - y.mean()) / np.sqrt(pooled)) if pooled > 0 else float("nan")


def extremes_contrast(frame: pd.DataFrame, share: float = 0.10) -> pd.DataFrame:
    """How the parameters of the best and the worst trials differ.

    Returns:
        Per numeric parameter its mean among the best and the worst `share` of trials and Cohen's d, largest
        |d| first.
    """
    n = max(1, round(len(frame) * share))
    top, bottom = best_trials(frame, n), worst_trials(frame, n)
    records = [
        {
            "parameter": name,
            "mean_top": top[name].mean(),
            "mean_bottom": bottom[name].mean(),
            "cohens_d": cohens_d(top[name], bottom[name]),
        }
        for name in _numeric(frame)
    ]
    table = pd.DataFrame(records, columns=["parameter", "mean_top", "mean_bottom", "cohens_d"])
    return table.sort_values("cohens_d", key=lambda d: -d.abs(), kind="stable", ignore_index=True)


def power_projection(
    rate: float, baseline_rate: float, n_tests: int = 1, seeds: Sequence[int] = PROJECTED_SEEDS
) -> tuple[pd.DataFrame, float]:
    """Power of a two-sided z-test to tell two success rates apart, by the number of clients.

    Args:
        rate: success rate of the strategic therapist.
        baseline_rate: success rate of the baseline.
        n_tests: tests that the significance level of 5 % is shared by (Bonferroni).
        seeds: numbers of clients.

    Returns:
        Table `n_seeds`, `power`; and the number of clients for a power of 80 %, infinite for equal rates.
    """
    effect = arcsine_effect(rate, baseline_rate)
    alpha = SIGNIFICANCE / n_tests
    if effect == 0:
        return pd.DataFrame({"n_seeds": seeds, "power": alpha}), float("inf")
    power = [two_proportion_power(rate, baseline_rate, n, alpha) for n in seeds]
    needed = ((-ndtri(alpha / 2) + ndtri(POWER)) / effect) ** 2 * 2
    return pd.DataFrame({"n_seeds": seeds, "power": power}), float(np.ceil(needed))


def negative_results(frame: pd.DataFrame) -> dict[str, float | int]:
    """How often the strategic therapist does not help: trials without advantage, and the extremes."""
    values = frame["value"].to_numpy()
    n = len(values)
    return {
        "n_trials": n,
        "n_positive": int((values > 0).sum()),
        "n_zero": int((values == 0).sum()),
        "n_negative": int((values < 0).sum()),
        "share_not_positive": float((values <= 0).mean()) if n else float("nan"),
        "median_advantage": float(np.median(values)) if n else float("nan"),
        "smallest_advantage": float(values.min()) if n else float("nan"),
        "largest_advantage": float(values.max()) if n else float("nan"),
    }


def convergence(frame: pd.DataFrame, top: int = 15) -> pd.DataFrame:
    """How closely the best trials agree on each parameter.

    Returns:
        Per numeric parameter `score` = interquartile range of the top trials / range over all trials, and
        `label`: TIGHT below 0.10, MODERATE below 0.30, else WIDE; `median_top`; a parameter that never varied
            is TIGHT with 0.
    """
    best = best_trials(frame, top)
    records = []
    for name in _numeric(frame):
        spread = float(np.ptp(frame[name])) if len(frame) else 0.0
        low, median, high = np.percentile(best[name], [25, 50, 75]) if len(best) else (np.nan,) * 3
        score = float(high - low) / spread if spread > 0 else 0.0
        label = "TIGHT" if score < TIGHT else "MODERATE" if score < MODERATE else "WIDE"
        records.append({"parameter": name, "score": score, "label": label, "median_top": float(median)})
    return pd.DataFrame(records, columns=["parameter", "score", "label", "median_top"])
