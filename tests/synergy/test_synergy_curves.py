"""Learning curves come out of results and of the reference's raw files alike."""

from __future__ import annotations

import json

import pytest
from quintet.jobs.synergy import Unit, train_units
from quintet.jobs.synergy.curves import CURVES, processed_curves, raw_curves, raw_run

from .samples import small_config, small_dataset


def test_curves_of_results_are_summarised_by_condition() -> None:
    units = [Unit(dim, 1.0, run) for dim in (8, 3) for run in range(2)]
    results = train_units(small_dataset(test=False), units, small_config())
    raw = raw_curves([raw_run(result) for result in results], project="p", tags=["a"])
    again = json.loads(json.dumps(raw, allow_nan=False))
    found = processed_curves(again)["conditions"]
    assert list(found) == ["dim_3_scale_1.0", "dim_8_scale_1.0"]
    entry = found["dim_8_scale_1.0"]
    assert entry["n_runs"] == 2 and set(entry["metrics"]) == set(CURVES)
    mean = sum(result.history["val_loss"][1] for result in results[:2]) / 2
    assert entry["metrics"]["val_loss"]["mean"][1] == pytest.approx(mean, rel=1e-12)
    with pytest.raises(ValueError, match="state"):
        raw_run(results[0], "lost")


def test_a_raw_file_of_the_reference_is_taken() -> None:
    config = {"workspace_dim": 12, "synergy_loss_scale": 0.25, "experiment_type": "fusion_only"}
    runs = [
        {"config": config, "summary": {}, "time_series": {"val_loss": [{"step": 0, "value": 2.0}, {"value": "NaN"}]}},
        {"config": config, "summary": {}, "time_series": {"val_loss": [1.0, 0.5, 0.25]}},
        {"config": {}, "summary": {}, "time_series": {}},
    ]
    found = processed_curves({"runs": runs})["conditions"]
    assert list(found) == ["dim_12_scale_0.25"]
    curve = found["dim_12_scale_0.25"]["metrics"]["val_loss"]
    assert curve["mean"] == [1.5, 1.25, 1.125] and curve["n_observed"] == [2, 1, 1]
    with pytest.raises(ValueError, match="runs"):
        processed_curves({})
