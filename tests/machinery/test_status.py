"""`status` gives right numbers from the run directory alone, readable in any width, and asks Slurm seldom."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from quintet.shard.board import picture, plain
from quintet.shard.commands.base import run_command
from quintet.shard.commands.status import command
from quintet.shard.errors import Exit
from quintet.shard.failures import POLICIES, Failure, classify
from quintet.shard.progress import PhaseProgress, next_step, progress_of
from quintet.shard.progress.rate import Span, estimate
from quintet.shard.run import Run
from quintet.shard.scheduler import QueueView, Scheduler
from rich.console import Console

from .grid_study import SHARDS, attempt, content_of, here, planned, publish_shards, tell_trials, write_merged

NOW = 1.7e9


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Shard 0 done after one failure, 1 kept 2 of its 3 blocks and was stopped, 2 failed twice, 3 never tried."""
    run = planned(tmp_path / "run", ("simulate", "later"))
    plan = run.plan("simulate")
    publish_shards(run, "simulate", [0])
    attempt(run, "simulate", 0, NOW - 900, {"rc": 70, "reason": "ValueError: bad 17", "blocks": 0, "units": 0})
    attempt(run, "simulate", 0, NOW - 400, {"wall_s": 200.0, "peak_rss_mb": 700.0, "units": 4})
    lo = plan.shards[1][0]
    kept, _ = content_of(run, plan, 1, complete=False, lo=lo, hi=lo + 2, units=4)
    run.shard_file("simulate", 1).with_name("s000001.ckpt.h5").write_bytes(kept)
    attempt(run, "simulate", 1, NOW - 300, {"rc": 75, "reason": "SIGUSR1", "wall_s": 100.0, "blocks": 2, "units": 4})
    attempt(
        run,
        "simulate",
        2,
        NOW - 90000,
        {"rc": 70, "reason": "ValueError: bad 23", "cpu_s": 3600.0, "blocks": 1, "units": 0},
    )
    attempt(run, "simulate", 2, NOW - 80000, None, host="node7")
    log = run.log_folder("simulate", 2) / "local_11.log"
    log.parent.mkdir(parents=True)
    log.write_text("Traceback\nValueError: bad 23\n")
    return run


def look(run: Run, phase: str = "simulate", queue: QueueView | None = None, now: float = NOW) -> PhaseProgress:
    return progress_of(run, run.plan(phase), queue or QueueView(), now)


def test_counts_of_blocks_shards_and_attempts(run: Run) -> None:
    progress = look(run)
    assert (progress.blocks, progress.units) == (11, 22)
    width = {shard: hi - lo for shard, (lo, hi) in enumerate(run.plan("simulate").shards)}
    assert progress.blocks_done == width[0] + 2
    assert progress.units_done == 2 * width[0] + 4
    assert progress.shards == {"done": 1, "running": 0, "queued": 0, "failed": 1, "missing": 2}
    assert (progress.attempts, progress.attempts_max, progress.attempts_lost) == (5, 2, 1)
    assert progress.failed_shards == [2]
    assert not progress.complete and not progress.merged


def test_cost_is_used_wasted_and_against_what_was_requested(run: Run) -> None:
    progress = look(run)
    assert progress.cpu_h == pytest.approx((3 * 90 + 3600) / 3600)
    assert progress.wasted_cpu_h == pytest.approx((90 + 3600) / 3600)
    assert progress.memory_mb is not None and progress.memory_mb.requested == 4000
    assert (progress.memory_mb.p50, progress.memory_mb.max) == (500.0, 700.0)
    assert progress.seconds is not None and progress.seconds.max == 200.0
    assert progress.suggestion == "request --mem=900M --time=00:05:00"


def test_failures_are_grouped_by_class_and_words_with_one_log(run: Run) -> None:
    found = {item.failure: item for item in look(run).failures}
    assert found["bug"].count == 2 and found["bug"].log == "logs/simulate/0000/local_11.log"
    assert found["preempted"].count == found["killed"].count == 1


