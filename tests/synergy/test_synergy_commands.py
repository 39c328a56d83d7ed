"""The study's commands: flags, presets, outputs under their names of old, and every bad input in one line."""

from __future__ import annotations

import csv
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from quintet.jobs.synergy import Config
from quintet.jobs.synergy.curves import CURVES
from quintet.jobs.synergy.presets import NETWORKS, PRESETS, merged
from quintet.merge.synergy.extract import read_raw, runs_of
from quintet.merge.synergy.rendering import draw, study_drawings
from quintet.merge.synergy.sweep import Sweep
from quintet.shard.commands.base import run_command
from quintet.shard.commands.plan import command as plan_command
from quintet.shard.configs import load
from quintet.shard.context import Context
from quintet.shard.errors import QuintetError
from quintet.shard.run import Run
from quintet.shard.synergy.flags import from_values, setting_options, template
from quintet.shard.synergy.sweep import OWN_OPTIONS, command, set_aside

from ..house import House
from .study_sample import CONFIGS, TINY

BASE = CONFIGS / "seed.yaml"
METRIC_KEYS = {"mean", "std", "n", "ci_lower", "ci_upper", "sem", "min", "max", "median", "ci_defined"}


def written(folder: Path, values: Any) -> Path:
    """A config as a JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def tool(house: House, *arguments: object, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the study's command to its end."""
    line = house.command("study", "synergy", *arguments)
    done = subprocess.run(line, capture_output=True, text=True, env=house.environment(), cwd=cwd, timeout=900)
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def swept(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the drop-in command makes of a tiny sweep, with all that can be exported."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "aplugin.py").write_text(
        "def plot(aggregated_results, output_dir):\n"
        "    (output_dir / 'own.txt').write_text(str(len(aggregated_results)))\n"
    )
    old = {"experiment": {"output_dir": "x", "log_to_wandb": True}, "data": {**TINY["data"], "num_workers": 4}}
    config = written(folder, {**TINY, **old, "run": {"save_models": "final"}})
    flags = ("--dims", "4,2,2", "--synergy-scales", "1,0.25", "--runs-per-condition", 2, "--epochs", 3)
    more = ("--with-history", "--export-models", "--parallel-jobs", 2, "--no-wandb", "--plot-plugin", "aplugin:plot")
    done = tool(house, "--config", config, "--output-dir", folder / "out", *flags, *more, cwd=folder)
    assert "experiment.output_dir, experiment.log_to_wandb: no effect here" in done.stderr
    assert "data.num_workers: no effect here" in done.stderr
    assert str(folder / "out") in done.stdout
    return folder / "out"


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--plot-metrics", "best_val_loss,foo", ("'foo'", "best_val_loss")),
        ("--plot-plugin", "foo:bar", ("'foo:bar'", "No module named")),
        ("--plot-plugin", "json:bar", ("'json:bar'", "no attribute")),
    ],
)
def test_a_wrong_figure_option_is_named_before_anything_is_written(
    house: House, tmp_path: Path, flag: str, value: str, words: tuple[str, ...]
) -> None:
    config = written(tmp_path, TINY)
    done = tool(house, "--config", config, "--output-dir", tmp_path / "out", flag, value, code=2, cwd=tmp_path)
    assert all(word in done.stderr for word in (flag, *words)) and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_users_snippet_reads_the_aggregated_results(swept: Path) -> None:
    results = json.loads((swept / "aggregated_results.json").read_text())
    rows = []
    for key, entry in results.items():
        row = {"dim": entry["workspace_dim"], "scale": entry["synergy_scale"], "n": entry["n_runs"], "key": key}
        for metric, values in entry["aggregated_metrics"].items():
            assert set(values) == METRIC_KEYS
            for name in ("mean", "std", "ci_lower", "ci_upper"):
                row[f"{metric}_{name}"] = values[name]
        rows.append(row)
    keys = ["dim_2_scale_0.25", "dim_2_scale_1.0", "dim_4_scale_0.25", "dim_4_scale_1.0"]
    assert [row["key"] for row in rows] == keys
    assert all(row["n"] == 2 and row["predictability/synergy_acc_mean"] >= 0.0 for row in rows)
    assert not {"cpu_seconds", "steps", "seed", "run_id"} & set(results[keys[0]]["aggregated_metrics"])
    assert {"cpu_seconds", "wall_seconds", "peak_rss_mb", "steps"} <= set(results[keys[0]]["aggregated_cost"])


