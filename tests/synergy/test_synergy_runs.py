"""A sweep gives the same bits however it is run, and says what is missing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest
from quintet.merge.synergy.exports import write_tables
from quintet.merge.synergy.report import study_report
from quintet.merge.synergy.sweep import Sweep, check_moments
from quintet.merge.synergy.unfinished import unfinished_runs
from quintet.shard.context import Context
from quintet.shard.errors import QuintetError
from quintet.shard.run import Run

from ..house import House, payloads
from .study_sample import planned, reduced, with_data

LONG = (
    "sweep.dims=[4]",
    "sweep.synergy_scales=[1.0]",
    "sweep.runs_per_condition=1",
    "training.epochs=120",
    "run.checkpoint_seconds=0",
)


@pytest.fixture(scope="module")
def quiet(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny sweep in one shard."""
    run = with_data(house, planned(house, tmp_path_factory.mktemp("quiet") / "run"))
    house("local", run, "--phase", "train")
    reduced(run)
    return run


def test_shards_their_order_and_duplicates_change_no_bit(house: House, quiet: Path, tmp_path: Path) -> None:
    run = with_data(house, planned(house, tmp_path / "run", "phases.train.shards=3"), quiet)
    for shard in (2, 0, 1, 2):
        house("shard", run, "train", "--index", shard)
    reduced(run)
    assert payloads(run) == payloads(quiet)
    tables = [tmp_path / name for name in ("one", "three")]
    for folder, path in zip(tables, (quiet, run), strict=True):
        write_tables(folder, Sweep.of(Context.of(Run(path), "train")), "")
    whole = [json.loads((folder / "aggregated_results.json").read_text()) for folder in tables]
    for found in whole:
        for entry in found.values():
            del entry["aggregated_cost"]
            for record in entry["individual_results"]:
                for name in ("cpu_seconds", "wall_seconds", "peak_rss_mb", "model_steps_per_cpu_s"):
                    del record[name]
    assert whole[0] == whole[1]
    assert (tables[0] / "comparisons.csv").read_bytes() == (tables[1] / "comparisons.csv").read_bytes()
    assert (tables[0] / "synergy_prior.csv").read_bytes() == (tables[1] / "synergy_prior.csv").read_bytes()


