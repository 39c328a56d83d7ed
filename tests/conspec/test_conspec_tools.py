"""The commands beside the search: analysis of result files, reward check, expert export, trackers, and their errors."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import click
import pytest
from quintet.jobs.conspec import analyse
from quintet.jobs.conspec.config import Config
from quintet.jobs.conspec.trial import Trial
from quintet.merge.conspec import analyse as analyse_tool
from quintet.merge.conspec import expert
from quintet.merge.conspec.curves import combined, third_edges
from quintet.merge.conspec.export_wandb import complete_trials, tracked_rows
from quintet.merge.conspec.records import read_results
from quintet.shard.commands.base import run_command
from quintet.shard.conspec import TOOLS, resolved, rewards, search
from quintet.shard.conspec.search import command
from quintet.shard.conspec.tracking import Careful, JsonLines, check_tracker, summary_of, tracker_of
from quintet.shard.context import Context
from quintet.shard.errors import QuintetError

from ..house import PROJECT
from ..machinery.elements import run_element
from .golden_files import golden
from .study_runs import merge, planned, reduced, run_phase

CASE = golden("analysis_case")


def ended_with(tool: click.Command, *arguments: object) -> int:
    """Run a command in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        run_command(tool, [str(argument) for argument in arguments], "bin/conspec")
    return int(ended.value.code or 0)


def write(folder: Path, name: str, records: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(records))
    return path


def test_split_duplicated_and_reordered_result_files_give_the_same_analysis(tmp_path: Path) -> None:
    records = CASE["results"]
    write(tmp_path, "search_single_20250101_000000.json", records[::-2])
    write(tmp_path, "search_double_20250102_000000.json", records[::2][::-1])
    write(tmp_path, "search_triple_20250103_000000.json", records[3:9])
    write(tmp_path, "search_summary_20250104_000000.json", {"results": [{"broken": 1}]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_results(tmp_path)
    assert len(found) == len(records)
    for world, expected in CASE["expected"].items():
        own = analyse(found)[world]
        assert own["best_trial"] == expected["best_trial"]
        assert own["importance_order"] == expected["importance_order"]
        assert own["mean_reward_mean"] == pytest.approx(expected["mean_reward_mean"], rel=1e-12)


def test_the_newest_file_wins_with_a_warning_and_a_summary_serves_alone(tmp_path: Path) -> None:
    record = CASE["results"][0]
    changed = {**record, "results": {**record["results"], "mean_reward": 9.0}}
    write(tmp_path / "both", "search_single_20250202_000000.json", [changed])
    write(tmp_path / "both", "search_single_20250101_000000.json", [record])
    with pytest.warns(UserWarning, match="differ; the newer one is taken"):
        assert read_results(tmp_path / "both") == [changed]
    write(tmp_path / "alone", "search_summary_20250101_000000.json", {"results": {"single": [record]}})
    assert read_results(tmp_path / "alone") == [record]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"environment": "single"}], "record 0: trial: missing"),
        (
            [{"environment": "single", "trial": 0, "hyperparameters": {}, "results": {"mean_reward": 1.0}}],
            "record 0: results.success_rate: missing",
        ),
        ("text", "allowed is a list of records"),
    ],
)
def test_a_bad_result_file_is_named_with_record_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: str
) -> None:
    path = write(tmp_path, "search_single_20250101_000000.json", content)
    assert ended_with(analyse_tool.command, "--results-dir", tmp_path, "--output", tmp_path / "r.md") == 2
    said = capsys.readouterr().err
    assert message in said and path.name in said and said.count("\n") == 1
    assert not (tmp_path / "r.md").exists()


def test_a_folder_without_result_files_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended_with(analyse_tool.command, "--results-dir", tmp_path) == 2
    assert f"no result files (search_*.json) in {tmp_path}" in capsys.readouterr().err


