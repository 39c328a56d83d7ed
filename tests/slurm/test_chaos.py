"""All five demo studies at once on a real Slurm, while everything goes wrong: the payloads are those of quiet runs."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from .chaos import KINDS, ONCE, SHARD, Action, Chaos, Diary, fill, recorded, schedule, small_disk
from .cluster import Cluster
from .guest import Guest

STUDIES = ("complementarity", "conspec", "induction", "society", "synergy")
SECONDS = 45.0  # in which the actions are begun
PATIENCE = 1500.0  # in which all must be home


WRITER = """
import sys
for line in sys.stdin:
    try:
        with open(sys.argv[2] + "/file", "wb", buffering=0) as file:
            print(file.write(bytes(9000)), flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


def seed() -> int:
    """Return the seed of what goes wrong."""
    return int(os.environ.get("QUINTET_CHAOS_SEED", "1"))


def environment(slurm: Cluster) -> dict[str, str]:
    """Return the environment of a login shell with the private Slurm in reach."""
    kept = {key: value for key, value in slurm.environment.items() if not key.startswith("QUINTET")}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}"}


def planned(study: str, path: Path, logs: Path, shell: Mapping[str, str]) -> Guest:
    """Plan the demo of a study."""
    guest = Guest(path / study, logs, shell)
    done = guest.verb("plan", "--no-probe")
    assert done.returncode == 0, done.stderr
    return guest


@pytest.fixture(scope="module")
def quiet(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Guest]:
    """The five demos, run without Slurm while nothing goes wrong; those that stand in QUINTET_CHAOS_QUIET are taken."""
    standing = Path(os.environ.get("QUINTET_CHAOS_QUIET", "/nowhere"))
    folder = tmp_path_factory.mktemp("quiet")
    shell, guests = environment(slurm), {}
    for study in STUDIES:
        if (standing / study / "report").is_dir():
            guests[study] = Guest(standing / study, folder, shell)
            continue
        guests[study] = planned(study, folder, folder, shell)
        done = guests[study].verb("local", "--jobs", "2")
        assert done.returncode == 0, done.stdout + done.stderr
    return guests


@pytest.mark.chaos
@pytest.mark.slurm
def test_five_studies_come_home_through_chaos_with_the_payloads_of_quiet_runs(
    slurm: Cluster, quiet: dict[str, Guest], tmp_path: Path
) -> None:
    replayed = os.environ.get("QUINTET_CHAOS_REPLAY")
    actions = recorded(Path(replayed)) if replayed else schedule(seed(), SECONDS)
    small = random.Random(seed()).choice(STUDIES)
    diary = Diary(tmp_path / "chaos.jsonl")
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk"))
        shell = environment(slurm)
        guests = [planned(study, disk if study == small else tmp_path, tmp_path, shell) for study in STUDIES]
        chaos = Chaos(slurm, guests, small, diary)
        diary.write("begin", "", f"seed {seed()}, {len(actions)} actions, the disk of {small} is small")
        stack.callback(chaos.end)
        try:
            chaos.bring_home(actions, PATIENCE)
            assert_unharmed(guests, quiet, diary)
        except BaseException:
            print(f"what was done: {kept(diary)}\n{diary.path.read_text()}")
            raise
    assert set(diary.happened) == set(KINDS), f"not all of it happened: {dict(diary.happened)}; {kept(diary)}"
    assert chaos.codes_of_merges <= {0, 3, 69, 73}, kept(diary)


def assert_unharmed(guests: list[Guest], quiet: dict[str, Guest], diary: Diary) -> None:
    """Every run compares equal; what was damaged after it was merged is found, made again, and equal once more."""
    for guest in guests:
        same = guest.verb("compare", quiet[guest.name].path)
        diary.write("compared", guest.name, same.stdout.strip() or same.stderr.strip())
        assert same.returncode == 0, f"{guest.name}: {same.stdout}{same.stderr}"
    dice = random.Random(seed())
    late = dice.choice(guests)
    path = dice.choice(sorted(late.path.glob("partials/*/*/[st]*[0-9].h5")))
    os.truncate(path, dice.randrange(path.stat().st_size))
    diary.write("truncate when home", f"{late.name}/{path.parent.parent.name}/{path.name}", "cut")
    for guest in guests:
        found = guest.verb("verify", "--quarantine")
        diary.write("verified", guest.name, f"rc {found.returncode}")
        assert found.returncode == 1 if guest is late else found.returncode in {0, 1}, found.stdout + found.stderr
        again = guest.verb("submit", "--until-done", "--poll", "10")
        assert again.returncode == 0, f"{guest.name}: {again.stdout}{again.stderr}"
        left = guest.verb("missing")
        assert left.returncode == 0, f"{guest.name}: {left.stdout}{left.stderr}"
        # A database that was lost after its search stays so: the next worker would make it again.
        bad = [line for line in guest.verb("verify").stdout.splitlines() if line.startswith("  ")]
        assert all(".sqlite3  absent " in line for line in bad), bad
        assert guest.verb("compare", quiet[guest.name].path).returncode == 0


def kept(diary: Diary) -> Path:
    """Return a copy of the diary that outlives the test's folders."""
    folder = Path(os.environ.get("QUINTET_CHAOS_LOGS", diary.path.parent))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"chaos-{seed()}.jsonl"
    shutil.copyfile(diary.path, target)
    return target


def test_the_same_seed_draws_the_same_and_every_kind_at_least_once() -> None:
    for number in range(50):
        actions = schedule(number, SECONDS)
        assert actions == schedule(number, SECONDS)
        assert actions != schedule(number + 1, SECONDS)
        assert {action.kind for action in actions} == set(KINDS)
        assert sum(action.kind in ONCE for action in actions) == len(ONCE)
        assert all(0 <= action.at <= SECONDS and 0 <= action.draw < 1 for action in actions)


def test_a_diary_gives_back_what_was_done(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "chaos.jsonl")
    diary.write("begin", "", "seed 1")
    diary.write("kill", "synergy/train/1", "pid 7 got KILL", draw=0.25, planned=1.5, among=4)
    diary.write("submission ended", "synergy", "rc 0")
    (action,) = recorded(diary.path)
    assert action == Action(action.at, "kill", 0.25, "synergy/train/1")


def test_where_no_disk_can_be_mounted_the_processes_of_the_run_may_write_no_more(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WRITER, SHARD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def written() -> str:
            process.stdin.write("again\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return process.stdout.readline().strip()  # type: ignore[union-attr]

        assert written() == "9000"
        make_room = fill(tmp_path, 0)
        assert written() == "File too large"
        make_room()
        assert written() == "9000"
        process.stdin.close()
