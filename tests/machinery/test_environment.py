"""The executables need nothing from where they are started: no Slurm, no HOME, no rights, no plain path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..house import PROJECT, TOY, House, build_house, payloads

SETTINGS = (
    "levels=1",
    "search.n_trials=4",
    "search.sampler=random",
    "phases.search.shards=1",
    "phases.simulate.shards=1",
)
NOBODY = 65534
PROBE = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import numpy, h5py, click'], check=True)"
STRANGE = "späces  and 'quotes\" $(touch owned) ; & ünï/ß·日本語 -x"


def run_all(house: House, run: Path, environment: dict[str, str], place: Path, prefix: tuple[str, ...] = ()) -> None:
    """Plan, run an element by hand, run and merge the rest, and look at it, all in one environment and folder."""
    named = os.path.relpath(run, place)
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    commands = (
        ("plan", TOY / "demo.yaml", "--run", named, "--no-probe", *sets),
        ("shard", named, "walk", "--index", 0),
        ("local", named, "--jobs", 2),
        ("missing", named),
        ("verify", named),
        ("status", named),
        ("merge", named),
    )
    for verb, *arguments in commands:
        done = subprocess.run(
            [*prefix, *house.command(str(verb), *arguments)], cwd=place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{verb}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def expected(house: House, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Payloads of a run in an ordinary environment."""
    place = tmp_path_factory.mktemp("ordinary")
    run_all(house, place / "run", house.environment(), place)
    return payloads(place / "run")


def test_an_empty_environment_another_folder_and_a_strange_path_change_no_bit(
    house: House, expected: dict[str, str], tmp_path: Path
) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    run = tmp_path / STRANGE / "run"
    run_all(house, run, {"PYTHONPATH": str(house.folder)}, place)  # what `env -i` and `--cleanenv` leave
    assert payloads(run) == expected
    assert not list(tmp_path.rglob("owned"))
    assert not list(place.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("home", ["unset", "missing", "unwritable"])
def test_a_home_that_is_not_there_or_not_writable_changes_no_bit(
    house: House, expected: dict[str, str], tmp_path: Path, home: str
) -> None:
    environment = {key: value for key, value in house.environment().items() if not key.startswith("XDG")}
    environment.pop("HOME", None)
    if home != "unset":
        environment["HOME"] = "/proc/nowhere" if home == "missing" else "/proc"
    run_all(house, tmp_path / "run", environment, tmp_path)
    assert payloads(tmp_path / "run") == expected


def test_a_shard_without_home_scratch_or_slurm_is_a_shard(
    house: House, expected: dict[str, str], tmp_path: Path
) -> None:
    run = house.planned(tmp_path / "run", *SETTINGS)
    environment = {"PYTHONPATH": str(house.folder), "HOME": "/proc/nowhere", "TMPDIR": "/nowhere"}
    command = house.command("shard", run, "walk", "--index", 0)
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    house("merge", run, "walk")
    assert payloads(run)["walk"] == expected["walk"]


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that a normal user can reach and write."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


def as_normal_user() -> tuple[str, ...]:
    """Return what starts a command as a normal user, who may read this Python wherever it lies; skip without it."""
    if os.geteuid():
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is absent")
    plain = (setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    reading = (*plain, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    for prefix in (plain, reading):
        probe = [*prefix, sys.executable, "-c", PROBE]
        if subprocess.run(probe, capture_output=True, cwd="/").returncode == 0:
            return prefix
    pytest.skip("no other user can start this Python")


def test_a_normal_user_runs_everything_and_writes_only_in_the_run(expected: dict[str, str], open_place: Path) -> None:
    prefix = as_normal_user()
    house = House(build_house(open_place / "house"))
    for path in (house.folder, *house.folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    place = open_place / "place"
    place.mkdir()
    os.chown(place, NOBODY if os.geteuid() == 0 else -1, -1)
    environment = {"PYTHONPATH": str(house.folder), "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    run_all(house, place / "run", environment, place, prefix)
    assert payloads(place / "run") == expected
    written = list((place / "run").rglob("*"))
    if os.geteuid() == 0:
        assert {path.stat().st_uid for path in written} == {NOBODY}
    assert not any(path.stat().st_mode & 0o002 for path in written if not path.is_symlink())


@pytest.mark.parametrize("verb", sorted(path.name for path in (PROJECT / "bin").iterdir() if path.name[0] != "."))
def test_every_executable_answers_through_a_link_from_anywhere(tmp_path: Path, verb: str) -> None:
    if not (PROJECT / "bin" / verb).read_text().startswith("#!/bin/sh"):
        pytest.skip("not a command")
    if not (PROJECT / ".venv").is_dir():
        pytest.skip("the project has no .venv")
    link = tmp_path / "a link"
    link.symlink_to(PROJECT / "bin" / verb)
    done = subprocess.run([link, "--help"], cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.lower().startswith("usage")


OLD = "import sys; sys.version_info = (3, 10); exec(sys.argv.pop(1))"


def test_an_executable_without_a_fitting_python_is_78_with_one_sentence(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "bin", tmp_path / "bin")
    fake = tmp_path / "path" / "python3"
    fake.parent.mkdir()
    for name in ("dirname", "readlink", "sh", "pwd"):
        (fake.parent / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    old = f"shift; exec '{sys.executable}' -c '{OLD}' \"$@\""
    bare = f"exec '{sys.executable}' -I -S \"$@\""  # without the packages that are installed
    for script, words in ((old, "3.11 or newer"), (bare, "make setup")):
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        done = subprocess.run(
            [tmp_path / "bin" / "status", "run"], env={"PATH": str(fake.parent)}, capture_output=True, text=True
        )
        assert done.returncode == 78, done.stderr
        assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    fake.unlink()
    done = subprocess.run([tmp_path / "bin" / "status"], env={"PATH": str(fake.parent)}, capture_output=True, text=True)
    assert done.returncode == 78 and "found: none" in done.stderr
