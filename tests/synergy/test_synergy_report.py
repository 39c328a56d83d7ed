"""The report, the text summary and the figures' axes say what the runs hold, and what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quintet.jobs.synergy import Config, Unit
from quintet.jobs.synergy.result import UnitResult
from quintet.merge.synergy.figures import draw_trend
from quintet.merge.synergy.report import study_report
from quintet.merge.synergy.summary import lines_of
from quintet.merge.synergy.sweep import Sweep

LOSS = "best_val_loss"


def sweep_of(values: dict[tuple[int, float], dict[str, Any]], planned: dict[str, Any], **config: Any) -> Sweep:
    """A sweep of six runs a condition, each metric a little apart from run to run; without metrics a run failed."""
    generator = np.random.default_rng(0)
    results = [
        UnitResult(
            unit=Unit(dim, scale, run),
            experiment_type="fusion_only",
            loss_weights={},
            status="done" if metrics else "failed",
            parameters={},
            best_parameters=None,
            metrics={
                name: None if value is None else value + 1e-3 * generator.standard_normal()
                for name, value in metrics.items()
            },
            history={},
            confusion=np.zeros((8, 8), np.int64),
            epochs_done=1,
            steps=1,
            error="" if metrics else "loss is not finite",
            cost={},
        )
        for (dim, scale), metrics in values.items()
        for run in range(6)
    ]
    return Sweep(Config(sweep={"runs_per_condition": 6, **planned}, **config), tuple(results))


def section(sweep: Sweep, title: str) -> str:
    """The words of one section of the report, in one line."""
    found = next(item for item in study_report(sweep, {}, {}, None).sections if item.heading == title)
    return " ".join(found.text.split())


def test_a_scaled_loss_is_compared_over_dims_and_hidden_over_scales() -> None:
    values = {(dim, scale): {LOSS: scale + 10.0 / dim} for dim in (2, 4, 8) for scale in (1.0, 2.0)}
    said = section(sweep_of(values, {"dims": [2, 4, 8], "synergy_scales": [1.0, 2.0]}), "Which differences hold")
    assert "7 stay below 0.05" in said and "3 of them compare, across scales" in said
    assert "| Best Validation Loss | dim 2, scale 1.0 | dim 8 |" in said and "| scale 1 |" not in said


def test_another_reference_scale_than_planned_is_told() -> None:
    values: dict[tuple[int, float], dict[str, Any]] = {(8, scale): {LOSS: scale} for scale in (0.1, 10.0)}
    levels = {"dims": [8], "synergy_scales": [0.1, 1.0, 10.0]}
    said = section(sweep_of(values | {(8, 1.0): {}}, levels), "Which differences hold")
    assert "No run at scale 1.0 is done: the reference scale is 0.1." in said
    said = section(sweep_of(values | {(8, 1.0): {LOSS: 1.0}}, levels), "Which differences hold")
    assert "reference scale is" not in said


def test_rows_are_those_that_were_used() -> None:
    sweep = sweep_of(
        {(8, 1.0): {"unimodal/attr_acc": 0.25, "unimodal/v_acc": 0.25}},
        {"dims": [8], "synergy_scales": [1.0]},
        training={"max_train_samples": 1000, "max_val_samples": 20},
    )
    said = section(sweep, "The question")
    assert "epochs of 1,000 samples" in said and "on 20 validation samples" in said
    assert "0 of 12 values are further than 4 standard errors (0.296)" in section(sweep, "Checks and failures")


@pytest.mark.parametrize(("indices", "told"), [({"attr": [], "v": []}, True), ({"attr": [0]}, False), (None, False)])
def test_a_verdict_without_redundant_columns_is_explained(indices: dict[str, list[int]] | None, told: bool) -> None:
    metrics = {"predictability/synergy_norm_ce": 0.8, "predictability/redundant_r2": None if told else 0.5}
    values = {(dim, 1.0): metrics for dim in (2, 8)}
    levels = {"dims": [2, 8], "synergy_scales": [1.0]}
    said = section(sweep_of(values, levels, synergy={"redundant_indices": indices}), "The answer in brief")
    assert ("There is no R² of redundant columns" in said) is told


def test_completion_counts_conditions_without_a_finished_run() -> None:
    entry = {"n_runs": 3, "aggregated_metrics": {LOSS: {"mean": 1.0}}}
    found = {"dim_2_scale_1.0": entry, "dim_4_scale_1.0": entry}
    assert "Mean completion rate: 50.0%" in list(lines_of(found, 12))


@pytest.mark.parametrize(("log", "scale"), [(False, "linear"), (True, "log")])
def test_dimensions_stand_on_a_linear_axis_unless_asked_otherwise(log: bool, scale: str) -> None:
    dims = [2, 4, 8, 96]
    values = {(dim, 1.0): {LOSS: 1.0 / dim} for dim in dims}
    sweep = sweep_of(values, {"dims": dims, "synergy_scales": [1.0]}, report={"log_dims": log})
    assert draw_trend(sweep, LOSS, "dims").axes[0].get_xscale() == scale
