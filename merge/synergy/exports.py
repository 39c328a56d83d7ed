"""Result files of the study: aggregated and individual results, the state of old, tables, models."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...shard.publish import make_folder, replace_file
from ...shard.synergy.rows import units_of
from ..exports import json_bytes, write_csv, write_file, write_json
from .dataset import stored_rows

if TYPE_CHECKING:
    from ...jobs.synergy.result import UnitResult
    from ...shard.context import Context
    from .sweep import Sweep

PICKLE_PROTOCOL = 4


def refreshed(path: Path, content: bytes) -> None:
    """Write a file whole where it does not hold these bytes already.

    Without the flush to disk of `replace_file`: there may be thousands, and all of them can be written again.
    """
    if not path.is_file() or path.read_bytes() != content:
        write_file(path, content)


def summary_rows(sweep: Sweep) -> list[dict[str, Any]]:
    """Return one row per condition and metric, as the users' own snippet makes them."""
    return [
        {
            "condition": key,
            "workspace_dim": entry["workspace_dim"],
            "synergy_scale": entry["synergy_scale"],
            "n_runs": entry["n_runs"],
            "metric": metric,
            **values,
        }
        for key, entry in sweep.aggregated.items()
        for metric, values in entry["aggregated_metrics"].items()
    ]


def prior_rows(sweep: Sweep) -> list[dict[str, Any]]:
    """Return the synergy-prior tables as rows of one file: verdicts, slopes of runs, retention by dimension."""
    return [{"table": table, **row} for table in ("verdicts", "runs", "retention") for row in sweep.prior[table]]


def state_of(sweep: Sweep, aggregated: Mapping[str, Any], start_time: str | None) -> dict[str, Any]:
    """Return the state file of old: ids that completed, ids that failed with the reason, results by id."""
    results = {
        record["condition_id"]: record for entry in aggregated.values() for record in entry["individual_results"]
    }
    return {"completed": list(results), "failed": failures_of(sweep), "results": results, "start_time": start_time}


def failures_of(sweep: Sweep) -> dict[str, str]:
    """Return why units failed, by their ids."""
    return {result.condition_id: result.error for result in sweep.results if result.status == "failed"}


def unit_config(sweep: Sweep, result: UnitResult) -> dict[str, Any]:
    """Return the config of one unit: the run's, with the unit's dimension, scale and seed."""
    config = sweep.config.model_dump(mode="json")
    config["model"]["workspace_dim"] = result.unit.workspace_dim
    config["synergy"]["loss_scale"] = float(result.unit.synergy_scale)
    for section in ("inputs", "report", "phases", "sweep"):
        config.pop(section, None)
    config["experiment"] = {
        "name": result.condition_id,
        "experiment_type": result.experiment_type,
        "run_id": result.unit.run_id,
        "seed": result.seed,
    }
    return config


def write_units(folder: Path, sweep: Sweep) -> None:
    """Write `<condition_id>/config.json` and `results.json` of every unit."""
    history = sweep.config.report.with_history
    for result in sweep.results:
        record = result.record(with_history=history, checkpoint_path=sweep.checkpoint_path(result))
        refreshed(folder / result.condition_id / "results.json", json_bytes(record))
        refreshed(folder / result.condition_id / "config.json", json_bytes(unit_config(sweep, result)))


def write_tables(tables: Path, sweep: Sweep, stamp: str, start_time: str | None = None) -> None:
    """Write everything below `tables/`, models aside.

    Args:
        tables: where to.
        sweep: the results.
        stamp: what is missing, in words; empty where nothing is.
        start_time: UTC time of the plan, for the state file.
    """
    aggregated = sweep.aggregated
    replace_file(tables / "aggregated_results.json", json_bytes(aggregated))
    # plain builtins for scripts of old that load it; nothing here ever reads it back
    state = pickle.dumps(state_of(sweep, aggregated, start_time), protocol=PICKLE_PROTOCOL)
    replace_file(tables / "sweep_state.pkl", state)
    named: dict[str, Sequence[Mapping[str, Any]]] = {
        "summary.csv": summary_rows(sweep),
        "comparisons.csv": sweep.comparisons,
        "synergy_prior.csv": prior_rows(sweep),
        "learned.csv": sweep.learned,
    }
    for name, rows in named.items():
        header = list(dict.fromkeys(key for row in rows for key in row))
        write_csv(tables / name, header, ([row.get(key) for key in header] for row in rows), stamp)
    facts = {
        "units": sweep.counts,
        "stamp": stamp or None,
        "failed": failures_of(sweep),
        "prior": sweep.prior["verdicts"],
        "learned": sweep.learned,
    }
    write_json(tables / "summary.json", facts)
    write_units(tables / "individual_results", sweep)


def export_models(context: Context, sweep: Sweep, tables: Path) -> None:
    """Write `individual_results/<condition_id>/model.npz` of every unit that is done, arrays by name."""
    config = sweep.config
    if config.run.save_models == "none":
        return
    units = units_of(config)
    with context.result("train") as file:
        numbers = file["rows/units/unit_index"][()].tolist()
        for result, number, flat in zip(sweep.results, numbers, stored_rows(context, file, "rows/models"), strict=True):
            path = sweep.checkpoint_path(result)
            if path is None:
                continue
            layout = config.layout(units[number].workspace_dim, config.data.n_bins, config.n_v)
            image = io.BytesIO()
            np.savez(image, **layout.named(flat))  # type: ignore[arg-type]
            make_folder((tables / path).parent)
            refreshed(tables / path, image.getvalue())
