"""Tables of a run: every trial, twins included, and what parameters have to do with mean reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...jobs.conspec.metrics import METRICS
from ...jobs.conspec.worlds import WORLDS
from ..exports import write_csv

if TYPE_CHECKING:
    from .stored import Study, Trials


def trial_rows(study: Study) -> tuple[list[str], list[list[Any]]]:
    """Return a row per trial, worlds in order; trials without ConSpec follow those of the searches."""
    names = list(study.config.hyperparameters)
    header = ["environment", "trial", "conspec", "status", *names, "value", *METRICS, "reason"]
    rows = []
    whole = study.config.agent.conspec
    for world, trials in study.searches.items():
        for row in sorted(range(len(trials)), key=lambda k: int(trials.number[k])):
            rows.append([world, *trial_cells(trials, row, names, trials.parameters[row].get("conspec", whole))])
    twins = study.ablation
    if twins is not None and twins.world is not None:
        places = twins.world.tolist()
        for row in sorted(range(len(twins)), key=lambda k: (places[k], int(twins.number[k]))):
            if twins.number[row] >= 0:
                rows.append([WORLDS[places[row]], *trial_cells(twins, row, names, False)])
    return header, rows


def trial_cells(trials: Trials, row: int, names: Sequence[str], conspec: bool) -> list[Any]:
    """Return the cells of one trial behind its world."""
    chosen = trials.parameters[row]
    status = "failed" if trials.failed[row] else "complete"
    return [
        int(trials.number[row]),
        int(conspec),
        status,
        *(chosen.get(name) for name in names),
        float(trials.value[row]),
        *(float(trials.metrics[name][row]) for name in METRICS),
        trials.reasons[row],
    ]


def correlation_rows(
    analysis: Mapping[str, Mapping[str, Any]], importances: Mapping[str, Mapping[str, float]]
) -> tuple[list[str], list[list[Any]]]:
    """Return a row per world and parameter."""
    rows = [
        [world, name, found["pearson"][name], found["spearman"][name], importances.get(world, {}).get(name)]
        for world, found in analysis.items()
        for name in found["pearson"]
    ]
    return ["environment", "hyperparameter", "pearson", "spearman", "ped_anova"], rows


def write_tables(
    folder: Path,
    study: Study,
    analysis: Mapping[str, Mapping[str, Any]],
    importances: Mapping[str, Mapping[str, float]],
) -> None:
    """Write `trials.csv` and `correlations.csv`."""
    write_csv(folder / "trials.csv", *trial_rows(study))
    write_csv(folder / "correlations.csv", *correlation_rows(analysis, importances))
