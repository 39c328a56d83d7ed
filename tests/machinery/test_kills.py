"""Killed at any instant, an element leaves no corrupt file, and what is run after it gives the same bits."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quintet.merge.phase import Request, merge_run
from quintet.shard import publish as publishing
from quintet.shard.partial import file_digest, read_card
from quintet.shard.run import Run

from ..house import House, merged_all, payloads
from .elements import (
    SHARDS,
    TRIALS,
    assert_nothing_corrupt,
    element,
    finish,
    forked,
    kill,
    merged_payload,
    partials,
    planned,
    quiet_payload,
    run_element,
    staged,
    waited,
)

PAUSES = {"measure": 0.0005, "walk": 0.002, "search": 0.001}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Payloads of runs that nothing happened to."""
    folder = tmp_path_factory.mktemp("quiet")
    return {phase: quiet_payload(folder / phase, phase) for phase in ("measure", "walk", "search")}


@pytest.mark.parametrize("phase", ["measure", "walk", "search"])
@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.chaos)])
def test_a_shard_killed_at_random_instants_leaves_whole_files_and_resumes_to_equal_bits(
    quiet: dict[str, str], tmp_path: Path, phase: str, kills: int
) -> None:
    dice, killed, rounds = random.Random(kills), 0, 0
    with staged(pause=PAUSES[phase]):
        run = planned(tmp_path / "first", phase, checkpoint_s=0.0)
        begun = time.monotonic()
        finish(run, phase)
        duration = (time.monotonic() - begun) / SHARDS
        while killed < kills:
            run = planned(tmp_path / f"{rounds}", phase, checkpoint_s=0.0)
            rounds += 1
            for _ in range(20):
                left = [shard for shard in range(SHARDS) if not run.shard_file(phase, shard).exists()]
                if not left or len(partials(run, phase)) == TRIALS:
                    break
                pid = element(run, phase, dice.choice(left))
                time.sleep(dice.uniform(0.0, duration))
                ended = kill(pid)
                assert ended in {0, -signal.SIGKILL}
                killed += ended != 0
                assert_nothing_corrupt(run)
            finish(run, phase)
            assert merged_payload(run, phase) == quiet[phase]
            shutil.rmtree(run.path)


CALLS = ("open", "write", "fsync", "fchmod", "close", "link", "unlink", "replace", "rename", "mkdir")


def kill_at(number: int) -> Callable[[], None]:
    """Return what makes a process kill itself right before its `number`-th change of the file system."""

    def install() -> None:
        left = number
        true = {name: getattr(os, name) for name in CALLS}

        def counted(name: str) -> Callable[..., Any]:
            def call(*arguments: Any, **more: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return true[name](*arguments, **more)

            return call

        for name in CALLS:
            setattr(os, name, counted(name))

    return install


def at_every_change(begin: Callable[[Callable[[], None]], int], most: int = 2000, step: int = 1) -> int:
    """Start a process that dies at its first change of the file system, one at its second, until one ends well."""
    for number in range(1, most, step):
        if waited(begin(kill_at(number))) == 0:
            return number // step
    raise AssertionError("no process came to its end")


def test_killed_at_every_system_call_of_an_attempt_it_resumes_to_equal_bits(
    quiet: dict[str, str], tmp_path: Path
) -> None:
    run = planned(tmp_path / "run", "walk", checkpoint_s=300.0)

    def begin(dying: Callable[[], None]) -> int:
        assert_nothing_corrupt(run)
        shutil.rmtree(run.path / "partials", ignore_errors=True)
        return element(run, "walk", 0, dying)

    assert at_every_change(begin) > 10
    finish(run, "walk")
    assert_nothing_corrupt(run)
    assert merged_payload(run, "walk") == quiet["walk"]


def test_killed_at_every_system_call_of_a_merge_the_result_is_old_or_new_and_whole(
    quiet: dict[str, str], tmp_path: Path
) -> None:
    run = planned(tmp_path / "run", "measure")
    assert run_element(run, "measure", 0) == 0
    merge_run(run, "measure", Request(allow_missing=True), lambda line: None)
    partly = read_card(run.merged("measure")).pd
    assert run_element(run, "measure", 1) == 0
    seen = set()

    def begin(dying: Callable[[], None]) -> int:
        card, digest = file_digest(run.merged("measure"))
        assert card.b2 == digest
        seen.add(card.pd)

        def merge() -> None:
            dying()
            merge_run(run, "measure", Request(), lambda line: None)

        return forked(merge)

    assert at_every_change(begin) > 10
    assert merged_payload(run, "measure") == quiet["measure"]
    assert seen <= {partly, read_card(run.merged("measure")).pd}
    assert (run.path / "merged" / "measure.done").is_file()


def test_workers_killed_at_every_system_call_leave_each_trial_once(quiet: dict[str, str], tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "search", checkpoint_s=0.0)
    at_every_change(lambda dying: element(run, "search", 0, dying), step=23)
    finish(run, "search", 1)
    assert_nothing_corrupt(run)
    assert partials(run, "search") == [f"t{number:06d}.h5" for number in range(TRIALS)]
    assert merged_payload(run, "search") == quiet["search"]


@pytest.mark.parametrize("refused", [1, 95], ids=["EPERM", "ENOTSUP"])
def test_without_hard_links_the_first_writer_still_wins_and_a_kill_leaves_whole_files(
    quiet: dict[str, str], tmp_path: Path, refused: int
) -> None:
    def no_links(*arguments: Any, **more: Any) -> None:
        raise OSError(refused, os.strerror(refused))

    true = publishing.os.link
    publishing.os.link = no_links  # type: ignore[assignment]
    try:
        run = planned(tmp_path / "run", "measure")
        at_every_change(lambda dying: element(run, "measure", 0, dying))
        assert_nothing_corrupt(run)
        crowd = [element(run, "measure", 1) for _ in range(4)]
        assert [waited(pid) for pid in crowd] == [0] * 4
    finally:
        publishing.os.link = true
    assert partials(run, "measure") == ["s000000.h5", "s000001.h5"]
    assert merged_payload(run, "measure") == quiet["measure"]


@pytest.mark.chaos
def test_the_real_executable_killed_20_times_resumes_to_equal_bits(house: House, tmp_path: Path) -> None:
    settings = ("levels=1", "search.n_trials=6", "search.sampler=random", "walk.steps=40")
    calm = house.planned(tmp_path / "calm", *settings)
    expected = merged_all(house, calm)
    run = house.planned(tmp_path / "run", *settings, "walk.step_seconds=0.02", "search.lease_seconds=1.0")
    dice, killed = random.Random(5), 0
    while killed < 20:
        arguments = ("walk", "--index", 0) if killed % 2 else ("search", "--index", dice.randrange(2))
        killed += house.killed(dice.uniform(0.1, 1.2), "shard", run, *arguments) != 0
        assert_nothing_corrupt(Run(run))
        if not killed % 2:
            shutil.rmtree(run / "partials" / "walk", ignore_errors=True)
        elif len(list((run / "partials" / "search").rglob("t*.h5"))) == 6:
            for folder in ("partials/search", "store"):
                shutil.rmtree(run / folder)
    assert merged_all(house, run) == expected
    assert payloads(run) == expected