def test_every_unit_has_its_config_results_and_model(swept: Path) -> None:
    results = json.loads((swept / "aggregated_results.json").read_text())
    folder = swept / "individual_results"
    records = [record for entry in results.values() for record in entry["individual_results"]]
    assert sorted(path.name for path in folder.iterdir()) == sorted(record["condition_id"] for record in records)
    for record in records:
        own = json.loads((folder / record["condition_id"] / "results.json").read_text())
        history = own.pop("history")
        assert own == record
        assert all(len(values) == 3 for values in history.values())
        assert history["val_loss"][record["best_epoch"] - 1] == record["best_val_loss"] == min(history["val_loss"])
        config = json.loads((folder / record["condition_id"] / "config.json").read_text())
        assert config["model"]["workspace_dim"] == record["workspace_dim"]
        assert config["synergy"]["loss_scale"] == record["synergy_scale"]
        assert config["experiment"]["seed"] == record["seed"] == 42 + record["run_id"]
        with np.load(swept / "tables" / record["checkpoint_path"]) as model:
            assert model["enc_attr.2.W"].shape == (record["workspace_dim"], 16)
    with (swept / "sweep_state.pkl").open("rb") as file:
        state = pickle.load(file)
    assert set(state) == {"completed", "failed", "results", "start_time"}
    assert state["completed"] == [record["condition_id"] for record in records] and not state["failed"]


def test_the_named_files_are_relative_links(swept: Path) -> None:
    for name in ("aggregated_results.json", "sweep_state.pkl", "plots", "aggregated.h5", "dataset.h5", "report.md"):
        assert (swept / name).is_symlink() and not (swept / name).readlink().is_absolute()
        assert (swept / name).exists()
    assert (swept / "plots" / "own.txt").read_text() == "4"
    assert "train: " in (swept / "multi_run_sweep.log").read_text()
    for metric in ("best_val_loss", "predictability_synergy_acc", "predictability_synergy_norm_ce"):
        for pattern in ("{}_vs_dimensions", "{}_vs_synergy_scale", "heatmap_{}"):
            assert (swept / "plots" / f"{pattern.format(metric)}.png").stat().st_size > 10_000
    assert (swept / "plots" / "statistical_summary.png").is_file()
    report = (swept / "report.md").read_text()
    assert "**8 are done**" in report and str(swept) not in report
    with (swept / "comparisons.csv").open() as file:
        families = {row["family"] for row in csv.DictReader(file)}
    assert families == {"scale", "dimension"}
    with h5py.File(swept / "dataset.h5") as file:
        assert file["train/attr"].shape == (320, 11) and file.attrs["n_bins"] == 4


def test_the_same_command_again_goes_on_and_another_config_is_refused(house: House, swept: Path) -> None:
    config = swept.parent / "config.json"
    same = ("--dims", "2,4", "--synergy-scales", "0.25,1", "--runs-per-condition", 2, "--epochs", 3)
    kept = ("--with-history", "--export-models", "--plot-plugin", "aplugin:plot", "--parallel-jobs", 2)
    given = ("--config", config, "--output-dir", swept, *kept)
    before = (swept / "merged" / "train.done").stat().st_mtime_ns
    tool(house, *same, *given, cwd=swept.parent)
    assert (swept / "merged" / "train.done").stat().st_mtime_ns == before
    said = tool(house, *same[:-1], 4, *given, code=78, cwd=swept.parent).stderr
    assert "partials of another config" in said


def test_the_example_script_records_what_it_ran_and_prints_a_summary(house: House, swept: Path) -> None:
    same = ("--dims", "2,4", "--synergy-scales", "0.25,1", "--runs-per-condition", "2", "--epochs", "3")
    kept = ("--with-history", "--export-models", "--plot-plugin", "aplugin:plot", "--parallel-jobs", "2")
    script, config = CONFIGS / "run_multi_sweep_example.sh", swept.parent / "config.json"
    line = [str(script), str(config), str(swept), *same, *kept]
    done = subprocess.run(
        line, capture_output=True, text=True, env=house.environment(), cwd=swept.parent, timeout=900, check=True
    )
    assert (swept / "base_config.json").read_bytes() == config.read_bytes()
    assert "CPUs: " in (swept / "system_info.txt").read_text() and str(swept) in (swept / "sweep_log.txt").read_text()
    for words in (
        "Conditions with results: 4",
        "Mean completion rate: 100.0%",
        "Validation loss: ",
        "dim_2_scale_0.25: ",
    ):
        assert words in done.stdout


