"""The demo study gives the same bits however it is run."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from ..house import PROJECT, House, payloads

DEMO = PROJECT / "configs" / "complementarity" / "demo.yaml"
TINY = ("search.n_trials=10", "search.n_seeds=20", "select.n_configs=6", "simulate.n_seeds=40", "simulate.batch_size=1")


def planned(house: House, run: Path, *settings: str, config: Path = DEMO) -> Path:
    """Plan a run of the demo config with some values changed."""
    sets = [part for setting in settings for part in ("--set", setting)]
    house("plan", config, "--run", run, "--no-probe", *sets)
    return run


@pytest.fixture(scope="module")
def tiny(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of the study, searched, selected, simulated and rendered."""
    run = planned(house, tmp_path_factory.mktemp("tiny") / "run", *TINY)
    house("local", run, "--jobs", 2)
    return run


def searched(house: House, tiny: Path, run: Path, *settings: str) -> Path:
    """Plan a run that starts from the tiny run's finished search."""
    planned(house, run, *TINY, *settings)
    for name in ("partials/search", "store"):
        shutil.copytree(tiny / name, run / name)
    return run


@pytest.mark.parametrize(
    ("shards", "jobs"), [pytest.param(1, 1, marks=pytest.mark.slow), (3, 2), pytest.param(6, 2, marks=pytest.mark.slow)]
)
def test_shards_and_workers_change_no_bit(house: House, tiny: Path, tmp_path: Path, shards: int, jobs: int) -> None:
    run = searched(house, tiny, tmp_path / "run", f"phases.simulate.shards={shards}")
    house("local", run, "--jobs", jobs)
    assert payloads(run) == payloads(tiny)
    assert (run / "tables" / "per_config.csv").read_bytes() == (tiny / "tables" / "per_config.csv").read_bytes()


@pytest.mark.slow
def test_the_batch_size_changes_no_bit_of_the_payload(house: House, tiny: Path, tmp_path: Path) -> None:
    run = searched(house, tiny, tmp_path / "run", "simulate.batch_size=4")
    house("local", run, "--jobs", 2)
    assert payloads(run) == payloads(tiny)


def test_more_seeds_keep_every_partial_and_equal_a_run_planned_so(house: House, tiny: Path, tmp_path: Path) -> None:
    more = ("simulate.seed_block=40", "simulate.n_seeds=80")
    run = searched(house, tiny, tmp_path / "grown", "simulate.seed_block=40")
    house("local", run, "--phase", "search")
    house("merge", run, "search")
    house("local", run, "--phase", "select")
    house("merge", run, "select")
    house("local", run, "--phase", "simulate", "--jobs", 2)
    kept = {path.name: path.read_bytes() for path in (run / "partials" / "simulate").rglob("*.h5")}
    planned(house, run, *TINY, *more)
    assert "waits" in house("missing", run, "simulate", code=1).stderr
    house("local", run, "--jobs", 2)
    assert all((run / "partials" / "simulate" / "0000" / name).read_bytes() == old for name, old in kept.items())
    fresh = searched(house, tiny, tmp_path / "fresh", *more, "phases.simulate.shards=5")
    house("local", fresh, "--jobs", 2)
    assert payloads(fresh) == payloads(run)


def test_every_promised_output_stands(tiny: Path) -> None:
    for name in (
        "aggregated_trajectories.npz",
        "config_info.json",
        "summary.json",
        "per_config.csv",
        "top_trials.json",
    ):
        assert (tiny / "tables" / name).stat().st_size > 0
    assert (tiny / "report" / "report.html").read_text().startswith("<!DOCTYPE html>")
    summary = json.loads((tiny / "tables" / "summary.json").read_text())
    assert sum(summary["breakdown"].values()) == 6 * 40
    sidecar = json.loads((tiny / "figures" / "aggregated_complementarity.json").read_text())
    assert {"run", "config_sha256", "code_sha256", "data_digest"} <= set(sidecar)
    assert str(tiny) not in (tiny / "report" / "report.md").read_text()


def test_a_foreign_database_is_selected_from_and_never_written(house: House, tiny: Path, tmp_path: Path) -> None:
    database = tmp_path / "old.db"
    shutil.copy(tiny / "store" / "search.sqlite3", database)
    before = database.read_bytes()
    config = tmp_path / "config.yaml"
    config.write_text(f"study: complementarity\ninputs: {{database: {database}}}\n")
    run = planned(house, tmp_path / "run", *TINY, config=config)
    house("local", run, "--jobs", 2)
    assert database.read_bytes() == before
    assert payloads(run)["simulate"] == payloads(tiny)["simulate"]


@pytest.mark.slow
def test_twenty_kills_change_no_bit(house: House, tmp_path: Path) -> None:
    quiet = planned(house, tmp_path / "quiet")
    house("local", quiet, "--jobs", 2)
    expected = payloads(quiet)
    for shards in (1, 2, 3, 7, 8):
        run = planned(house, tmp_path / f"run{shards}", f"phases.simulate.shards={shards}")
        for name in ("partials/search", "store"):
            shutil.copytree(quiet / name, run / name)
        house("local", run, "--jobs", 2)
        assert payloads(run) == expected
    run = planned(house, tmp_path / "killed", "simulate.batch_size=1", "phases.simulate.shards=4")
    dice = random.Random(20)
    for _ in range(10):
        house.killed(dice.uniform(0.5, 4.0), "shard", run, "search", "--index", dice.randrange(2))
    house("local", run, "--phase", "search", "--jobs", 2)
    house("merge", run, "search")
    house("local", run, "--phase", "select")
    house("merge", run, "select")
    for _ in range(10):
        house.killed(dice.uniform(0.5, 3.0), "shard", run, "simulate", "--index", dice.randrange(4))
    house("local", run, "--jobs", 2)
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
        (("simulate.spin=3",), "simulate.spin"),
        (("phases.dance.shards=3",), "phases"),
        (("phases.search.shards=0",), "phases.search.shards"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    house: House, tmp_path: Path, settings: tuple[str, ...], word: str
) -> None:
    sets = [part for setting in settings for part in ("--set", setting)]
    done = house("plan", DEMO, "--run", tmp_path / "run", *sets, code=2)
    assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_unknown_study_name_lists_those_of_the_database(house: House, tiny: Path, tmp_path: Path) -> None:
    database = tiny / "store" / "search.sqlite3"
    settings = ("--set", f"inputs.database={database}", "--set", "search.study_name=other")
    done = house("plan", DEMO, "--run", tmp_path / "run", *settings, code=2)
    assert "freq_amp_v2_optimization" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_drop_in_command_makes_the_named_files(house: House, tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    flags = ("--n-configs", 3, "--n-seeds", 10, "--n-workers", 2, "--batch-size", 2, "--output-dir", output)
    house("study", "complementarity", "--db-path", tiny / "store" / "search.sqlite3", *flags)
    for name in ("aggregated_complementarity.png", "aggregated_trajectories.npz", "config_info.json", "summary.json"):
        assert (output / name).is_symlink() and (output / name).stat().st_size > 0
