"""Whole runs on a real Slurm: chains, healing, requeue storms; the results are those of a run without Slurm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from quintet.shard.attempts import read_attempts
from quintet.shard.errors import Exit
from quintet.shard.run import Run
from quintet.slurm.journal import Entry, Journal

from ..house import House, merged_all, payloads
from .cluster import Cluster, running_cluster

pytestmark = pytest.mark.slurm


class Site:
    """The suite's verbs against a private Slurm."""

    def __init__(self, house: House, slurm: Cluster) -> None:
        self._house, self._slurm = house, slurm
        self._environment = {"SLURM_CONF": str(slurm.conf), "PATH": slurm.environment["PATH"]}

    def submit(self, run: Path, *arguments: str, code: int = 0) -> str:
        return self._house("submit", run, *arguments, code=code, **self._environment).stdout

    def wait(self, run: Path, timeout: float = 240.0) -> None:
        """Wait until no job that the run's journal knows is queued, also those that its merges submit."""
        end = time.monotonic() + timeout
        while True:
            jobs = {entry.job for entry in Journal(Run(run)).entries if entry.job}
            self._slurm.wait(*jobs, timeout=max(end - time.monotonic(), 1))
            if jobs == {entry.job for entry in Journal(Run(run)).entries if entry.job}:
                return


@pytest.fixture
def site(house: House, slurm: Cluster) -> Site:
    return Site(house, slurm)


@pytest.fixture
def small_site(house: House, slurm_is_here: None, tmp_path: Path) -> Iterator[Site]:
    """A cluster whose arrays have at most five elements."""
    with running_cluster(tmp_path / "small", max_array_size=6) as cluster:
        yield Site(house, cluster)


@pytest.fixture(scope="module")
def expected(house: House, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the payloads of the toy run without Slurm."""
    run = house.planned(tmp_path_factory.mktemp("local") / "run", *SMALL)
    return merged_all(house, run)


SMALL = ("levels=2", "search.n_trials=8", "walk.step_seconds=0.05")


def entries(run: Path, phase: str, kind: str) -> list[Entry]:
    return [entry for entry in Journal(Run(run)).entries if (entry.phase, entry.kind) == (phase, kind)]


def wait_for_attempt(run: Path, shard: int, count: int) -> None:
    """Wait until the attempt of that number has begun: then its Python hears signals."""
    end = time.monotonic() + 60
    while len(list(read_attempts(Run(run).attempt_file("walk", shard)))) < count:
        assert time.monotonic() < end, f"walk/{shard} did not begin attempt {count}"
        time.sleep(0.05)


def test_chain_on_slurm_gives_the_bits_of_a_local_run(
    site: Site, house: House, tmp_path: Path, expected: dict[str, str]
) -> None:
    run = house.planned(tmp_path / "ein Lauf ü", *SMALL)
    site.submit(run)
    site.wait(run)
    assert payloads(run) == expected
    logs = list((run / "logs").rglob("*.log")) if (run / "logs").is_dir() else []
    assert logs == [], "\n".join(path.read_text() for path in logs)
    assert "complete" in site.submit(run, "--missing-only")
    assert len(list(Journal(Run(run)).entries)) == 12


def test_failed_elements_stop_the_chain_and_missing_only_completes_it(
    site: Site, house: House, slurm: Cluster, tmp_path: Path, expected: dict[str, str]
) -> None:
    run = house.planned(tmp_path / "run", *SMALL)
    site.submit(run)
    array = entries(run, "walk", "array")[0].job
    slurm.command("scancel", f"{array}_0")
    gate = entries(run, "search", "array")[0].job
    slurm.command("scancel", gate)
    site.wait(run)
    merge = entries(run, "walk", "merge")[0].job
    assert slurm.states(merge)[-1][1] == f"{int(Exit.INCOMPLETE)}:0"
    later = entries(run, "select", "array")[0].job
    assert {state for state, _, _ in slurm.states(later).values()} == {"CANCELLED"}
    site.submit(run, "--missing-only")
    assert (run / entries(run, "walk", "array")[1].map).read_text().split() == ["0"]
    site.wait(run)
    assert payloads(run) == expected


def test_merge_resubmits_what_is_missing_by_itself(
    site: Site, house: House, slurm: Cluster, tmp_path: Path, expected: dict[str, str]
) -> None:
    run = house.planned(tmp_path / "run", *SMALL)
    site.submit(run, "--auto-resubmit", "1")
    array = entries(run, "search", "array")[0].job
    slurm.command("scancel", array)
    site.wait(run)
    assert payloads(run) == expected
    assert len(entries(run, "search", "array")) == 2


def test_requeue_storm_changes_nothing(
    site: Site, house: House, slurm: Cluster, tmp_path: Path, expected: dict[str, str]
) -> None:
    run = house.planned(tmp_path / "run", *SMALL)
    site.submit(run, "--phase", "walk")
    array = entries(run, "walk", "array")[0].job
    tasks = range(entries(run, "walk", "array")[0].count)
    for storm in range(2):  # every element, twice, each in the middle of its only unit
        for task in tasks:
            wait_for_attempt(run, task, storm + 1)
            slurm.command("scancel", "--signal=USR1", "--batch", f"{array}_{task}")
    site.wait(run)
    assert [slurm.states(array)[task] for task in tasks] == [("COMPLETED", "0:0", 2)] * len(tasks)
    attempts = [list(read_attempts(Run(run).attempt_file("walk", task))) for task in tasks]
    assert [[item["end"]["rc"] for item in items] for items in attempts] == [[75, 75, 0]] * len(tasks)
    assert payloads(run)["walk"] == expected["walk"]


def test_shards_beyond_the_largest_array_are_split_and_merged_together(
    small_site: Site, house: House, tmp_path: Path, expected: dict[str, str]
) -> None:
    run = house.planned(tmp_path / "run", *SMALL, "phases.simulate.shards=7")
    small_site.submit(run)
    small_site.wait(run)
    assert [(entry.offset, entry.count) for entry in entries(run, "simulate", "array")] == [(0, 5), (5, 2)]
    assert payloads(run) == expected


def test_until_done_stays_until_all_is_merged(
    site: Site, house: House, slurm: Cluster, tmp_path: Path, expected: dict[str, str]
) -> None:
    run = house.planned(tmp_path / "run", *SMALL)
    site.submit(run, "--until-done", "--poll", "10")
    assert payloads(run) == expected