def test_curves_of_a_run_are_extracted(swept: Path, tmp_path: Path) -> None:
    context = Context.of(Run(swept), "train")
    runs = runs_of(context, "finished")
    assert len(runs) == 8 and runs_of(context, "failed") == [] and runs_of(context, "running") == []
    assert set(CURVES) <= set(runs[0]["time_series"])
    assert runs[0]["config"]["synergy_loss_scale"] == 0.25
    written(tmp_path, {"runs": runs}).rename(tmp_path / "raw_wandb_data.json")
    assert len(read_raw(tmp_path / "raw_wandb_data.json")["runs"]) == 8
    with pytest.raises(QuintetError, match="no list"):
        read_raw(written(tmp_path, "{}"))


def test_figures_can_be_svg_and_are_equal_byte_for_byte(swept: Path, tmp_path: Path) -> None:
    sweep = Sweep.of(Context.of(Run(swept), "train"))
    drawings = {"statistical_summary": study_drawings(sweep)["statistical_summary"]}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert not draw(drawings, tmp_path / name, {}, "INCOMPLETE", "svg").failures
    for ending in ("svg", "png", "pdf"):
        first, second = ((tmp_path / name / f"statistical_summary.{ending}").read_bytes() for name in ("a", "b"))
        assert first == second


@pytest.mark.slow
def test_extract_draws_every_curve(house: House, swept: Path, tmp_path: Path) -> None:
    """Cost: about 30 CPU seconds."""
    labels = ("--project", "p", "--group", "g", "--tags", "a,b", "--entity", "e")
    tool(house, "extract", swept, *labels, "--output-dir", tmp_path)
    raw = json.loads((tmp_path / "raw_wandb_data.json").read_text())
    assert (raw["project"], raw["group"], raw["tags"], raw["entity"]) == ("p", "g", ["a", "b"], "e")
    assert len(list((tmp_path / "training_curves").glob("*.png"))) == 18
    assert len(list(tmp_path.glob("*_dim_2.png"))) == 2
    before = (tmp_path / "processed_wandb_data.json").read_bytes()
    tool(house, "extract", "--process-only", "--output-dir", tmp_path)
    assert (tmp_path / "processed_wandb_data.json").read_bytes() == before


def values(*arguments: str) -> dict[str, Any]:
    """What click makes of a command line of settings."""
    found = command().make_context("synergy", list(arguments)).params
    return {name: value for name, value in found.items() if name not in OWN_OPTIONS}


def test_flags_beat_network_beats_preset_beats_file(tmp_path: Path) -> None:
    file = written(tmp_path, {"training": {"epochs": 99, "grad_clip": None}, "sweep": {"dims": [5]}})
    found = from_values(values("--config", str(file), "--preset", "quick", "--network", "small"))
    assert found["training"] == {"epochs": 25, "grad_clip": None, "optimizer": {"lr": 2e-3}}
    assert found["data"]["n_train"] == 20_000 and found["sweep"]["dims"] == [8, 12]
    assert from_values(values("--gpu-memory-percent", "75.0"))["run"] == {"gpu_memory_percent": 75.0}
    found = from_values(values("--config", str(file), "--quick", "--epochs", "7", "--dims", "3,4"))
    assert (found["training"]["epochs"], found["sweep"]["dims"]) == (7, [3, 4])
    entry = {"name": "fusion_only", "weights": {"fusion": 1.0}, "epochs": 3}
    file = written(tmp_path, {"training": {"loss_configs": [entry]}})
    assert Config(**from_values(values("--config", str(file)))).epochs("fusion_only") == 3
    for flags, epochs in ((("--epochs", "7"), 7), (("--quick",), 2), (("--network", "small"), 25)):
        assert Config(**from_values(values("--config", str(file), *flags))).epochs("fusion_only") == epochs


def config_of(name: str) -> Config:
    """A shipped config without the machinery's options."""
    return Config(**{key: value for key, value in load(CONFIGS / f"{name}.yaml").items() if key != "phases"})


@pytest.mark.parametrize("name", ["quick", "medium", "comprehensive"])
def test_shipped_configs_are_the_presets(name: str) -> None:
    assert config_of(name) == Config(**PRESETS[name])
    assert config_of("seed") == Config(**PRESETS["full"])