def test_analyse_writes_where_it_is_told_and_fills_every_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "results", "search_all_20250101_000000.json", CASE["results"])
    arguments = (
        "--results-dir",
        tmp_path / "results",
        "--output",
        tmp_path / "out.md",
        "--figures",
        tmp_path / "pictures",
    )
    assert ended_with(analyse_tool.command, *arguments) == 0
    text = (tmp_path / "out.md").read_text()
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    known = [
        "Summary",
        "Best Configurations",
        "Statistics",
        "Hyperparameter Correlations",
        "Visualizations",
        "Provenance",
    ]
    assert headings == known
    expected = CASE["expected"]["single"]
    assert f"* Mean Reward: {expected['best_reward']:.3f}" in text
    strongest = expected["importance_order"][0]
    assert f"| {strongest} | {expected['pearson'][strongest]:.3f} |" in text
    assert "](pictures/reward_distributions.png)" in text
    names = ("reward_distributions", "hyperparameter_impact", "best_configs_comparison", "parallel_coordinates")
    assert {path.stem for path in (tmp_path / "pictures").glob("*.png")} == set(names)
    assert "42 trials" not in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(("ruleset", "totals"), [("standard", (2.0, 3.0, 4.2)), ("reference", (2.0, 2.0, 1.7))])
def test_the_reward_check_replays_the_shortest_solutions(
    capsys: pytest.CaptureFixture[str], ruleset: str, totals: tuple[float, ...]
) -> None:
    assert ended_with(rewards.command, "--demo", "--ruleset", ruleset) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "total" in line and "steps" in line]
    assert [line.split()[2] for line in lines] == [str(total) for total in totals]
    facts = golden("env_facts")["shortest"]
    for (world, rules), digits in rewards.SOLUTIONS.items():
        known = ["".join(map(str, item["actions"])) for item in facts[f"{world}/{rules}"]["solutions"]]
        assert digits == known[-1]


def test_random_rewards_are_those_of_their_seed(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for seed in (1, 1, 2):
        assert ended_with(rewards.command, "--env", "triple", "--steps", 300, "--seed", seed) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]
    assert ended_with(rewards.command, "--env", "quadruple") == 2
    assert "'quadruple' is not one of single, double, triple, all" in capsys.readouterr().err


def test_the_expert_table_has_nine_binary_columns_and_a_row_per_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = planned(
        tmp_path / "run",
        environment={"family": "grid"},
        environments=["double"],
        training={"episodes": 10, "max_steps_per_episode": 50},
        search={"n_trials": 1},
        ablation={"trials": 0},
    )
    run_phase(run, "search-double")
    reduced(run, "search-double")
    target = tmp_path / "expert.csv"
    arguments = (run.path, "--env", "double", "--episodes", 25, "--output", target)
    assert ended_with(expert.command, *arguments) == 0
    first = target.read_bytes()
    rows = list(csv.reader(first.decode().splitlines()))
    assert tuple(rows[0]) == expert.FEATURES and len(rows[0]) == 9
    steps = int(capsys.readouterr().out.split(": ")[1].split()[0])
    assert len(rows) - 1 == steps and steps > 25 * 10
    assert {cell for row in rows[1:] for cell in row} <= {"0", "1"}
    for path in (run.path / "cache").rglob("*.h5"):
        path.unlink()
    assert ended_with(expert.command, *arguments) == 0  # trained again
    assert target.read_bytes() == first
    assert ended_with(expert.command, run.path, "--env", "single") == 2
    assert ended_with(expert.command, run.path, "--env", "double", "--trial", 7) == 2


def test_features_follow_the_shortest_solution() -> None:
    import numpy as np
    from quintet.jobs.conspec.reference import SingleEnv

    actions = np.array([int(digit) for digit in rewards.SOLUTIONS["triple", "standard"]], np.uint8)
    rows = np.array(list(expert.rows_of(SingleEnv("triple"), actions)))
    seen = dict(zip(expert.FEATURES, rows.max(axis=0).tolist(), strict=True))
    assert seen == {**dict.fromkeys(expert.FEATURES, 1), "blue_door_open": 0}
    assert rows[-1, -1] == 1 and rows[:-1, -1].sum() == 0


