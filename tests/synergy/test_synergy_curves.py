"""Learning curves come out of results and of the reference's raw files alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from quintet.jobs.synergy import Unit, train_units
from quintet.jobs.synergy.curves import CURVES, processed_curves, raw_curves, raw_run
from quintet.merge.synergy.curve_figures import draw_all_conditions, draw_panels
from quintet.merge.synergy.extract import command
from quintet.shard.commands.base import run_command

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


def run_of(kind: str | None, values: list[float], **config: Any) -> dict[str, Any]:
    """A run of a raw file with one curve."""
    named = {"workspace_dim": 8, "experiment_type": kind, **config}
    return {"name": "r", "config": named, "summary": {}, "time_series": {"val_loss": values}}


def test_experiment_types_are_summarised_apart() -> None:
    scale = {"synergy_loss_scale": 1.0}
    runs = [run_of("fusion_only", [0.5], **scale), run_of("all_losses", [0.1], **scale), run_of(None, [0.3], **scale)]
    found = processed_curves({"runs": runs})["conditions"]
    keys = [f"dim_8_scale_1.0_{kind}" for kind in ("unknown", "all_losses", "fusion_only")]
    assert list(found) == keys and all(entry["n_runs"] == 1 for entry in found.values())
    assert [entry["metrics"]["val_loss"]["mean"] for entry in found.values()] == [[0.3], [0.1], [0.5]]
    labels = draw_all_conditions(found, "val_loss").axes[0].get_legend_handles_labels()[1]
    assert "Dim 8, Scale 1.0, all_losses" in labels and len(labels) == 3
    lines = draw_panels(found, "val_loss", "workspace_dim").axes[0].get_lines()
    assert len({line.get_linestyle() for line in lines}) == 3


def test_a_run_without_a_scale_has_scale_one() -> None:
    runs = [run_of("fusion_only", [1.0]), run_of("fusion_only", [3.0], synergy_loss_scale=1.0)]
    found = processed_curves({"runs": runs})["conditions"]
    assert found["dim_8_scale_1.0"]["metrics"]["val_loss"]["mean"] == [2.0]


def test_curves_that_overflow_are_strict_json() -> None:
    runs = [run_of("fusion_only", [value], synergy_loss_scale=1.0) for value in (1e200, -1e200)]
    found = processed_curves({"runs": runs})
    json.dumps(found, allow_nan=False)
    assert found["conditions"]["dim_8_scale_1.0"]["metrics"]["val_loss"]["std"] == [None]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (None, "runs[0]: found NoneType"),
        ({"name": "r", "config": [1]}, "runs[0] (r): config: found list"),
        ({"name": "r", "config": {"workspace_dim": 8}, "time_series": [1]}, "runs[0] (r): time_series: found list"),
        (run_of("a", 3), "runs[0] (r): time_series.val_loss: found int"),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_run_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Any, words: str
) -> None:
    (tmp_path / "raw_wandb_data.json").write_text(json.dumps({"runs": [run]}))
    with pytest.raises(SystemExit) as ended:
        run_command(command, ["--process-only", "--output-dir", str(tmp_path)], "bin/synergy extract")
    said = capsys.readouterr().err
    assert ended.value.code == 65 and words in said and len(said.strip().splitlines()) == 1


def test_a_run_without_config_or_curves_is_left_out() -> None:
    runs = [{"config": None}, {"config": {"workspace_dim": 8}, "time_series": None}]
    found = processed_curves({"runs": runs})["conditions"]
    assert found["dim_8_scale_1.0"]["n_runs"] == 1 and found["dim_8_scale_1.0"]["metrics"] == {}


@pytest.mark.parametrize(
    ("line", "run", "tags"),
    [
        ("RUN --tags a b --project p", "RUN", ("a", "b")),
        ("--tags a b --project p RUN", "RUN", ("a", "b")),
        ("RUN --tags --project p", "RUN", ()),
        ("RUN --tags a,b --project p", "RUN", ("a,b",)),
        ("--project p --tags a --tags b RUN", None, ("a", "b", "RUN")),
    ],
)
def test_tags_are_words_up_to_the_next_flag(line: str, run: str | None, tags: tuple[str, ...]) -> None:
    found = command.make_context("extract", line.split()).params
    assert (found["run"] and str(found["run"]), found["tags"], found["project"]) == (run, tags, "p")
