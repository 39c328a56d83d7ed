"""`bin/merge --all`: every planned run of a folder, one after another, none stopping the next."""

from __future__ import annotations

from pathlib import Path

from quintet.shard.errors import Exit

from tests.house import House


def test_what_is_done_is_merged_and_what_lacks_names_its_cure(tmp_path: Path, house: House) -> None:
    runs = tmp_path / "runs"
    for name in ("done", "short"):
        house.planned(runs / name)
    house("local", runs / "done", "--jobs", 2)
    lines = house("merge", "--all", runs, code=Exit.INCOMPLETE).stdout.splitlines()
    assert [line for line in lines if line.startswith("== ")] == [f"== {runs / name}" for name in ("done", "short")]
    assert lines[-2:] == ["1 of 2 runs merged", f"incomplete: {runs / 'short'}"]
    assert any(f"bin/local {runs / 'short'}" in line for line in lines)
    assert not list((runs / "short").glob("merged/*.h5"))


def test_a_folder_without_runs_is_one_line(tmp_path: Path, house: House) -> None:
    said = house("merge", "--all", tmp_path, code=Exit.USAGE).stderr
    assert said == f"bin/merge: {tmp_path}: no planned run below it; bin/plan makes one\n"
    assert "--all" in house("merge", code=Exit.USAGE).stderr
