"""Whatever happened to a partial: `missing` names it, no merge takes it, and setting it aside heals the run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from quintet.merge.phase import Request, merge_run
from quintet.shard.commands.base import run_command
from quintet.shard.commands.verify import command as verify_command
from quintet.shard.context import Context
from quintet.shard.errors import QuintetError
from quintet.shard.missing import missing_of
from quintet.shard.partial import CARD_BYTES, Card, build, read_arrays, read_card
from quintet.shard.run import Run
from quintet.shard.scan import examine, scan_map, scan_trials
from quintet.shard.verify import verify_phase
from quintet.slurm.submission import Wishes, submit

from ..slurm.test_submission import Desk
from .elements import (
    SHARDS,
    element,
    finish,
    forked,
    kill,
    merged_payload,
    planned,
    quiet_payload,
    run_element,
    staged,
    waited,
)

INCOMPLETE, REFUSED = 3, {3, 65}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose elements have all ended well."""
    run = planned(tmp_path_factory.mktemp("whole") / "run", "measure", "search")
    finish(run, "measure")
    finish(run, "search")
    return run


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Payloads of runs that nothing happened to."""
    folder = tmp_path_factory.mktemp("quiet")
    return {phase: quiet_payload(folder / phase, phase) for phase in ("measure", "search")}


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Run:
    shutil.copytree(whole.path, tmp_path / "run")
    return Run(tmp_path / "run")


def resealed(path: Path, change: Callable[[h5py.File], None], **card: object) -> None:
    """Change a partial's content and give it a card that fits its bytes again: what a hostile writer can do."""
    with h5py.File(path, "r+", locking=False) as file:
        change(file)
    content = path.read_bytes()[CARD_BYTES:]
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    path.write_bytes(replace(read_card(path), b2=digest, **card).pack() + content)


def other_card(path: Path, **changes: object) -> None:
    path.write_bytes(replace(read_card(path), **changes).pack() + path.read_bytes()[CARD_BYTES:])


def without_card(path: Path, line: bytes) -> None:
    path.write_bytes(line.ljust(CARD_BYTES, b"\n") + path.read_bytes()[CARD_BYTES:])


