"""Result files of the study beside its figures: arrays, summary, per-config table, sampled configs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...jobs.complementarity.aggregate import Aggregate
from ...jobs.complementarity.layout import AXES, AxisName
from ...jobs.complementarity.moments import GROUPS
from ...jobs.complementarity.statistics import N_RESAMPLES, bootstrap_band, per_config_table, summary
from ...jobs.complementarity.tracker import MAIN_METRIC
from ..exports import json_bytes, write_file

MAIN_GROUPS = ("v2_adv", "baseline_adv", "remaining")


def trajectory_arrays(aggregate: Aggregate, axis: AxisName, resamples: int = N_RESAMPLES) -> dict[str, NDArray[Any]]:
    """Arrays behind the figures, by the name that they have in `aggregated_trajectories.npz`.

    Args:
        aggregate: the study's result.
        axis: main axis of the unprefixed arrays.
        resamples: number of bootstrap resamples.

    Returns:
        `<group>_mean`, `<group>_std` for the three groups of the main figure on the main axis; with the
        prefixes `session_`, `normalized_` and `fork_` also `_count`, `_sem`, all categories (`both_success`,
        `both_fail`), and `<axis>_x`; other metrics as `<axis>_<metric>_<group>_...`;
        `session_<group>_bootstrap_low`, `_high`; and per config `config_idx`, `config_counts` i8[n, 4],
        `config_n_seeds`.  Each group is trimmed after its last value.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for group in MAIN_GROUPS:
        band = aggregate.band(axis, group)
        arrays |= {f"{group}_mean": band.mean, f"{group}_std": band.std}
    for axis_name in AXES:
        arrays[f"{axis_name}_x"] = aggregate.positions(axis_name)
    for axis_name, metric in aggregate.moments:
        infix = "" if metric == MAIN_METRIC else f"{metric}_"
        for group in GROUPS:
            band = aggregate.band(axis_name, group, metric)
            parts = {"count": band.count, "mean": band.mean, "std": band.std, "sem": band.sem}
            arrays |= {f"{axis_name}_{infix}{group}_{part}": values for part, values in parts.items()}
    for group in MAIN_GROUPS:
        interval = bootstrap_band(aggregate, group, resamples)
        arrays[f"session_{group}_bootstrap_low"] = interval.low
        arrays[f"session_{group}_bootstrap_high"] = interval.high
    arrays["config_idx"] = np.array([config["config_idx"] for config in aggregate.configs], dtype=np.int64)
    arrays["config_counts"] = aggregate.categories
    arrays["config_n_seeds"] = aggregate.n_seeds
    return arrays


def config_info(aggregate: Aggregate, u_matrix: str | None, timestamp: str) -> dict[str, Any]:
    """Describe the sampled configs: how many, with how many seeds, from which trials, their advantage."""
    return {
        "timestamp": timestamp,
        "n_configs": len(aggregate),
        "n_seeds_per_config": aggregate.seeds_per_config,
        "u_matrix_name": u_matrix or "random_sampled",
        "total_simulations": 2 * int(aggregate.n_seeds.sum()),
        "configs": [
            {
                "idx": config["config_idx"],
                "trial": config["trial_number"],
                "advantage": config["advantage"],
            }
            for config in aggregate.configs
        ],
    }


def write_tables(
    folder: Path,
    aggregate: Aggregate,
    axis: AxisName,
    *,
    u_matrix: str | None,
    timestamp: str,
    resources: Mapping[str, Any],
    missing_units: int,
    provenance: Mapping[str, Any],
    resamples: int = N_RESAMPLES,
) -> dict[str, Path]:
    """Write the four result files, each whole or not at all.

    Args:
        folder: where to; made if it is not there.
        aggregate: the study's result.
        axis: main axis.
        u_matrix: name of the utility matrix, None if drawn per seed.
        timestamp: when the run was planned, ISO 8601.
        resources: what the simulation used (CPU seconds, peak memory, bytes), JSON values.
        missing_units: units that the result lacks.
        provenance: run, digests of config, code and data, JSON values.
        resamples: number of bootstrap resamples.

    Returns:
        The files by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = summary(aggregate, axis, resamples) | {
        "missing_units": missing_units,
        "resources": dict(resources),
        "provenance": dict(provenance),
    }
    archive = io.BytesIO()
    np.savez_compressed(archive, **trajectory_arrays(aggregate, axis, resamples))  # type: ignore[arg-type]
    contents = {
        "aggregated_trajectories.npz": archive.getvalue(),
        "summary.json": json_bytes(numbers),
        "per_config.csv": csv_bytes(per_config_table(aggregate)),
    }
    written = {name: write_file(folder / name, content) for name, content in contents.items()}
    return written | {"config_info.json": write_config_info(folder, aggregate, u_matrix, timestamp)}


def write_config_info(
    folder: Path, aggregate: Aggregate, u_matrix: str | None, timestamp: str, trials: Mapping[str, int] | None = None
) -> Path:
    """Write the sampled configs; `trials`: how many of the search could be selected, and how many were skipped."""
    content = config_info(aggregate, u_matrix, timestamp) | ({"trials": dict(trials)} if trials is not None else {})
    return write_file(folder / "config_info.json", json_bytes(content))


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as CSV with shortest exact floats and empty cells for missing values."""
    return bytes(table.to_csv(index=False, lineterminator="\n").encode())
