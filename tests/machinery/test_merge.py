"""Merging: the result is a function of the units alone, whatever was killed, missing, damaged or done twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from quintet.merge.__main__ import merge as merge_command
from quintet.merge.crate import write_crate
from quintet.merge.draft import Draft
from quintet.merge.intake import Reader
from quintet.merge.lock import merge_lock
from quintet.merge.phase import Request, merge_run
from quintet.merge.reduce import Sum
from quintet.merge.report import render
from quintet.shard import scan
from quintet.shard.commands.base import run_command
from quintet.shard.context import Context
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.partial import Card, build, file_digest, read_arrays, read_card, read_meta, stored_payload_digest
from quintet.shard.plan import write_phase_plan
from quintet.shard.progress import progress_of
from quintet.shard.run import Run
from quintet.shard.scheduler import QueueView

from . import synthetic
from .synthetic import Config, planned, publish_shards, publish_trial

FAST, FULL, PARTLY = Request(), Request(depth="full"), Request(allow_missing=True)


def merged(run: Run, phase: str = "measure", request: Request = FAST) -> list[str]:
    """Merge and return what was said."""
    said: list[str] = []
    merge_run(run, phase, request, said.append)
    return said


def refusal(run: Run, phase: str | None, request: Request = FAST) -> QuintetError:
    with pytest.raises(QuintetError) as caught:
        merge_run(run, phase, request, lambda line: None)
    return caught.value


def in_child(action: Callable[[], None]) -> int:
    """Start a forked child that ends with the exit code of `action`; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        action()
        code = 0
    except QuintetError as error:
        code = int(error.code)
    finally:
        os._exit(code)


def expected_payload(config: Config) -> dict[str, np.ndarray]:
    """Return the payload of `measure` by plain concatenation and addition."""
    blocks = [
        synthetic.block_of("measure", range(start, min(start + config.block_size, config.units)))
        for start in range(0, config.units, config.block_size)
    ]
    arrays = {
        name: np.concatenate([block[name] for block in blocks]) for name in ("rows/score", "rows/label", "rows/path")
    }
    lengths = np.concatenate([block["rows/path_length"] for block in blocks])
    arrays["rows/path_offsets"] = np.concatenate([[0], np.cumsum(lengths)])
    arrays["counts/kinds"] = sum(block["counts/kinds"] for block in blocks)
    ends = np.stack([block["extrema/score"] for block in blocks])
    arrays["extrema/score"] = np.stack([ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)])
    return arrays


def test_merge_holds_every_unit_once_and_in_order(tmp_path: Path) -> None:
    config = Config(units=41)
    run = planned(tmp_path / "run", 6, config)
    publish_shards(run, "measure", random.Random(1).sample(range(6), 6))
    merged(run)
    result = read_arrays(run.merged("measure"))
    for name, array in expected_payload(config).items():
        np.testing.assert_array_equal(result[name], array, err_msg=name)
    assert result["stats"].shape == (1, 2, 3, 5)
    assert result["nodes"].tolist() == [[5, 0]]
    card, digest = file_digest(run.merged("measure"))
    assert (card.b2, card.lo, card.hi, card.units, card.complete) == (digest, 0, 21, 41, True)
    content = run.merged("measure").read_bytes()
    assert content[card.off : card.off + card.n] == result["stats"].tobytes()
    with h5py.File(run.merged("measure")) as file:
        assert stored_payload_digest(file) == card.pd
    assert json.loads((run.path / "merged" / "measure.done").read_text())["payload"] == card.pd


@pytest.mark.parametrize("units", [1, 37, 128])
def test_payload_does_not_depend_on_the_number_of_shards_or_their_order(tmp_path: Path, units: int) -> None:
    digests = set()
    for shards in (1, 2, 3, 7, 64, (units + 1) // 2):
        run = planned(tmp_path / f"run-{shards}", shards, Config(units=units))
        publish_shards(run, "measure", random.Random(shards).sample(range(shards), shards))
        publish_shards(run, "measure", range(min(3, shards)))  # duplicates
        merged(run, request=FULL if shards == 3 else FAST)
        digests.add(read_card(run.merged("measure")).pd)
        shutil.rmtree(run.path)
    assert len(digests) == 1


def test_a_phase_without_units_has_an_empty_result(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 1, Config(units=0))
    merged(run)
    result = read_arrays(run.merged("measure"))
    assert result["rows/score"].shape == (0,)
    assert result["rows/path_offsets"].tolist() == [0]
    assert not result["stats"].any()


def test_an_indexed_dataset_stays_in_the_partials_and_is_found_again(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 4)
    publish_shards(run, "measure")
    merged(run)
    with h5py.File(run.merged("measure")) as file:
        digests, places = file["index/rows/frames"][()], file["meta/index/rows/frames"][()]
        assert "rows/frames" not in file
    assert digests.shape == (40, 16)
    for unit in range(0, 40, 2):
        block = synthetic.block_of("measure", range(unit, unit + 2))
        shard, first, rows = places[unit].tolist()
        with h5py.File(run.shard_file("measure", shard)) as partial:
            found = partial["rows/frames"][first : first + rows]
        np.testing.assert_array_equal(found, block["rows/frames"][: block["rows/frames_length"][0]])


def test_an_incomplete_phase_ends_3_with_reasons_and_the_command_that_heals(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 5)
    publish_shards(run, "measure", [0, 2, 3])
    path = run.shard_file("measure", 3)
    path.write_bytes(path.read_bytes()[:700])
    said: list[str] = []
    with pytest.raises(QuintetError) as caught:
        merge_run(run, "measure", FAST, said.append)
    assert caught.value.code is Exit.INCOMPLETE
    assert f"bin/submit {run.path} --missing-only" in str(caught.value)
    assert f"bin/local {run.path}" in str(caught.value)
    assert "12 of 20 blocks missing" in str(caught.value)
    listing = (run.path / "missing.txt").read_text()
    assert re.findall(r"^s0+(\d) ([\w-]+)", listing, re.M) == [("1", "absent"), ("3", "bad-digest"), ("4", "absent")]
    assert any("s000003 bad-digest" in line for line in said)
    assert not run.merged("measure").exists()
    path.unlink()
    publish_shards(run, "measure")
    merged(run)
    assert not (run.path / "missing.txt").exists()


def test_merging_all_phases_stops_at_the_first_incomplete_one(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 2)
    publish_shards(run, "measure")
    assert refusal(run, None).code is Exit.INCOMPLETE
    assert run.merged("measure").is_file()
    assert not run.merged("walk").exists()


def test_allow_missing_leaves_units_out_and_names_those_present(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 5)
    publish_shards(run, "measure", [0, 3])
    merged(run, request=PARTLY)
    result = read_arrays(run.merged("measure"))
    assert result["units"].tolist() == [*range(8), *range(24, 32)]
    assert len(result["rows/score"]) == 16
    assert result["stats"][0, 0, 0, 0] == 8 * 3
    meta = read_meta(run.merged("measure"))
    assert (meta["blocks_present"], meta["blocks"]) == (8, 20)
    assert not read_card(run.merged("measure")).complete
    assert refusal(run, "measure").code is Exit.INCOMPLETE
    publish_shards(run, "measure")
    merged(run)
    assert "units" not in read_arrays(run.merged("measure"))


def corrupted(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    elif how == "card":
        content[40] ^= 0xFF
    elif how == "empty":
        content = bytearray()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "link":
        elsewhere = path.with_suffix(".elsewhere")
        elsewhere.write_bytes(content)
        path.symlink_to(elsewhere)
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["flipped", "card", "empty", "folder", "link"])
def test_a_damaged_partial_is_missing(tmp_path: Path, how: str) -> None:
    run = planned(tmp_path / "run", 3)
    publish_shards(run, "measure")
    corrupted(run.shard_file("measure", 1), how)
    assert refusal(run, "measure").code is Exit.INCOMPLETE
    assert "s000001" in (run.path / "missing.txt").read_text()


def test_a_partial_of_another_shard_config_or_input_is_missing(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 4)
    publish_shards(run, "measure")
    shutil.copy(run.shard_file("measure", 0), run.shard_file("measure", 1))
    for shard, change in ((2, {"cfg": "0" * 16}), (3, {"inp": "0" * 16})):
        path = run.shard_file("measure", shard)
        card = Card(**{**vars(read_card(path)), **change})
        path.write_bytes(card.pack() + path.read_bytes()[512:])
    assert refusal(run, "measure").code is Exit.INCOMPLETE
    reasons = re.findall(r"^s\d+ ([\w-]+)", (run.path / "missing.txt").read_text(), re.M)
    assert reasons == ["wrong-range", "wrong-config", "wrong-input"]


def test_a_conflict_is_not_merged(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 2)
    publish_shards(run, "measure")
    path = run.shard_file("measure", 1)
    shutil.copy(path, path.with_name("s000001.conflict-77.h5"))
    assert refusal(run, "measure").code is Exit.INCOMPLETE
    assert "s000001 conflict" in (run.path / "missing.txt").read_text()


def resealed(path: Path, change: Callable[[h5py.File], None], **card: int) -> None:
    """Change a partial's content and give it a card that fits its bytes again: what a hostile writer can do."""
    old, content = read_card(path), path.read_bytes()
    inner = path.with_suffix(".inner")
    inner.write_bytes(content[512:])
    with h5py.File(inner, "r+") as file:
        change(file)
    image = inner.read_bytes()
    inner.unlink()
    digest = hashlib.blake2b(image, digest_size=16).hexdigest()
    path.write_bytes(Card(**{**vars(old), "b2": digest, **card}).pack() + image)


def replaced(file: h5py.File, name: str, value: object) -> None:
    del file[name]
    file[name] = value


def behind_a_linked_group(file: h5py.File) -> None:
    file.move("rows", "other")
    file["rows"] = h5py.SoftLink("/other")


def as_a_group(file: h5py.File) -> None:
    del file["rows/score"]
    file.create_group("rows/score")


def huge(file: h5py.File) -> None:
    replaced(file, "rows/path_offsets", np.arange(15) << 40)
    del file["rows/path"]
    file.create_dataset("rows/path", (14 << 40, 2), "i4", chunks=(1, 2))


def lacking_a_dataset(file: h5py.File) -> None:
    del file["rows/path_offsets"]


HOSTILE: dict[str, Callable[[h5py.File], None]] = {
    "external link": lambda file: replaced(file, "rows/score", h5py.ExternalLink("/etc/passwd", "/x")),
    "soft link": lambda file: replaced(file, "rows/score", h5py.SoftLink("/rows/path")),
    "linked group": behind_a_linked_group,
    "other shape": lambda file: replaced(file, "rows/score", np.zeros(3)),
    "other dtype": lambda file: replaced(file, "rows/score", np.zeros(14, "f4")),
    "a group": as_a_group,
    "lacking": lacking_a_dataset,
    "falling offsets": lambda file: replaced(file, "rows/path_offsets", np.arange(15)[::-1]),
    "huge": huge,
}


@pytest.mark.parametrize("how", sorted(HOSTILE))
def test_a_hostile_partial_is_refused_with_its_name(tmp_path: Path, how: str) -> None:
    run = planned(tmp_path / "run", 3)
    publish_shards(run, "measure")
    resealed(run.shard_file("measure", 1), HOSTILE[how])
    error = refusal(run, "measure")
    assert error.code is Exit.INPUT
    assert "s000001.h5" in str(error)
    assert refusal(run, "measure", FULL).code is Exit.INCOMPLETE


@pytest.mark.parametrize("card", [{"off": 1 << 40}, {"off": 8}, {"n": 1 << 40}, {"n": 240}, {"n": 7}, {"off": -1}])
def test_a_card_that_points_outside_the_statistics_is_refused(tmp_path: Path, card: dict[str, int]) -> None:
    run = planned(tmp_path / "run", 3)
    publish_shards(run, "measure")
    resealed(run.shard_file("measure", 1), lambda file: None, **card)
    assert refusal(run, "measure").code is Exit.INPUT


def test_killed_merge_leaves_the_old_result_or_a_whole_new_one(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 20)
    publish_shards(run, "measure", range(19))
    merged(run, request=PARTLY)
    partly = read_card(run.merged("measure")).pd
    publish_shards(run, "measure")
    shutil.copytree(run.path, tmp_path / "whole")
    started = time.monotonic()
    os.waitpid(in_child(lambda: merge_run(Run(tmp_path / "whole"), "measure", FAST, lambda line: None)), 0)
    duration = time.monotonic() - started
    whole = read_card(Run(tmp_path / "whole").merged("measure")).pd
    instants, outcomes = random.Random(3), set()
    for _ in range(40):
        pid = in_child(lambda: merge_run(run, "measure", FAST, lambda line: None))
        time.sleep(instants.uniform(0, duration))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        card, digest = file_digest(run.merged("measure"))
        assert card.b2 == digest
        assert card.pd in {partly, whole}
        outcomes.add(card.pd)
        if card.pd == whole:
            shutil.rmtree(run.path / "merged")
            shutil.copytree(tmp_path / "whole" / "merged", run.path / "merged")
            (run.path / "merged" / "measure.h5").unlink()
            merged(run)
            assert read_card(run.merged("measure")).pd == whole
            (run.path / "merged" / "measure.done").unlink()
            publish_partly(run, partly)
    merged(run)
    assert read_card(run.merged("measure")).pd == whole
    assert not list((run.path / "partials").rglob("*.tmp"))


def publish_partly(run: Run, digest: str) -> None:
    """Make the incomplete result again, so that the next merge has work to do."""
    path = run.shard_file("measure", 19)
    content = path.read_bytes()
    path.unlink()
    merged(run, request=PARTLY)
    assert read_card(run.merged("measure")).pd == digest
    path.write_bytes(content)


def test_a_second_merge_ends_69_and_names_the_first(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 2)
    publish_shards(run, "measure")
    reader, writer = os.pipe()

    def hold() -> None:
        with merge_lock(run.path / "merged"):
            os.write(writer, b"x")
            time.sleep(60)

    pid = in_child(hold)
    os.read(reader, 1)
    error = refusal(run, "measure")
    assert error.code is Exit.UNAVAILABLE
    assert re.search(rf"host \S+ pid {pid} since 20\d\d-", str(error))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    merged(run)


def test_merging_while_shards_publish_sees_whole_partials_only(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 20)
    pid = in_child(lambda: publish_shards(run, "measure"))
    seen = []
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        merged(run, request=PARTLY)
        seen.append(read_meta(run.merged("measure"))["blocks_present"])
    assert seen == sorted(seen)
    merged(run)
    other = planned(tmp_path / "other", 3)
    publish_shards(other, "measure")
    merged(other)
    assert read_card(run.merged("measure")).pd == read_card(other.merged("measure")).pd


def test_a_merged_phase_costs_a_look_and_a_changed_partial_is_seen(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 3)
    publish_shards(run, "measure", range(2))
    merged(run, request=PARTLY)
    assert any("unchanged" in line for line in merged(run, request=PARTLY))
    publish_shards(run, "measure")
    assert not any("unchanged" in line for line in merged(run))
    before = run.merged("measure").stat().st_mtime_ns
    assert any("unchanged" in line for line in merged(run))
    assert run.merged("measure").stat().st_mtime_ns == before
    assert not any("unchanged" in line for line in merged(run, request=FULL))
    corrupted(run.merged("measure"), "flipped")
    assert not any("unchanged" in line for line in merged(run))


def test_a_search_keeps_all_trials_by_number_and_needs_n_complete_ones(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 1, Config(trials=3))
    publish_trial(run, 3)
    publish_trial(run, 1, failed=True)
    publish_trial(run, 0)
    error = refusal(run, "walk")
    assert error.code is Exit.INCOMPLETE
    assert "1 of 3 blocks missing" in str(error)
    publish_trial(run, 2)
    merged(run, "walk")
    result = read_arrays(run.merged("walk"))
    assert result["rows/number"].tolist() == [0, 1, 2, 3]
    assert result["rows/failed"].tolist() == [0, 1, 0, 0]
    offsets = result["rows/parameters_offsets"]
    assert result["rows/parameters"][offsets[3] :].tobytes() == b'{"speed":3}'
    before = read_card(run.merged("walk")).pd
    publish_trial(run, 4)  # of a search that was once asked for more
    merged(run, "walk", FULL)
    assert read_card(run.merged("walk")).pd == before


def test_late_units_are_counted_by_the_merge_before_them(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 3, late_shards=4)
    publish_shards(run, "measure")
    error = refusal(run, "follow")
    assert error.code is Exit.INPUT
    assert "merge phase measure first" in str(error)
    merged(run)
    plan = run.plan("follow")
    assert plan.units == plan.blocks == synthetic.late_units(Context.of(run, "follow"))
    assert len(plan.shards) == 4
    assert (plan.shards[0][0], plan.shards[-1][1]) == (0, plan.blocks)
    publish_shards(run, "follow")
    merged(run, "follow")
    assert read_arrays(run.merged("follow"))["rows/square"].tolist() == [unit**2 for unit in range(plan.blocks)]


def test_units_are_not_counted_from_an_incomplete_result(tmp_path: Path) -> None:
    run = complete_run(tmp_path / "run", shards=4)
    merge_run(run, None, FAST, lambda line: None)
    planned_before, before = run.plan("follow"), read_card(run.merged("follow"))
    path = run.shard_file("measure", 2)
    kept = path.read_bytes()
    path.unlink()
    merge_run(run, None, PARTLY, lambda line: None)
    assert run.plan("follow") == planned_before
    path.write_bytes(kept)
    merge_run(run, None, FAST, lambda line: None)
    assert run.plan("follow") == planned_before
    assert read_card(run.merged("follow")).pd == before.pd


def test_a_phase_that_only_an_incomplete_result_could_count_ends_the_merge_with_3(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 4)
    publish_shards(run, "measure", range(3))
    for number in range(4):
        publish_trial(run, number)
    error = refusal(run, None, PARTLY)
    assert error.code is Exit.INCOMPLETE
    assert "phase follow: the incomplete phase measure counts its units; run: bin/submit" in str(error)
    assert not read_card(run.merged("measure")).complete
    assert run.plan("follow").units is None
    publish_shards(run, "measure", [3])
    merged(run)
    assert run.plan("follow").units == synthetic.late_units(Context.of(run, "follow"))


def complete_run(folder: Path, shards: int = 3) -> Run:
    run = planned(folder, shards)
    publish_shards(run, "measure")
    for number in range(4):
        publish_trial(run, number)
    merge_run(run, "measure", FAST, lambda line: None)
    publish_shards(run, "follow")
    return run


def test_the_last_phase_renders_and_a_failing_figure_keeps_the_results(tmp_path: Path) -> None:
    run = complete_run(tmp_path / "run")
    module, stamps = synthetic.register(), []

    def failing(*arguments: object) -> None:
        raise ZeroDivisionError("no trajectories\nin figure 3")

    module.render = failing  # type: ignore[attr-defined]
    error = refusal(run, None)
    assert error.code is Exit.RENDER
    assert "ZeroDivisionError: no trajectories in figure 3" in str(error)
    result = run.merged("follow").read_bytes()
    assert not (run.path / "merged" / "follow.done").exists()

    def render(context: Context, figures: Path, tables: Path, report: Path, stamp: str) -> None:
        stamps.append(stamp)
        with context.result("measure") as measure:
            (tables / "kinds.csv").write_text(",".join(map(str, measure["counts/kinds"])))

    module.render = render  # type: ignore[attr-defined]
    merge_run(run, None, FAST, lambda line: None)
    merge_run(run, None, FAST, lambda line: None)
    assert stamps == [""]  # the second time nothing had changed
    assert run.merged("follow").read_bytes() == result
    assert (run.path / "tables" / "kinds.csv").is_file()


def test_a_report_of_incomplete_results_says_so(tmp_path: Path) -> None:
    run = complete_run(tmp_path / "run", shards=5)
    for shard in (3, 4):
        run.shard_file("measure", shard).unlink()
    stamps: list[str] = []
    synthetic.register().render = lambda *arguments: stamps.append(arguments[-1])  # type: ignore[attr-defined]
    merge_run(run, None, PARTLY, lambda line: None)
    assert stamps == [f"INCOMPLETE 12 of 20 blocks (measure), 0 of {run.plan('follow').blocks} blocks (follow)"]


def test_a_report_of_results_that_a_longer_plan_made_stale_says_so(tmp_path: Path) -> None:
    run = complete_run(tmp_path / "run")
    merge_run(run, None, FAST, lambda line: None)
    stamps: list[str] = []
    synthetic.register().render = lambda *arguments: stamps.append(arguments[-1])  # type: ignore[attr-defined]
    walk = run.plan("walk")
    write_phase_plan(run, replace(walk, units=6, blocks=6, shards=((0, 6),) * 2))
    merge_run(run, "follow", FULL, lambda line: None)
    assert not progress_of(run, run.plan("walk"), QueueView()).merged
    write_phase_plan(run, walk)
    run.merged("measure").write_bytes(measured_otherwise(run))
    render(Context.of(run, "follow"))
    assert stamps == ["INCOMPLETE 4 of 6 blocks (walk)", "INCOMPLETE made from earlier results (follow)"]


def measured_otherwise(run: Run) -> bytes:
    """Return a result of the measurement with another payload."""
    path = run.merged("measure")
    card, arrays = read_card(path), read_arrays(path)
    content, _ = build(card, arrays | {"rows/score": arrays["rows/score"] + 1}, read_meta(path))
    return content


def test_what_the_study_derives_stands_in_the_payload(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 2)
    publish_shards(run, "measure")
    merged(run)
    plain = read_card(run.merged("measure")).pd
    synthetic.register().reduce = lambda context, file: {"derived/mean": file["rows/score"][()].mean()}  # type: ignore[attr-defined]
    merged(run, request=FULL)
    arrays = read_arrays(run.merged("measure"))
    assert arrays["derived/mean"] == arrays["rows/score"].mean()
    assert read_card(run.merged("measure")).pd != plain


def test_provenance_counts_hosts_and_warns_of_mixed_code(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 4)
    publish_shards(run, "measure", [0, 1], hostname="n1")
    publish_shards(run, "measure", [2], hostname="n2")
    publish_shards(run, "measure", [3], hostname="n2", packages_sha256="d" * 64)
    said = merged(run)
    meta = read_meta(run.merged("measure"))
    assert meta["origins"]["hostname"] == {"n1": 2, "n2": 2}
    assert meta["partials"] == 4
    assert meta["config"]["units"] == 40
    assert len(meta["warnings"]) == 1
    assert "2 different package list digests" in meta["warnings"][0]
    assert any("warning" in line for line in said)
    pairs = [(shard, read_card(run.shard_file("measure", shard)).pd) for shard in range(4)]
    digest = hashlib.sha256("".join(f"{shard}={payload}\0" for shard, payload in pairs).encode()).hexdigest()
    assert meta["list_digest"] == digest


def test_provenance_is_found_in_the_bytes_that_were_read(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 1)
    publish_shards(run, "measure", [0])
    path, reader = run.shard_file("measure", 0), Reader()
    assert reader.provenance(reader.read(path), tmp_path / "not opened again") == read_meta(path)


def test_large_rows_are_written_in_chunks_with_the_digest_of_the_whole(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 9, (300_000, 5))
    draft = Draft(tmp_path)
    column = draft.column("rows/x", "i8", (5,))
    for piece in np.array_split(rows, 77):
        column.append(piece)
    card = draft.publish(tmp_path / "result.out", Card("s", "p", 0, 0, 1, "", ""), {})
    with h5py.File(tmp_path / "result.out") as file:
        np.testing.assert_array_equal(file["rows/x"][()], rows)
        assert stored_payload_digest(file) == card.pd
    assert file_digest(tmp_path / "result.out")[1] == card.b2


def test_sums_are_exact_and_one_beyond_63_bits_is_refused() -> None:
    total = Sum("counts/x", (2,))
    for value in [2**62, 2**62, -(2**62), -(2**62) + 3, 5]:
        total.add(np.array([value, 1], dtype="i8"))
    assert total.total().tolist() == [8, 5]
    total.add(np.array([2**63 - 1, 0], dtype="i8"))
    with pytest.raises(QuintetError, match="counts/x: a sum of 9223372036854775815 passes 63 bits") as caught:
        total.total()
    assert caught.value.code is Exit.INPUT
    lowest = Sum("counts/x", ())
    lowest.add(np.array(-(2**63), dtype="i8"))
    assert lowest.total() == -(2**63)


def test_crate_names_every_file_by_its_sha256(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 2)
    publish_shards(run, "measure")
    merged(run)
    graph = {item["@id"]: item for item in json.loads(write_crate(run).read_text())["@graph"]}
    assert graph["#run"]["@type"] == "CreateAction"
    result = graph["merged/measure.h5"]
    assert result["sha256"] == hashlib.sha256(run.merged("measure").read_bytes()).hexdigest()
    assert {"@id": "plan/measure.json"} in graph["#run"]["object"]
    assert "merged/.lock" not in graph


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["RUN", "measure"], 0, ""),
        (["RUN"], 3, "phase walk: 4 of 4 blocks missing"),
        (["RUN", "nothing"], 2, "PHASE: found 'nothing'; RUN has measure, walk, follow"),
        (["RUN", "--verify", "half"], 2, "half"),
        (["RUN/nowhere"], 2, "not a planned run"),
    ],
)
def test_the_command_ends_with_one_line_and_the_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, word: str
) -> None:
    run = planned(tmp_path / "run", 2)
    publish_shards(run, "measure")
    given = [argument.replace("RUN", str(run.path)) for argument in arguments]
    mask = os.umask(0o022)
    try:
        with pytest.raises(SystemExit) as ended:
            run_command(merge_command, given)
    finally:
        os.umask(mask)
    assert ended.value.code == code
    error = capsys.readouterr().err.replace(str(run.path), "RUN")
    assert word in error
    assert error.count("\n") == (code != 0)


def test_scan_and_merge_agree_on_what_is_missing(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", 12)
    publish_shards(run, "measure", range(0, 12, 2))
    corrupted(run.shard_file("measure", 4), "flipped")
    context = Context.of(run, "measure")
    inputs = read_card(run.shard_file("measure", 0)).inp
    reasons = {found.path.stem: found.reason for found in scan.scan_map(run, context.plan, inputs) if found.reason}
    assert refusal(run, "measure").code is Exit.INCOMPLETE
    listed = re.findall(r"^(s\d+) ([\w-]+)", (run.path / "missing.txt").read_text(), re.M)
    assert dict(listed) == reasons
