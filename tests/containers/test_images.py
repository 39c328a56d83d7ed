"""Both images are built from a clean checkout, say what they are, and take the suite's verbs."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest
from quintet.shard.run import Run

from ..packaging.source_files import modules, nodes
from .conftest import VARIANT
from .oci import Engine
from .runtime import Apptainer

pytestmark = pytest.mark.containers
LARGEST = {"light": (1.2e9, 0.6e9), "full": (2.2e9, 1.0e9)}[VARIANT]
NEED_TORCH = ("conspec", "induction.neural")
# Kernels that single functions of a study are made of, for notebooks: no run calls them.
NOT_IN_RUNS = {"fill_client", "outcomes_of", "gradient", "step_lanes"}


def kernels() -> set[tuple[str, str, str]]:
    """Return (study, file, name) of every function whose machine code is kept."""
    found = set()
    for path in modules():
        marked = (node for node in nodes(path) if isinstance(node, ast.FunctionDef) and node.decorator_list)
        for node in marked:
            if "compiled_entry" in {item.id for item in node.decorator_list if isinstance(item, ast.Name)}:
                found.add((".".join(path.parts[1:-1]), path.stem, node.name))
    return found


def test_apptainer_image_has_labels_help_and_a_test(sif: Apptainer, commit: str) -> None:
    labels = json.loads(sif.inspect("--json"))["data"]["attributes"]["labels"]
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert labels["org.opencontainers.image.version"][0].isdigit()
    assert os.environ.get("QUINTET_TEST_SIF") or labels["org.opencontainers.image.revision"] == commit
    assert "shard RUN simulate --index 3" in sif.inspect("--helpfile")
    assert "no kernel was compiled" in sif(verb="test").stdout
    assert sif.image.stat().st_size <= LARGEST[1]


def test_apptainer_image_takes_verbs_studies_apps_and_python(sif: Apptainer) -> None:
    assert sif("--version").stdout.startswith("quintet ")
    assert "image quintet-" in sif("--version").stdout
    assert "shard" in sif("--help").stdout
    assert "--index" in sif("shard", "--help").stdout
    assert "--index" in sif("--help", options=["--app", "shard"]).stdout
    assert "--n-configs" in sif("complementarity", "--help").stdout
    assert sif("python", "-c", "print(6 * 7)").stdout == "42\n"
    assert sif("shard", "/nowhere", "simulate", "--index", "0", code=None).returncode in {2, 64, 65, 78}


def test_the_image_knows_the_commit_that_it_was_built_from(sif: Apptainer, folder: Path) -> None:
    labels = json.loads(sif.inspect("--json"))["data"]["attributes"]["labels"]
    commit, _, changed = labels["org.opencontainers.image.revision"].partition("-")
    assert f"commit {commit[:12]} image quintet-" in sif("--version").stdout
    run, options = folder / "run", ("--bind", str(folder))
    sif("plan", "society/demo", "--run", run, "--no-probe", options=options)
    code = Run(run).plan("simulate").code
    assert (code["git_commit"], code["git_dirty"]) == (commit, bool(changed))


def test_the_image_brings_machine_code_of_every_kernel_that_a_run_reaches(sif: Apptainer) -> None:
    listing = "import pathlib; print(*(path.name for path in pathlib.Path('/opt/quintet/kernels').rglob('*.nbi')))"
    names = [name.partition("-")[0].split(".") for name in sif("python", "-c", listing).stdout.split()]
    expected = {kernel for kernel in kernels() if kernel[2] not in NOT_IN_RUNS}
    if VARIANT == "light":
        expected = {kernel for kernel in expected if not kernel[0].startswith(NEED_TORCH)}
    assert len(expected) >= 15
    assert {(file, name) for _, file, name in expected} <= {(file, name) for file, name in names}


def test_oci_image_has_labels_user_and_entry_point(oci: Engine, commit: str) -> None:
    config = oci.config()
    assert config["Labels"]["org.opencontainers.image.revision"] == commit
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    assert config["Labels"]["org.opencontainers.image.version"][0].isdigit()
    assert config["User"] == "quintet"
    assert config["Entrypoint"] == ["/opt/quintet/bin/.entry"]
    assert "Healthcheck" not in config
    assert oci.size() <= LARGEST[0]


def test_oci_image_runs_a_study_as_its_own_user(oci: Engine, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    results.chmod(0o777)
    words = ("--n-trials", "4", "--n-seeds", "20", "--output-dir", "/work/run")
    done = oci.run("complementarity", "search", *words, volume=results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (results / "run" / "merged" / "search.h5").is_file()
    assert (results / "run").stat().st_uid == 1000
    assert "no machine code" not in done.stderr