def test_rate_is_over_the_last_ten_minutes_and_the_range_encloses_the_estimate(run: Run) -> None:
    found = look(run).estimate
    # 4 units in each of two attempts that lie in the window, which began with the older one, 400 s ago.
    assert found.units_per_s == pytest.approx(8 / 400)
    assert found.seconds_low is not None and found.seconds_left is not None and found.seconds_high is not None
    assert found.seconds_low < found.seconds_left < found.seconds_high


def test_running_attempt_is_taken_to_be_as_fast_as_the_others() -> None:
    spans = [Span(0.0, 100.0, 10, (9.0, 10.0, 11.0)), Span(100.0, 200.0, None, ())]
    found = estimate(spans, 30, 1, {}, 200.0)
    assert found.units_per_s == pytest.approx(0.1)
    assert found.seconds_left == pytest.approx(300.0)
    assert found.seconds_low is not None and 250 < found.seconds_low < 300


def test_rate_of_a_first_attempt_rests_on_the_plan_and_says_so() -> None:
    found = estimate([Span(0.0, 100.0, None, ())], 50, 1, {"seconds_per_unit": 2.0}, 100.0)
    assert found.planned and found.seconds_left == pytest.approx(100.0)


def test_process_of_this_host_runs_and_a_dead_one_does_not(run: Run) -> None:
    host, pid = here()
    attempt(run, "simulate", 3, NOW - 50, None, host=host, pid=pid)
    assert look(run).shards["running"] == 1
    attempt(run, "simulate", 3, NOW - 40, None, host=host, pid=2**22 + 5)
    attempt(run, "simulate", 3, NOW - 30, None, host=host, pid=2**22 + 5)
    assert look(run).shards["running"] == 0
    assert 3 in look(run).failed_shards


