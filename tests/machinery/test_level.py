"""Hierarchical merge: runs of shards that are reduced ahead of the merge change no bit of the result."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from quintet.merge import intake
from quintet.merge.__main__ import merge as merge_command
from quintet.merge.level import reduce_runs
from quintet.merge.phase import Request, merge_run
from quintet.shard.commands.base import run_command
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.partial import read_card, read_meta
from quintet.shard.run import Run

from . import synthetic
from .synthetic import Config, planned, publish_shards

UNITS = 77


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SHARDS_PER_RUN", 4)


def quiet(line: str) -> None:
    return


def complete(folder: Path, shards: int) -> Run:
    run = planned(folder, shards, Config(units=UNITS))
    publish_shards(run, "measure")
    return run


def payload(run: Run, request: Request | None = None) -> str:
    merge_run(run, "measure", request or Request(), quiet)
    return read_card(run.merged("measure")).pd


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return payload(complete(tmp_path_factory.mktemp("flat") / "run", 3))


@pytest.mark.parametrize("shards", [1, 4, 7, 13, 39])
def test_result_has_the_same_bits_with_reduced_runs_and_without(tmp_path: Path, shards: int, expected: str) -> None:
    run = complete(tmp_path / "run", shards)
    for number in range(-(-shards // 4)):
        reduce_runs(run, "measure", number, quiet)
    for shard in range(shards):  # past the card nothing of a shard is read any more
        path = run.shard_file("measure", shard)
        path.write_bytes(path.read_bytes()[:512])
    assert payload(run) == expected
    meta = read_meta(run.merged("measure"))
    assert meta["partials"] == shards
    assert sum(meta["origins"]["code_sha256"].values()) == shards


def test_reduced_run_is_a_valid_file_of_its_blocks_with_the_canonical_nodes(tmp_path: Path) -> None:
    run = complete(tmp_path / "run", 13)
    reduce_runs(run, "measure", 1, quiet)
    path = intake.reduced_file(run, "measure", 1)
    card = read_card(path)
    shards = run.plan("measure").shards
    assert (card.shard, card.lo, card.hi) == (1, shards[4][0], shards[7][1])
    with h5py.File(path) as file:
        nodes = [tuple(node) for node in file["nodes"][()].tolist()]
        assert nodes == synthetic.tree.cover(card.lo, card.hi)
        assert file["rows/score"].shape == (card.units,)


@pytest.mark.parametrize("what", ["truncated", "other shard", "conflict", "wrong input"])
def test_reduced_run_that_is_damaged_or_out_of_date_is_passed_over(
    tmp_path: Path, expected: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = complete(tmp_path / "run", 13)
    reduce_runs(run, "measure", None, quiet)
    path, partial = intake.reduced_file(run, "measure", 1), run.shard_file("measure", 5)
    if what == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    if what == "wrong input":
        path.write_bytes(path.read_bytes().replace(b'"inp":"', b'"inp":"0', 1))
    if what == "conflict":
        partial.with_name("s000005.conflict-7.h5").write_bytes(partial.read_bytes())
    if what == "other shard":
        partial.unlink()
    if what in {"truncated", "wrong input"}:
        assert payload(run) == expected
        return
    with pytest.raises(QuintetError) as caught:
        payload(run)
    assert caught.value.code is Exit.INCOMPLETE


def test_full_verification_reads_every_shard_again(tmp_path: Path) -> None:
    run = complete(tmp_path / "run", 13)
    reduce_runs(run, "measure", None, quiet)
    path = run.shard_file("measure", 5)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(QuintetError) as caught:
        payload(run, Request(depth="full"))
    assert caught.value.code is Exit.INCOMPLETE


def test_the_command_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(tmp_path / "run", 13, Config(units=UNITS))
    publish_shards(run, "measure", [0, 1, 2, 3, 4, 6, 7])

    def code(*arguments: str) -> int:
        with pytest.raises(SystemExit) as caught:
            run_command(merge_command, [str(run.path), *arguments])
        return int(caught.value.code or 0)

    assert code("measure", "--level", "--index", "1") == Exit.INCOMPLETE
    told = capsys.readouterr()
    assert "s000005 absent" in told.out
    assert "run 1 lacks 1 of 4 shards" in told.err
    assert code("measure", "--level", "--index", "4") == Exit.BAD_CALL
    assert code("walk", "--level") == Exit.USAGE
    assert code("--level") == Exit.USAGE
    assert code("measure", "--index", "0") == Exit.USAGE
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert code("measure", "--level") == Exit.OK
    assert sorted(path.name for path in intake.reduced_file(run, "measure", 0).parent.iterdir()) == ["r000000.h5"]