def test_a_resumed_history_is_cut_back_and_a_broken_tracker_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = JsonLines(tmp_path / "t", {"a": 1})
    for episode in (10, 20, 30):
        tracker.log({"episode": episode, "reward": 1.0})
    with (tmp_path / "t" / "history.jsonl").open("a") as stream:
        stream.write('{"episode": 4')
    tracker.rewind(20)
    rows = [json.loads(line) for line in (tmp_path / "t" / "history.jsonl").read_text().splitlines()]
    assert [row["episode"] for row in rows] == [10, 20]

    def broken() -> Any:
        raise OSError("no room")

    careful = Careful(broken)
    careful.log({"episode": 1})
    careful.finish({})
    assert "tracked no further" in capsys.readouterr().err


def test_trackers_write_the_documented_names(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", search={"n_trials": 1}, ablation={"trials": 0})
    run_phase(run, "search-single")
    folder = run.path / "tracking" / "single" / "trial_00000"
    row = json.loads((folder / "history.jsonl").read_text().splitlines()[-1])
    fields = ["episode", "reward", "mean_reward_100", "success_rate", "epsilon", "intrinsic_reward"]
    assert list(row) == fields and row["episode"] == 20
    known = json.loads((folder / "config.json").read_text())
    assert (known["name"], known["tags"]) == ("single_trial_0", ["single", "hyperparam_search"])
    assert (known["project"], known["entity"]) == ("schema-learning", "mandanasmi")
    final = json.loads((folder / "summary.json").read_text())
    assert list(final) == ["final_mean_reward", "final_success_rate", "final_max_reward"]
    (trial,) = complete_trials(Context.of(run, "search-single"))
    assert list(tracked_rows(trial.episodes, 10))[-1] == pytest.approx(row, rel=1e-6)
    assert summary_of(trial.metrics) == final
    static = planned(tmp_path / "static", search={"n_trials": 3, "static": True}, ablation={"trials": 0})
    run_phase(static, "search-single")
    again = list(complete_trials(Context.of(static, "search-single")))
    assert [other.number for other in again] == [0, 1, 2]
    assert list(tracked_rows(again[0].episodes, 10)) == list(tracked_rows(trial.episodes, 10))


def test_a_tracker_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintet.shard.conspec.tracking.find_spec", lambda name: None)
    with pytest.raises(QuintetError, match=r"quintet\[wandb\]"):
        check_tracker(Config(logging={"tracker": "wandb"}))
    tracker_of(Config(logging={"tracker": "none"}), tmp_path, "single", 0, {}).log({"episode": 1})
    assert not list(tmp_path.iterdir())


def test_a_bayesian_search_without_optuna_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintet.shard.conspec.find_spec", lambda name: None)
    with pytest.raises(QuintetError, match="'bayesian' needs the package optuna"):
        resolved(Config(search={"method": "bayesian"}))


def test_a_grid_with_fewer_points_than_trials_is_said() -> None:
    space = {"gamma": {"type": "choice", "values": [0.9, 0.99]}}
    with pytest.warns(UserWarning, match=r"search.n_trials: found 50; the grid has 2 points, so 2 are run"):
        resolved(Config(hyperparameters=space, search={"method": "grid"}))


def test_lack_of_memory_names_the_four_sizes_at_once_and_in_the_report(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", search={"n_trials": 1}, ablation={"trials": 0})

    def starve() -> None:
        def advance(trial: Trial) -> bool:
            raise MemoryError("Unable to allocate 9 GiB")

        Trial.advance = advance  # type: ignore[method-assign]

    log = tmp_path / "log"
    assert run_element(run, "search-single", 0, starve, log=log) == 70
    sizes = "batch_size, hidden_dim, lstm_hidden_size or memory_size"
    assert sizes in log.read_text()
    run_phase(run, "search-single")
    reduced(run, "search-single")
    run_phase(run, "ablation")
    merge(run)
    assert sizes in (run.path / "report" / "report.md").read_text()


BAYESIAN = "search: {method: bayesian}\nenvironments: [single]\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--env", "quadruple"), "env: 'quadruple' is not one of single, double, triple, all"),
        (("--env", "quad"), "world 'quad' exists only in family delayed"),
        (("--ruleset", "house"), "environment.ruleset: found 'house'"),
        (("--family", "tree"), "environment.family: found 'tree'"),
        (("--reward-mode", "none"), "environment.reward_mode: found 'none'"),
        (("--tracker", "paper"), "logging.tracker: found 'paper'"),
        (("--family", "delayed", "--ruleset", "reference"), "ruleset reference has no meaning in family delayed"),
        (("--family", "delayed", "--reward-mode", "sparse"), "reward_mode sparse has no meaning in family delayed"),
        (("--episodes", "0"), "training.episodes: found 0"),
        (("--n-trials", "0"), "search.n_trials: found 0"),
        (("--seed", "-1"), "seed: found -1"),
        (("--time-limit", "0"), "--time-limit"),
        (("--config", "/nowhere.yaml"), "/nowhere.yaml: no such config file"),
        (("--config", "BAYESIAN", "--static"), "static needs method random or grid"),
        (("--config", "TAB"), "not YAML"),
    ],
)
def test_bad_flags_are_one_line_and_write_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("BAYESIAN", BAYESIAN), ("TAB", "search:\n\tn_trials: 3\n")):
        (tmp_path / name).write_text(text)
    assert ended_with(command(), *flags) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / search.FOLDER).exists()


