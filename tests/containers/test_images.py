"""Both images are built from a clean checkout, say what they are, and take the suite's verbs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ..house import PROJECT
from .oci import Engine
from .runtime import Apptainer

pytestmark = pytest.mark.containers
LARGEST = {"light": (1.2e9, 0.6e9), "full": (2.2e9, 1.0e9)}[os.environ.get("QUINTET_TEST_VARIANT", "light")]


def commit() -> str:
    """Return the commit that an image of this checkout names; unknown outside git."""
    command = ["git", "-C", str(PROJECT), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def test_apptainer_image_has_labels_help_and_a_test(sif: Apptainer) -> None:
    labels = json.loads(sif.inspect("--json"))["data"]["attributes"]["labels"]
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert labels["org.opencontainers.image.version"][0].isdigit()
    assert labels["org.opencontainers.image.revision"]
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


def test_oci_image_has_labels_user_and_entry_point(oci: Engine) -> None:
    config = oci.config()
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    assert {"org.opencontainers.image.version", "org.opencontainers.image.revision"} <= set(config["Labels"])
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
