"""Each reason for which a partial does not count is found and named; existence alone never counts."""

from __future__ import annotations

import random
from pathlib import Path

import h5py
import numpy as np
import pytest
from quintet.shard.commands.base import run_command
from quintet.shard.commands.missing import command
from quintet.shard.context import Context
from quintet.shard.missing import missing_of, ranges
from quintet.shard.partial import CARD_BYTES
from quintet.shard.run import Run
from quintet.shard.verify import verify_phase

from .grid_study import SHARDS, content_of, planned, publish_shards, tell_trials, write_merged


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = planned(tmp_path / "a run", ("simulate", "later"))
    publish_shards(run, "simulate", range(SHARDS))
    return run


def code_of(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        run_command(command, [str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def reason_of(run: Run, shard: int) -> str:
    found = missing_of(run, run.plan("simulate"))
    return next((reason for reason, numbers in found.reasons.items() if shard in numbers), "")


def full_reason(run: Run, shard: int) -> str:
    verdict = verify_phase(run, Context.of(run, "simulate"))
    name = run.shard_file("simulate", shard).name
    return next((item.reason for item in verdict.bad if item.name == name), "")


def test_complete_phase_is_exit_0_and_prints_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(run.path, "simulate") == 0
    assert capsys.readouterr().out == ""


def test_numbers_go_to_stdout_as_ranges_and_reasons_to_stderr(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for shard in (0, 2, 3):
        run.shard_file("simulate", shard).unlink()
    assert code_of(run.path, "simulate") == 1
    out, err = capsys.readouterr()
    assert out == "0,2-3\n"
    assert "3 of 4 shards missing" in err and "absent" in err
    assert code_of(run.path, "simulate", "--format", "list") == 1
    assert capsys.readouterr().out == "0\n2\n3\n"


def test_without_a_phase_all_phases_are_named_and_a_later_one_waits(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.shard_file("simulate", 1).unlink()
    assert code_of(run.path) == 1
    out, err = capsys.readouterr()
    assert out == "simulate 1\nlater 0-3\n"
    assert "waits" in err and "for the result of simulate" in err


def test_unknown_phase_is_exit_2(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(run.path, "nonsense") == 2
    assert "simulate, later" in capsys.readouterr().err


def test_truncated_at_100_random_lengths_never_counts(run: Run) -> None:
    path = run.shard_file("simulate", 1)
    whole = path.read_bytes()
    rng = random.Random(1)
    card_line = whole.index(b"\n")
    for _ in range(100):
        length = rng.randrange(len(whole))
        path.write_bytes(whole[:length])
        # A file cut inside its card has no card; one cut behind it has another digest.
        assert reason_of(run, 1) == ("bad-digest" if length >= card_line else "truncated")
    path.write_bytes(whole)
    assert reason_of(run, 1) == ""


def test_one_flipped_byte_anywhere_never_counts(run: Run) -> None:
    path = run.shard_file("simulate", 2)
    whole = path.read_bytes()
    rng = random.Random(2)
    card_line = whole.index(b"\n")
    card = [rng.randrange(card_line) for _ in range(40)]
    behind = [
        CARD_BYTES + 4,
        CARD_BYTES + 60,
        len(whole) - 1,
        *(rng.randrange(CARD_BYTES, len(whole)) for _ in range(60)),
    ]
    for position in card + behind:
        changed = bytearray(whole)
        changed[position] ^= 1 << rng.randrange(7)
        path.write_bytes(changed)
        reason = reason_of(run, 2) or full_reason(run, 2)
        assert reason, f"byte {position} ({whole[position : position + 1]!r}) was changed and nobody saw it"
        if position >= CARD_BYTES:
            assert reason == "bad-digest"


def test_zero_length_file_is_truncated(run: Run) -> None:
    run.shard_file("simulate", 0).write_bytes(b"")
    assert reason_of(run, 0) == "truncated"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cfg": "0" * 16}, "wrong-config"),
        ({"study": "other"}, "wrong-config"),
        ({"inp": "f" * 16}, "wrong-input"),
        ({"lo": 0, "hi": 1}, "wrong-range"),
        ({"units": 1}, "wrong-range"),
        ({"complete": False}, "wrong-range"),
        ({"schema": 99}, "wrong-schema"),
    ],
)
def test_card_of_something_else_is_named(run: Run, changes: dict[str, object], reason: str) -> None:
    content, _ = content_of(run, run.plan("simulate"), 1, **changes)
    run.shard_file("simulate", 1).write_bytes(content)
    assert reason_of(run, 1) == reason


def test_swapped_names_are_both_wrong_range(run: Run) -> None:
    one, other = run.shard_file("simulate", 0), run.shard_file("simulate", 3)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert reason_of(run, 0) == reason_of(run, 3) == "wrong-range"


def test_link_and_folder_of_that_name_are_unreadable(run: Run, tmp_path: Path) -> None:
    path = run.shard_file("simulate", 0)
    path.rename(tmp_path / "elsewhere.h5")
    path.symlink_to(tmp_path / "elsewhere.h5")
    folder = run.shard_file("simulate", 1)
    folder.unlink()
    folder.mkdir()
    assert reason_of(run, 0) == reason_of(run, 1) == "unreadable"


def test_two_payloads_of_one_shard_are_a_conflict(run: Run) -> None:
    path = run.shard_file("simulate", 2)
    path.with_name(f"{path.stem}.conflict-77.h5").write_bytes(path.read_bytes())
    assert reason_of(run, 2) == "conflict"


def forged(run: Run, shard: int, change: object) -> None:
    """Publish a file with a hostile HDF5 content and a card whose digest of the bytes is right."""
    import hashlib
    from dataclasses import replace

    from quintet.shard.partial import read_card

    path = run.shard_file("simulate", shard)
    with h5py.File(path, "r+", locking=False) as file:
        change(file)  # type: ignore[operator]
    whole = path.read_bytes()
    card = replace(read_card(path), b2=hashlib.blake2b(whole[CARD_BYTES:], digest_size=16).hexdigest())
    path.write_bytes(card.pack() + whole[CARD_BYTES:])


def external_link(file: h5py.File) -> None:
    del file["rows/x"]
    file["rows/x"] = h5py.ExternalLink("/etc/hostname", "/x")


def soft_link(file: h5py.File) -> None:
    del file["rows/x"]
    file["rows/x"] = h5py.SoftLink("/counts/sign")


def huge_dimensions(file: h5py.File) -> None:
    del file["rows/x"]
    file.create_dataset("rows/x", shape=(1 << 40, 1 << 20), chunks=(1, 1), dtype="f8")


def other_type(file: h5py.File) -> None:
    values = file["rows/x"][()]
    del file["rows/x"]
    file["rows/x"] = values.astype("f4")


def negative_m2(file: h5py.File) -> None:
    file["stats"][:, :, 2] = -1.0


def undeclared(file: h5py.File) -> None:
    file["rows/extra"] = np.zeros(3)


def lost(file: h5py.File) -> None:
    del file["counts/sign"]


@pytest.mark.parametrize(
    "change",
    [external_link, soft_link, huge_dimensions, other_type, negative_m2, undeclared, lost],
    ids=lambda f: f.__name__,
)
def test_hostile_content_behind_a_right_digest_is_found_by_the_full_check(run: Run, change: object) -> None:
    forged(run, 1, change)
    assert full_reason(run, 1) == "unreadable"


def test_hostile_content_without_a_new_card_is_a_bad_digest(run: Run) -> None:
    with h5py.File(run.shard_file("simulate", 1), "r+", locking=False) as file:
        external_link(file)
    assert reason_of(run, 1) == "bad-digest"


def test_partial_made_from_an_older_result_is_wrong_input(run: Run) -> None:
    write_merged(run, "simulate")
    publish_shards(run, "later", range(4))
    assert not missing_of(run, run.plan("later")).numbers
    content, _ = content_of(run, run.plan("simulate"), 0)
    run.merged("simulate").write_bytes(content)
    assert set(missing_of(run, run.plan("later")).reasons) == {"wrong-input"}


def test_pull_phase_lacks_trials_and_names_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = planned(tmp_path / "run", ("search",))
    assert code_of(run.path, "search") == 1
    assert capsys.readouterr().out == "0-3\n"
    tell_trials(run, 4)  # one of them is a failure row
    assert code_of(run.path, "search") == 1
    out, err = capsys.readouterr()
    assert out == "0-1\n" and "2 trials missing" in err
    tell_trials(run, 2)
    assert code_of(run.path, "search") == 0


def test_ranges_join_neighbours() -> None:
    assert ranges([3, 7, 8, 9]) == "3,7-9"
    assert ranges([5, 4, 0]) == "0,4-5"
    assert ranges([]) == ""
