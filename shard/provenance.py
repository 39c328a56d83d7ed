"""Where a file comes from: code, packages, machine, Slurm ids, times and cost."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .attempts import cpu_seconds, peak_rss_mb, slurm_ids

SUITE_VERSION = "1.0.0"
SEED_SCHEME = "numpy.SeedSequence(root_entropy, spawn_key=(study, phase, ...))"
PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "transformers",
    "bitsandbytes",
    "accelerate",
    "optuna",
    "matplotlib",
    "pandas",
    "h5py",
    "psutil",
    "click",
    "filelock",
    "numba",
    "llvmlite",
    "pydantic",
    "PyYAML",
    "rich",
    "statsmodels",
    "SQLAlchemy",
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@cache
def package_versions() -> tuple[str, ...]:
    """Return `name==version` of the suite's packages that are installed, sorted."""
    versions = installed_versions()
    known = ((name, versions.get(plain_name(name))) for name in PACKAGES)
    found = [f"{name}=={version}" for name, version in known if version is not None]
    return tuple(sorted([f"python=={sys.version.split()[0]}", *found]))


def installed_versions() -> dict[str, str]:
    """Return the version of every installed package by its plain name.

    Read from the names of the folders beside the packages: importlib.metadata reads and parses a file for each, which
    would be a third of what a short element costs.
    """
    versions: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208
        except OSError:
            continue
        for entry in names:
            if entry.endswith((".dist-info", ".egg-info")):
                name, _, version = entry.rpartition(".")[0].partition("-")
                versions.setdefault(plain_name(name), version.partition("-")[0])
    return versions


def plain_name(name: str) -> str:
    """Return a package's name as it is compared: small letters, one kind of separator."""
    return name.lower().replace("-", "_").replace(".", "_")


@cache
def packages_sha256() -> str:
    """Return the digest of the package list."""
    return hashlib.sha256("\n".join(package_versions()).encode()).hexdigest()


@cache
def cpu_facts() -> dict[str, Any]:
    """Return the CPU model and the SIMD features that numpy found."""
    model = os.uname().machine
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features
    except ImportError:
        features = {}
    return {"cpu_model": model, "cpu_features": sorted(name for name, has in features.items() if has)}


def capability() -> str:
    """Return a short digest of what decides bits on this machine: CPU features and packages."""
    facts = ",".join(cpu_facts()["cpu_features"]) + packages_sha256()
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def environment() -> dict[str, Any]:
    """Return the packages that a plan was made with."""
    import h5py

    return {
        "packages": list(package_versions()),
        "packages_sha256": packages_sha256(),
        "hdf5": h5py.version.hdf5_version,
    }


def container_facts() -> dict[str, str]:
    """Return the image that this process runs in; empty outside a container."""
    names = ("APPTAINER_NAME", "APPTAINER_CONTAINER", "QUINTET_IMAGE_ID")
    return {name.lower(): os.environ[name] for name in names if name in os.environ}


def provenance(**facts: Any) -> dict[str, Any]:
    """Return what `/meta` of a file says: the given facts and those of this process and machine."""
    user, system = cpu_seconds()
    return {
        "schema_version": 1,
        "suite_version": SUITE_VERSION,
        "seed_scheme": SEED_SCHEME,
        "packages_sha256": packages_sha256(),
        "hostname": os.uname().nodename,
        **cpu_facts(),
        "threads": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "container": container_facts(),
        "slurm": slurm_ids(),
        "cpu_user_s": round(user, 3),
        "cpu_system_s": round(system, 3),
        "peak_rss_mb": round(peak_rss_mb(), 1),
        **facts,
    }


def spread(values: Sequence[float]) -> list[float]:
    """Return minimum, median and maximum."""
    ordered = sorted(values)
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]] if ordered else []


def version_line() -> str:
    """Return suite version, commit and image."""
    from .snapshot import git_facts

    image = container_facts().get("quintet_image_id", "none")
    return (
        f"quintet {SUITE_VERSION} commit {git_facts()['git_commit'][:12]} image {image} python {sys.version.split()[0]}"
    )
