"""What the partials of `train` hold: names of metrics and curves, and the way from a unit's result to rows and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...jobs.synergy.conditions import grid
from ...jobs.synergy.config import Config, EarlyStopping
from ...jobs.synergy.data import Split, Unit
from ...jobs.synergy.member import Member
from ...jobs.synergy.metrics import Judge, Partition
from ...jobs.synergy.parameters import Layout
from ...jobs.synergy.result import Status, UnitResult
from ...jobs.synergy.statistics import moments
from ...jobs.synergy.summary import COST
from ...jobs.synergy.sums import N_ATTR, length
from ..phases import Dataset, Stats

STATUS: dict[Status, int] = {"done": 1, "failed": 2}
WHOLE_NUMBERS = ("best_epoch", "onset_epoch")
MAIN_METRICS = (
    "best_val_loss",
    "final_val_loss",
    "val_loss_unscaled",
    "learned",
    "predictability/synergy_acc",
    "predictability/synergy_ce",
    "predictability/synergy_norm_ce",
    "predictability/unique_r2",
    "predictability/redundant_r2",
    "unimodal/attr_acc",
    "unimodal/v_acc",
    "info/synergy_bits",
)
"""Metrics whose moments stand in the partials, too, so that the merge can hold the rows against them."""


@dataclass(frozen=True)
class Names:
    """What is measured of every unit of a config.

    Attributes:
        metrics: metrics of one number.
        columns: metrics of one number per column, and how many columns.
        curves: metrics of one number per epoch.
    """

    metrics: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]
    curves: tuple[str, ...]


def names_of(config: Config) -> Names:
    """Return what is measured of every unit: the bookkeeping of a unit is asked, with sums that stand for nothing."""
    n_bins, n_v = config.data.n_bins, config.n_v
    objective = config.objective(config.sweep.experiment_type)
    rows = np.zeros((2, 1), np.float32)
    split = Split(np.repeat(rows, N_ATTR, axis=1), np.repeat(rows, n_v, axis=1), np.zeros(2, np.uint8))
    partition = Partition.of(
        config.synergy.unique_indices,  # type: ignore[arg-type]
        config.synergy.redundant_indices,  # type: ignore[arg-type]
        config.visual.latent_dim,
        n_v,
    )
    judge = Judge(split, partition, n_bins, objective.synergy)
    layout = Layout(1, 1, 1, 0, n_bins, n_v)
    member = Member(Unit(1, 1.0), layout, config.sweep.experiment_type, objective, n_bins, EarlyStopping())
    sums, confusion = np.ones(length(n_v)), np.ones((n_bins, n_bins), np.int64)
    member.record_training(sums, np.ones(2), 2)
    member.record_validation(sums, judge)
    member.finish((sums, confusion), judge)
    member.record_test((sums, confusion), judge)
    result = member.result(np.zeros(layout.n_params, np.float32), {})
    lists = {name: len(value) for name, value in result.metrics.items() if isinstance(value, list)}
    return Names(
        tuple(name for name in result.metrics if name not in lists), tuple(lists.items()), tuple(result.history)
    )


def main_metrics(config: Config) -> tuple[str, ...]:
    """Return the metrics whose moments stand in the partials of a config."""
    return tuple(name for name in MAIN_METRICS if name in names_of(config).metrics)


def units_of(config: Config) -> list[Unit]:
    """Return the units of a sweep in canonical order."""
    sweep = config.sweep
    return grid(sweep.dims, sweep.synergy_scales, sweep.runs_per_condition, sweep.base_seed)


def column_dataset(name: str) -> str:
    """Return the dataset of a metric of one number per column, e.g. `rows/metrics/reconstruction/per_column`."""
    return f"rows/metrics/{name}"


def datasets_of(config: Config) -> tuple[Dataset, ...]:
    """Return what the partials of `train` hold of each unit."""
    names, n_bins = names_of(config), config.data.n_bins
    epochs = config.epochs(config.sweep.experiment_type)
    whole = ("unit_index", "run_id", "seed", "epochs_done", "best_epoch", "steps")
    models = () if config.run.save_models == "none" else (Dataset("rows/models", "f4", ragged=True, merge="index"),)
    return (
        *(Dataset(f"rows/units/{name}", "i8") for name in whole),
        *(Dataset(f"rows/units/{name}", "i4") for name in ("workspace_dim", "status")),
        Dataset("rows/units/synergy_scale", "f8"),
        Dataset("rows/units/error", "u1", ragged=True),
        Dataset("rows/metrics/values", "f8", (len(names.metrics),)),
        *(Dataset(column_dataset(name), "f8", (columns,)) for name, columns in names.columns),
        Dataset("rows/curves/values", "f8", (len(names.curves), epochs)),
        Dataset("rows/curves/length", "i4"),
        Dataset("rows/confusion", "i8", (n_bins, n_bins)),
        Dataset("counts/confusion", "i8", (n_bins, n_bins)),
        *models,
        Dataset("meta/cost", "f8", (len(COST),)),
    )


def stats_of(config: Config) -> Stats:
    """Return the moments that partials hold: main metrics by condition."""
    return Stats(main_metrics(config), len(config.sweep.dims) * len(config.sweep.synergy_scales))


def as_number(value: Any) -> float:
    """Return a metric's value as a float; NaN where it is missing."""
    return math.nan if value is None else float(value)


