"""`submit --until-done`: it goes on while anything moves, waits while the queue is full, and ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from quintet.shard.errors import Exit
from quintet.slurm.journal import Journal
from quintet.slurm.submission import Wishes
from quintet.slurm.watch import until_done

from .desk import Desk, quiet, shards_of
from .planned import plan, planned, publish_merged, publish_shard


def test_watching_ends_when_nothing_moves(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 2)), Desk()

    def nothing_happens(seconds: float) -> None:
        desk.end(*desk.jobs)

    lines: list[str] = []
    assert until_done(run, desk, Wishes(), 30.0, lines.append, nothing_happens) == Exit.INCOMPLETE
    assert lines[-1].startswith("stuck: 2 shards")


def test_watching_ends_when_all_is_merged(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 2)), Desk()
    rounds = iter([(0,), (1,)])

    def some_finish(seconds: float) -> None:
        for shard in next(rounds):
            publish_shard(run, "simulate", shard)
        if run.shard_file("simulate", 1).exists():
            publish_merged(run, "simulate")
        desk.end(*desk.jobs)

    assert until_done(run, desk, Wishes(), 30.0, quiet, some_finish) == Exit.OK
    assert shards_of(run, "simulate-2.map") == [1]


@pytest.mark.parametrize("site", ["{}\n", "max_submit: 3\n"])
def test_watching_waits_longer_and_longer_while_other_jobs_fill_the_queue(tmp_path: Path, site: str) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 2), site=site), Desk(limit=3)
    desk.jobs["99"] = ["/elsewhere/slurm/simulate-1.sbatch"]
    desk.alive = {f"99_{task}": "RUNNING" for task in range(3)}
    pauses: list[float] = []
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        assert len(lines) <= 2 * len(pauses) + 2, "every try is followed by a pause"

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        if desk.jobs.keys() != {"99"}:
            for shard in range(2):
                publish_shard(run, "simulate", shard)
            publish_merged(run, "simulate")
            desk.end(*desk.jobs)
            return
        assert list((run.path / "slurm").glob("*")) == [], "refused tries leave nothing behind"
        assert [entry.kind for entry in Journal(run).entries] == ["pending"]
        if len(pauses) == 5:
            desk.end("99")

    assert until_done(run, desk, Wishes(), 30.0, say, wait) == Exit.OK
    assert pauses == [30, 60, 120, 240, 300, 30]
    assert shards_of(run, "simulate-1.map") == [0, 1]


def test_watching_ends_when_nothing_moves_though_a_limit_keeps_some_out(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 9)), Desk(limit=4)

    def nothing_happens(seconds: float) -> None:
        assert len(desk.jobs) < 10
        desk.end(*desk.jobs)

    assert until_done(run, desk, Wishes(), 30.0, quiet, nothing_happens) == Exit.UNAVAILABLE
