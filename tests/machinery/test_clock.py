"""No result depends on a wall clock: it may be wrong by days, differ between hosts, or jump at every look."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from quintet.merge.phase import Request, merge_run
from quintet.shard.partial import read_card

from ..house import House
from .elements import (
    SHARDS,
    TRIALS,
    element,
    finish,
    forked,
    kill,
    merged_payload,
    notes,
    partials,
    planned,
    quiet_payload,
    run_element,
    staged,
    waited,
)

DAY = 86_400.0
SHIM = '''\
"""Shifts the wall clock of a Python process, as a host with a wrong clock sees it."""
import os, time
shift, true_time, true_ns = float(os.environ["SHIFTED_BY"]), time.time, time.time_ns
time.time = lambda: true_time() + shift
time.time_ns = lambda: true_ns() + int(shift * 1e9)
'''


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Payloads of runs under a right clock."""
    folder = tmp_path_factory.mktemp("quiet")
    return {phase: quiet_payload(folder / phase, phase) for phase in ("measure", "walk", "search")}


def shifted(seconds: Callable[[], float]) -> Callable[[], None]:
    """Return what gives a process another wall clock."""

    def install() -> None:
        true, true_ns = time.time, time.time_ns
        time.time = lambda: true() + seconds()
        time.time_ns = lambda: true_ns() + int(seconds() * 1e9)

    return install


def jumping() -> float:
    return random.uniform(-3000 * DAY, 3000 * DAY)


CLOCKS = {
    "behind": lambda: -400 * DAY,
    "ahead": lambda: 400 * DAY,
    "before 1970": lambda: -30_000 * DAY,
    "jumping": jumping,
}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("phase", ["measure", "walk", "search"])
def test_elements_under_a_wrong_clock_give_equal_bits(
    quiet: dict[str, str], tmp_path: Path, phase: str, clock: str
) -> None:
    run = planned(tmp_path / "run", phase, checkpoint_s=0.0)
    for shard in range(SHARDS):
        assert run_element(run, phase, shard, shifted(CLOCKS[clock])) == 0
    with pytest.MonkeyPatch.context() as patch:
        true = time.time
        patch.setattr(time, "time", lambda: true() + CLOCKS[clock]())
        assert merged_payload(run, phase) == quiet[phase]


def test_hosts_whose_clocks_disagree_share_a_search_and_steal_no_lease(quiet: dict[str, str], tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "search", shards=4)
    with staged(pause=0.01):
        workers = [element(run, "search", n, shifted(CLOCKS[clock])) for n, clock in enumerate(CLOCKS)]
        assert [waited(pid) for pid in workers] == [0] * 4
    assert partials(run, "search") == [f"t{number:06d}.h5" for number in range(TRIALS)]
    assert merged_payload(run, "search") == quiet["search"]


@pytest.mark.parametrize("phase", ["measure", "walk"])
def test_a_killed_element_goes_on_under_a_clock_that_went_back(
    quiet: dict[str, str], tmp_path: Path, phase: str
) -> None:
    run = planned(tmp_path / "run", phase, checkpoint_s=0.0)
    with staged(pause=0.01):
        for shift in (400 * DAY, 0.0, -400 * DAY):
            pid = element(run, phase, 0, shifted(lambda shift=shift: shift))
            time.sleep(0.06)
            kill(pid)
    finish(run, phase)
    if phase == "measure":  # what was kept under a later clock was taken up under an earlier one
        assert len(notes(run)) < 24 + 3 * 2
    assert merged_payload(run, phase) == quiet[phase]


def test_files_from_the_future_and_the_past_are_read_like_any_other(quiet: dict[str, str], tmp_path: Path) -> None:
    run, dice = planned(tmp_path / "run", "measure", shards=6), random.Random(1)
    finish(run, "measure", 6)
    merge_run(run, "measure", Request(), lambda line: None)
    for path in run.path.rglob("*"):
        stamp = dice.uniform(0, 2 * time.time())
        os.utime(path, (stamp, stamp))
    said: list[str] = []
    merge_run(run, "measure", Request(), said.append)
    assert any("unchanged" in line for line in said)
    path = run.shard_file("measure", 3)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, (0, 0))
    path.unlink()
    assert run_element(run, "measure", 3) == 0
    run.merged("measure").unlink()
    assert merged_payload(run, "measure") == quiet["measure"]


def test_two_merges_whose_clocks_disagree_give_one_result(quiet: dict[str, str], tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "measure")
    finish(run, "measure")
    for clock in ("ahead", "behind"):

        def merge(clock: str = clock) -> None:
            shifted(CLOCKS[clock])()
            merge_run(run, "measure", Request(depth="full"), lambda line: None)

        assert waited(forked(merge)) == 0
        assert read_card(run.merged("measure")).pd == quiet["measure"]


@pytest.mark.slow
def test_a_whole_run_of_the_executables_under_shifted_clocks_gives_equal_bits(house: House, tmp_path: Path) -> None:
    from ..house import merged_all, payloads

    settings = ("levels=1", "search.n_trials=6", "search.sampler=random")
    expected = merged_all(house, house.planned(tmp_path / "calm", *settings))
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim" / "sitecustomize.py").write_text(SHIM)
    path = os.pathsep.join([str(tmp_path / "shim"), str(house.folder)])
    run = house.planned(tmp_path / "run", *settings)
    for shift in (-3e7, 3e7, 0.0):
        house("shard", run, "search", "--index", 0, PYTHONPATH=path, SHIFTED_BY=str(shift))
        house("shard", run, "walk", "--index", 0, PYTHONPATH=path, SHIFTED_BY=str(-shift))
    house("local", run, "--jobs", 2, PYTHONPATH=path, SHIFTED_BY="1e8")
    assert payloads(run) == expected
