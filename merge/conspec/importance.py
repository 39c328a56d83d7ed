"""Importance of parameters by PED-ANOVA (Watanabe, Bansal and Hutter 2023), as optuna computes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

FEWEST_TRIALS = 20


def importances(
    parameters: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    space: Sequence[tuple[str, str]],
    direction: Literal["maximize", "minimize"],
) -> dict[str, float]:
    """Return the share of each parameter in reaching the best tenth of trials; empty below 20 trials.

    Args:
        parameters: of each trial.
        values: metric of each trial.
        space: names and distributions as optuna's JSON.
        direction: whether large or small values are good.
    """
    rows = [(chosen, value) for chosen, value in zip(parameters, values, strict=True) if math.isfinite(value)]
    distinct = {name: {chosen[name] for chosen, _ in rows} for name, _ in space}
    varied = [(name, text) for name, text in space if len(distinct[name]) > 1]
    if len(rows) < FEWEST_TRIALS or not varied or len({value for _, value in rows}) < 2:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: optuna.distributions.json_to_distribution(text) for name, text in varied}
    study = optuna.create_study(direction=direction)
    for chosen, value in rows:
        own = {name: chosen[name] for name in distributions}
        study.add_trial(optuna.trial.create_trial(params=own, distributions=distributions, value=value))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(distributions))
    except (ValueError, RuntimeError):  # the best tenth is the whole study
        return {}
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}
