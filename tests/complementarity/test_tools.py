"""The tools that look at a finished run read what its shards stored, byte for byte."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from quintet.jobs.complementarity import simulate_pairs
from quintet.merge.complementarity import analyse, check, export, overlap, replay, umatrix, visualise
from quintet.merge.complementarity.check import sample_of
from quintet.merge.complementarity.stored import StoredRun
from quintet.merge.phase import Request, make_result
from quintet.shard.commands.base import run_command
from quintet.shard.complementarity import TOOLS
from quintet.shard.context import Context, inputs_digest
from quintet.shard.partial import update_digest
from quintet.shard.run import Run

from ..house import House

CONFIG = """
study: complementarity
search: {n_trials: 8, n_seeds: 20, n_startup_trials: 8, sampler: random}
select: {n_configs: 4}
simulate: {n_seeds: 30, seed_block: 20, seed_offset: 100, max_sessions: 60, batch_size: 2, trajectories: both}
phases: {search: {shards: 1}, simulate: {shards: 2}}
"""
N_CONFIGS, SEEDS = 4, range(100, 130)
COMMANDS = {
    module.__name__.rpartition(".")[2]: module
    for module in (analyse, check, export, overlap, replay, umatrix, visualise)
}
Tool = Callable[..., str]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 configs x 30 seeds, merged but not rendered."""
    folder = tmp_path_factory.mktemp("tools")
    verbs = House(folder)
    (folder / "tiny.yaml").write_text(CONFIG)
    run = folder / "run"
    verbs("plan", folder / "tiny.yaml", "--run", run, "--no-probe")
    for phase in ("search", "select"):
        verbs("local", run, "--phase", phase)
        verbs("merge", run, phase)
    verbs("local", run, "--phase", "simulate")
    context = Context.of(Run(run), "simulate")
    make_result(context, inputs_digest(context.run, context.plan), Request(), print)
    return run


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str]) -> Tool:
    """Call a tool in this process; return what it printed."""

    def call(name: str, *arguments: object, code: int = 0) -> str:
        command: click.Command = COMMANDS[name].command
        with pytest.raises(SystemExit) as ended:
            run_command(command, [str(argument) for argument in arguments], f"bin/complementarity {name}")
        printed = capsys.readouterr()
        assert ended.value.code == code, printed.out + printed.err
        if code:
            assert len(printed.err.splitlines()) == 1, printed.err
            return printed.err
        assert printed.err == ""
        return printed.out

    return call


def spoil(run: Path, name: str, row: int, flip: int, seal: bool) -> None:
    """Flip bits of one stored byte of the first partial; `seal` makes the index agree with it."""
    path = Run(run).shard_file("simulate", 0)
    with h5py.File(path, "r+", locking=False) as file:
        file[name][row] ^= flip
        rows = file[name][: file[f"{name}_offsets"][1]]
    if seal:
        digest = hashlib.blake2b(digest_size=16)
        update_digest(digest, name, rows)
        with h5py.File(Run(run).merged("simulate"), "r+", locking=False) as file:
            file[f"index/{name}"][0] = np.frombuffer(digest.digest(), "u1")