def block_arrays(config: Config, units: range, results: Sequence[UnitResult]) -> dict[str, Any]:
    """Return the payload of a block from its units' results."""
    names = names_of(config)
    epochs = config.epochs(config.sweep.experiment_type)
    errors = [np.frombuffer(result.error.encode(), np.uint8) for result in results]
    curves = np.full((len(results), len(names.curves), epochs), np.nan)
    for table, result in zip(curves, results, strict=True):
        for row, name in zip(table, names.curves, strict=True):
            values = result.history.get(name, [])
            row[: len(values)] = values
    confusion = np.stack([result.confusion for result in results])
    arrays: dict[str, Any] = {
        "rows/units/unit_index": np.arange(units.start, units.stop),
        "rows/units/run_id": [result.unit.run_id for result in results],
        "rows/units/seed": [result.seed for result in results],
        "rows/units/epochs_done": [result.epochs_done for result in results],
        "rows/units/best_epoch": [result.metrics.get("best_epoch") or 0 for result in results],
        "rows/units/steps": [result.steps for result in results],
        "rows/units/workspace_dim": [result.unit.workspace_dim for result in results],
        "rows/units/status": [STATUS[result.status] for result in results],
        "rows/units/synergy_scale": [float(result.unit.synergy_scale) for result in results],
        "rows/units/error": np.concatenate([np.zeros(0, np.uint8), *errors]),
        "rows/units/error_length": [len(error) for error in errors],
        "rows/metrics/values": [[as_number(result.metrics.get(name)) for name in names.metrics] for result in results],
        "rows/curves/values": curves,
        "rows/curves/length": [result.epochs_done for result in results],
        "rows/confusion": confusion,
        "counts/confusion": confusion.sum(axis=0),
        "meta/cost": [[as_number(result.cost.get(name)) for name in COST] for result in results],
        "stats": block_moments(config, units, results),
    }
    for name, columns in names.columns:
        arrays[column_dataset(name)] = [result.metrics.get(name) or [math.nan] * columns for result in results]
    if config.run.save_models != "none":
        models = [flat_model(result, config.run.save_models) for result in results]
        arrays |= {"rows/models": np.concatenate(models), "rows/models_length": [len(model) for model in models]}
    return arrays


def flat_model(result: UnitResult, which: str) -> np.ndarray:
    """Return the parameters that are kept, one after another, f4; none where a unit failed before it had any."""
    parameters = result.best_parameters if which == "best" else result.parameters
    arrays = [] if parameters is None else [array.ravel() for array in parameters.values()]
    return np.concatenate([np.zeros(0, np.float32), *arrays])


def block_moments(config: Config, units: range, results: Sequence[UnitResult]) -> np.ndarray:
    """Return the block's moments, f8[metric, 3, condition]: n, mean and M2 over its successful units."""
    metrics, runs = main_metrics(config), config.sweep.runs_per_condition
    triples = np.zeros((len(metrics), 3, stats_of(config).cells))
    done = [(unit // runs, result) for unit, result in zip(units, results, strict=True) if result.status == "done"]
    for cell in sorted({cell for cell, _ in done}):
        for row, name in zip(triples, metrics, strict=True):
            found = moments(result.metrics.get(name) for place, result in done if place == cell)
            row[:, cell] = found["n"], found["mean"], found["m2"]
    return triples


def results_of(config: Config, file: Mapping[str, Any]) -> Iterator[UnitResult]:
    """Yield the units of a merged `train` in their order, without their models.

    Args:
        config: the run's config.
        file: the open result, or its datasets by name.
    """
    names, sweep = names_of(config), config.sweep
    weights = config.objective(sweep.experiment_type).weights
    loss_weights = {name: float(weight) for name, weight in weights._asdict().items()}
    units = units_of(config)
    columns = {name: file[f"rows/units/{name}"][()] for name in ("unit_index", "status", "epochs_done", "steps")}
    text, offsets = file["rows/units/error"][()].tobytes(), file["rows/units/error_offsets"][()]
    values, curves, confusion = (file[f"rows/{name}"][()] for name in ("metrics/values", "curves/values", "confusion"))
    per_column = {name: file[column_dataset(name)][()] for name, _ in names.columns}
    cost = file["meta/cost"][()]
    words: dict[int, Status] = {number: word for word, number in STATUS.items()}
    for row, unit in enumerate(columns["unit_index"].tolist()):
        status = words[int(columns["status"][row])]
        metrics = {name: metric_value(name, value) for name, value in zip(names.metrics, values[row], strict=True)}
        metrics |= {name: table[row].tolist() for name, table in per_column.items()}
        if status != "done":
            metrics = {name: value for name, value in metrics.items() if known(value)}
        epochs = int(columns["epochs_done"][row])
        history = {name: curve[:epochs].tolist() for name, curve in zip(names.curves, curves[row], strict=True)}
        yield UnitResult(
            unit=units[unit],
            experiment_type=sweep.experiment_type,
            loss_weights=loss_weights,
            status=status,
            parameters={},
            best_parameters=None,
            metrics=metrics,
            history=history,
            confusion=confusion[row],
            epochs_done=epochs,
            steps=int(columns["steps"][row]),
            error=text[offsets[row] : offsets[row + 1]].decode(),
            cost={name: cost_value(name, value) for name, value in zip(COST, cost[row], strict=True)},
        )


def known(value: Any) -> bool:
    """Whether a failed unit has this metric."""
    return not (value is None or (isinstance(value, list) and all(math.isnan(item) for item in value)))


def metric_value(name: str, value: float) -> float | int | None:
    """Return a stored metric as it was measured: None for NaN, an int for a count of epochs."""
    if math.isnan(value):
        return None
    return int(value) if name in WHOLE_NUMBERS else float(value)


def cost_value(name: str, value: float) -> float | int | None:
    """Return a stored cost as it was measured."""
    if math.isnan(value):
        return None
    return int(value) if name in ("n_params", "steps") else float(value)