def test_the_small_sweep_is_the_comprehensive_one_of_the_small_network() -> None:
    assert config_of("small") == Config(**merged(PRESETS["comprehensive"], NETWORKS["small"]))


def test_the_template_is_the_shipped_one_and_holds_the_defaults() -> None:
    shipped = json.loads((CONFIGS / "config_multi_run_template.json").read_text())
    assert shipped == json.loads(json.dumps(template()))
    config, defaults = Config(**shipped), Config()
    for section in ("data", "visual", "training", "sweep", "run", "report"):
        assert getattr(config, section) == getattr(defaults, section)
    assert Config(**{**shipped, "data": {**shipped["data"], "append_size": False}}).n_v == 12


def test_a_dry_run_writes_nothing(house: House, tmp_path: Path) -> None:
    done = tool(house, "--config", BASE, "--output-dir", tmp_path / "out", "--preset", "medium", "--dry-run")
    assert " 60 " in done.stdout and str(tmp_path / "out") in done.stdout
    assert not (tmp_path / "out").exists()


def test_an_earlier_run_is_set_aside_under_a_new_name(tmp_path: Path) -> None:
    assert set_aside(tmp_path / "out") is None
    for name in ("out.bak", "out.bak2", "out.bak3"):
        (tmp_path / "out").mkdir()
        assert set_aside(tmp_path / "out") == tmp_path / name


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """The one line with which the command refuses."""
    with pytest.raises(SystemExit) as ended:
        run_command(command(), list(arguments), "bin/synergy")
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    return said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dims", ""), ("--dims", "''")),
        (("--dims", "8,x"), ("--dims", "8,x", "whole numbers")),
        (("--dims", "8.5"), ("--dims", "8.5")),
        (("--synergy-scales", "1,,2"), ("--synergy-scales", "1,,2")),
        (("--preset", "huge"), ("--preset", "comprehensive")),
        (("--format", "bmp"), ("--format", "svg")),
    ],
)
def test_a_wrong_flag_is_named_with_what_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    said = refused(capsys, "--config", str(BASE), "--output-dir", str(tmp_path / "out"), *arguments)
    assert all(word in said for word in words)
    assert not (tmp_path / "out").exists()


