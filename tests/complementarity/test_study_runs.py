"""The demo study gives the same bits however it is run."""

from __future__ import annotations

import json
import random
import shutil
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from quintet.jobs.complementarity.config import Config
from quintet.merge.complementarity import effective, render
from quintet.shard.commands.base import run_command
from quintet.shard.commands.plan import command
from quintet.shard.commands.study import output_folder
from quintet.shard.context import Context
from quintet.shard.run import Run

from ..house import PROJECT, House, payloads
from .unrendered import choose, complete, reduced

DEMO = PROJECT / "configs" / "complementarity" / "demo.yaml"
TINY = ("search.n_trials=10", "search.n_seeds=20", "select.n_configs=6", "simulate.n_seeds=40", "simulate.batch_size=1")


def planned(house: House, run: Path, *settings: str, config: Path = DEMO) -> Path:
    """Plan a run of the demo config with some values changed."""
    sets = [part for setting in settings for part in ("--set", setting)]
    house("plan", config, "--run", run, "--no-probe", *sets)
    return run


@pytest.fixture(scope="module")
def tiny(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of the study, searched, selected and simulated."""
    return complete(house, planned(house, tmp_path_factory.mktemp("tiny") / "run", *TINY))


def shuffled(house: House, run: Path, shards: int, dice: random.Random) -> None:
    """Run the shards of a simulation in some order, four at a time, one of them twice at once."""
    order = [*dice.sample(range(shards), shards), dice.randrange(shards)]
    for first in range(0, len(order), 4):
        going = [house.start("shard", run, "simulate", "--index", shard) for shard in order[first : first + 4]]
        for process in going:
            said = process.communicate(timeout=300)[1]
            assert process.returncode == 0, said


def test_shards_their_order_and_duplicates_change_no_bit(house: House, tiny: Path, tmp_path: Path) -> None:
    run = planned(house, tmp_path / "run", *TINY, "phases.simulate.shards=3")
    choose(house, run, tiny)
    shuffled(house, run, 3, random.Random(4))
    reduced(run)
    assert payloads(run) == payloads(tiny)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [("phases.simulate.shards=1",), ("simulate.batch_size=4",)])
def test_one_shard_and_larger_batches_change_no_bit(
    house: House, tiny: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    run = planned(house, tmp_path / "run", *TINY, *settings)
    assert payloads(complete(house, run, tiny)) == payloads(tiny)


@pytest.mark.slow
def test_more_seeds_keep_every_partial_and_equal_a_run_planned_so(house: House, tiny: Path, tmp_path: Path) -> None:
    more = ("simulate.seed_block=40", "simulate.n_seeds=80")
    run = planned(house, tmp_path / "grown", *TINY, "simulate.seed_block=40")
    complete(house, run, tiny)
    kept = {path.name: path.read_bytes() for path in (run / "partials" / "simulate").rglob("*.h5")}
    planned(house, run, *TINY, *more)
    house("missing", run, "simulate", code=1)
    house("merge", run, "select")
    house("local", run, "--phase", "simulate", "--jobs", 2)
    reduced(run)
    assert all((run / "partials" / "simulate" / "0000" / name).read_bytes() == old for name, old in kept.items())
    fresh = planned(house, tmp_path / "fresh", *TINY, *more, "phases.simulate.shards=5")
    assert payloads(complete(house, fresh, tiny)) == payloads(run)


def test_a_seed_block_that_is_not_whole_cannot_be_filled_up(house: House, tiny: Path, tmp_path: Path) -> None:
    blocks_of_30 = (*TINY, "simulate.seed_block=30")
    run = planned(house, tmp_path / "run", *blocks_of_30)
    choose(house, run, tiny)
    house("shard", run, "simulate", "--index", 0)
    more = [part for setting in (*blocks_of_30, "simulate.n_seeds=70") for part in ("--set", setting)]
    assert "partials of another config" in house("plan", DEMO, "--run", run, "--no-probe", *more, code=78).stderr


def test_a_foreign_database_is_selected_from_and_never_written(house: House, tiny: Path, tmp_path: Path) -> None:
    database = tmp_path / "old.db"
    shutil.copy(tiny / "store" / "search.sqlite3", database)
    before = database.read_bytes()
    config = tmp_path / "config.yaml"
    config.write_text(f"study: complementarity\ninputs: {{database: {database}}}\n")
    run = planned(house, tmp_path / "run", *TINY, config=config)
    house("local", run, "--phase", "select")
    house("merge", run, "select")
    house("local", run, "--phase", "simulate", "--jobs", 2)
    reduced(run)
    assert database.read_bytes() == before
    assert payloads(run)["simulate"] == payloads(tiny)["simulate"]


def test_tables_are_written_although_no_figure_can_be_drawn(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no figures today")

    monkeypatch.setattr("quintet.merge.drawing.draw_all", broken)
    with pytest.raises(RuntimeError, match="no figures today"):
        render(Context.of(Run(tiny), "simulate"), tmp_path / "figures", tmp_path / "tables", tmp_path / "report", "")
    written = {path.name for path in (tmp_path / "tables").iterdir()}
    assert {"aggregated_trajectories.npz", "summary.json", "config_info.json", "per_config.csv"} <= written


def test_configs_are_listed_with_the_values_that_they_were_simulated_with() -> None:
    trials = [{"perception_window": 9.0, "max_sessions": 80}, {"initial_memory_pattern": "dominant_stuck"}]
    configs = [{"config_idx": k, "params": params, "max_sessions": 60} for k, params in enumerate(trials)]
    found = [chosen["params"] for chosen in effective(Config(model={"pattern": "conflictual"}), configs)]
    assert found == [
        {"perception_window": 9, "max_sessions": 80, "initial_memory_pattern": "conflictual"},
        {"perception_window": 17, "max_sessions": 60, "initial_memory_pattern": "dominant_stuck"},
    ]
    assert all(isinstance(params["perception_window"], int) for params in found)


@pytest.mark.slow
def test_any_number_of_shards_of_the_demo_in_any_order_gives_the_same_bits(house: House, tmp_path: Path) -> None:
    dice = random.Random(64)
    blocks = ("simulate.seed_block=50", "simulate.batch_size=1")
    quiet = complete(house, planned(house, tmp_path / "quiet", *blocks))
    for shards in (1, 2, 3, 7, 64):
        run = planned(house, tmp_path / f"run{shards}", *blocks, f"phases.simulate.shards={shards}")
        choose(house, run, quiet)
        assert len(json.loads((run / "plan" / "simulate.json").read_text())["shards"]) == shards
        shuffled(house, run, shards, dice)
        reduced(run)
        assert payloads(run) == payloads(quiet)
        shutil.rmtree(run)


@pytest.mark.slow
def test_twenty_kills_change_no_bit(house: House, tmp_path: Path) -> None:
    quiet = complete(house, planned(house, tmp_path / "quiet"))
    expected = payloads(quiet)
    run = planned(house, tmp_path / "killed", "simulate.batch_size=1", "phases.simulate.shards=4")
    dice = random.Random(20)
    for _ in range(10):
        house.killed(dice.uniform(0.5, 4.0), "shard", run, "search", "--index", dice.randrange(2))
    choose(house, run)
    for _ in range(10):
        house.killed(dice.uniform(0.5, 3.0), "shard", run, "simulate", "--index", dice.randrange(4))
    house("local", run, "--phase", "simulate", "--jobs", 2)
    reduced(run)
    assert payloads(run) == expected


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (("model.mechanism=love",), "model.mechanism"),
        (("model.pattern=warm",), "model.pattern"),
        (("model.u_matrix=steep",), "model.u_matrix"),
        (("model.therapist_version=v3",), "model.therapist_version"),
        (("model.entropy=0",), "model.entropy"),
        (("model.entropy=.nan",), "model.entropy"),
        (("select.n_configs=0",), "select.n_configs"),
        (("select.n_configs=3", "select.top_n=4"), "exclude"),
        (("simulate.n_seeds=0",), "simulate.n_seeds"),
        (("simulate.n_bins=1",), "simulate.n_bins"),
        (("simulate.window_size=0",), "simulate.window_size"),
        (("simulate.max_sessions=65536",), "simulate.max_sessions"),
        (("simulate.seed_offset=4294967295",), "4294967295"),
        (("simulate.seed_offset=-1",), "simulate.seed_offset"),
        (("inputs.database=/nowhere/study.db",), "database"),
        (("simulate.batch_size=0",), "simulate.batch_size"),
        (("simulate.metrics=[distance_enacted, love]",), "metrics"),
        (("simulate.trajectories=all",), "simulate.trajectories"),
        (("select.sampling=alphabetical",), "select.sampling"),
        (("search.n_trials=0",), "search.n_trials"),
        (("search.enqueued=[{threshold: 2.0}]",), "search.enqueued.0"),
        (("simulate.spin=3",), "simulate.spin"),
        (("phases.dance.shards=3",), "phases"),
        (("phases.search.shards=0",), "phases.search.shards"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: tuple[str, ...], word: str
) -> None:
    sets = [part for setting in settings for part in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        run_command(command, [str(DEMO), "--run", str(tmp_path / "run"), *sets], "bin/plan")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert word in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_unknown_study_name_lists_those_of_the_database(house: House, tiny: Path, tmp_path: Path) -> None:
    database = tiny / "store" / "search.sqlite3"
    settings = ("--set", f"inputs.database={database}", "--set", "search.study_name=other")
    done = house("plan", DEMO, "--run", tmp_path / "run", *settings, code=2)
    assert "freq_amp_v2_optimization" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def dropped_in(house: House, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the drop-in command makes of the tiny run's database, with every option that adds something."""
    output = tmp_path_factory.mktemp("dropin") / "out"
    flags = ("--n-configs", 3, "--n-seeds", 10, "--n-workers", 2, "--batch-size", 2, "--output-dir", output)
    more = ("--metrics", "rs_percentile", "--axis", "both", "--trajectories", "both", "--max-sessions", 60)
    done = house("study", "complementarity", "--db-path", tiny / "store" / "search.sqlite3", *flags, *more)
    assert str(output) in done.stdout
    assert "[MEMORY] after initialisation: " in done.stderr
    assert "[MEMORY] after aggregation: " in done.stderr
    return output


def test_the_drop_in_command_makes_the_named_files(dropped_in: Path) -> None:
    assert (dropped_in / "per_config.csv").read_text().count("\n") == 4
    assert (dropped_in / "report" / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert str(dropped_in) not in (dropped_in / "report" / "report.md").read_text()
    sidecar = json.loads((dropped_in / "figures" / "aggregated_complementarity.json").read_text())
    assert {"run", "config_sha256", "code_sha256", "data_digest"} <= set(sidecar)
    for name in ("aggregated_complementarity.png", "aggregated_trajectories.npz", "config_info.json", "summary.json"):
        link = dropped_in / name
        assert link.is_symlink() and not link.readlink().is_absolute() and link.stat().st_size > 0
    assert (dropped_in / "figures" / "aggregated_complementarity_normalized.png").is_file()
    assert (dropped_in / "figures" / "further_metrics.png").is_file()


def test_the_outputs_have_the_documented_keys(dropped_in: Path) -> None:
    info = json.loads((dropped_in / "config_info.json").read_text())
    assert (info["n_configs"], info["n_seeds_per_config"], info["total_simulations"]) == (3, 10, 60)
    assert info["u_matrix_name"] == "random_sampled"
    assert [sorted(config) for config in info["configs"]] == [["advantage", "idx", "trial"]] * 3
    assert info["trials"] == {"usable": 10, "skipped": 0}
    summary = json.loads((dropped_in / "summary.json").read_text())
    groups = ("v2_advantage", "baseline_advantage", "remaining")
    assert {"breakdown", *(f"{group}_final_mean_distance" for group in groups)} <= set(summary)
    assert sum(summary["breakdown"].values()) == 30
    assert {"shares", "paired_advantage", "stored_against_measured", "resources", "missing_units"} <= set(summary)
    with np.load(dropped_in / "aggregated_trajectories.npz") as arrays:
        for group in ("v2_adv", "baseline_adv", "remaining"):
            assert_array_equal(arrays[f"{group}_mean"], arrays[f"session_{group}_mean"])
            assert_array_equal(arrays[f"{group}_std"], arrays[f"session_{group}_std"])
            for axis, part in product(("session", "normalized"), ("count", "mean", "std", "sem")):
                assert f"{axis}_{group}_{part}" in arrays
        satisfaction = arrays["session_rs_percentile_remaining_mean"]
        assert len(satisfaction) == len(arrays["session_remaining_mean"]) and (satisfaction > 0).all()
        assert arrays["config_counts"].sum() == 30
    assert "The search behind the configs" in (dropped_in / "report.md").read_text()


def test_another_study_is_refused_in_a_folder_that_holds_one(house: House, tiny: Path, dropped_in: Path) -> None:
    database = tiny / "store" / "search.sqlite3"
    done = house(
        "study", "complementarity", "--db-path", database, "--output-dir", dropped_in, "--n-seeds", 11, code=78
    )
    assert "partials of another config" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--top-n", 3, "--n-configs", 3), ("--top-n", "--n-configs")),
        (("--mechanism", "love"), ("--mechanism", "bond_only")),
        (("--seed-offset", -1), ("--seed-offset", "-1")),
        (("--metrics", "love"), ("--metrics", "bond_percentile")),
        (("--study-name", "other"), ("--study-name", "freq_amp_v2_optimization")),
        (("--db-path", "/nowhere.db"), ("--db-path", "/nowhere.db")),
    ],
)
def test_a_wrong_flag_is_named_with_what_is_allowed(
    house: House, tiny: Path, tmp_path: Path, flags: tuple[object, ...], words: tuple[str, ...]
) -> None:
    database = () if "--db-path" in flags else ("--db-path", tiny / "store" / "search.sqlite3")
    done = house("study", "complementarity", *database, *flags, "--output-dir", tmp_path / "run", code=2)
    assert all(word in done.stderr for word in words)
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_without_an_output_folder_one_is_named_by_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = output_folder(None)
    assert folder.parent == Path("results")
    assert time.strptime(folder.name, "%Y%m%d_%H%M%S").tm_year >= 2026 - 10
    assert not folder.exists()