def test_every_tool_of_the_study_is_a_command_of_its_own(finished: Path) -> None:
    assert {name: f"quintet.merge.complementarity.{name}" for name in COMMANDS} == TOOLS
    done = subprocess.run(
        [sys.executable, "-m", TOOLS["replay"], str(finished), "--config-idx", "0", "--seed", "7"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "bin/complementarity replay: --seed: found 7; this run has 100 .. 129\n"


def test_stored_pairs_are_those_of_the_kernel(finished: Path) -> None:
    run = StoredRun(finished)
    assert run.complete_configs() == list(range(N_CONFIGS))
    for config_idx in range(N_CONFIGS):
        batch = simulate_pairs(run.params(config_idx), SEEDS, trajectories=True)
        units = run.units_of(config_idx)
        assert [unit.n_seeds for unit in units] == [20, 10]
        assert_array_equal(np.concatenate([run.outcome(unit, "category") for unit in units]), batch.category)
        assert batch.v2 is not None
        for unit, first in zip(units, (0, 20), strict=True):
            runs = run.trajectories(unit, "v2")
            assert_array_equal(runs.perceived(3), batch.v2.perceived(first + 3))
            assert_array_equal(run.pair(config_idx, int(unit.seeds[3])).packed["v2"], batch.v2.row(first + 3))


@pytest.mark.parametrize("therapist", ["v2", "baseline"])
def test_replay_shows_the_stored_sessions(finished: Path, tool: Tool, tmp_path: Path, therapist: str) -> None:
    target = tmp_path / "sessions.csv"
    for config_idx, seed in ((0, 100), (1, 117), (3, 129)):
        said = tool(
            "replay", finished, "--config-idx", config_idx, "--seed", seed, "--therapist", therapist, "--csv", target
        )
        assert "equal to what is stored" in said
        table = pd.read_csv(target)
        run = StoredRun(finished)
        unit, place = run.locate(config_idx, seed)
        runs = run.trajectories(unit, therapist)
        for octants in ("client", "enacted", "perceived"):
            assert_array_equal(table[octants], getattr(runs, octants)(place))
        np.testing.assert_allclose(table[[f"p{octant}" for octant in range(8)]].sum(axis=1), 1.0, rtol=1e-12)
        assert np.float32(table["rs"].iloc[-1]) == run.pair(config_idx, seed).outcome[f"{therapist}_final_rs"]
    assert "phase" in tool("replay", finished, "--config-idx", 0, "--seed", 100)


@pytest.mark.parametrize("name", ["rows/outcome/flags", "rows/traj/v2", "rows/traj/baseline"])
def test_another_stored_byte_is_found_by_check_and_replay(copied: Path, tool: Tool, name: str) -> None:
    spoil(copied, name, 0, 1, seal=True)
    assert "1 of 120 pairs differ" in tool("check", copied, "--sample", 500, code=1)
    assert "differs from what is stored" in tool("replay", copied, "--config-idx", 0, "--seed", 100, code=1)
    tool("replay", copied, "--config-idx", 0, "--seed", 101)


def test_a_partial_that_is_not_what_was_merged_is_refused(copied: Path, tool: Tool) -> None:
    spoil(copied, "rows/outcome/flags", 0, 1, seal=False)
    assert "s000000.h5" in tool("check", copied, code=65)
    Run(copied).shard_file("simulate", 0).unlink()
    assert "s000000.h5" in tool("export", copied, "--what", "outcomes", "--output", copied / "x.csv", code=65)
    assert not list(copied.glob("*x.csv*"))


def test_check_draws_each_pair_at_most_once_and_the_same_by_the_same_seed(finished: Path, tool: Tool) -> None:
    units = StoredRun(finished).units
    once, again = ([(u.position, place) for u, p in sample_of(units, 50, 3) for place in p.tolist()] for _ in range(2))
    assert once == again
    assert len(set(once)) == 50
    assert all(0 <= place < units[position].n_seeds for position, place in once)
    assert tool("check", finished, "--sample", 10**6).startswith("120 pairs of 8 units are equal")


def test_export_holds_every_pair_and_every_session(finished: Path, tool: Tool, tmp_path: Path) -> None:
    tables = {}
    for what in ("configs", "outcomes", "trajectories"):
        tool("export", finished, "--what", what, "--output", tmp_path / f"{what}.csv")
        tables[what] = pd.read_csv(tmp_path / f"{what}.csv")
    outcomes, trajectories = tables["outcomes"], tables["trajectories"]
    assert len(tables["configs"]) == N_CONFIGS
    assert sorted(zip(outcomes["config_idx"], outcomes["seed"], strict=True)) == [
        (k, seed) for k in range(N_CONFIGS) for seed in SEEDS
    ]
    won = outcomes["v2_success"] > outcomes["baseline_success"]
    assert_array_equal(outcomes["category"] == "v2_advantage", won)
    longest = trajectories.groupby(["config_idx", "seed", "therapist"])["session"].agg(["max", "size"])
    assert_array_equal(longest["max"], longest["size"])
    by_pair = outcomes.set_index(["config_idx", "seed"]).sort_index()
    for therapist in ("v2", "baseline"):
        assert_array_equal(longest.xs(therapist, level="therapist")["max"], by_pair[f"{therapist}_sessions"])


def test_overlap_counts_the_configs_of_every_seed(copied: Path, tool: Tool) -> None:
    assert "30 seeds in 4 configs" in tool("overlap", copied)
    table = pd.read_csv(copied / "tables" / "seed_overlap.csv")
    run = StoredRun(copied)
    advantages = [simulate_pairs(run.params(k), SEEDS).category == 0 for k in range(N_CONFIGS)]
    assert_array_equal(table["seed"], SEEDS)
    assert_array_equal(table["configs"], np.sum(advantages, axis=0))
    assert (copied / "tables" / "seed_overlap_summary.csv").is_file()


def test_umatrix_contrasts_the_categories_of_each_config(copied: Path, tool: Tool) -> None:
    assert "total_regret" in tool("umatrix", copied)
    contrasts = pd.read_csv(copied / "tables" / "umatrix_contrasts.csv")
    assert_array_equal(contrasts["config_idx"].unique(), range(N_CONFIGS))
    assert (contrasts.filter(regex="^n_").sum(axis=1) == len(SEEDS)).all()
    assert {"total_regret", "stuck", "far_share"} <= set(contrasts["feature"])
    assert len(pd.read_csv(copied / "tables" / "umatrix_seeds.csv")) == len(SEEDS)


def test_umatrix_of_a_run_with_a_named_matrix_is_a_usage_error(copied: Path, tool: Tool) -> None:
    path = copied / "plan" / "run.json"
    plan = json.loads(path.read_text())
    plan["config"]["model"]["u_matrix"] = "cold_trap"
    path.write_text(json.dumps(plan))
    assert "u_matrix: found 'cold_trap'" in tool("umatrix", copied, code=2)


def test_visualise_draws_the_chosen_variants(copied: Path, tool: Tool) -> None:
    tool(
        "visualise",
        copied,
        *("--config-idx", 2, "--mechanisms", "bond_only,frequency_amplifier", "--patterns", "conflictual"),
        *("--seeds", 5),
    )
    folder = copied / "figures" / "config-2"
    assert {path.name for path in folder.glob("*.png")} == {
        "distance.png",
        "rate.png",
        "combined.png",
        "outcomes.png",
    }
    seeds = pd.read_csv(folder / "seeds.csv")
    assert len(seeds) == 10
    assert set(seeds["pattern"]) == {"conflictual"}
    assert json.loads((folder / "combined.json").read_text())["config_idx"] == 2


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("replay", ("--config-idx", 4, "--seed", 100), "--config-idx: found 4; this run has 0 .. 3"),
        ("replay", ("--config-idx", -1, "--seed", 100), "--config-idx: found -1"),
        ("replay", ("--config-idx", 0, "--seed", 130), "--seed: found 130; this run has 100 .. 129"),
        ("replay", ("--config-idx", 0, "--seed", 100, "--therapist", "v1"), "'v2', 'baseline'"),
        ("export", ("--what", "seeds", "--output", "x.csv"), "'outcomes', 'trajectories', 'configs'"),
        ("export", ("--what", "configs", "--output", "no/such/x.csv"), "--output: found 'no/such/x.csv'"),
        ("check", ("--sample", 0), "--sample"),
        ("visualise", ("--config-idx", 0, "--mechanisms", "magic"), "--mechanisms: found 'magic'"),
        ("visualise", ("--config-idx", 0, "--patterns", "magic"), "--patterns: found 'magic'"),
        ("visualise", ("--config-idx", 99), "--config-idx: found 99"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    finished: Path, tool: Tool, name: str, arguments: tuple[object, ...], named: str
) -> None:
    assert named in tool(name, finished, *arguments, code=2)


def test_a_folder_that_is_no_run_is_refused(tool: Tool, tmp_path: Path) -> None:
    for name in ("check", "overlap", "umatrix"):
        assert "not a planned run" in tool(name, tmp_path, code=2)
