"""What the disk refuses ends an element with 73, what it stammers with 74 after five tries; nothing half is left."""

from __future__ import annotations

import errno
import io
import os
import random
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from quintet.merge.phase import Request, merge_run
from quintet.shard.context import inputs_digest, verified_result
from quintet.shard.errors import Exit, QuintetError, exit_of
from quintet.shard.partial import file_digest
from quintet.shard.run import Run

from ..house import House
from . import synthetic
from .elements import (
    SHARDS,
    assert_nothing_corrupt,
    finish,
    forked,
    merged_payload,
    partials,
    planned,
    quiet_payload,
    run_element,
    staged,
    temporaries,
    waited,
)

CANNOT_WRITE, IO = 73, 74
NOBODY = 65534


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Payloads of runs that nothing happened to."""
    folder = tmp_path_factory.mktemp("quiet")
    return {phase: quiet_payload(folder / phase, phase) for phase in ("measure", "bulk", "search")}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 512 kB; only root can mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "tmpfs", str(place)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user cannot mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, left: int) -> Path:
    """Fill a disk up to `left` bytes."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        free = os.statvfs(place)
        try:
            file.write(bytes(max(free.f_bavail * free.f_frsize - left, 0)))
        except OSError:
            return ballast
    return ballast


def assert_nothing_half(run: Run, phase: str) -> None:
    """Nothing is visible that is not whole, and nothing lies about."""
    assert_nothing_corrupt(run)
    assert not temporaries(run)
    assert not partials(run, phase)


def test_a_full_disk_is_73_at_any_fill_and_with_room_again_the_bits_are_equal(
    quiet: dict[str, str], small_disk: Path
) -> None:
    run, dice = planned(small_disk / "run", "bulk"), random.Random(6)
    for left in [0, 4096, 70_000, *(dice.randrange(75_000) for _ in range(4))]:
        ballast = fill(small_disk, left)
        assert run_element(run, "bulk", 0) == CANNOT_WRITE, f"{left} bytes were left"
        assert_nothing_half(run, "bulk")
        ballast.unlink()
    finish(run, "bulk")
    assert merged_payload(run, "bulk") == quiet["bulk"]


def test_a_disk_that_is_full_before_the_checkpoint_is_73(quiet: dict[str, str], small_disk: Path) -> None:
    run = planned(small_disk / "run", "bulk", shards=1, checkpoint_s=0.0)
    ballast = fill(small_disk, 60_000)
    assert run_element(run, "bulk", 0) == CANNOT_WRITE
    assert_nothing_corrupt(run)
    assert not temporaries(run)
    ballast.unlink()
    finish(run, "bulk", 1)
    assert merged_payload(run, "bulk") == quiet["bulk"]


def test_a_search_on_a_full_disk_is_73_and_goes_on_later(quiet: dict[str, str], small_disk: Path) -> None:
    run = planned(small_disk / "run", "search", shards=1)
    for left in (0, 4096, 100_000, 190_000):
        ballast = fill(small_disk, left)
        assert run_element(run, "search", 0) in {0, CANNOT_WRITE}
        assert_nothing_corrupt(run)
        assert not temporaries(run)
        ballast.unlink()
    finish(run, "search", 1)
    assert merged_payload(run, "search") == quiet["search"]


@pytest.mark.parametrize("full", ["run", "scratch"])
def test_a_merge_on_a_full_disk_is_73_and_keeps_the_old_result(
    quiet: dict[str, str], tmp_path: Path, small_disk: Path, full: str
) -> None:
    run = planned((small_disk if full == "run" else tmp_path) / "run", "bulk", shards=4)
    finish(run, "bulk", 3)
    merge_run(run, "bulk", Request(allow_missing=True), lambda line: None)
    old = run.merged("bulk").read_bytes()
    finish(run, "bulk", 4)
    scratch = small_disk / "scratch"
    scratch.mkdir()

    def merge() -> int:
        if full == "scratch":
            os.environ["SLURM_TMPDIR"] = str(scratch)
        try:
            merge_run(run, "bulk", Request(), lambda line: None)
        except Exception as error:
            return int(exit_of(error))
        return 0

    for left in (0, 8192, 60_000, 120_000):
        ballast = fill(small_disk, left)
        assert waited(forked(merge)) == CANNOT_WRITE, f"{left} bytes were left"
        assert run.merged("bulk").read_bytes() == old
        assert not temporaries(run)
        ballast.unlink()
        assert not list(scratch.iterdir())
    assert merged_payload(run, "bulk") == quiet["bulk"]