def test_a_killed_unit_goes_on_to_the_same_bits(house: House, quiet: Path, tmp_path: Path) -> None:
    whole, killed = (with_data(house, planned(house, tmp_path / name, *LONG), quiet) for name in ("whole", "killed"))
    house("shard", whole, "train", "--index", 0)
    process = house.start("shard", killed, "train", "--index", 0)
    deadline = time.monotonic() + 120
    while not list((killed / "checkpoints").rglob("u000000.3.h5")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert not list((killed / "partials" / "train").rglob("*.h5"))
    context = Context.of(Run(killed), "train")
    [found] = unfinished_runs(context, "crashed")
    assert 1 <= len(found["time_series"]["train_loss"]) < 120
    assert [entry["state"] for entry in unfinished_runs(context, "running")] == ["running"]
    house("shard", killed, "train", "--index", 0)
    for run in (whole, killed):
        reduced(run)
    assert payloads(whole) == payloads(killed)
    assert not list((killed / "checkpoints").rglob("u*.h5"))


def test_a_sweep_on_a_data_set_from_outside_is_the_same(house: House, quiet: Path, tmp_path: Path) -> None:
    data = quiet / "merged" / "encode.h5"
    run = planned(house, tmp_path / "run", f"inputs.dataset={data}")
    assert [path.stem for path in (run / "plan").glob("*.json")].count("train") == 1
    assert not (run / "plan" / "visual.json").exists()
    house("shard", run, "train", "--index", 0)
    reduced(run)
    assert payloads(run)["train"] == payloads(quiet)["train"]


def test_a_unit_that_overflows_is_a_row_and_the_others_go_on(house: House, quiet: Path, tmp_path: Path) -> None:
    run = with_data(house, planned(house, tmp_path / "run", "sweep.synergy_scales=[0.5,3e38]"), quiet)
    house("shard", run, "train", "--index", 0)
    sweep = Sweep.of(reduced(run))
    assert sweep.counts == {"completed": 4, "failed": 4, "pending": 0}
    assert [entry["synergy_scale"] for entry in sweep.aggregated.values()] == [0.5, 0.5]
    failed = [record for record in sweep.records if record["status"] == "failed"]
    assert all(record["synergy_scale"] == 3e38 and "not finite" in record["error"] for record in failed)
    assert sweep.success.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    kept = {record["condition_id"]: record for record in sweep.records if record["status"] == "done"}
    for record in Sweep.of(Context.of(Run(quiet), "train")).records:
        if record["condition_id"] in kept:
            name = "best_val_loss"
            assert kept[record["condition_id"]][name] == record[name]


def test_part_of_a_sweep_is_counted_named_and_stamped(house: House, quiet: Path, tmp_path: Path) -> None:
    run = with_data(house, planned(house, tmp_path / "run", "phases.train.shards=3"), quiet)
    with pytest.raises(QuintetError, match="No results to analyze"):
        reduced(run, allow_missing=True)
    house("shard", run, "train", "--index", 1)
    sweep = Sweep.of(reduced(run, allow_missing=True))
    assert sweep.counts == {"completed": len(sweep.results), "failed": 0, "pending": 8 - len(sweep.results)}
    assert 0 < len(sweep.results) < 8
    assert [result.condition_id for result in sweep.results] == [record["condition_id"] for record in sweep.records]
    write_tables(tmp_path / "tables", sweep, "INCOMPLETE")
    assert (tmp_path / "tables" / "summary.csv").read_text().startswith("# INCOMPLETE\n")
    report = study_report(sweep, {}, {}, None, "INCOMPLETE")
    assert report.stamp == "INCOMPLETE"
    assert f"{8 - len(sweep.results)} are pending" in " ".join(report.sections[0].text.split())


def test_a_poor_visual_domain_ends_the_merge_with_1(house: House, quiet: Path, tmp_path: Path) -> None:
    run = planned(house, tmp_path / "run", "visual.max_val_mse=1e-6")
    (run / "partials").mkdir()
    (quiet / "partials" / "visual").rename(run / "partials" / "visual")
    done = house("merge", run, "visual", code=1)
    (run / "partials" / "visual").rename(quiet / "partials" / "visual")
    assert "visual.max_val_mse" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (run / "merged" / "visual.h5").exists()


def test_the_data_set_is_checked_line_by_line(house: House, quiet: Path, tmp_path: Path) -> None:
    module = "quintet.shard.synergy.verify_data"
    for source in (quiet, quiet / "merged" / "encode.h5"):
        said = run_tool(house, module, source)
        assert said.count("PASS") == 21 and "FAIL" not in said
    copy = tmp_path / "dataset.h5"
    copy.write_bytes((quiet / "merged" / "encode.h5").read_bytes())
    with h5py.File(copy, "r+") as file:
        file["val/u"][3] = 0.123
    said = run_tool(house, module, copy, code=1)
    for check in ("XOR formula", "labels of the seeds", "sha256"):
        assert f"FAIL val: {check}" in said
    assert said.count("FAIL") == 3


def run_tool(house: House, module: str, *arguments: object, code: int = 0) -> str:
    """Run one of the study's tools to its end; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True, env=house.environment()
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_a_data_set_that_changed_since_the_plan_is_refused(house: House, quiet: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset.h5"
    copy.write_bytes((quiet / "merged" / "encode.h5").read_bytes())
    run = planned(house, tmp_path / "run", f"inputs.dataset={copy}")
    with h5py.File(copy, "r+") as file:
        file["train/u"][0] = 0.5
    assert "sha256" in house("shard", run, "train", "--index", 0, code=65).stderr


def test_moments_of_elements_and_rows_are_held_together(quiet: Path, tmp_path: Path) -> None:
    config = Context.of(Run(quiet), "train").config
    copy = tmp_path / "train.h5"
    copy.write_bytes((quiet / "merged" / "train.h5").read_bytes())
    with h5py.File(copy, "r+") as file:
        check_moments(config, file)
        file["rows/metrics/values"][...] = file["rows/metrics/values"][()] * (1 + 1e-8)
        with pytest.raises(QuintetError, match="rows and moments"):
            check_moments(config, file)


@pytest.mark.slow
def test_seventeen_shards_kills_and_stacks_change_no_bit(house: House, quiet: Path, tmp_path: Path) -> None:
    """Cost: about 60 CPU seconds."""
    dice = random.Random(17)
    run = with_data(house, planned(house, tmp_path / "many", "phases.train.shards=17"), quiet)
    for _ in range(5):
        house.killed(dice.uniform(0.5, 2.0), "shard", run, "train", "--index", dice.randrange(8))
    for shard in dice.sample(range(8), 8):
        house("shard", run, "train", "--index", shard)
    reduced(run)
    assert payloads(run) == payloads(quiet)
    stacks = []
    for shards in (1, 2):
        settings = ("run.backend=torch-stacked", "run.group=dim", f"phases.train.shards={shards}")
        stack = with_data(house, planned(house, tmp_path / f"stack{shards}", *settings), quiet)
        house("local", stack, "--phase", "train")
        reduced(stack)
        stacks.append(payloads(stack)["train"])
    assert stacks[0] == stacks[1]
