"""Little memory: levels and transitions leave it step by step, nothing is lost, and no result changes."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.shard.context import Context
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.induction import pressure, spill
from quintet.shard.induction.build_phase import BuildWork
from quintet.shard.induction.pressure import Ladder, Memory, Step, memory_now, stopped_for_memory
from quintet.shard.induction.solve_phase import SolveTask, SolveWork
from quintet.shard.induction.spill import LevelStore, spill_base, spill_folder
from quintet.shard.run import Run

from .runs import compute, merge, planned

PLENTY, LITTLE = Memory(10**12, 10**12), Memory(10**9, 10**12)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small problem whose graph is built."""
    folder = tmp_path_factory.mktemp("run")
    settings = (
        "inputs.world=asymmetric_freeing_simple",
        "max_steps=6",
        "row_chunk=5000",
        f"spill_dir={folder / 'on_disk'}",
    )
    run = planned(folder / "run", "seed", *settings)
    compute(run, "build")
    merge(run, "build")
    return run


def task_of(run: Run, provider: Any, **settings: Any) -> SolveTask:
    context = Context.of(run, "solve")
    config = context.config.model_copy(update=settings)
    return SolveWork(Context(context.run, context.phase, context.plan, config), provider).block(range(1))  # type: ignore[return-value]


def finished(task: SolveTask) -> dict[str, Any]:
    while task.advance():
        pass
    return task.result()


def counted(result: dict[str, Any]) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in result.items() if not name.startswith("meta/")}


@pytest.fixture(scope="module")
def expected(run: Run) -> dict[str, bytes]:
    return counted(finished(task_of(run, lambda: PLENTY)))


@pytest.mark.parametrize(
    ("lows", "steps"),
    [
        (1, "finished levels written out"),
        (2, "finished levels written out, transitions streamed from the build"),
        (4, "finished levels written out, transitions streamed from the build, row chunk halved, row chunk halved"),
    ],
)
def test_each_step_of_the_ladder_is_taken_and_changes_no_bit(
    run: Run, expected: dict[str, bytes], lows: int, steps: str
) -> None:
    looks = iter(range(10**6))

    def provider() -> Memory:  # a check that is low looks twice, and the first look decides whether to spill at once
        return LITTLE if 3 <= next(looks) < 3 + 2 * lows else PLENTY

    result = finished(task_of(run, provider))
    assert result["meta/memory_steps"].tobytes().decode() == steps
    assert counted(result) == expected
    assert not list((run.path.parent / "on_disk").rglob("*"))


def test_a_machine_that_is_short_stops_with_75_and_a_rerun_completes(run: Run, expected: dict[str, bytes]) -> None:
    looks = iter(range(10**6))
    task = task_of(run, lambda: LITTLE if next(looks) > 14 else PLENTY, row_chunk=40)
    with pytest.raises(QuintetError) as stopped:
        finished(task)
    assert stopped.value.code is Exit.STOPPED
    state = task.state()
    assert state is not None and Path(state["spill_folder"]).is_dir()
    again = task_of(run, lambda: PLENTY)
    again.restore({name: np.array(value) if hasattr(value, "dtype") else value for name, value in state.items()})
    assert counted(finished(again)) == expected
    assert not list((run.path.parent / "on_disk").rglob("*"))


def test_a_limit_below_the_need_ends_with_65_and_the_largest_horizon(run: Run) -> None:
    looks = iter(range(10**6))
    small = Memory(10**6, 160_450_000)
    with pytest.raises(QuintetError, match=r"the largest horizon that fits is [1-5];.*mode slab") as error:
        finished(task_of(run, lambda: small if next(looks) > 1 else PLENTY, row_chunk=40))
    assert error.value.code is Exit.INPUT
    assert not list((run.path.parent / "on_disk").rglob("*"))


