"""The study through the commands that a user types: drop-in search, demo, products and their form."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from ..house import PROJECT, House, payloads
from .study_runs import config

DEMO = PROJECT / "configs" / "conspec" / "demo.yaml"
FIGURES = {
    "reward_distributions",
    "hyperparameter_impact",
    "best_configs_comparison",
    "learning_curves",
    "parallel_coordinates",
    "prototype_events",
    "ablation",
    "environments",
}
SECTIONS = [
    "Summary",
    "Best Configurations",
    "Statistics",
    "Hyperparameter Correlations",
    "Ablation",
    "Cost",
    "Visualizations",
    "Provenance",
]
RESULTS = {
    "mean_reward",
    "success_rate",
    "max_reward",
    "total_episodes",
    "positive_reward_rate",
    "cpu_seconds",
    "attempts",
}


def check_products(run: Path, trials: int) -> None:
    """Hold the products of a run to their documented names and forms."""
    figures = {path.stem for path in (run / "figures").glob("*.png")}
    assert FIGURES - {"prototype_events"} <= figures <= FIGURES
    for name in figures:
        sidecar = json.loads((run / "figures" / f"{name}.json").read_text())
        assert {"run", "config_sha256", "code_sha256", "data_digest", "seed"} <= set(sidecar)
    text = (run / "report" / "report.md").read_text()
    assert text.startswith("# ConSpec Hyperparameter Search Report\n")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == SECTIONS
    assert not re.search(r"\| --- \|\n\n", text), "an empty table"
    assert ("prototype_events" in figures) == ("Left out: `prototype_events`" not in text)
    assert str(run) not in text and "<html" in (run / "report" / "report.html").read_text()
    (listed,) = [path for path in (run / "tables").glob("search_*.json") if "summary" not in path.name]
    assert re.fullmatch(r"search_single_\d{8}_\d{6}\.json", listed.name)
    records = json.loads(listed.read_text())
    assert [record["trial"] for record in records] == list(range(trials))
    for record in records:
        assert list(record) == ["environment", "trial", "hyperparameters", "results", "timestamp"]
        assert set(record["results"]) >= RESULTS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["timestamp"])
    (summed,) = (run / "tables").glob("search_summary_*.json")
    summary = json.loads(summed.read_text())
    assert list(summary) == ["config", "total_trials", "results", "timestamp", "best"]
    assert summary["total_trials"] == trials and summary["best"]["single"] in records
    assert (run / "tables" / "trials.csv").read_text().startswith("environment,trial,conspec,status,")


def test_the_drop_in_search_makes_every_product_resumes_and_merges_to_the_same_bytes(
    house: House, tmp_path: Path
) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(config(study="conspec"), sort_keys=False))
    run = tmp_path / "out"
    flags = ("--config", path, "--n-trials", 3, "--ablation", 1, "--output-dir", run, "--workers", 2)
    done = house("study", "conspec", *flags)
    assert str(run) in done.stdout
    assert "Slow convergence" in done.stderr
    check_products(run, 3)
    for name in (
        "hyperparam_search_report.md",
        "trials.csv",
        *(p.name for p in (run / "tables").glob("search_*.json")),
    ):
        link = run / name
        assert link.is_symlink() and not link.readlink().is_absolute() and link.stat().st_size > 0
    kept = {
        path: path.read_bytes() for path in [*run.glob("figures/*.png"), *run.glob("tables/*"), *run.glob("report/*")]
    }
    before = payloads(run)
    (run / "figures" / "prototype_events.png").write_bytes(b"of an earlier merge")
    for done_file in (run / "merged").glob("*.done"):
        done_file.unlink()
    house("study", "conspec", *flags)
    assert payloads(run) == before
    assert {path: path.read_bytes() for path in kept} == kept
    check_products(run, 3)
    assert "search-single" in house("status", run).stdout
    assert house("missing", run, "search-single").stdout == ""
    refused = house("study", "conspec", *flags, "--episodes", 30, code=78)
    assert "partials of another config" in refused.stderr


@pytest.mark.slow
def test_the_demo_makes_every_product(house: House, tmp_path: Path) -> None:
    run = tmp_path / "run"
    house("plan", DEMO, "--run", run, "--no-probe")
    house("local", run, "--jobs", 2)
    check_products(run, 3)
    rows = (run / "tracking" / "single" / "trial_00000" / "history.jsonl").read_text().splitlines()
    assert [json.loads(row)["episode"] for row in rows] == list(range(50, 501, 50))


def test_a_time_limit_ends_with_75_and_the_same_command_goes_on(house: House, tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(yaml.safe_dump(config(training={"episodes": 4000}, search={"n_trials": 1}), sort_keys=False))
    flags = ("--config", path, "--output-dir", tmp_path / "out", "--time-limit", 3, "--ablation", 0)
    done = house("study", "conspec", *flags, code=75)
    assert "run the same command again" in done.stderr
    assert not list((tmp_path / "out" / "partials").rglob("t*.h5"))
