"""What `submit` must notice by itself so that a run comes home: late luck, lost partials, a disk that fills up."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from quintet.shard.errors import Exit
from quintet.shard.missing import missing_of
from quintet.shard.trials import table
from quintet.slurm.journal import Journal
from quintet.slurm.submission import Wishes, submit
from quintet.slurm.watch import until_done

from ..machinery import elements
from .planned import plan, planned, publish_merged, publish_shard
from .test_submission import Desk, quiet, shards_of


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_run_that_is_completed_after_lost_rounds_is_done_and_not_stuck(tmp_path: Path, lost: int) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 1)), Desk()
    rounds = iter(range(10))

    def round_passes(seconds: float) -> None:
        if next(rounds) >= lost:
            publish_shard(run, "simulate", 0)
            publish_merged(run, "simulate")
        desk.end(*desk.jobs)

    lines: list[str] = []
    assert until_done(run, desk, Wishes(), 30.0, lines.append, round_passes) == Exit.OK, lines
    assert next(rounds) == lost + 1, "nothing is handed in once all is merged"


@pytest.mark.parametrize(
    ("damage", "wishes", "seen"),
    [
        (Path.unlink, Wishes(), True),
        (lambda path: os.truncate(path, 40), Wishes(), True),
        (lambda path: os.truncate(path, path.stat().st_size - 1), Wishes(missing_only=True), True),
        (lambda path: None, Wishes(missing_only=True), False),
    ],
    ids=["lost", "without a card", "cut", "sound"],
)
def test_a_merged_phase_that_lost_a_partial_is_made_whole_again(
    tmp_path: Path, damage: object, wishes: Wishes, seen: bool
) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 3), plan("fit", 1, after=("simulate",))), Desk()
    for shard in range(3):
        publish_shard(run, "simulate", shard)
    publish_merged(run, "simulate")
    publish_shard(run, "fit", 0)
    publish_merged(run, "fit")
    damage(run.shard_file("simulate", 1))  # type: ignore[operator]
    outcome = submit(run, desk, wishes, quiet)
    assert bool(outcome.jobs) == bool(outcome.unmerged) == seen
    if seen:
        assert shards_of(run, "simulate-1.map") == [1]


def test_a_job_that_cannot_be_written_down_is_withdrawn_and_the_next_line_is_whole(tmp_path: Path) -> None:
    run, desk, blank = planned(tmp_path / "run", plan("simulate", 2)), Desk(), 100_000
    (run.path / "submissions.jsonl").write_text("\n" * blank)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (blank + 20, limit[1]))  # the journal's line is cut, as by a full disk
    try:
        with pytest.raises(OSError, match="No space left"):
            submit(run, desk, Wishes(), quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (desk.cancelled, desk.alive) == (["100"], {})
    jobs = submit(run, desk, Wishes(), quiet).jobs
    assert [entry.job for entry in Journal(run).entries] == jobs == ["101", "102"]
    assert submit(run, desk, Wishes(), quiet).jobs == []


def test_a_trial_that_is_damaged_after_it_was_told_is_computed_again(tmp_path: Path) -> None:
    calm = elements.quiet_payload(tmp_path / "calm", "search")
    run, dice = elements.planned(tmp_path / "run", "search"), random.Random(3)
    elements.finish(run, "search")
    for damage in (Path.unlink, lambda path: os.truncate(path, dice.randrange(path.stat().st_size))):
        for number in dice.sample(range(elements.TRIALS), 2):
            damage(run.trial_file("search", number))
        assert len(missing_of(run, run.plan("search")).numbers) == 2
        crowd = [elements.element(run, "search", worker) for worker in range(2)]
        assert [elements.waited(pid) for pid in crowd] == [0, 0]
        assert missing_of(run, run.plan("search")).numbers == ()
        assert elements.merged_payload(run, "search") == calm


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_what_the_disk_refuses_names_the_file_of_the_run(tmp_path: Path) -> None:
    run, log = elements.planned(tmp_path / "run", "bulk"), tmp_path / "log"
    assert elements.run_element(run, "bulk", 0, limited(4096), log=log) == Exit.CANNOT_WRITE
    assert log.read_text().strip().endswith(f"{run.shard_file('bulk', 0)}: File too large")
    database = tmp_path / "search.sqlite3"
    database.symlink_to("/dev/full")
    spec = elements.phases(elements.Config())[3].search
    assert spec is not None
    with pytest.raises(OSError, match="No space left") as refused:
        table.create(database, spec, "token")
    assert refused.value.filename == str(database)


def test_a_scratch_disk_that_refuses_a_new_database_is_told_in_one_line(tmp_path: Path) -> None:
    run, log = elements.planned(tmp_path / "run", "search"), tmp_path / "log"
    assert elements.run_element(run, "search", 0, limited(4096), log=log) == Exit.IO
    said = log.read_text().strip().splitlines()
    assert len(said) == 1
    assert "study.sqlite3: disk I/O error" in said[0]
