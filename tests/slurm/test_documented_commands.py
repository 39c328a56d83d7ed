"""Commands of the README and of docs/ that need a Slurm, typed on a real one from the top of their page to its end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ..docs.blocks import QUICK, SLURM, blocks, documents, page
from ..docs.checkout import Checkout
from .cluster import Cluster

pytestmark = pytest.mark.slurm
PAGES = [path.name for path in documents() if any(block.is_shell and block.needs == SLURM for block in blocks(path))]
FIRST = "README.md"  # other pages go on with its run
HANDS_IN = ("bin/submit", "sbatch")
LOOKS = ("squeue", "bin/cancel")
"""What is typed while jobs wait or run; everything else waits for their end, as the page's reader does."""
SECONDS = 300.0


def wait_until_idle(slurm: Cluster) -> None:
    """Wait until the queue is empty."""
    end = time.monotonic() + SECONDS
    while queued := slurm.command("squeue", "-h", "-r", "-o", "%i %j %T %r").strip():
        assert time.monotonic() < end, queued
        time.sleep(0.2)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_followed_on_a_cluster(slurm: Cluster, tmp_path: Path, name: str) -> None:
    def wait_before(command: str) -> None:
        if not command.startswith(LOOKS):
            wait_until_idle(slurm)

    environment = {key: slurm.environment[key] for key in ("SLURM_CONF", "PATH")}
    checkout = Checkout.of_project(tmp_path / "quintet", extra=environment, before=wait_before)
    if name != FIRST:
        checkout.follow(page(FIRST))
    typed = checkout.follow(page(name), {QUICK, SLURM})
    assert any(command.startswith(HANDS_IN) for command in typed)
    wait_until_idle(slurm)