def test_missing_and_broken_configs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--output-dir", str(tmp_path / "out"))
    assert "--config" in refused(capsys, *out)
    assert "--output-dir" in refused(capsys, "--config", str(BASE))
    assert "no such config file" in refused(capsys, "--config", str(tmp_path / "none.json"), *out)
    assert "line 2" in refused(capsys, "--config", str(written(tmp_path, '{"data":\n {,}}')), *out)
    assert "mapping" in refused(capsys, "--config", str(written(tmp_path, "[1]")), *out)
    assert "No results to analyze" in refused(capsys, *out, "--analyze-only", code=3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("sweep.dims=[0]",), ("sweep.dims.0", "0")),
        (("sweep.dims=[-3]",), ("sweep.dims.0", "-3")),
        (("sweep.dims=[8.5]",), ("sweep.dims.0", "8.5")),
        (("sweep.dims=[]",), ("sweep.dims",)),
        (("sweep.synergy_scales=[-1.0]",), ("sweep.synergy_scales.0", "-1.0")),
        (("sweep.synergy_scales=[.nan]",), ("sweep.synergy_scales.0", "finite")),
        (("sweep.synergy_scales=[.inf]",), ("sweep.synergy_scales.0", "finite")),
        (("sweep.runs_per_condition=0",), ("sweep.runs_per_condition", "0")),
        (("training.epochs=0",), ("training.epochs", "0")),
        (("training.epoch=3",), ("training.epoch", "did you mean epochs?")),
        (("trainig.epochs=3",), ("trainig", "did you mean training?")),
        (("data.batch_size=60000",), ("batch_size 60000", "50000")),
        (("sweep.experiment_type=fusion",), ("sweep.experiment_type", "fusion_only")),
        (
            ("training.loss_configs=[{name: a, weights: {fusion: 1}}, {name: a, weights: {cycle: 1}}]",),
            ("loss_configs", "'a'", "twice"),
        ),
        (("training.optimizer.type=SGD",), ("training.optimizer.type", "SGD", "Adam")),
        (("model.domains=[{name: attr}]",), ("model", "attr and v")),
        (("synergy.domains=[audio]",), ("synergy.domains", "audio")),
        (("synergy.unique_indices={attr: [11]}",), ("synergy.unique_indices.attr", "11", "10")),
        (("synergy.noise={train_std: 0.1}",), ("not supported: synergy.noise",)),
        (("data.n_bins=1",), ("data.n_bins", "1")),
        (("data.min_scale=14",), ("min_scale 14", "max_scale 14")),
        (("data.max_scale=33",), ("max_scale 33", "img_size 32")),
        (("inputs.dataset=/nowhere/dataset.h5",), ("inputs.dataset", "/nowhere/dataset.h5")),
        (("visual.kind=vae_conv", "data.img_size=20"), ("visual.kind", "32")),
        (("visual.kind=pca", "visual.latent_dim=1000", "data.n_train=500"), ("visual.latent_dim", "1000", "499")),
        (
            ("training.early_stopping={enabled: true, metric: love}",),
            ("training.early_stopping.metric", "love", "val_loss"),
        ),
        (("run.group=0",), ("run.group",)),
        (("run.backend=jax",), ("run.backend", "torch-stacked")),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: tuple[str, ...], words: tuple[str, ...]
) -> None:
    sets = [part for setting in settings for part in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        run_command(plan_command, [str(BASE), "--run", str(tmp_path / "run"), *sets], "bin/plan")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("other", ("data.data_seed 0", "1")),
        ("schema", ("schema_version",)),
        ("u", ("/val/u", "[0, 1]")),
        ("nan", ("/train/v", "not finite")),
        ("shape", ("/test/attr",)),
        ("digest", ("/val/attr", "sha256")),
        ("text", ("not an HDF5 file",)),
    ],
)
def test_a_bad_data_set_from_outside_is_refused(
    swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "dataset.h5"
    path.write_bytes((swept / "merged" / "encode.h5").read_bytes())
    if change == "text":
        path.write_text("labels")
    else:
        with h5py.File(path, "r+") as file:
            if change == "schema":
                del file.attrs["schema_version"]
            elif change == "u":
                file["val/u"][0] = 1.5
            elif change == "nan":
                file["train/v"][3, 2] = np.nan
            elif change == "digest":
                file["val/attr"][0, 10] = 0.123
            elif change == "shape":
                del file["test/attr"]
    config = {**TINY, "inputs": {"dataset": str(path)}, "study": "synergy"}
    config["data"] = {**TINY["data"], "data_seed": 1 if change == "other" else 0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as ended:
        arguments = [str(tmp_path / "config.yaml"), "--run", str(tmp_path / "run"), "--no-probe"]
        run_command(plan_command, arguments, "bin/plan")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "inputs.dataset" in said and all(word in said for word in words), said
    assert not (tmp_path / "run").exists()


def test_an_old_data_folder_is_taken_where_it_holds_a_data_set(swept: Path, tmp_path: Path) -> None:
    config = {**TINY, "data": {**TINY["data"], "dir": str(swept)}, "study": "synergy"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as ended:
        arguments = [str(tmp_path / "config.yaml"), "--run", str(tmp_path / "run"), "--no-probe"]
        run_command(plan_command, arguments, "bin/plan")
    assert ended.value.code == 0
    assert Run(tmp_path / "run").phases() == ("train",)


def test_a_gpu_that_is_not_there_is_69(house: House, swept: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    config = {**TINY, "inputs": {"dataset": str(swept / "merged" / "encode.h5")}, "study": "synergy"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "run": {"device": "cuda"}}))
    house("plan", tmp_path / "config.yaml", "--run", tmp_path / "run", "--no-probe")
    said = house("shard", tmp_path / "run", "train", "--index", 0, code=69).stderr
    assert "run.device" in said
    assert Context.of(Run(tmp_path / "run"), "train").config.run.backend == "torch-stacked"


def test_help_names_the_users_flags_and_subcommands(house: House) -> None:
    said = tool(house, "--help").stdout
    flags = "--config --dims --synergy-scales --runs-per-condition --parallel-jobs --epochs --output-dir --analyze-only"
    more = "--no-wandb --experiment-type --batch-size --device --no-resume --quick --seed --gpu-memory-percent"
    last = "--generate-config --preset --network --dry-run --plot-plugin --plot-metrics --log-level --with-history"
    assert all(flag in said for flag in f"{flags} {more} {last} --export-models --format --log-dims".split())
    assert all(name in said for name in ("prepare", "verify-data", "extract"))
    assert {option.name for option in setting_options()} >= {"config", "preset", "network", "quick"}
    assert sys.version_info >= (3, 11)
