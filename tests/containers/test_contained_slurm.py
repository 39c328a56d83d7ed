"""A Slurm array whose elements and merges run in the image: stopped, requeued, resumed, to the bits of a plain run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from quintet.shard.attempts import read_attempts
from quintet.shard.partial import read_meta
from quintet.shard.run import Run
from quintet.slurm.journal import Journal

from ..house import PROJECT, House, payloads
from ..slurm.cluster import Cluster, absent, running_cluster
from .runtime import Apptainer

pytestmark = pytest.mark.containers
DEMO = PROJECT / "configs" / "complementarity" / "warm.yaml"
# Enough seeds that an element is met in the middle of its work.
LONG = (
    "simulate.n_seeds=40000",
    "simulate.seed_block=1000",
    "phases.simulate.shards=2",
    "phases.simulate.checkpoint_s=0.2",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := absent():
        if os.environ.get("QUINTET_REQUIRE_SLURM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with running_cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def plain(code: Path) -> House:
    """The suite's verbs on the code that the image was built from."""
    return House(code)


def planned(plain: House, run: Path) -> Path:
    sets = [part for setting in LONG for part in ("--set", setting)]
    plain("plan", DEMO, "--run", run, "--no-probe", *sets)
    return run


def wait_for_blocks(run: Path, shard: int) -> None:
    """Wait until the first attempt at a shard has a checkpoint."""
    end = time.monotonic() + 400
    while not list((run / "partials" / "simulate").rglob(f"s{shard:06d}.ckpt.h5")):
        assert time.monotonic() < end, f"simulate/{shard} keeps no checkpoint"
        assert not list((run / "partials" / "simulate").rglob(f"s{shard:06d}.h5")), "done before it could be stopped"
        time.sleep(0.02)


def test_a_contained_chain_is_stopped_requeued_and_resumed_to_the_same_bits(
    cluster: Cluster, plain: House, sif: Apptainer, tmp_path: Path
) -> None:
    expected = planned(plain, tmp_path / "plain")
    plain("local", expected, "--jobs", 2)

    run = planned(plain, tmp_path / "ein Lauf ü")
    environment = {"SLURM_CONF": str(cluster.conf), "PATH": f"{sif.program.parent}:{cluster.environment['PATH']}"}
    environment |= {"QUINTET_CONTAINER": str(sif.image), "QUINTET_KEEP_LOGS": "1"}
    plain("submit", run, **environment)
    entries = Journal(Run(run)).entries
    array = next(entry.job for entry in entries if (entry.phase, entry.kind) == ("simulate", "array"))
    wait_for_blocks(run, 0)
    cluster.command("scancel", "--signal=USR1", "--batch", f"{array}_0")
    cluster.wait(*(entry.job for entry in entries if entry.job), timeout=600)

    logs = "".join(path.read_text() for path in (run / "logs").rglob("*.log"))
    assert payloads(run) == payloads(expected), logs
    codes = [item["end"]["rc"] for item in read_attempts(Run(run).attempt_file("simulate", 0))]
    assert codes == [75, 0]
    assert cluster.states(array)[0] == ("COMPLETED", "0:0", 1)
    assert "no machine code" not in logs
    for path in ((run / "merged").glob("*.h5"), (run / "partials" / "simulate").rglob("s*.h5")):
        for file in path:
            assert read_meta(file)["container"]["quintet_image_id"].startswith("quintet-"), file
    assert (run / "report" / "report.html").is_file()


def test_an_image_without_the_suite_ends_with_78_and_one_sentence(
    cluster: Cluster, plain: House, sif: Apptainer, tmp_path: Path
) -> None:
    run = planned(plain, tmp_path / "run")
    empty = tmp_path / "empty"
    (empty / "bin").mkdir(parents=True)
    environment = {"SLURM_CONF": str(cluster.conf), "PATH": f"{sif.program.parent}:{cluster.environment['PATH']}"}
    plain("submit", run, "--phase", "search", "--container", empty, **environment)
    cluster.wait(*(entry.job for entry in Journal(Run(run)).entries if entry.job), timeout=120)
    (log,) = [path for path in (run / "logs" / "search").rglob("*.log") if not path.name.startswith("merge")]
    assert log.read_text().count("quintet: rc 78: cannot run in") == 1
