"""What a submission hands in, in which order, and what a repetition adds."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest
from quintet.shard.context import inputs_digest
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.run import Run
from quintet.slurm.journal import Journal
from quintet.slurm.queue import Rehearsal, Slurm
from quintet.slurm.submission import Wishes, submit

from .desk import Desk, quiet, shards_of
from .planned import plan, planned, publish_merged, publish_shard, record_attempt


def chain(folder: Path) -> Run:
    return planned(
        folder,
        plan("search", 2, kind="pull", shards=((0, 2),) * 2),
        plan("select", 1, after=("search",)),
        plan("simulate", units=None, blocks=0, shards=((0, 0),) * 4, after=("select",)),
        plan("walk", 2),
    )


def test_a_run_is_a_chain_of_arrays_gated_by_merges(tmp_path: Path) -> None:
    run, desk = chain(tmp_path / "run"), Desk()
    submit(run, desk, Wishes(throttle=2), quiet)
    scripts = [" ".join(Path(word).name for word in words if "sbatch" in word) for words in desk.jobs.values()]
    assert scripts == [
        "search-1.sbatch",
        "search.merge-1.sbatch",
        "select-1.sbatch",
        "select.merge-1.sbatch",
        "simulate-1.sbatch",
        "simulate.merge-1.sbatch",
        "walk-1.sbatch",
        "walk.merge-1.sbatch",
    ]
    dependencies = [desk.dependency(job).removeprefix("--dependency=") for job in desk.jobs]
    assert dependencies[:7] == ["", "afterany:100", "afterok:101", "afterany:102", "afterok:103", "afterany:104", ""]
    assert dependencies[7].split(":")[1:] == ["106", "101", "103", "105"], "the report waits for all other merges"
    for job in ("102", "104"):
        assert "--kill-on-invalid-dep=yes" in desk.jobs[job]
    assert "--array=0-1%2" in desk.jobs["100"]
    assert shards_of(run, "simulate-1.map") == [0, 1, 2, 3], "late units: an array by the planned number of shards"
    gates = [(run.path / "slurm" / f"{name}.merge-1.sbatch").read_text() for name in ("select", "walk")]
    assert ["\ngate=yes\n" in gate for gate in gates] == [True, False]


def test_repeating_a_submission_adds_nothing(tmp_path: Path) -> None:
    run, desk = chain(tmp_path / "run"), Desk()
    submit(run, desk, Wishes(), quiet)
    count = len(desk.jobs)
    for wishes in (Wishes(), Wishes(missing_only=True), Wishes(phase="simulate")):
        assert submit(run, desk, wishes, quiet).jobs == []
    assert len(desk.jobs) == count
    assert desk.cancelled == []


def test_dry_run_prints_the_lines_and_writes_nothing(tmp_path: Path) -> None:
    run = planned(tmp_path / "a run", plan("prepare", 3), plan("simulate", 2500, after=("prepare",)))
    lines: list[str] = []
    folder = run.path.resolve() / "slurm"
    outcome = submit(run, Rehearsal(Slurm({"PATH": "/nowhere"}), lines.append), Wishes(), quiet)
    assert outcome.code == 0
    assert lines == [
        f"job1=$(sbatch --parsable --array=0-2 '{folder}/prepare-1.sbatch' 0)",
        f"job2=$(sbatch --parsable --dependency=afterany:$job1 '{folder}/prepare.merge-1.sbatch')",
        *(
            f"job{number}=$(sbatch --parsable --array=0-{count - 1} --dependency=afterok:$job2 "
            f"--kill-on-invalid-dep=yes '{folder}/simulate-1.sbatch' {offset})"
            for number, offset, count in ((3, 0, 1000), (4, 1000, 1000), (5, 2000, 500))
        ),
        f"job6=$(sbatch --parsable --dependency=afterany:$job3:$job4:$job5:$job2 '{folder}/simulate.merge-1.sbatch')",
    ]
    assert sorted(path.name for path in run.path.iterdir()) == ["plan"]


def test_large_phase_is_split_with_offsets_into_one_map(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 25)), Desk(largest=10)
    submit(run, desk, Wishes(), quiet)
    arrays = [entry for entry in Journal(run).entries if entry.kind == "array"]
    assert [(entry.offset, entry.count, entry.map) for entry in arrays] == [
        (0, 10, "slurm/simulate-1.map"),
        (10, 10, "slurm/simulate-1.map"),
        (20, 5, "slurm/simulate-1.map"),
    ]
    assert [desk.jobs[entry.job][-1] for entry in arrays] == ["0", "10", "20"]
    assert desk.dependency("103") == "--dependency=afterany:100:101:102"
    assert shards_of(run, "simulate-1.map") == list(range(25))


def test_a_limit_that_slurm_does_not_tell_is_found_by_halving(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 25)), Desk(refused_above=11)
    assert submit(run, desk, Wishes(), quiet).code == 0
    assert sum(entry.count for entry in Journal(run).entries if entry.kind == "array") == 25


@pytest.mark.parametrize("site", ["{}\n", "max_submit: 10\n"])
def test_full_queue_takes_what_fits_and_a_repetition_goes_on(tmp_path: Path, site: str) -> None:
    run = planned(tmp_path / "run", plan("simulate", 25), plan("fit", 1, after=("simulate",)), site=site)
    desk = Desk(limit=10)
    outcome = submit(run, desk, Wishes(), quiet)
    assert (outcome.code, outcome.refused) == (Exit.UNAVAILABLE, 25 - len(desk.alive))
    assert 5 < len(desk.alive) <= 10
    assert [entry.kind for entry in Journal(run).entries][-1] == "pending"
    assert not any("merge" in word for words in desk.jobs.values() for word in words)
    rounds = 0
    while outcome.code == Exit.UNAVAILABLE:
        rounds += 1
        assert rounds < 10
        arrays = [entry for entry in Journal(run).entries if entry.kind == "array"]
        for entry in arrays:
            shards = shards_of(run, Path(entry.map).name)[entry.offset : entry.offset + entry.count]
            for shard in shards if entry.phase == "simulate" and f"{entry.job}_0" in desk.alive else ():
                publish_shard(run, "simulate", shard)
            desk.end(entry.job)
        outcome = submit(run, desk, Wishes(), quiet)
    handed = [
        shard
        for entry in Journal(run).entries
        if entry.kind == "array" and entry.phase == "simulate"
        for shard in shards_of(run, Path(entry.map).name)[entry.offset : entry.offset + entry.count]
    ]
    assert sorted(handed) == list(range(25)), "each shard once"
    assert any("fit.merge-" in word for words in desk.jobs.values() for word in words)


def test_complete_phases_cost_a_look(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 2), plan("fit", 1, after=("simulate",))), Desk()
    publish_shard(run, "simulate", 0)
    publish_shard(run, "simulate", 1)
    publish_merged(run, "simulate")
    submit(run, desk, Wishes(), quiet)
    assert next(Path(words[-2]).name for words in desk.jobs.values()) == "fit-1.sbatch"
    assert desk.dependency("100") == ""
    desk.end("100", "101")
    publish_shard(run, "fit", 0)
    publish_merged(run, "fit")
    assert submit(run, desk, Wishes(), quiet).unmerged == 0
    assert len(desk.jobs) == 2


def test_healing_hands_in_the_missing_and_renews_the_rest_of_the_chain(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 4), plan("fit", 1, after=("simulate",))), Desk()
    submit(run, desk, Wishes(), quiet)  # 100, merge 101; 102, merge 103
    publish_shard(run, "simulate", 0)
    publish_shard(run, "simulate", 2)
    desk.end("100")
    desk.alive["101"] = "RUNNING"  # it is the merge itself that heals
    outcome = submit(run, desk, Wishes(missing_only=True, rounds=1), quiet)
    assert shards_of(run, "simulate-2.map") == [1, 3]
    assert sorted(set(desk.cancelled)) == ["102", "103"]
    assert outcome.jobs == ["104", "105", "106", "107"]
    assert desk.dependency("106") == "--dependency=afterok:105"
    assert "\nrounds=1\n" in (run.path / "slurm" / "simulate.merge-2.sbatch").read_text()


def test_the_report_is_rendered_again_behind_results_that_are_made_again(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 2), plan("walk", 1)), Desk()
    submit(run, desk, Wishes(), quiet)  # 100, merge 101; 102, merge 103
    desk.end("100", "101")
    submit(run, desk, Wishes(missing_only=True), quiet)  # 104, merge 105
    assert desk.cancelled == ["103"]
    assert desk.dependency("106") == "--dependency=afterany:102:105"
    desk.end(*desk.jobs)
    publish_shard(run, "walk", 0)
    publish_merged(run, "walk")
    outcome = submit(run, desk, Wishes(missing_only=True), quiet)
    assert [Path(desk.jobs[job][-1]).name for job in outcome.jobs[1:]] == [
        "simulate.merge-3.sbatch",
        "walk.merge-3.sbatch",
    ]
    assert outcome.unmerged == 1


@pytest.mark.parametrize("code", [2, 64, 73, 76, 78])
def test_what_a_retry_cannot_mend_is_held_back_and_told(tmp_path: Path, code: int) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 3)), Desk()
    record_attempt(run, "simulate", 1, code, "the reason")
    lines: list[str] = []
    outcome = submit(run, desk, Wishes(missing_only=True), lines.append)
    assert outcome.code == code
    assert shards_of(run, "simulate-1.map") == [0, 2]
    assert any("NOT RETRIED" in line and "the reason" in line for line in lines)
    desk.end(*desk.jobs)
    assert submit(run, desk, Wishes(), quiet).code == 0, "a person who submits anew has mended it"
    assert shards_of(run, "simulate-2.map") == [0, 1, 2]


@pytest.mark.parametrize(
    ("codes", "held"),
    [
        ([70], False),
        ([70, 70], True),
        ([74, 74], False),
        ([74] * 3, True),
        ([75] * 9, False),
        ([69] * 9, False),
        ([70, 0, 70], False),
    ]
    + [([None] * 4, False), ([None] * 5, True)],
)
def test_repeated_failures_end_with_a_person(tmp_path: Path, codes: list[int | None], held: bool) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 1)), Desk()
    for code in codes:
        record_attempt(run, "simulate", 0, code)
    outcome = submit(run, desk, Wishes(missing_only=True), quiet)
    assert bool(outcome.held) is held
    assert bool(outcome.jobs) is not held


def test_a_bad_input_is_tried_again_once_it_has_changed(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 2)), Desk()
    now = inputs_digest(run, run.plan("simulate"))
    for shard, inputs in ((0, now), (1, "another")):
        for _ in range(2):
            record_attempt(run, "simulate", shard, Exit.INPUT, "world.json: damaged", inputs=inputs)
    outcome = submit(run, desk, Wishes(missing_only=True), quiet)
    assert list(outcome.held["simulate"]) == [0]
    assert shards_of(run, "simulate-1.map") == [1]


def test_out_of_memory_is_retried_with_more_of_it(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 3), site="max_mem_mb: 200\n"), Desk()
    for task, kills in ((0, 1), (1, 2)):
        for kill in range(kills):
            record_attempt(run, "simulate", task, None, element=f"{7 + kill}_{task}")
            folder = run.log_folder("simulate", task)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{7 + kill}_{task}.log").write_text(f"quintet: element {7 + kill}_{task} ended with rc 137\n")
    submit(run, desk, Wishes(missing_only=True), quiet)
    asked = {
        shards_of(run, f"simulate-{n}.map")[0]: (run.path / "slurm" / f"simulate-{n}.sbatch").read_text()
        for n in (1, 2, 3)
    }
    assert ["--mem=100M" in asked[2], "--mem=150M" in asked[0], "--mem=200M" in asked[1]] == [True] * 3


def test_one_phase_alone_needs_what_it_reads(tmp_path: Path) -> None:
    run, desk = chain(tmp_path / "run"), Desk()
    with pytest.raises(QuintetError) as raised:
        submit(run, desk, Wishes(phase="select"), quiet)
    assert raised.value.code is Exit.INPUT
    with pytest.raises(QuintetError) as raised:
        submit(run, desk, Wishes(phase="selekt"), quiet)
    assert raised.value.code is Exit.USAGE
    submit(run, desk, Wishes(phase="walk"), quiet)
    assert next(Path(words[-2]).name for words in desk.jobs.values()) == "walk-1.sbatch"
    assert len(desk.jobs) == 2


def test_two_submissions_at_once_take_turns(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", plan("simulate", 1))
    with (run.path / "submissions.lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-m", "quintet.slurm", str(run.path)],
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/nowhere"},
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == Exit.UNAVAILABLE
    assert error.startswith("bin/submit: squeue: not found")


def test_a_cut_line_in_the_journal_is_passed_over(tmp_path: Path) -> None:
    run, desk = planned(tmp_path / "run", plan("simulate", 3)), Desk()
    submit(run, desk, Wishes(), quiet)
    with (run.path / "submissions.jsonl").open("a") as file:
        file.write('{"phase": "simulate", "ki')
    assert submit(run, desk, Wishes(), quiet).jobs == []
    first = json.loads((run.path / "submissions.jsonl").read_text().splitlines()[0])
    assert {"time", "phase", "argv", "job", "map", "offset", "reason"} <= set(first)
