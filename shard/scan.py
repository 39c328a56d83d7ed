"""Finding out what stands: which shards and trials have a partial that can be believed, and why the others not."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .errors import QuintetError
from .partial import Card, SchemaError, file_digest, opened, read_card, stored_payload_digest
from .publish import retried

if TYPE_CHECKING:
    import h5py

    from .phases import Phase
    from .run import Plan, Run

Depth = Literal["card", "fast", "full"]
Reason = Literal[
    "absent",
    "truncated",
    "bad-digest",
    "wrong-config",
    "wrong-input",
    "wrong-schema",
    "wrong-range",
    "unreadable",
    "conflict",
]
MAX_DATASET_BYTES = 8 << 30
PARTIAL = re.compile(r"[st]\d{6,}\.h5")
CONFLICT = re.compile(r"^([st]\d{6,})\.conflict-")
TRIAL = re.compile(r"t(\d{6,})\.h5")


@dataclass(frozen=True)
class Found:
    """One file of a phase: its number (shard or trial), its card, and the reason why it does not count."""

    number: int
    path: Path
    card: Card | None
    reason: Reason | None = None
    detail: str = ""


def reason_of(error: Exception) -> tuple[Reason, str]:
    """Return why a file that raised cannot be believed."""
    if isinstance(error, FileNotFoundError):
        return "absent", ""
    if isinstance(error, SchemaError):
        return "wrong-schema", str(error)
    if isinstance(error, OSError):
        return "unreadable", error.strerror or str(error)
    return "truncated", str(error)


def examine(path: Path, number: int, plan: Plan, inputs: str, depth: Depth, blocks: tuple[int, int]) -> Found:
    """Examine one partial against the plan.

    Args:
        path: the partial's name.
        number: shard or trial number.
        plan: the phase's plan.
        inputs: digest of the phase's inputs, first 16 hex digits.
        depth: `card` reads the card and the size, `fast` the digest of the bytes too; see `full_check` for more.
        blocks: the block range that the plan gives the number.
    """
    try:
        if depth == "card":
            card, digest = retried(lambda: read_card(path)), None
        else:
            card, digest = retried(lambda: file_digest(path))
    except QuintetError as error:
        return Found(number, path, None, "unreadable", str(error))
    except (OSError, ValueError) as error:
        reason, detail = reason_of(error)
        if reason == "truncated" and path.is_file() and path.stat().st_size > 0:
            detail = f"{detail}; {path.stat().st_size} bytes"
        return Found(number, path, None, reason, detail)
    if (card.study, card.phase) != (plan.study, plan.phase) or card.cfg != plan.config_sha256[:16]:
        return Found(number, path, card, "wrong-config", f"of {card.study}/{card.phase}, config {card.cfg}")
    if card.inp != inputs:
        return Found(number, path, card, "wrong-input", f"made from inputs {card.inp}, the run has {inputs}")
    units = units_between(plan, blocks)
    if card.shard != number or (card.lo, card.hi) != blocks or not card.complete or card.units != units:
        detail = f"holds shard {card.shard}, blocks {card.lo}:{card.hi}, {card.units} units"
        return Found(number, path, card, "wrong-range", detail)
    if digest is not None and card.b2 != digest:
        return Found(number, path, card, "bad-digest", f"bytes {digest[:12]}, card {card.b2[:12]}")
    return Found(number, path, card)


def units_between(plan: Plan, blocks: tuple[int, int]) -> int:
    """Return how many units a block range holds."""
    if plan.kind == "pull":
        return 1
    return max(0, min(blocks[1] * plan.block_size, plan.units or 0) - blocks[0] * plan.block_size)


def scan_map(run: Run, plan: Plan, inputs: str, depth: Depth = "fast") -> Iterator[Found]:
    """Examine every shard of a map phase, in order; a shard without blocks needs no file and is left out."""
    conflicts = conflicting(run, plan.phase)
    for shard, blocks in enumerate(plan.shards):
        if blocks[0] == blocks[1]:
            continue
        yield unrivalled(examine(run.shard_file(plan.phase, shard), shard, plan, inputs, depth, blocks), conflicts)


def scan_trials(run: Run, plan: Plan, inputs: str, depth: Depth = "fast") -> Iterator[Found]:
    """Examine the trials of a pull phase up to the last that has a file, in order of the numbers.

    Numbers are given out one after another and every decided trial is published: one without a file is `absent`.
    """
    conflicts = conflicting(run, plan.phase)
    numbers = trial_numbers(run, plan.phase)
    for number in range(max(numbers, default=-1) + 1):
        path = run.trial_file(plan.phase, number)
        if number in numbers:
            yield unrivalled(examine(path, number, plan, inputs, depth, (number, number + 1)), conflicts)
        else:
            yield Found(number, path, None, "absent")


def trial_numbers(run: Run, phase: str) -> set[int]:
    """Return the numbers whose own trial file stands; a copy in another folder is none."""
    named = ((bucket, name, TRIAL.fullmatch(name)) for bucket, name in bucket_names(run, phase))
    numbers = ((bucket, int(match.group(1))) for bucket, _, match in named if match)
    return {number for bucket, number in numbers if run.trial_file(phase, number).parent.name == bucket}


def conflicting(run: Run, phase: str) -> set[str]:
    """Return the partials (`s000012`, `t000003`) beside which a file with another payload was kept."""
    matches = (CONFLICT.match(name) for _, name in bucket_names(run, phase))
    return {match.group(1) for match in matches if match}


def unrivalled(found: Found, conflicts: Collection[str]) -> Found:
    """Return a finding, as a conflict where another payload was kept beside a partial that could be believed."""
    if found.reason is not None or found.path.stem not in conflicts:
        return found
    return replace(found, reason="conflict", detail="another payload for the same blocks stands beside it")


def bucket_names(run: Run, phase: str) -> Iterator[tuple[str, str]]:
    """Yield the bucket and the name of each file of a phase; a bucket may be a link to a folder elsewhere."""
    folder = run.path / "partials" / phase
    if not folder.is_dir():
        return
    for bucket in os.scandir(folder):
        if bucket.is_dir():
            for name in os.listdir(bucket.path):  # noqa: PTH208 - names alone, no Path objects
                yield bucket.name, name


def expected_shape(name: str, phase: Phase, units: int, blocks: tuple[int, int]) -> tuple[int | None, ...] | None:
    """Return the shape that a dataset of a partial must have; None in it where a ragged length is free.

    Returns None for a name that the phase does not declare.
    """
    if phase.stats is not None and name in {"stats", "nodes"}:
        from . import tree

        nodes = len(tree.cover(*blocks))
        return (nodes, len(phase.stats.metrics), 3, phase.stats.cells) if name == "stats" else (nodes, 2)
    for dataset in phase.stored:
        if name == dataset.name:
            if dataset.folded:
                return dataset.shape
            return (None if dataset.ragged else units, *dataset.shape)
        if dataset.ragged and name == f"{dataset.name}_offsets":
            return (units + 1,)
    return None


def declared(phase: Phase) -> Mapping[str, str]:
    """Return the dtype of every dataset in the payload of a phase's partials."""
    names = {dataset.name: dataset.dtype for dataset in phase.stored if dataset.counted}
    names |= {f"{dataset.name}_offsets": "i8" for dataset in phase.stored if dataset.ragged and dataset.counted}
    if phase.stats is not None:
        names |= {"stats": "f8", "nodes": "i8"}
    return names


