"""Every command in the README and in docs/ is run, or says what it needs and is held to what exists."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from ..packaging.source_files import PACKAGES
from .blocks import NEEDS, QUICK, SLOW, Block, blocks, documents, page
from .checkout import Checkout, lacking
from .spelling import faults

READ_FIRST = ("README.md", "first-run.md")
"""Later pages go on with what these leave behind."""
WORKED = "writing-a-study.md"
P_C = 0.592746  # Newman and Ziff 2000
STUDY_FILES = ("jobs/percolation", "shard/percolation.py", "merge/percolation.py", "tests/percolation")
QUICK_PAGES = [path.name for path in documents() if any(b.is_shell and b.needs == QUICK for b in blocks(path))]
SLOW_PAGES = [
    path.name for path in documents() if any((b.is_shell and b.needs == SLOW) or b.is_example for b in blocks(path))
]


class Reader:
    """Somebody who does what the pages say, in one copy of the project, each page once."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self._typed: dict[str, list[str]] = {}

    def follow(self, name: str) -> list[str]:
        """Follow the pages that come first, and then this one; return the commands of this one."""
        for other in (*READ_FIRST, name):
            if other not in self._typed:
                self._typed[other] = self.checkout.follow(page(other))
        return self._typed[name]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(Checkout.of_project(tmp_path_factory.mktemp("reader") / "quintet"))


@pytest.mark.parametrize("name", QUICK_PAGES)
def test_a_page_can_be_followed_from_top_to_bottom(reader: Reader, name: str) -> None:
    assert reader.follow(name)


def test_the_worked_study_finds_the_threshold_and_changes_no_machinery(reader: Reader) -> None:
    reader.follow(WORKED)
    folder = reader.checkout.folder
    with h5py.File(folder / "runs" / "percolation-demo" / "merged" / "occupy.h5") as file:
        count, mean, squares = file["stats"][0, 0]
    error = np.sqrt(squares / (count - 1) / count)
    assert (np.abs(mean - P_C) < 4 * error).all()
    assert (np.diff(squares) < 0).all(), "thresholds of larger lattices lie closer together"
    there = {path.relative_to(folder) for top in PACKAGES for path in (folder / top).rglob("*.py")}
    assert all("percolation" in str(path) for path in there - reader.checkout.copied.keys())
    assert reader.checkout.changed() == [Path("pyproject.toml")]


def test_the_worked_study_is_written_as_the_house_is(reader: Reader) -> None:
    reader.follow(WORKED)
    for check in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *check, "--no-cache", *STUDY_FILES]
        done = subprocess.run(command, cwd=reader.checkout.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


PLANNED_FIRST = "bin/plan configs/complementarity/demo.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_PAGES)
def test_what_takes_minutes_can_be_followed_too_with_its_examples(tmp_path: Path, name: str) -> None:
    checkout = Checkout.of_project(tmp_path / "quintet")
    if name == READ_FIRST[0]:  # its `make demo` made the run that its next block plans
        run = checkout.folder / "runs" / "complementarity-demo"
        checkout.before = lambda command: shutil.rmtree(run, True) if command == PLANNED_FIRST else None
    elif name in QUICK_PAGES:
        checkout.follow(page(READ_FIRST[0]))
    typed = checkout.follow(page(name), {QUICK, SLOW})
    assert typed or any(block.is_example for block in blocks(page(name)))
    checkout.run_examples(page(name))


def unrun() -> list[Block]:
    """Return the shell blocks that the quick tests do not run."""
    return [block for path in documents() for block in blocks(path) if block.is_shell and block.needs != QUICK]


def test_every_block_that_is_not_run_at_once_says_what_it_needs() -> None:
    assert not [f"{block}: {block.needs}" for block in unrun() if block.needs not in NEEDS]
    assert not [str(block) for path in documents() for block in blocks(path) if block.is_shell and not block.commands]


@pytest.mark.parametrize("block", unrun(), ids=str)
def test_what_is_not_run_at_once_names_only_what_exists(block: Block) -> None:
    assert not [fault for command in block.commands for fault in faults(command.text)]


@pytest.mark.parametrize(
    "command",
    ["bin/plans x", "bin/plan --rum x", "make demos", "make image ENGIN=x", "sbatch x.sbatch RUN", "frobnicate"]
    + ["bin/plan configs/none.yaml", "QUINTET_CONTAINERS=x bin/local RUN", "apptainer run q.sif merge RUN --al"],
)
def test_a_misspelt_command_is_found(command: str) -> None:
    assert faults(command)


def test_a_shown_line_that_was_not_said_is_found() -> None:
    said = "12:00:01 simulate: 3 of 4 shards, 2.0 s\nsearch: unchanged, payload 0123456789ab (scan 0.00 s)\n"
    assert not lacking(["simulate: 3 of 4 shards, 7.5 s", "search: unchanged, payload ba9876543210"], said)
    assert lacking(["simulate: 2 of 4 shards, 7.5 s"], said)
    assert lacking(["search: unchanged, payload ba9876543210", "simulate: 3 of 4 shards, 7.5 s"], said)
