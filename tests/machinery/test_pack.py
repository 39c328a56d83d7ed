"""`bin/pack`: many partials become one, and nothing that a run promises is lost by it."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from quintet.merge import pack as packing
from quintet.shard import scan
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.missing import missing_of
from quintet.shard.partial import opened
from quintet.shard.run import Run

from ..house import House, merged_all, payloads
from . import synthetic

SMALL = ("levels=2", "search.n_trials=8", "search.sampler=random")
PACKED = {"select", "simulate", "level-00", "level-01", "walk"}


@pytest.fixture(scope="module")
def whole(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged run."""
    run = house.planned(tmp_path_factory.mktemp("whole") / "run", *SMALL)
    merged_all(house, run)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of the merged run."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def files(run: Path) -> dict[str, int]:
    """Return how many partials each phase has."""
    return {folder.name: len(list(folder.rglob("*.h5"))) for folder in (run / "partials").iterdir()}


def test_every_phase_but_the_search_becomes_one_file_and_all_verbs_stay_truthful(
    house: House, whole: Path, run: Path
) -> None:
    before = files(run)
    assert before["simulate"] > 1
    house("pack", run)
    assert files(run) == before | dict.fromkeys(PACKED, 1)
    assert payloads(run) == payloads(whole)
    status = json.loads(house("status", run, "--json").stdout)
    assert all(phase["merged"] and phase["complete"] for phase in status["phases"])
    assert [phase["cpu_h"] for phase in status["phases"]] == [
        phase["cpu_h"] for phase in json.loads(house("status", whole, "--json").stdout)["phases"]
    ]
    house("missing", run)
    house("verify", run)
    assert "unchanged" in house("local", run).stdout
    house("pack", run)
    assert files(run) == before | dict.fromkeys(PACKED, 1)


def test_a_lost_packed_file_is_missing_and_is_computed_again(house: House, whole: Path, run: Path) -> None:
    house("pack", run, "simulate")
    (packed,) = (run / "partials" / "simulate").rglob("*.h5")
    packed.unlink()
    assert "absent" in house("missing", run, "simulate", code=1).stderr
    house("merge", run, "simulate", code=Exit.INCOMPLETE)
    assert merged_all(house, run) == payloads(whole)


def test_a_packed_run_can_be_planned_again_and_extended(house: House, run: Path, tmp_path: Path) -> None:
    house("pack", run)
    longer = ("levels=2", "search.n_trials=12", "search.sampler=random")
    house.planned(run, *longer)
    other = house.planned(tmp_path / "other", *longer)
    assert merged_all(house, run) == merged_all(house, other)


def test_what_cannot_be_packed_is_one_line(house: House, whole: Path, run: Path) -> None:
    assert "cannot be packed" in house("pack", run, "search", code=Exit.USAGE).stderr
    assert "PHASE: found 'dance'" in house("pack", run, "dance", code=Exit.USAGE).stderr
    next((run / "partials" / "simulate").rglob("*.h5")).unlink()
    assert "not merged from the partials" in house("pack", run, "simulate", code=Exit.INCOMPLETE).stderr


def test_a_run_that_was_never_computed_is_not_packed(house: House, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run", *SMALL)
    house("local", run, "--phase", "search")
    house("merge", run, "search")
    assert "phase select: not merged from the partials" in house("pack", run, "select", code=3).stderr


def test_a_kill_at_any_time_loses_no_block(house: House, whole: Path, run: Path) -> None:
    dice = random.Random(5)
    for _ in range(8):
        house.killed(dice.uniform(0.2, 1.6), "pack", run)
        house("missing", run)
    house("pack", run)
    assert files(run)["simulate"] == 1
    assert merged_all(house, run) == payloads(whole)
    house("verify", run)


def partials(run: Run) -> list[str]:
    return sorted(path.name for path in (run.path / "partials" / "measure").rglob("s*.h5"))


def packed(run: Run) -> list[str]:
    """Pack the measurement; return what was said."""
    said: list[str] = []
    packing.pack(run, "measure", said.append)
    return said


def killed_before_its_merge(run: Run) -> None:
    """Pack in a process that dies once the plan names the packed partial."""
    pid = os.fork()
    if pid == 0:
        packing.make_result = lambda *_: os._exit(9)
        packed(run)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert sum(lo < hi for lo, hi in run.plan("measure").shards) == 1


def test_a_packing_that_fails_leaves_plan_partials_and_result_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = synthetic.whole(tmp_path / "run", 4)
    before = run.plan("measure"), partials(run), run.merged("measure").read_bytes()

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "merged")

    with monkeypatch.context() as patch:
        patch.setattr(packing, "make_result", full)
        with pytest.raises(OSError, match="No space left"):
            packed(run)
    assert (run.plan("measure"), partials(run), run.merged("measure").read_bytes()) == before
    monkeypatch.setattr(scan, "MAX_DATASET_BYTES", 750)  # no partial passes it, the packed one does
    with pytest.raises(QuintetError, match=r"cannot be packed: /rows/.* claims") as refused:
        packed(run)
    assert refused.value.code is Exit.USAGE
    assert (run.plan("measure"), partials(run), run.merged("measure").read_bytes()) == before
    monkeypatch.undo()
    packed(run)
    assert partials(run) == ["s000004.h5"]


def test_packing_after_a_kill_removes_nothing_before_the_packed_partial_gave_the_result(tmp_path: Path) -> None:
    run = synthetic.whole(tmp_path / "run", 4)
    killed_before_its_merge(run)
    packed(run)
    assert partials(run) == ["s000004.h5"]
    with opened(run.merged("measure")) as result:
        assert set(result["meta/index/rows/frames"][:, 0]) == {4}


def test_packing_after_a_kill_removes_nothing_where_the_packed_partial_is_damaged(tmp_path: Path) -> None:
    run = synthetic.whole(tmp_path / "run", 4)
    killed_before_its_merge(run)
    path = run.shard_file("measure", 4)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(QuintetError) as refused:
        packed(run)
    assert refused.value.code is Exit.INCOMPLETE
    assert partials(run) == [f"s{shard:06d}.h5" for shard in range(5)]
    assert missing_of(run, run.plan("measure")).reasons == {"bad-digest": (4,)}
