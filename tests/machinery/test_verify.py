"""`verify` finds what is bad, sets it aside so that the run heals, and recomputes blocks to the same bits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from quintet.shard.array_element import THREADS
from quintet.shard.commands.base import run_command
from quintet.shard.commands.verify import command
from quintet.shard.missing import missing_of
from quintet.shard.partial import CARD_BYTES, build, read_arrays, read_card
from quintet.shard.run import Run

from . import grid_study
from .grid_study import SHARDS, content_of, planned, publish_shards, store_of, tell_trials


def code_of(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        run_command(command, [str(argument) for argument in arguments])
    return int(caught.value.code or 0)


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the numbers of threads back that a spot check sets for its process."""
    for name in THREADS:
        monkeypatch.setenv(name, os.environ.get(name, "1"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = planned(tmp_path / "run")
    publish_shards(run, "simulate", range(SHARDS))
    return run


def quarantined(run: Run) -> list[str]:
    folder = run.path / "quarantine"
    return sorted(path.name.split(".h5")[0] for path in folder.iterdir()) if folder.is_dir() else []


def test_sound_run_is_exit_0_and_stays_untouched(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in (run.path / "partials").rglob("*.h5")}
    assert code_of(run.path, "--quarantine") == 0
    assert "simulate: 4 good, 0 bad" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in (run.path / "partials").rglob("*.h5")}
    assert quarantined(run) == []


def test_missing_partial_is_no_finding(run: Run) -> None:
    run.shard_file("simulate", 0).unlink()
    assert code_of(run.path) == 0


def test_without_quarantine_bad_files_stay_and_exit_is_1(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.shard_file("simulate", 1)
    path.write_bytes(path.read_bytes()[:-1])
    assert code_of(run.path) == 1
    out = capsys.readouterr().out
    assert "s000001.h5  bad-digest" in out and "bin/verify" in out
    assert path.exists() and quarantined(run) == []


def test_quarantine_heals(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.shard_file("simulate", 1)
    path.write_bytes(b"")
    link = run.shard_file("simulate", 2)
    link.unlink()
    link.symlink_to("/etc/hostname")
    stranger = path.with_name("notes.txt")
    stranger.write_text("hello")
    assert code_of(run.path, "--quarantine") == 1
    assert "bin/local" in capsys.readouterr().out
    notes, one, two = quarantined(run)
    assert notes.startswith("notes.txt.") and (one, two) == ("s000001", "s000002")
    assert missing_of(run, run.plan("simulate")).reasons == {"absent": (1, 2)}
    publish_shards(run, "simulate", [1, 2])
    assert code_of(run.path) == 0


def test_conflict_names_what_differs_and_both_files_are_set_aside(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run.plan("simulate")
    _, card = content_of(run, plan, 2)
    arrays = {**read_arrays(run.shard_file("simulate", 2))}
    arrays["rows/x"] = arrays["rows/x"] + 1e-12
    other, _ = build(card, arrays, {"hostname": "there", "cpu_model": "another"})
    run.shard_file("simulate", 2).with_name("s000002.conflict-9.h5").write_bytes(other)
    assert code_of(run.path, "--quarantine") == 1
    assert "differs in cpu_model, hostname" in capsys.readouterr().out
    assert quarantined(run) == ["s000002", "s000002.conflict-9"]
    assert missing_of(run, run.plan("simulate")).reasons == {"absent": (2,)}


@pytest.mark.parametrize("phase", ["simulate", "moments", "sums"])
def test_spot_recomputes_to_equal_bits(tmp_path: Path, phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = planned(tmp_path / "run", (phase,))
    publish_shards(run, phase, range(SHARDS))
    assert code_of(run.path, "--spot", "6", "--seed", "3") == 0
    out = capsys.readouterr().out
    assert out.count("equal bits") == min(6, 4 if phase == "sums" else 6)
    assert {"simulate": "rows/walk", "moments": "stats node", "sums": "counts/sign"}[phase] in out


def test_spot_reports_the_largest_difference(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(name: str, units: range) -> dict[str, object]:
        result = true(name, units)
        result["rows/x"] = result["rows/x"] + np.array([0.0, 0.25])
        return result

    true = grid_study.block_result
    monkeypatch.setattr(grid_study, "block_result", other)
    assert code_of(run.path, "--spot", "3") == 1
    assert "/rows/x: 2 of 4 values differ, by 0.25 at most" in capsys.readouterr().out


def test_spot_computes_with_the_threads_of_the_plan_and_names_phases_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = planned(tmp_path / "run", ("simulate", "moments"))
    path = run.plan_folder / "simulate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "resources": {"threads": 3}}))
    for phase in ("simulate", "moments"):
        publish_shards(run, phase, range(SHARDS))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    seen: list[tuple[str, str]] = []

    def noted(name: str, units: range) -> dict[str, object]:
        seen.append((name, os.environ["OMP_NUM_THREADS"]))
        return true(name, units)

    true = grid_study.block_result
    monkeypatch.setattr(grid_study, "block_result", noted)
    assert code_of(run.path, "--spot", "1") == 0
    out = capsys.readouterr().out
    assert f"not computed again, for it has other threads than simulate: bin/verify {run.path} moments --spot 1" in out
    assert code_of(run.path, "moments", "--spot", "1") == 0
    assert set(seen) == {("simulate", "3"), ("moments", "1")}


def test_trial_store_that_disagrees_is_found_and_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = planned(tmp_path / "run", ("search",))
    tell_trials(run, 4)
    assert code_of(run.path) == 0
    path = run.trial_file("search", 2)
    assert read_card(path).shard == 2
    path.unlink()
    assert code_of(run.path) == 1
    assert "trial 2: COMPLETE, and not published" in capsys.readouterr().out


def test_corrupt_database_is_set_aside_and_made_again_from_the_partials(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", ("search",))
    tell_trials(run, 4)
    before = store_of(run).finished()
    database = run.store("search")
    damaged = bytearray(database.read_bytes())
    damaged[CARD_BYTES * 16 :] = b"\xff" * (len(damaged) - CARD_BYTES * 16)
    database.write_bytes(damaged)
    assert code_of(run.path, "--quarantine") == 1
    assert not database.exists()
    assert store_of(run).finished() == before
    assert code_of(run.path) == 0
