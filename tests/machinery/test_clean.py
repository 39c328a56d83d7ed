"""`clean` deletes what was left behind and nothing that was published."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from quintet.shard.commands.base import run_command
from quintet.shard.commands.clean import command
from quintet.shard.run import Run

from .grid_study import SHARDS, content_of, planned, publish_shards

HOUR = 3600.0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = planned(tmp_path / "run")
    publish_shards(run, "simulate", range(SHARDS - 1))
    return run


def cleaned(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        run_command(command, [str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def left_behind(path: Path, hours: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 1000)
    then = time.time() - hours * HOUR
    os.utime(path, (then, then))
    return path


def test_old_temporary_files_go_and_young_ones_stay(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run.shard_file("simulate", 0).parent
    old = left_behind(folder / ".s000003.node.1.ab.tmp", 2)
    young = left_behind(folder / ".s000003.node.2.cd.tmp", 0.5)
    in_merged = left_behind(run.path / "merged" / ".simulate.node.3.ef.tmp", 30)
    assert cleaned(run.path) == 0
    assert not old.exists() and young.exists() and not in_merged.exists()
    assert "removed 2 files, 2 kB" in capsys.readouterr().out
    assert cleaned(run.path, "--older-than", "0.1") == 0
    assert not young.exists()


def test_published_partials_and_other_names_are_never_removed(run: Run) -> None:
    keep = [path for path in run.path.rglob("*") if path.is_file()]
    keep += [
        left_behind(run.path / "partials" / "simulate" / "0000" / "notes.tmp", 90),
        left_behind(run.path / "partials" / "simulate" / "0000" / ".hidden", 90),
        left_behind(run.path / "store" / ".00001.abc.tmp", 90),
    ]
    for path in keep:
        os.utime(path, (0, 0))
    assert cleaned(run.path, "--older-than", "0") == 0
    assert all(path.exists() for path in keep)


def test_links_are_neither_followed_nor_removed(run: Run, tmp_path: Path) -> None:
    outside = left_behind(tmp_path / "outside" / ".theirs.tmp", 90)
    link = run.path / "partials" / ".link.tmp"
    link.symlink_to(outside)
    (run.path / "partials" / "folder").symlink_to(outside.parent)
    assert cleaned(run.path) == 0
    assert outside.exists() and link.is_symlink()


def test_age_is_told_by_the_file_server_and_not_by_this_hosts_clock(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    young = left_behind(run.path / "partials" / ".x.tmp", 0)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert cleaned(run.path) == 0
    assert young.exists()


def test_checkpoints_of_published_units_go_and_others_stay(run: Run) -> None:
    plan = run.plan("simulate")
    done, todo = plan.shards[0][0] * 2, plan.shards[3][0] * 2
    gone = left_behind(run.checkpoint_file("simulate", done, 0), 0)
    kept = left_behind(run.checkpoint_file("simulate", todo, 1), 0)
    content, _ = content_of(run, plan, 0)
    shard_gone = run.shard_file("simulate", 0).with_name("s000000.ckpt.h5")
    shard_kept = run.shard_file("simulate", 3).with_name("s000003.ckpt.h5")
    shard_gone.write_bytes(content)
    shard_kept.write_bytes(content)
    assert cleaned(run.path, "--stale-tmp") == 0
    assert gone.exists() and shard_gone.exists()
    assert cleaned(run.path) == 0
    assert not gone.exists() and not shard_gone.exists()
    assert kept.exists() and shard_kept.exists()


def test_checkpoint_of_a_damaged_partial_stays(run: Run) -> None:
    path = run.shard_file("simulate", 0)
    path.write_bytes(path.read_bytes()[:-1])
    kept = left_behind(run.checkpoint_file("simulate", 0, 0), 0)
    assert cleaned(run.path) == 0
    assert kept.exists()
