"""What the recipes say without being built: one script, one list, no names of machines, one allow-list."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from quintet.shard.container import KEPT_OUT, PASSED, Container, bind, passed
from quintet.shard.errors import Exit, QuintetError

from ..house import PROJECT
from .test_images import kernels

RECIPES = ("Dockerfile", "apptainer.def", "bin/container-install", "bin/.entry", ".dockerignore")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_name_no_host_and_no_path_of_a_machine(name: str) -> None:
    text = (PROJECT / name).read_text()
    assert not re.search(r"https?://|\bindex-url [^.]|find-links", text)
    paths = set(re.findall(r"(?<![\w.$}])/(?:home|root|mnt|srv|scratch|data|Users)\b[\w./-]*", text))
    assert not paths
    assert "HEALTHCHECK" not in text


def test_both_recipes_call_the_same_script_and_share_one_base() -> None:
    docker, definition = (PROJECT / "Dockerfile").read_text(), (PROJECT / "apptainer.def").read_text()
    for step in ("packages", "suite"):
        assert f"container-install {step}" in docker
        assert f"container-install {step}" in definition
    assert "ARG BASE_IMAGE=python:3.11-slim-bookworm" in docker
    assert "base=python:3.11-slim-bookworm" in definition
    assert re.search(r"^USER (?!root|0)\w+", docker, re.M)
    for name in ("VARIANT", "TORCH_SPEC", "EXTRA_PIP_ARGS", "KERNEL_CPU", "VERSION", "COMMIT"):
        assert re.search(rf"^ARG {name}\b", docker, re.M)
        assert re.search(rf"^    {name}=", definition, re.M)


def test_images_are_filled_by_every_study_that_has_kernels() -> None:
    studies = {study.partition(".")[0] for study, _, _ in kernels()}
    assert studies >= {"complementarity", "conspec", "induction", "synergy"}
    assert studies <= {path.parent.name for path in (PROJECT / "configs").glob("*/warm.yaml")}


def test_scripts_pass_shellcheck() -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    scripts = [PROJECT / "bin" / name for name in ("container-install", ".entry")]
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_shell_and_python_pass_the_same_environment() -> None:
    text = (PROJECT / "slurm" / "environment.sh").read_text()
    listed = re.search(r"container_variables=\(([^)]*)\)", text)
    refused = re.search(r"^\s+(QUINTET_PYTHON \|[^)]*)\) ;;", text, re.M)
    assert listed is not None and refused is not None
    assert set(listed[1].split()) == set(PASSED)
    assert set(refused[1].split(" | ")) == set(KEPT_OUT)


def test_only_the_listed_environment_enters() -> None:
    seen = passed({"QUINTET_DEADLINE": "1", "QUINTET_SITE": "x", "SLURM_JOB_ID": "7", "SECRET": "s", "PATH": "/x"})
    assert seen == {"QUINTET_DEADLINE": "1", "SLURM_JOB_ID": "7"}


@pytest.mark.parametrize("path", ["/a,b", "/a:b", "/a\nb"])
def test_a_path_that_cannot_be_bound_is_refused(path: str) -> None:
    with pytest.raises(QuintetError) as raised:
        bind(path)
    assert raised.value.code is Exit.USAGE


def test_a_container_binds_inputs_read_only_and_shows_its_gpus() -> None:
    container = Container(Path("/images/quintet.sif"), (("/models", False), ("/cache", True)), "--nv")
    assert container.options() == ["--bind", "/models:/models:ro", "--bind", "/cache:/cache", "--nv"]