@pytest.mark.parametrize(("on_low", "pauses"), [("pause", 1), ("abort", 0)])
def test_pause_waits_once_and_abort_does_not(
    run: Run, monkeypatch: pytest.MonkeyPatch, on_low: str, pauses: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(pressure.time, "sleep", slept.append)
    task = task_of(run, lambda: LITTLE, on_low_memory=on_low, memory_pause_duration=7.0)
    with pytest.raises(QuintetError) as stopped:
        finished(task)
    assert stopped.value.code is Exit.STOPPED
    assert slept == [7.0] * pauses


def test_pause_goes_on_where_the_memory_came_back() -> None:
    answers = iter([LITTLE, LITTLE, PLENTY])
    ladder = Ladder(
        [], lambda memory: stopped_for_memory(memory, ""), fraction=0.1, on_low="pause", pause_s=0.0,
        provider=lambda: next(answers),
    )  # fmt: skip
    ladder.check()


def test_the_trigger_can_be_turned_off_and_looked_at_rarely() -> None:
    def never() -> Memory:
        raise AssertionError("looked")

    Ladder([], lambda memory: stopped_for_memory(memory, ""), fraction=0.0, provider=never).check()
    looks = []

    def provider() -> Memory:
        looks.append(1)
        return PLENTY

    ladder = Ladder(
        [Step("x", lambda: True)], lambda m: stopped_for_memory(m, ""), fraction=0.1, interval=3, provider=provider
    )
    for _ in range(7):
        ladder.check()
    assert len(looks) == 3


def test_a_build_that_cannot_fit_ends_with_65_and_a_horizon(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "seed", "max_steps=8")
    context, looks = Context.of(run, "build"), iter(range(10**6))
    work = BuildWork(context, lambda: LITTLE if next(looks) > 6 else PLENTY)
    with pytest.raises(QuintetError, match=r"largest horizon that fits is [1-7]") as error:
        work.block(range(1)).advance()
    assert error.value.code is Exit.INPUT


def test_too_many_states_end_with_65_and_the_level_sizes(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "seed", "max_steps=8", "max_states=1300")
    with pytest.raises(QuintetError, match=r"1, 36, 128, 224, 368.*largest horizon that fits is 5") as error:
        BuildWork(Context.of(run, "build")).block(range(1)).advance()
    assert error.value.code is Exit.INPUT


def test_the_real_provider_sees_this_machine() -> None:
    memory = memory_now()
    assert 0 < memory.available <= memory.limit


def test_a_full_disk_is_said_before_the_solve_begins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(spill.shutil, "disk_usage", lambda folder: usage(10, 9, 1))
    case = Context.of(run, "solve").config
    task = task_of(run, lambda: PLENTY, spill="always")
    assert case.spill == "auto"
    with pytest.raises(QuintetError) as error:
        finished(task)
    assert error.value.code is Exit.CANNOT_WRITE


def test_scratch_in_memory_is_left_out_and_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if spill.file_system_of(Path("/dev/shm")) != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    monkeypatch.delenv("SLURM_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/dev/shm")
    assert spill_base(None, False, tmp_path) == tmp_path / "spill"
    assert spill_base(None, True, tmp_path) == Path("/dev/shm")
    with pytest.raises(QuintetError, match="lies in memory") as error:
        spill_base("/dev/shm/x", False, tmp_path)
    assert error.value.code is Exit.USAGE


def test_folders_of_dead_owners_are_removed_and_living_ones_kept(tmp_path: Path) -> None:
    own = spill_folder(tmp_path, "run/solve/0")
    dead = own.with_name(own.name.replace(f"-{own.name.rsplit('-', 2)[1]}-", "-999999999-"))
    dead.mkdir()
    other = spill_folder(tmp_path, "run/solve/1")
    third = spill_folder(tmp_path, "run/solve/0")
    assert own.is_dir() and other.is_dir() and third.is_dir() and not dead.exists()


@pytest.fixture(params=["none", "lzf", "gzip"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LevelStore]:
    made = LevelStore(lambda: spill_folder(tmp_path, "test"), request.param)
    yield made
    made.close()
    assert not list(tmp_path.iterdir())


def test_a_store_holds_the_same_in_memory_and_on_disk(store: LevelStore) -> None:
    rows = np.arange(30.0).reshape(10, 3)
    store.append("level/0001/Vm", rows[:4])
    store.append("level/0000/Vm", rows)
    assert store.to_disk()
    store.append("level/0001/Vm", rows[4:])
    np.testing.assert_array_equal(store.read("level/0001/Vm", 2, 7), rows[2:7])
    assert store.length("level/0001/Vm") == 10 and store.length("level/0002/Vm") == 0
    store.drop("level/0001/Vm")
    assert store.length("level/0001/Vm") == 0
    assert not store.to_disk() and store.nbytes == 0