def test_a_limit_on_file_sizes_is_73_and_kills_nobody(quiet: dict[str, str], tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "bulk")
    for size in (100, 4096, 50_000):
        limit = (size, resource.RLIM_INFINITY)
        code = run_element(run, "bulk", 0, lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
        assert code == CANNOT_WRITE
        assert_nothing_half(run, "bulk")
    finish(run, "bulk")
    assert merged_payload(run, "bulk") == quiet["bulk"]


def test_the_real_executable_says_in_one_line_that_it_cannot_write(house: House, tmp_path: Path) -> None:
    run = house.planned(tmp_path / "run", "levels=1")
    done = subprocess.run(
        house.command("shard", run, "walk", "--index", 0),
        env=house.environment(PYTHONDONTWRITEBYTECODE="1"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == CANNOT_WRITE, done.stderr
    assert done.stderr.strip().splitlines()[-1].endswith("File too large")
    assert_nothing_half(Run(run), "walk")


def test_a_read_only_file_system_is_73_and_a_finished_shard_is_still_0(quiet: dict[str, str], small_disk: Path) -> None:
    run = planned(small_disk / "run", "bulk")
    assert run_element(run, "bulk", 1) == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert run_element(run, "bulk", 0) == CANNOT_WRITE
    assert run_element(run, "bulk", 1) == 0
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert partials(run, "bulk") == ["s000001.h5"]
    finish(run, "bulk")
    assert merged_payload(run, "bulk") == quiet["bulk"]


def test_a_folder_without_permission_is_73() -> None:
    with tempfile.TemporaryDirectory() as place:
        run = planned(Path(place) / "run", "bulk")
        Path(place).chmod(0o755)
        run.path.chmod(0o555)

        def as_nobody() -> None:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)

        assert run_element(run, "bulk", 0, as_nobody) == CANNOT_WRITE
        assert sorted(path.name for path in run.path.iterdir()) == ["plan"]
        run.path.chmod(0o755)
        assert run_element(run, "bulk", 0) == 0


def refusing(call: str, number: int, times: int) -> Callable[[], None]:
    """Return what makes one system call on a partial's temporary file fail that often, as the kernel would."""

    def install() -> None:
        true, left = getattr(os, call), times
        writing: set[int] = set()
        opened = os.open

        def is_ours(argument: object) -> bool:
            if isinstance(argument, int):
                return argument in writing
            return str(argument).endswith(".tmp") and "/partials/" in str(argument)

        def failing(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            if left and is_ours(arguments[0]):
                left -= 1
                raise OSError(number, os.strerror(number), str(arguments[0]))
            return true(*arguments, **more)

        def opening(path: Any, *arguments: Any, **more: Any) -> int:
            descriptor = (failing if call == "open" else opened)(path, *arguments, **more)
            (writing.add if is_ours(path) else writing.discard)(descriptor)
            return int(descriptor)

        setattr(os, call, failing)
        os.open = opening

    return install


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EFBIG"])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "close", "link"])
def test_what_the_file_system_refuses_is_73_at_any_call(tmp_path: Path, number: str, call: str) -> None:
    run = planned(tmp_path / "run", "bulk")
    assert run_element(run, "bulk", 0, refusing(call, getattr(errno, number), 1)) == CANNOT_WRITE
    assert_nothing_half(run, "bulk")
    assert run_element(run, "bulk", 0) == 0


@pytest.mark.parametrize("number", ["EIO", "ESTALE", "ETIMEDOUT"])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "link"])
def test_what_the_file_system_stammers_is_tried_five_times_and_then_74(tmp_path: Path, number: str, call: str) -> None:
    for times in range(1, 7):
        run = planned(tmp_path / f"run{times}", "bulk", shards=4)
        code = run_element(run, "bulk", 0, refusing(call, getattr(errno, number), times))
        assert code == (0 if times < 5 else IO), f"{times} times"
        assert not temporaries(run)
        assert partials(run, "bulk") == (["s000000.h5"] if times < 5 else [])
        assert_nothing_corrupt(run)


def stammering(module: ModuleType, name: str, times: int) -> Callable[[], None]:
    """Return what makes opening the files of one name fail that often, as a file server that comes back."""

    def install() -> None:
        true, left = module.open, times

        def opening(path: Any, *arguments: Any, **more: Any) -> Any:
            nonlocal left
            if left and Path(str(path)).name == name:
                left -= 1
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
            return true(path, *arguments, **more)

        module.open = opening  # type: ignore[attr-defined]

    return install


@pytest.mark.parametrize("name", ["run.json", "bulk.json"])
def test_a_plan_that_cannot_be_read_for_now_is_tried_five_times_and_then_74(tmp_path: Path, name: str) -> None:
    run = planned(tmp_path / "run", "bulk", shards=4)
    assert run_element(run, "bulk", 0, stammering(io, name, 1)) == 0
    assert run_element(run, "bulk", 1, stammering(io, name, 4)) == 0
    assert run_element(run, "bulk", 2, stammering(io, name, 5)) == IO
    (run.plan_folder / "run.json").unlink()
    assert run_element(run, "bulk", 2) == Exit.MISMATCH


def test_an_earlier_result_that_cannot_be_read_for_now_is_tried_five_times_and_then_74(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = synthetic.whole(tmp_path / "run", 2)
    follow, path = run.plan("follow"), run.merged("measure")
    digest, content = inputs_digest(run, follow), path.read_bytes()
    for action in (inputs_digest, lambda run, plan: verified_result(run, "measure")):
        for times, code in ((4, None), (5, Exit.IO)):
            with monkeypatch.context() as patch:
                patch.setattr(os, "open", os.open)
                stammering(os, "measure.h5", times)()
                with nullcontext() if code is None else pytest.raises(QuintetError) as raised:
                    assert action(run, follow) in {digest, None}
            assert code is None or raised.value.code is code
    for change in (lambda: path.write_bytes(content[:100]), path.unlink):
        change()
        with pytest.raises(QuintetError) as raised:
            inputs_digest(run, follow)
        assert raised.value.code is Exit.INPUT


def test_a_reader_that_stammers_sets_no_checkpoint_aside(quiet: dict[str, str], tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "measure", checkpoint_s=0.0)
    kept = run.shard_file("measure", 0).with_name("s000000.ckpt.h5")

    def dying() -> None:
        from quintet.shard import element

        def end(*arguments: object) -> None:
            os._exit(9)

        element.publish = end  # type: ignore[assignment]

    with staged(pause=0.001):
        assert run_element(run, "measure", 0, dying) == 9
    assert file_digest(kept)[0].hi > 0

    assert run_element(run, "measure", 0, stammering(os, kept.name, 3)) == 0
    assert not (run.path / "quarantine").exists()
    finish(run, "measure", SHARDS)
    assert merged_payload(run, "measure") == quiet["measure"]
