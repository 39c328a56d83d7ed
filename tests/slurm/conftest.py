"""The cluster that the tests of this folder share, and planned runs of the toy study for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .cluster import FOR_ACCOUNTING, Cluster, absent, running_cluster


def needed(*more: str) -> None:
    """Skip where no Slurm is installed, or not the further programs named; fail where Slurm is required."""
    reason = absent(more)
    if reason is not None and os.environ.get("QUINTET_REQUIRE_SLURM") == "1":
        pytest.fail(f"QUINTET_REQUIRE_SLURM=1, but Slurm is {reason}")
    if reason is not None:
        pytest.skip(f"Slurm is {reason}")


@pytest.fixture(scope="session")
def slurm_is_here() -> None:
    """Skip or fail where there is no Slurm."""
    needed()


@pytest.fixture(scope="session")
def accounting_is_here() -> None:
    """Skip or fail where there is no Slurm with accounting."""
    needed(*FOR_ACCOUNTING)


@pytest.fixture(scope="session")
def slurm(slurm_is_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a private Slurm of two nodes."""
    with running_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster
