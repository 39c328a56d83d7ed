"""Several processes on the same work: one partial of equal bits, and work that is not deterministic is told."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from quintet.merge.phase import Request, merge_run
from quintet.shard.commands.base import run_command
from quintet.shard.commands.verify import command as verify_command
from quintet.shard.errors import QuintetError
from quintet.shard.missing import missing_of
from quintet.shard.partial import Card, read_card, read_meta
from quintet.shard.publish import replace_file

from .elements import (
    SHARDS,
    TRIALS,
    UNITS,
    element,
    finish,
    forked,
    kill,
    merged_payload,
    notes,
    partials,
    payload_of,
    pipe,
    planned,
    quiet_payload,
    run_element,
    staged,
    temporaries,
    waited,
)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Payloads of runs that nothing happened to."""
    folder = tmp_path_factory.mktemp("quiet")
    return {phase: quiet_payload(folder / phase, phase) for phase in ("measure", "walk", "search")}


@pytest.mark.parametrize("crowd", [2, 8])
@pytest.mark.parametrize("phase", ["measure", "walk"])
def test_processes_on_one_shard_all_end_well_and_publish_one_partial(
    quiet: dict[str, str], tmp_path: Path, crowd: int, phase: str
) -> None:
    run = planned(tmp_path / "run", phase, checkpoint_s=0.0)
    with staged(pause=0.002):
        rivals = [element(run, phase, 0) for _ in range(crowd)]
        assert [waited(pid) for pid in rivals] == [0] * crowd
    assert partials(run, phase) == ["s000000.h5"]
    assert not temporaries(run)
    finish(run, phase)
    assert merged_payload(run, phase) == quiet[phase]


def test_processes_that_finish_at_the_same_instant_are_duplicates(quiet: dict[str, str], tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "measure", shards=1)
    with pipe() as (ready, begun), pipe() as (gate, opener), staged(ready=begun, gate=gate):
        rivals = [element(run, "measure", 0) for _ in range(4)]
        for _ in rivals:
            os.read(ready, 1)
        os.write(opener, b"." * UNITS * len(rivals))
        assert [waited(pid) for pid in rivals] == [0] * 4
    assert len(notes(run)) > UNITS  # they did the same work side by side
    assert partials(run, "measure") == ["s000000.h5"]
    assert merged_payload(run, "measure") == quiet["measure"]


@pytest.mark.parametrize("phase", ["measure", "search"])
def test_two_arrays_over_one_run_give_the_bits_of_one(quiet: dict[str, str], tmp_path: Path, phase: str) -> None:
    run = planned(tmp_path / "run", phase)
    with staged(pause=0.001):
        order = random.Random(4).sample([*range(SHARDS)] * 2, 2 * SHARDS)
        both = [element(run, phase, shard) for shard in order]
        assert [waited(pid) for pid in both] == [0] * len(both)
    count = SHARDS if phase == "measure" else TRIALS
    assert len(partials(run, phase)) == count
    assert merged_payload(run, phase) == quiet[phase]


def test_another_payload_ends_76_keeps_both_and_the_report_names_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, log = planned(tmp_path / "run", "measure"), tmp_path / "log"
    with pipe() as (ready, begun), pipe() as (gate, opener):
        with staged(skew=1e-12, ready=begun, gate=gate):
            other = element(
                run, "measure", 0, lambda: os.environ.update(QUINTET_IMAGE_ID="another", SLURM_JOB_ID="77"), log=log
            )
        os.read(ready, 1)
        assert run_element(run, "measure", 0) == 0
        os.write(opener, b"." * UNITS)
        assert waited(other) == 76
    said = log.read_text()
    assert len(said.strip().splitlines()) == 1 and "s000000.conflict-77.h5" in said
    path = run.shard_file("measure", 0)
    beside = path.with_name("s000000.conflict-77.h5")
    assert read_card(path).pd != read_card(beside).pd
    assert read_meta(beside)["container"] == {"quintet_image_id": "another"}
    assert missing_of(run, run.plan("measure")).reasons["conflict"] == (0,)
    assert run_element(run, "measure", 1) == 0
    with pytest.raises(QuintetError, match="12 of 24 blocks missing") as refused:
        merge_run(run, "measure", Request(), lambda line: None)
    assert refused.value.code == 3
    with pytest.raises(SystemExit) as ended:
        run_command(verify_command, [str(run.path)])
    assert ended.value.code == 1
    assert "s000000.conflict-77.h5 differs in container" in capsys.readouterr().out


def test_merges_at_once_give_one_whole_result(quiet: dict[str, str], tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "measure")
    finish(run, "measure")

    def merge() -> int:
        try:
            merge_run(run, "measure", Request(), lambda line: None)
        except QuintetError as error:
            return int(error.code)
        return 0

    codes = set()
    for _ in range(3):
        merges = [forked(merge) for _ in range(4)]
        codes |= {waited(pid) for pid in merges}
        assert read_card(run.merged("measure")).pd == quiet["measure"]
        run.merged("measure").unlink()
    assert 0 in codes and codes <= {0, 69}
    assert merged_payload(run, "measure") == quiet["measure"]
    assert not temporaries(run)


def test_merging_while_elements_publish_counts_whole_partials_only(quiet: dict[str, str], tmp_path: Path) -> None:
    run = planned(tmp_path / "run", "measure", shards=8)
    with staged(pause=0.005):
        array = [element(run, "measure", shard) for shard in range(8)]
        present = []
        for _ in range(12):
            merge_run(run, "measure", Request(allow_missing=True), lambda line: None)
            present.append(read_meta(run.merged("measure"))["blocks_present"])
        assert [waited(pid) for pid in array] == [0] * 8
    assert present == sorted(present)
    assert merged_payload(run, "measure") == quiet["measure"]
    assert len({payload_of(run, "measure", shard) for shard in range(8)}) == 8


def test_a_checkpoint_that_a_rival_replaces_while_it_is_read_is_taken_up_whole(
    quiet: dict[str, str], tmp_path: Path
) -> None:
    run = planned(tmp_path / "run", "measure", checkpoint_s=0.0)
    kept, copies = run.shard_file("measure", 0).with_name("s000000.ckpt.h5"), {}
    with staged(pause=0.01):
        for least in (2, 5):
            pid = element(run, "measure", 0)
            while not kept.exists() or read_card(kept).hi < least:
                continue
            kill(pid)
            copies[least] = kept.read_bytes()
    kept.write_bytes(copies[2])

    def overtaken() -> None:
        from quintet.shard import element as module

        true = module.file_digest

        def reading(path: Path) -> tuple[Card, str]:
            found = true(path)
            replace_file(path, copies[5])
            return found

        module.file_digest = reading

    log = tmp_path / "log"
    assert run_element(run, "measure", 0, overtaken, log=log) == 0, log.read_text()
    assert not (run.path / "quarantine").exists()
    finish(run, "measure")
    assert merged_payload(run, "measure") == quiet["measure"]
