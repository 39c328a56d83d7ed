"""Commands of the README and of docs/ that need a container runtime, typed by an ordinary user with a real image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..docs.blocks import CONTAINERS, Command, blocks, documents, page
from .runtime import ORDINARY, Apptainer, as_user

pytestmark = pytest.mark.containers
PAGES = [path.name for path in documents() if any(b.is_shell and b.needs == CONTAINERS for b in blocks(path))]
DONE_ELSEWHERE = {
    r"make (sif|image|test-containers)\b": "test_images.py, whose images these are",
    r"make setup\b": "this environment",
    r"c=\$\(buildah|docker ": "test_images.py, by buildah",
    r"bin/submit |sbatch ": "test_contained_slurm.py",
    r"export ": "test_contained_slurm.py",
    r".*\b(RUN|IMAGE)\b": "a word to be filled in",
}
"""Commands that are not typed here -> where they are done."""


def typed_here(name: str) -> list[Command]:
    """Return the commands of a page that this test types."""
    found = [command for b in blocks(page(name)) if b.is_shell and b.needs == CONTAINERS for command in b.commands]
    return [command for command in found if not any(re.match(prefix, command.text) for prefix in DONE_ELSEWHERE)]


def test_no_kind_of_command_is_left_out() -> None:
    assert {command.text.split()[0] for name in PAGES for command in typed_here(name)} >= {"apptainer", "bin/local"}


@pytest.fixture
def project(checkout: Path, folder: Path, sif: Apptainer) -> Path:
    """A checkout of the ordinary user with `quintet.sif` in it, as `make setup` and `make sif` leave it."""
    copy = folder / "quintet"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".venv", "runs", "*.sif"))
    (copy / ".venv").symlink_to(sys.prefix)
    (copy / "quintet.sif").symlink_to(sif.image)
    if os.geteuid() == 0:
        subprocess.run(["chown", "--recursive", "--no-dereference", str(ORDINARY), copy], check=True)
    return copy


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_followed_with_an_image(project: Path, sif: Apptainer, code: Path, name: str) -> None:
    for command in typed_here(name):
        typed = f"cd '{project}' && {command.text}"
        done = as_user(["bash", "-c", typed], PATH=sif.path, PYTHONPATH=str(code), OMP_NUM_THREADS="1")
        assert done.returncode == command.code, f"$ {command.text}\n{done.stdout}\n{done.stderr}"