def full_check(found: Found, phase: Phase, units: int) -> str | None:
    """Open a partial and hold its content against the phase's declaration; return what is wrong, or None."""
    import numpy as np

    if found.card is None:
        return found.detail
    blocks = (found.card.lo, found.card.hi)
    dtypes = declared(phase)
    seen: set[str] = set()

    def within(name: str, dataset: h5py.Dataset) -> None:
        shape = expected_shape(name, phase, units, blocks)
        if shape is None:
            raise ValueError(f"/{name} is not a dataset of phase {phase.name}")
        if len(shape) != dataset.ndim or any(
            size is not None and size != has for size, has in zip(shape, dataset.shape, strict=True)
        ):
            raise ValueError(f"/{name} has shape {dataset.shape}, the plan says {shape}")
        if dataset.dtype != np.dtype(dtypes[name]):
            raise ValueError(f"/{name} has dtype {dataset.dtype}, the plan says {dtypes[name]}")
        if dataset.size * dataset.dtype.itemsize > MAX_DATASET_BYTES:
            raise ValueError(f"/{name} claims {dataset.size * dataset.dtype.itemsize} bytes")
        seen.add(name)

    try:
        with opened(found.path) as file:
            digest = stored_payload_digest(file, within)
            if phase.stats is not None and seen >= {"stats", "nodes"}:
                check_stats(file, blocks)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        return str(error)
    if seen != set(dtypes):
        return f"/{min(set(dtypes) - seen)} is missing"
    if digest != found.card.pd:
        return f"payload digest {digest[:12]}, card {found.card.pd[:12]}"
    return None


def check_stats(file: h5py.File, blocks: tuple[int, int]) -> None:
    """Refuse triples that no sample can give, and nodes that do not cover the blocks."""
    from . import tree

    stats, nodes = file["stats"][()], file["nodes"][()]
    if [tuple(node) for node in nodes.tolist()] != tree.cover(*blocks):
        raise ValueError(f"/nodes do not cover blocks {blocks[0]}:{blocks[1]}")
    count, m2 = stats[:, :, 0], stats[:, :, 2]
    if not (count >= 0).all() or not (m2[count > 0] >= 0).all():
        raise ValueError("/stats has a negative count or M2, or NaN in one")
