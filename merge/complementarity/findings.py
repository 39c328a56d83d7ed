"""A finished search as the analyses see it, read from a run or from an Optuna database, and its tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...jobs.complementarity.search_analysis import (
    advantage_by_baseline,
    best_trials,
    clients_per_trial,
    convergence,
    covering,
    extremes_contrast,
    importance,
    parameter_names,
    significance,
    trials_frame,
)
from ...jobs.complementarity.selection import usable
from ...shard.publish import replace_file
from .tables import csv_bytes

if TYPE_CHECKING:
    from ...shard.context import Context


@dataclass(frozen=True)
class SearchFindings:
    """The finished search as `search_analysis` sees it.

    Attributes:
        frame: table of trials.
        importances: importance by parameter.
        n_seeds: clients per trial, None where that is not known.
        skipped: COMPLETE trials that were left out because their value is not finite.
    """

    frame: pd.DataFrame
    importances: Mapping[str, float]
    n_seeds: int | None
    skipped: int = 0


def findings_of_run(context: Context) -> SearchFindings:
    """Return what a run's own search found, from `merged/search.h5`."""
    import optuna

    from ...shard.complementarity import finished_trials, space_of

    with context.result("search") as file:
        trials = finished_trials(file)
    frame = trials_frame(
        SimpleNamespace(
            number=trial.number,
            value=trial.value,
            state=trial.state,
            params=trial.parameters,
            user_attrs=trial.user_attrs,
        )
        for trial in trials
    )
    space = {name: optuna.distributions.json_to_distribution(text) for name, text in space_of(context.config)}
    return SearchFindings(frame, importance(frame, space), context.config.search.n_seeds)


def findings_of_trials(trials: Iterable[Any]) -> SearchFindings:
    """Return what a search in a foreign database found, from its trials (Optuna's frozen ones)."""
    known = list(trials)
    frame = trials_frame(known)
    complete = frame.dropna(axis="columns", how="any")
    space = {}
    for name in parameter_names(complete):
        tried = [trial for trial in usable(known) if name in trial.params]
        found = covering([trial.distributions[name] for trial in tried], [trial.params[name] for trial in tried])
        if found is not None:
            space[name] = found
    skipped = sum(trial.state.name == "COMPLETE" for trial in known) - len(frame)
    return SearchFindings(frame, importance(complete, space), clients_per_trial(frame), skipped)


def write_search_tables(folder: Path, findings: SearchFindings, top_k: int) -> list[Path]:
    """Write the best trials as JSON, and the analyses of the search as CSV; return the files."""
    frame = findings.frame
    records = json.loads(best_trials(frame, top_k).to_json(orient="records", double_precision=15))
    contents = {"top_trials.json": (json.dumps(records, indent=2) + "\n").encode()}
    if not frame.empty:
        shares = {"parameter": list(findings.importances), "importance": list(findings.importances.values())}
        tables = {
            "importance": pd.DataFrame(shares),
            "convergence": convergence(frame),
            "contrast": extremes_contrast(frame),
            "by_baseline": advantage_by_baseline(frame),
        }
        if findings.n_seeds is not None:
            tables["significance"] = significance(frame, findings.n_seeds)
        contents |= {f"search_{name}.csv": csv_bytes(table) for name, table in tables.items()}
    for name, content in contents.items():
        replace_file(folder / name, content)
    return [folder / name for name in contents]