def test_slurm_decides_about_its_own_elements(run: Run) -> None:
    attempt(
        run, "simulate", 3, NOW - 50, None, host="node9", slurm={"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "1"}
    )
    assert look(run).shards["running"] == 1
    gone = QueueView(True, {("simulate", 2): "PENDING"}, {("simulate", 3): "OUT_OF_MEMORY"})
    progress = look(run, queue=gone)
    assert progress.shards == {"done": 1, "running": 0, "queued": 1, "failed": 1, "missing": 1}
    assert "oom" in {item.failure for item in progress.failures}


def test_element_that_left_no_record_is_a_launch_failure(run: Run) -> None:
    progress = look(run, queue=QueueView(True, {}, {("simulate", 3): "FAILED"}))
    assert 3 in progress.failed_shards
    assert "launch" in {item.failure for item in progress.failures}


def test_later_phase_waits(run: Run) -> None:
    progress = look(run, "later")
    assert progress.waits_for == "simulate" and progress.shards["missing"] == 4 and not progress.complete


def test_pull_phase_counts_trials(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", ("search",))
    tell_trials(run, 3)
    trials = look(run, "search").trials
    assert trials is not None
    assert (trials.complete, trials.failed, trials.running, trials.wanted, trials.told) == (2, 1, 0, 5, True)
    run.store("search").unlink()
    trials = look(run, "search").trials
    assert trials is not None and (trials.complete, trials.failed, trials.told) == (2, 1, False)


def test_next_step_goes_on_from_where_the_run_stands(run: Run) -> None:
    def step() -> str:
        return next_step(run, [look(run, name) for name in run.phases()])

    assert step() == f"bin/local {run.path}"
    (run.path / "submissions.jsonl").write_text("")
    assert step() == f"bin/submit {run.path} --missing-only"
    attempt(run, "simulate", 2, NOW - 100, {"rc": 73, "reason": "No space left on device"})
    assert "--failed and mend that" in step()
    publish_shards(run, "simulate", range(1, SHARDS))
    assert step() == f"bin/merge {run.path} simulate"
    write_merged(run, "simulate")
    assert step() == f"bin/submit {run.path} --missing-only"
    publish_shards(run, "later", range(4))
    write_merged(run, "later")
    assert step().startswith("complete")


@pytest.mark.parametrize("width", [60, 80, 160])
def test_picture_fits_the_terminal_and_says_the_same(run: Run, width: int) -> None:
    phases = [look(run, name) for name in run.phases()]
    console = Console(width=width, file=io.StringIO(), record=True, color_system=None)
    console.print(picture("grid", phases, "", next_step(run, phases), width))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    for word in ("simulate", "4/11 blocks", "1 done", "1 failed", "waits for simulate", "█", "--mem=900M", "bin/local"):
        assert word in " ".join(text.split()), word


def test_lines_of_a_file_carry_time_and_no_colour(run: Run) -> None:
    lines = list(plain([look(run)], "", "go on"))
    assert all(line[4] == "-" and line[19] == "Z" and "\x1b" not in line for line in lines)
    assert " simulate: 36 % 4/11 blocks, idle; shards 1 done, 1 failed, 2 missing;" in lines[0]
    assert lines[-1].endswith("next: go on")


def code_of(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        run_command(command, [str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_command_writes_nothing_and_prints_lines_or_json(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(run.path.rglob("*"))
    assert code_of(run.path) == 0
    assert "next: bin/local" in capsys.readouterr().out
    assert code_of(run.path, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert [phase["phase"] for phase in data["phases"]] == ["simulate", "later"]
    assert data["phases"][0]["shards"]["done"] == 1 and data["next"].startswith("bin/local")
    assert before == sorted(run.path.rglob("*"))


def test_logs_of_failed_shards(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    attempt(run, "simulate", 2, NOW - 70000, {"rc": 70, "reason": "ValueError: bad 23"})
    assert code_of(run.path, "--failed") == 0
    out = capsys.readouterr().out
    assert "== simulate/2: bug: ValueError: bad 23 (logs/simulate/0000/local_11.log)" in out and "Traceback" in out
    assert code_of(run.path, "--log", "simulate/2") == 0
    assert "Traceback" in capsys.readouterr().out
    assert code_of(run.path, "--log", "3") == 1
    assert code_of(run.path, "--log", "x/3") == 2


class Desk:
    """Answers for squeue and sacct, and counts the questions."""

    def __init__(self, answers: dict[str, tuple[int, str, str]]) -> None:
        self.answers = answers
        self.asked: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        self.asked.append(command)
        return self.answers[command[0]]


def submitted(run: Run) -> None:
    (run.path / "slurm").mkdir()
    (run.path / "slurm" / "simulate-1.map").write_text("1\n3\n")
    lines = [
        {"phase": "simulate", "kind": "array", "job": "70", "map": "", "offset": 0, "count": 4},
        {"phase": "simulate", "kind": "merge", "job": "71", "map": "", "offset": 0, "count": 0},
        {"phase": "simulate", "kind": "array", "job": "72", "map": "slurm/simulate-1.map", "offset": 0, "count": 2},
    ]
    (run.path / "submissions.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"phase": "cut')


def queue_of(run: Run, *rows: str, script: str = "slurm/simulate-1.sbatch") -> str:
    """Return squeue's answer: array, task and state of each row, with the folder and the script of its job."""
    return "".join("\x1f".join((*row.split(), "/home", f"{run.path}/{script} 0")) + "\n" for row in rows)


def test_one_question_for_all_arrays_and_none_within_the_interval(run: Run) -> None:
    submitted(run)
    now = [0.0]
    desk = Desk(
        {"squeue": (0, queue_of(run, "72 0 RUNNING", "72 1 PENDING"), ""), "sacct": (0, "70_2|TIMEOUT\n70_x|X\n", "")}
    )
    scheduler = Scheduler(30, lambda: now[0], desk)
    view = scheduler.view(run)
    assert view.running("simulate", 1) and view.queued("simulate", 3)
    assert view.ended == {("simulate", 2): "TIMEOUT"}
    assert [command[0] for command in desk.asked] == ["squeue", "sacct"]
    assert "70,72" in desk.asked[0]
    now[0] = 29.0
    assert scheduler.view(run) is view and len(desk.asked) == 2
    now[0] = 31.0
    scheduler.view(run)
    assert len(desk.asked) == 4


def test_a_number_that_another_job_has_now_is_not_this_runs(run: Run) -> None:
    submitted(run)
    other = queue_of(run, "72 0 RUNNING", script="other/slurm/simulate-1.sbatch")
    desk = Desk({"squeue": (0, other + queue_of(run, "70 2 PENDING"), ""), "sacct": (1, "", "")})
    assert Scheduler(30, time.monotonic, desk).view(run).alive == {("simulate", 2): "PENDING"}


def test_busy_controller_is_asked_less_and_less_and_its_last_answer_stays(run: Run) -> None:
    submitted(run)
    now = [0.0]
    desk = Desk(
        {"squeue": (0, queue_of(run, "72 0 RUNNING"), ""), "sacct": (1, "", "Slurm accounting storage is disabled")}
    )
    scheduler = Scheduler(1, lambda: now[0], desk)  # the floor is 10 s
    scheduler.view(run)
    desk.answers["squeue"] = (1, "", "slurm_load_jobs error: Socket timed out on send/recv operation")
    times = []
    for second in range(1, 2000):
        now[0] = float(second)
        count = len(desk.asked)
        view = scheduler.view(run)
        assert view.running("simulate", 1)
        if len(desk.asked) > count:
            times.append(second)
    assert [b - a for a, b in pairwise(times)][:6] == [20, 40, 80, 160, 300, 300]
    assert [command[0] for command in desk.asked].count("sacct") == 1  # without accounting it is not asked again


def test_without_jobs_slurm_is_never_asked(run: Run) -> None:
    desk = Desk({})
    assert Scheduler(30, time.monotonic, desk).view(run) == QueueView() and desk.asked == []


@pytest.mark.parametrize(
    ("end", "state", "code", "failure"),
    [
        ({"rc": 0}, None, None, None),
        ({"rc": 2}, None, None, Failure.CONFIG),
        ({"rc": 64}, None, None, Failure.CONFIG),
        ({"rc": 78}, None, None, Failure.CONFIG),
        ({"rc": 65}, None, None, Failure.INPUT),
        ({"rc": 69, "reason": "study.lock: not free after 300 s"}, None, None, Failure.LOCK),
        ({"rc": 69, "reason": "a GPU is expected, none is visible"}, None, None, Failure.ENV),
        ({"rc": 70}, None, None, Failure.BUG),
        ({"rc": 73}, None, None, Failure.ENV),
        ({"rc": 74}, None, None, Failure.TRANSIENT_IO),
        ({"rc": 75, "reason": "deadline"}, None, None, Failure.TIMEOUT),
        ({"rc": 75, "reason": "SIGTERM"}, None, None, Failure.PREEMPTED),
        ({"rc": 76}, None, None, Failure.CONFLICT),
        ({"rc": 0}, "OUT_OF_MEMORY", None, None),
        (None, "OUT_OF_MEMORY", None, Failure.OOM),
        (None, "TIMEOUT", None, Failure.TIMEOUT),
        (None, "CANCELLED by 0", None, Failure.KILLED),
        (None, "NODE_FAIL", None, Failure.PREEMPTED),
        (None, None, 137, Failure.OOM),
        (None, None, -9, Failure.OOM),
        (None, None, 143, Failure.KILLED),
        (None, None, 139, Failure.BUG),
        (None, None, None, Failure.KILLED),
    ],
)
def test_every_end_has_its_class(
    end: dict[str, object] | None, state: str | None, code: int | None, failure: object
) -> None:
    record = {"attempt": "node-1-1"} | ({} if end is None else {"end": end})
    assert classify(record, state, code) is failure


def test_no_record_and_every_class_has_a_policy() -> None:
    assert classify(None) is None
    assert classify(None, "FAILED") is Failure.LAUNCH
    assert set(POLICIES) == set(Failure)
    assert {code for code in Exit if classify({"end": {"rc": code}}) is None} == {Exit.OK}