def flipped(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def replaced_by(path: Path, make: Callable[[Path], object]) -> None:
    path.rename(path.with_name("elsewhere"))
    make(path)


def as_fields(path: Path, **changes: object) -> None:
    without_card(path, json.dumps({**vars(read_card(path)), **changes}).encode()[:CARD_BYTES])


def swapped(path: Path) -> None:
    other = path.with_name("s000000.h5")
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero length": (lambda path: path.write_bytes(b""), "truncated"),
    "cut in the card": (lambda path: os.truncate(path, 40), "truncated"),
    "cut behind the card": (lambda path: os.truncate(path, CARD_BYTES), "bad-digest"),
    "cut by one byte": (lambda path: os.truncate(path, path.stat().st_size - 1), "bad-digest"),
    "longer by one byte": (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "bad-digest"),
    "flipped in the magic": (lambda path: flipped(path, path.read_bytes().index(b"QUINTET1")), "truncated"),
    "flipped in the superblock": (lambda path: flipped(path, CARD_BYTES + 9), "bad-digest"),
    "flipped in the payload": (lambda path: flipped(path, read_card(path).off + 3), "bad-digest"),
    "flipped at the end": (lambda path: flipped(path, path.stat().st_size - 1), "bad-digest"),
    "text": (lambda path: path.write_text("hello\n" * 200), "truncated"),
    "an HDF5 file without a card": (lambda path: path.write_bytes(path.read_bytes()[CARD_BYTES:]), "truncated"),
    "deep JSON": (lambda path: without_card(path, b"[" * 511), "truncated"),
    "a number of 500 digits": (lambda path: without_card(path, b'{"magic":"QUINTET1","lo":' + b"9" * 480), "truncated"),
    "a float for a number": (lambda path: as_fields(path, lo=12.0), "truncated"),
    "a truth for a number": (lambda path: as_fields(path, shard=True), "truncated"),
    "another config": (lambda path: other_card(path, cfg="0" * 16), "wrong-config"),
    "another study": (lambda path: other_card(path, study="another"), "wrong-config"),
    "another phase": (lambda path: other_card(path, phase="search"), "wrong-config"),
    "other inputs": (lambda path: other_card(path, inp="0" * 16), "wrong-input"),
    "another schema": (lambda path: as_fields(path, schema=2), "wrong-schema"),
    "other blocks": (lambda path: other_card(path, lo=11), "wrong-range"),
    "negative blocks": (lambda path: other_card(path, lo=-(1 << 62)), "wrong-range"),
    "other units": (lambda path: other_card(path, units=11), "wrong-range"),
    "not complete": (lambda path: other_card(path, complete=False), "wrong-range"),
    "swapped names": (swapped, "wrong-range"),
    "a link": (lambda path: replaced_by(path, lambda name: name.symlink_to("elsewhere")), "unreadable"),
    "a dangling link": (lambda path: replaced_by(path, lambda name: name.symlink_to("nowhere")), "unreadable"),
    "a folder": (lambda path: replaced_by(path, Path.mkdir), "unreadable"),
    "a pipe": (lambda path: replaced_by(path, os.mkfifo), "truncated"),
    "a conflict": (lambda path: shutil.copy(path, path.with_name("s000001.conflict-8.h5")), "conflict"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_named_refused_and_healed(run: Run, quiet: dict[str, str], how: str) -> None:
    damage, reason = DAMAGES[how]
    damage(run.shard_file("measure", 1))
    reasons = missing_of(run, run.plan("measure")).reasons
    assert 1 in reasons[reason], reasons
    with pytest.raises(QuintetError) as refused:
        merge_run(run, "measure", Request(), lambda line: None)
    assert refused.value.code == INCOMPLETE
    assert f"s000001 {reason}" in (run.path / "missing.txt").read_text()
    verdict = verify_phase(run, Context.of(run, "measure"), quarantine=True)
    assert any(item.moved for item in verdict.bad)
    healed(run, quiet)


def healed(run: Run, quiet: dict[str, str]) -> None:
    """Submit what is missing, run exactly that, and hold the result against that of a quiet run."""
    lacking = missing_of(run, run.plan("measure"))
    assert set(lacking.reasons) == {"absent"}
    assert not verify_phase(run, Context.of(run, "measure")).bad
    submit(run, Desk(), Wishes(phase="measure", missing_only=True), lambda line: None)
    shards = [int(line) for line in (run.path / "slurm" / "measure-1.map").read_text().split()]
    assert tuple(shards) == lacking.numbers
    for shard in shards:
        assert run_element(run, "measure", shard) == 0
    assert merged_payload(run, "measure") == quiet["measure"]


def replaced(file: h5py.File, name: str, value: object) -> None:
    del file[name]
    file[name] = value


def external_storage(file: h5py.File) -> None:
    del file["rows/x"]
    file.create_dataset("rows/x", (12, 2), "f8", external=[("/etc/passwd", 0, 192)])


def virtual(file: h5py.File) -> None:
    del file["rows/x"]
    layout = h5py.VirtualLayout((12, 2), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (12, 2))
    file.create_virtual_dataset("rows/x", layout)


def deep(file: h5py.File) -> None:
    group = file["rows"]
    for _ in range(200):
        group = group.create_group("d")


def loop(file: h5py.File) -> None:
    file["rows/again"] = file["rows"]


def objects(file: h5py.File) -> None:
    replaced(file, "rows/x", np.array([["a", "b"]] * 12, dtype=h5py.string_dtype()))


def references(file: h5py.File) -> None:
    del file["rows/x"]
    file.create_dataset("rows/x", data=np.array([[file["rows"].ref] * 2] * 12, dtype=h5py.ref_dtype))


def huge(file: h5py.File) -> None:
    del file["rows/x"]
    file.create_dataset("rows/x", (1 << 40, 2), "f8", chunks=(1, 2))


def negative_count(file: h5py.File) -> None:
    file["stats"][:, :, 0] = -1.0


HOSTILE: dict[str, Callable[[h5py.File], object]] = {
    "external link": lambda file: replaced(file, "rows/x", h5py.ExternalLink("/etc/passwd", "/x")),
    "soft link out of the group": lambda file: replaced(file, "rows/x", h5py.SoftLink("/stats")),
    "link to itself": lambda file: replaced(file, "rows/x", h5py.SoftLink("/rows/x")),
    "external storage": external_storage,
    "virtual dataset": virtual,
    "deep groups": deep,
    "a group within itself": loop,
    "objects": objects,
    "references": references,
    "huge dimensions": huge,
    "other dtype": lambda file: replaced(file, "rows/x", np.zeros((12, 2), "c16")),
    "a number for an array": lambda file: replaced(file, "rows/x", 3.0),
    "nothing at all": lambda file: [file.pop(name) for name in list(file)],
    "no provenance": lambda file: file.pop("meta"),
    "negative count": negative_count,
    "infinite offsets": lambda file: replaced(file, "rows/walk_offsets", np.full(13, 1 << 62)),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_content_behind_a_fitting_card_is_refused_and_healed(run: Run, quiet: dict[str, str], how: str) -> None:
    resealed(run.shard_file("measure", 1), HOSTILE[how])
    verdict = verify_phase(run, Context.of(run, "measure"), quarantine=True)
    if how == "no provenance":
        return  # what /meta says decides nothing
    assert [(item.name, item.reason) for item in verdict.bad] == [("s000001.h5", "unreadable")]
    healed(run, quiet)


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_content_never_reaches_a_result(run: Run, quiet: dict[str, str], how: str) -> None:
    resealed(run.shard_file("measure", 1), HOSTILE[how])
    for depth in ("fast", "full"):
        try:
            merge_run(run, "measure", Request(depth=depth), lambda line: None)  # type: ignore[arg-type]
        except QuintetError as error:
            assert error.code in REFUSED
            assert "\n" not in str(error)
        else:
            # the numbers that count are read by the card's offset, whose bytes are the digest's
            assert depth == "fast" or how == "no provenance"


@pytest.mark.parametrize("lengths", [15, pytest.param(100, marks=pytest.mark.chaos)])
def test_cut_at_random_lengths_no_partial_counts(run: Run, lengths: int) -> None:
    path, dice = run.shard_file("measure", 1), random.Random(lengths)
    content, plan = path.read_bytes(), run.plan("measure")
    for _ in range(lengths):
        path.write_bytes(content[: dice.randrange(len(content))])
        assert missing_of(run, plan).numbers == (1,)
        with pytest.raises(QuintetError) as refused:
            merge_run(run, "measure", Request(), lambda line: None)
        assert refused.value.code == INCOMPLETE


@pytest.mark.parametrize("flips", [40, pytest.param(1500, marks=pytest.mark.chaos)])
def test_random_bytes_behind_a_fitting_card_crash_nobody(run: Run, flips: int) -> None:
    path, dice, plan = run.shard_file("measure", 1), random.Random(flips), run.plan("measure")
    content, card = path.read_bytes(), read_card(path)

    def look() -> int:
        context = Context.of(run, "measure")
        for _ in range(flips):
            changed = bytearray(content)
            for _ in range(dice.choice([1, 1, 2, 20])):
                changed[dice.randrange(CARD_BYTES, len(changed))] = dice.randrange(256)
            digest = hashlib.blake2b(changed[CARD_BYTES:], digest_size=16).hexdigest()
            path.write_bytes(replace(card, b2=digest).pack() + changed[CARD_BYTES:])
            verify_phase(run, context)
            for depth in ("fast", "full"):
                try:
                    merge_run(run, "measure", Request(allow_missing=True, depth=depth), lambda line: None)  # type: ignore[arg-type]
                except QuintetError as error:
                    assert error.code in REFUSED
        return 0

    log = run.path / "log"
    assert waited(forked(look, log)) == 0, log.read_text()[-3000:]
    assert len(list(scan_map(run, plan, card.inp))) == SHARDS


def trial_card(run: Run, number: int) -> tuple[Path, Card]:
    path = run.trial_file("search", number)
    return path, read_card(path)


@pytest.mark.parametrize("lost", ["rows/failed", "rows/parameters", "rows/y", "everything", "JSON"])
def test_a_hostile_trial_stops_no_worker_and_is_made_again(run: Run, quiet: dict[str, str], lost: str) -> None:
    path, card = trial_card(run, 2)
    arrays = read_arrays(path)
    if lost == "JSON":
        arrays["rows/attributes"] = np.frombuffer(b"{]", "u1")
        arrays["rows/attributes_offsets"] = np.array([0, 2])
    else:
        arrays = {name: array for name, array in arrays.items() if lost not in (name, "everything")}
    path.write_bytes(build(card, arrays, {})[0])
    shutil.rmtree(run.path / "store")
    log = run.path / "log"
    code = run_element(run, "search", 0, log=log)
    assert code in {0, 65}, log.read_text()
    with pytest.raises(SystemExit):
        run_command(verify_command, [str(run.path), "search", "--quarantine"])
    finish(run, "search", 1)
    assert all(found.reason is None for found in scan_trials(run, run.plan("search"), card.inp))
    assert merged_payload(run, "search") == quiet["search"]


@pytest.mark.parametrize("claim", [{"units": 7}, {"shard": 9}], ids=["units", "number"])
def test_a_trial_whose_card_claims_otherwise_is_made_again(
    run: Run, quiet: dict[str, str], claim: dict[str, object]
) -> None:
    path = run.trial_file("search", 2)
    other_card(path, **claim)
    finish(run, "search", 1)
    assert examine(path, 2, run.plan("search"), read_card(path).inp, "fast", (2, 3)).reason is None
    assert merged_payload(run, "search") == quiet["search"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_damaged_failed_trial_is_lacking_although_enough_are_complete(tmp_path: Path, killed: bool) -> None:
    with staged(failing=2):
        expected = quiet_payload(tmp_path / "quiet", "search")
        run = planned(tmp_path / "run", "search")
        finish(run, "search")
        flipped(run.trial_file("search", 2), -1)
        with pytest.raises(QuintetError) as refused:
            merge_run(run, "search", Request(), lambda line: None)
        assert refused.value.code in REFUSED
        missing = missing_of(run, run.plan("search"))
        assert (missing.numbers, missing.trials_missing) == ((0,), 1)
        if killed:
            with staged(pause=5.0):
                pid = element(run, "search", 0)
                while not list(run.path.glob("store/leases/search/*")):
                    continue
                kill(pid)
            with pytest.raises(QuintetError) as refused:
                merge_run(run, "search", Request(), lambda line: None)
            assert refused.value.code in REFUSED
        finish(run, "search")
        assert merged_payload(run, "search") == expected


def checkpointed(tmp_path: Path) -> tuple[Run, Path]:
    """Return a run that was killed in the middle of a shard, and the checkpoint that it left."""
    run = planned(tmp_path / "run", "measure", checkpoint_s=0.0)
    kept = run.shard_file("measure", 0).with_name("s000000.ckpt.h5")
    with staged(pause=0.01):
        pid = element(run, "measure", 0)
        while not kept.exists() or read_card(kept).hi < 3:
            continue
        kill(pid)
    return run, kept


def in_rows(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: replaced(file, name, value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: flipped(path, CARD_BYTES + 700),
        lambda path: other_card(path, hi=-3, units=0),
        lambda path: other_card(path, cfg="0" * 16),
        lambda path: replaced_by(path, lambda name: name.symlink_to("elsewhere")),
        lambda path: replaced_by(path, Path.mkdir),
        lambda path: resealed(path, in_rows("rows/x", h5py.ExternalLink("/etc/passwd", "/x"))),
        lambda path: resealed(path, lambda file: file.pop("nodes")),
        lambda path: resealed(path, huge),
        lambda path: resealed(path, in_rows("rows/x", np.zeros((1, 2)))),
    ],
    ids=["empty", "flipped", "negative", "config", "link", "folder", "external", "no nodes", "huge", "shape"],
)
def test_a_damaged_checkpoint_is_set_aside_and_changes_no_bit(
    tmp_path: Path, quiet: dict[str, str], damage: Callable[[Path], object]
) -> None:
    run, kept = checkpointed(tmp_path)
    damage(kept)
    log = tmp_path / "log"
    assert run_element(run, "measure", 0, log=log) == 0, log.read_text()
    finish(run, "measure")
    assert any(path.name.startswith(kept.name) for path in (run.path / "quarantine").iterdir())
    assert merged_payload(run, "measure") == quiet["measure"]


@pytest.mark.parametrize("meta", [{}, {"state": 3}, {"state": {}, "capability": "another"}], ids=str)
def test_a_foreign_state_of_a_unit_is_not_taken_up(tmp_path: Path, meta: dict[str, object]) -> None:
    expected = quiet_payload(tmp_path / "quiet", "walk")
    run = planned(tmp_path / "run", "walk", checkpoint_s=0.0)
    plan = run.plan("walk")
    card = Card("elements", "walk", 0, 0, 1, plan.config_sha256[:16], inputs_of(run))
    path = run.checkpoint_file("walk", 0, 7)
    path.parent.mkdir(parents=True)
    path.write_bytes(build(card, {"rows/position": np.full(3, 9.0)}, meta)[0])
    log = tmp_path / "log"
    assert run_element(run, "walk", 0, log=log) == 0, log.read_text()
    finish(run, "walk")
    assert merged_payload(run, "walk") == expected


def inputs_of(run: Run) -> str:
    """Return the digest of what a phase without inputs is made from."""
    from quintet.shard.context import inputs_digest

    return inputs_digest(run, run.plan("walk"))