def test_a_dry_run_prints_the_table_of_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended_with(command(), "--dry-run", "--env", "all", "--n-trials", 2, "--no-conspec") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{w} {n}" for w in ("single", "double", "triple") for n in (0, 1)
    ]
    assert "learning_rate=0.0003463964459891804" in lines[0]
    assert not list(tmp_path.iterdir())


def test_flags_make_the_config_and_its_folder() -> None:
    values: dict[str, Any] = {
        "config": None, "env": "double", "search__n_trials": 3, "training__episodes": 40, "agent__conspec": "false",
        "search__static": "true", "ablation__trials": 0, "environment__family": "delayed", "seed": 9,
    }  # fmt: skip
    settings, _ = search.config_of(values)
    config = search.checked(settings, "x")
    assert config.environments == ("double",) and config.environment.family == "delayed"
    assert (config.search.n_trials, config.training.episodes, config.ablation.trials, config.seed) == (3, 40, 0, 9)
    assert config.search.static and not config.agent.conspec
    folder = search.folder_of(config)
    assert folder.parent == Path("hyperparam_search_results") and len(folder.name) == 8
    assert search.folder_of(config.model_copy(update={"seed": 8})) != folder


def test_start_up_imports_neither_torch_nor_optuna_nor_numba() -> None:
    program = (
        "import sys\n"
        "sys.argv = ['bin/conspec', '--help']\n"
        "from quintet.shard.conspec import search, TOOLS\n"
        "try:\n    search.run_command(search.command(), ['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'optuna', 'numba', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name.startswith("quintet.") for name in TOOLS.values())


def test_groups_of_the_learning_curves_split_ranges_at_their_thirds() -> None:
    import numpy as np
    from quintet.jobs.conspec.search_space import Axis

    low, high = third_edges(Axis("a", "loguniform", (), 1e-4, 1e-1, True))
    assert (low, high) == (pytest.approx(1e-3), pytest.approx(1e-2))
    generator = np.random.default_rng(3)
    values = generator.standard_normal((5, 40))
    leaves = np.stack([np.full(5, 40.0), values.mean(1), ((values - values.mean(1)[:, None]) ** 2).sum(1)], 1)
    ends = np.stack([values.min(1), values.max(1)], 1)
    root, extremes = combined(leaves[:, None, :, None], ends[:, None, :, None])
    assert root[0, :, 0] == pytest.approx([200, values.mean(), values.var() * 200])
    assert extremes[0, :, 0].tolist() == [values.min(), values.max()]
