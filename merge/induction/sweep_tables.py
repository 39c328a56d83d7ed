"""Tables of a sweep: the samples under the reference implementation's column names, regressions, counts, maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.regression import Regression, significance, turns
from ..exports import write_csv, write_json
from .sweep_pairs import write_pairs

if TYPE_CHECKING:
    from .sweep_results import Swept

REGRESSION_HEADER = (
    "outcome",
    "subsample",
    "model",
    "term",
    "coef",
    "se",
    "quasi_se",
    "robust_se",
    "stat",
    "p",
    "mark",
    "n",
)


def sample_columns(swept: Swept) -> dict[str, Sequence[Any]]:
    """Return `results.csv` by column: the reference's names first, then ours."""
    columns, world = swept.columns, swept.world
    names = ("max_steps", "beta_h", "beta_r", "gamma_h", "gamma_r", "zeta", "eta", "xi", "seed", "p_left")
    table: dict[str, Sequence[Any]] = {name: columns[name].tolist() for name in names}
    table["n_states"] = columns["n_states_nonterminal"].tolist()
    table["computation_time"] = swept.seconds.tolist()
    pi_r, Q_r = columns["pi_r"], columns["Q_r"]
    for name in ("pi_r", "Q_r"):
        turned = turns(columns, name)
        if turned is not None:
            table |= {f"{name}_turn_left": turned[:, 0].tolist(), f"{name}_turn_right": turned[:, 1].tolist()}
    table["V_r"] = columns["V_r"].tolist()
    humans = range(swept.humans)
    table |= {f"X_h{h + 1}": columns["X_h"][:, h].tolist() for h in humans}
    for h in humans:
        x, y = world.agents[world.humans[h]][:2]
        table[f"h{h + 1}_pos"] = [f"({x},{y})"] * swept.n
    table |= {"index": columns["index"].tolist(), "U_r": columns["U_r"].tolist()}
    table |= {f"W_h{h + 1}": columns["W_h"][:, h].tolist() for h in humans}
    table |= {f"p_first_h{h + 1}": columns["p_first"][:, h].tolist() for h in humans}
    table |= {
        "p_first_several": columns["p_first"][:, -2].tolist(),
        "p_first_neither": columns["p_first"][:, -1].tolist(),
    }
    table["n_states_with_terminal"] = columns["n_states"].tolist()
    for action in range(pi_r.shape[1]):
        table |= {f"pi_r_{action}": pi_r[:, action].tolist(), f"Q_r_{action}": Q_r[:, action].tolist()}
    if "p_disabled" in columns:
        table |= {
            f"p_disabled_{name}": columns["p_disabled"][:, k].tolist() for k, name in enumerate(("pause", "kill"))
        }
    return table


def regression_rows(model: Regression, which: str, name: str) -> list[tuple[Any, ...]]:
    """Return a model's coefficients as rows of `REGRESSION_HEADER`."""
    quasi = model.quasi_se
    return [
        (
            model.outcome,
            which,
            name,
            term,
            float(model.coef[k]),
            float(model.se[k]),
            float("nan") if quasi is None else float(quasi[k]),
            float(model.robust_se[k]),
            float(model.stat[k]),
            float(model.p[k]),
            significance(float(model.p[k])),
            model.n,
        )
        for k, term in enumerate(model.terms)
    ]


def fit_row(model: Regression, which: str, name: str) -> dict[str, Any]:
    """Return how good a model is."""
    keys: tuple[str, ...] = ("deviance", "null_deviance", "pearson_chi2", "llf", "llnull", "aic", "quasi_scale")
    keys += ("mcfadden", "r2", "adj_r2", "F", "F_p")
    row = {"outcome": model.outcome, "subsample": which, "model": name, "n": model.n}
    return row | {key: getattr(model, key) for key in keys} | {"skipped": " ".join(model.skipped)}


def models_of(swept: Swept) -> list[tuple[Regression, str, str]]:
    """Return every fitted model with its subsample and kind."""
    full = [
        (model, which, "interactions" if interactions else "full")
        for (_, which, interactions), model in swept.full.items()
    ]
    return full + [(model, "all", "univariate") for model in swept.univariate.values()]


def write_sweep_tables(folder: Path, swept: Swept, provenance: dict[str, Any], stamp: str | None) -> None:
    """Write all tables of a sweep."""
    table = sample_columns(swept)
    write_csv(folder / "results.csv", tuple(table), zip(*table.values(), strict=True), stamp)
    models = models_of(swept)
    rows = [row for model, which, name in models for row in regression_rows(model, which, name)]
    write_csv(folder / "regressions.csv", REGRESSION_HEADER, rows, stamp)
    fits = [fit_row(model, which, name) for model, which, name in models]
    header = list(fits[0]) if fits else ["outcome"]
    write_csv(folder / "regression_fits.csv", header, ([_cell(value) for value in fit.values()] for fit in fits), stamp)
    outcomes = [*(f"h{h + 1}" for h in range(swept.humans)), "several", "neither", "tie"]
    write_csv(
        folder / "freed_first_counts.csv",
        ("max_steps", *outcomes),
        ((steps, *counts) for steps, counts in zip(swept.strata, swept.counts.tolist(), strict=True)),
        stamp,
    )
    write_csv(
        folder / "maps.csv", ("metric", "stratum", "cell", "n", "mean", "sd", "min", "max"), map_rows(swept), stamp
    )
    if not swept.config.grid:
        write_pairs(folder, swept.pairs, stamp)
    write_csv(folder / "failures.csv", ("index", "reason"), swept.failures, stamp)
    write_json(folder / "summary.json", sweep_summary(swept, fits) | {"provenance": provenance})


def _cell(value: Any) -> Any:
    return float("nan") if value is None else value


def map_rows(swept: Swept) -> list[tuple[Any, ...]]:
    """Return mean, standard deviation, least and greatest of every cell of the array metrics, by stratum."""
    rows = []
    for name in ("Vm", "Ve", "pi_r", "p_first"):
        triples, ends = swept.metric(name)
        for s, stratum in enumerate(("all", *map(str, swept.strata))):
            for cell in np.ndindex(*triples.shape[2:]):
                n, mean, m2 = (float(triples[(s, k, *cell)]) for k in range(3))
                if n:
                    sd = float(np.sqrt(m2 / (n - 1))) if n > 1 else float("nan")
                    low, high = (float(ends[(k, s, *cell)]) for k in range(2))
                    rows.append((name, stratum, " ".join(map(str, cell)), int(n), mean, sd, low, high))
    return rows


def sweep_summary(swept: Swept, fits: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the content of `summary.json`, the provenance left out."""
    columns = swept.columns
    means = {}
    for name in ("p_left", "V_r", "U_r", "X_h", "W_h", "p_first", "p_disabled"):
        values = columns.get(name)
        if values is not None and len(values):
            means[name] = {
                "mean": values.mean(axis=0),
                "sd": values.std(axis=0, ddof=1) if len(values) > 1 else None,
                "min": values.min(axis=0),
                "max": values.max(axis=0),
            }
    return {
        "world": swept.world.name,
        "samples": swept.n,
        "failures": len(swept.failures),
        "duplicate_seeds": int(swept.n - len(np.unique(columns["seed"]))),
        "cpu_s_per_sample": float(swept.seconds.mean()) if swept.n else None,
        "freed_first_counts": {str(s): c for s, c in zip(swept.strata, swept.counts.tolist(), strict=True)},
        "outcomes": means,
        "regressions": fits,
    }
