"""Asked to stop at any instant, an element ends with 75 within 10 s and loses no finished block."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from quintet.shard import publish as publishing
from quintet.shard.attempts import read_attempts
from quintet.shard.errors import Exit
from quintet.shard.partial import read_card
from quintet.shard.run import Run

from ..house import House
from .elements import (
    SHARDS,
    UNITS,
    assert_nothing_corrupt,
    element,
    finish,
    merged_payload,
    notes,
    partials,
    pipe,
    planned,
    quiet_payload,
    run_element,
    staged,
    temporaries,
    waited,
)

STOPPED = 75
LONGEST_STOP_S = 10.0


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Payloads of runs that nothing happened to."""
    folder = tmp_path_factory.mktemp("quiet")
    return {phase: quiet_payload(folder / phase, phase) for phase in ("measure", "walk", "search")}


def stopped(run: Run, phase: str, shard: int, delay: float, signals: Sequence[signal.Signals]) -> int:
    """Start an element, send it signals some time after its work has begun; return its exit code."""
    with pipe() as (reader, writer), staged(ready=writer):
        pid = element(run, phase, shard)
        os.set_blocking(reader, False)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                os.read(reader, 1)
                break
            except BlockingIOError:
                if os.waitpid(pid, os.WNOHANG)[0]:  # it had nothing to do
                    return 0
                time.sleep(0.001)
        time.sleep(delay)
        begun = time.monotonic()
        for number in signals:
            os.kill(pid, number)
        code = waited(pid)
        assert time.monotonic() - begun < LONGEST_STOP_S
    return code


@pytest.mark.parametrize(
    "signals", [("SIGUSR1",), ("SIGTERM",), ("SIGTERM", "SIGTERM"), ("SIGUSR1", "SIGTERM")], ids="+".join
)
@pytest.mark.parametrize("stops", [4, pytest.param(100, marks=pytest.mark.chaos)])
def test_no_block_is_computed_twice_however_often_a_shard_is_stopped(
    quiet: dict[str, str], tmp_path: Path, signals: tuple[str, ...], stops: int
) -> None:
    dice, codes = random.Random(stops), Counter[int]()
    numbers = [signal.Signals[name] for name in signals]
    round_ = 0
    with staged(pause=0.003):
        while codes[STOPPED] < stops:
            run = planned(tmp_path / f"{round_}", "measure")
            round_ += 1
            for shard in range(SHARDS):
                code = STOPPED
                while code == STOPPED:
                    code = stopped(run, "measure", shard, dice.uniform(0.0, 0.025), numbers)
                    codes[code] += 1
                assert code == 0
            assert sorted(notes(run)) == sorted(f"measure {unit}" for unit in range(UNITS))
            assert partials(run, "measure") == ["s000000.h5", "s000001.h5"]
            assert not temporaries(run)
            assert merged_payload(run, "measure") == quiet["measure"]
    assert set(codes) == {0, STOPPED}


@pytest.mark.parametrize("phase", ["walk", "search"])
def test_what_a_long_unit_or_trial_has_done_survives_its_stops(
    quiet: dict[str, str], tmp_path: Path, phase: str
) -> None:
    run, dice, codes = planned(tmp_path / "run", phase, shards=1), random.Random(2), [STOPPED]
    with staged(pause=0.01):
        while codes[-1] == STOPPED:
            codes.append(stopped(run, phase, 0, dice.uniform(0.0, 0.04), [signal.SIGTERM]))
            assert_nothing_corrupt(run)
    assert codes[-1] == 0 and len(codes) > 4  # without kept states it would begin anew each time
    assert not list((run.path / "checkpoints").rglob("*.h5"))
    assert merged_payload(run, phase) == quiet[phase]


def test_a_stop_keeps_what_is_finished_in_a_checkpoint_and_says_why(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "measure")
    with staged(pause=0.01):
        assert stopped(run, "measure", 0, 0.05, [signal.SIGUSR1]) == STOPPED
    card = read_card(run.shard_file("measure", 0).with_name("s000000.ckpt.h5"))
    assert not card.complete
    assert card.hi - card.lo == len(notes(run)) > 0
    (attempt,) = read_attempts(run.attempt_file("measure", 0))
    assert (attempt["end"]["rc"], attempt["end"]["reason"]) == (STOPPED, "SIGUSR1")
    assert attempt["end"]["blocks"] == len(notes(run))


@pytest.mark.parametrize("call", ["write_temporary", "claim_name", "sync_folder"])
def test_a_stop_inside_publishing_waits_for_its_end(quiet: dict[str, str], tmp_path: Path, call: str) -> None:
    run = planned(tmp_path / "run", "measure")

    def interrupted() -> None:
        true = getattr(publishing, call)

        def twice(*arguments: Any, **more: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            result = true(*arguments, **more)
            os.kill(os.getpid(), signal.SIGTERM)
            return result

        setattr(publishing, call, twice)

    for shard in range(SHARDS):
        assert run_element(run, "measure", shard, interrupted) == 0
    assert not temporaries(run)
    assert merged_payload(run, "measure") == quiet["measure"]


def test_before_its_deadline_a_shard_stops_by_itself(quiet: dict[str, str], tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "measure")

    def soon() -> None:
        os.environ["QUINTET_DEADLINE"] = str(time.time() + 0.1)

    with staged(pause=0.03):
        begun = time.monotonic()
        assert run_element(run, "measure", 0, soon) == STOPPED
        assert time.monotonic() - begun < LONGEST_STOP_S
        done = len(notes(run))
        assert 0 < done < UNITS // SHARDS
    finish(run, "measure")
    assert len(notes(run)) == UNITS
    assert merged_payload(run, "measure") == quiet["measure"]


def test_a_deadline_that_has_passed_ends_a_local_run_at_the_first_attempts(house: House, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run", "levels=1", "search.n_trials=4", "phases.search.shards=3")
    done = house("local", run, "--jobs", 1, code=STOPPED, SLURM_JOB_END_TIME="1600000000")
    assert "stopped by the deadline of QUINTET_DEADLINE or SLURM_JOB_END_TIME" in done.stderr
    attempts = [list(read_attempts(path)) for path in (run / "attempts").rglob("*.jsonl")]
    assert [len(items) for items in attempts] == [1]
    assert "PHASE: found 'nope'" in house("local", run, "--phase", "nope", code=Exit.USAGE).stderr
