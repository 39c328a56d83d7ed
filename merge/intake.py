"""Taking partials in: which of a phase's partials count, each read once and checked on the way."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..shard.errors import Exit, QuintetError
from ..shard.missing import trials_lacking
from ..shard.partial import CARD_BYTES, READ_BYTES, Card, open_regular, read_card, read_meta
from ..shard.scan import Found, conflicting, examine, full_check, scan_map, scan_trials, units_between, unrivalled
from .source import Source

if TYPE_CHECKING:
    from ..shard.context import Context
    from ..shard.run import Plan, Run
    from ..shard.scan import Depth
    from .moments import Moments

WHOLE_BYTES = 1 << 20
# An attribute's name; then its datatype, 8 bytes whose last 4 are the length; 4 bytes of a scalar dataspace; the text
# (HDF5 file format, IV.A.2.m "The Attribute Message", version 3).
PROVENANCE = b"provenance\0\x13"
PROVENANCE_TEXT = len(PROVENANCE) + 11
SHARDS_PER_RUN = 1000  # neighbouring shards that `merge --level` reduces to one file
TRACED = ("hostname", "suite_version", "code_sha256", "packages_sha256", "cpu_model")

Tile = tuple[int, tuple[int, int]]
"""A shard and its range of blocks."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A partial that counts: shard or trial number, its blocks, how many units they hold, its payload digest."""

    number: int
    lo: int
    hi: int
    units: int
    digest: str


@dataclass(frozen=True, slots=True)
class Reduced:
    """A run of shards that `merge --level` reduced: its file, how many pieces it stands for, and their units."""

    path: Path
    pieces: int
    units: int


@dataclass
class Standing:
    """What of a phase stands: the pieces in the order of their units, and what is lacking.

    `reduced` holds, by the position of their first piece, the runs whose rows are read from one file instead.
    """

    pieces: list[Piece] = field(default_factory=list)
    lacking: list[Found] = field(default_factory=list)
    reduced: dict[int, Reduced] = field(default_factory=dict)
    blocks: int = 0
    blocks_lacking: int = 0
    _traces: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    @property
    def blocks_present(self) -> int:
        """How many blocks (of a search: complete trials) stand."""
        return self.blocks - self.blocks_lacking

    def list_digest(self) -> str:
        """Return sha256 over the sorted (number, payload digest)."""
        return list_digest(self.pieces)

    def trace(self, meta: Mapping[str, Any]) -> None:
        """Count where one partial comes from."""
        container = meta.get("container")
        known = container if isinstance(container, dict) else {}
        image = known.get("quintet_image_id") or known.get("apptainer_name") or "none"
        self._traces[(*(str(meta.get(key)) for key in TRACED), str(image))] += 1

    def traces(self) -> list[list[Any]]:
        """Return the counts of `trace` as JSON values."""
        return [[*trace, partials] for trace, partials in sorted(self._traces.items(), key=str)]

    def trace_again(self, traces: Sequence[Sequence[Any]]) -> None:
        """Count what `traces` gave elsewhere."""
        for *trace, partials in traces:
            self._traces[tuple(trace)] += int(partials)

    def origins(self) -> dict[str, Counter[str]]:
        """Return how many partials came from each host, code, package list, CPU model and image."""
        counts: dict[str, Counter[str]] = {key: Counter() for key in (*TRACED, "image")}
        for trace, partials in self._traces.items():
            for key, value in zip(counts, trace, strict=True):
                counts[key][str(value)] += partials
        return counts


def list_digest(pieces: Sequence[Piece]) -> str:
    """Return sha256 over the sorted (number, payload digest)."""
    digest = hashlib.sha256()
    for number, payload in sorted((piece.number, piece.digest) for piece in pieces):
        digest.update(f"{number}={payload}\0".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Reading:
    """A file read once: its card, the digest of what stands behind it, and its bytes unless they are too many."""

    card: Card
    digest: str
    whole: memoryview | None


class Reader:
    """Reads partials one after another into one buffer."""

    def __init__(self) -> None:
        """Make the buffer."""
        self._buffer = bytearray(WHOLE_BYTES)
        self._view = memoryview(self._buffer)

    def read(self, path: Path) -> Reading:
        """Read and digest a file; `whole` is valid until the next call.

        Raises:
            OSError: the file cannot be read.
            ValueError: it has no card.
        """
        descriptor = open_regular(path)
        try:
            size = os.readv(descriptor, [self._buffer])
            card = Card.parse(bytes(self._view[: min(size, CARD_BYTES)]))
            digest = hashlib.blake2b(self._view[CARD_BYTES:size], digest_size=16)
            if size < len(self._buffer):
                return Reading(card, digest.hexdigest(), self._view[:size])
            while chunk := os.read(descriptor, READ_BYTES):
                digest.update(chunk)
            return Reading(card, digest.hexdigest(), None)
        finally:
            os.close(descriptor)

    def provenance(self, reading: Reading, path: Path) -> dict[str, Any]:
        """Return a file's provenance: out of the bytes at hand where it stands there, else through HDF5.

        Opening the file for it would cost three times what all the rest of taking in a small partial does.
        """
        whole = reading.whole
        if whole is not None:
            begin = self._buffer.find(PROVENANCE, CARD_BYTES, len(whole)) + PROVENANCE_TEXT
            length = int.from_bytes(whole[begin - 8 : begin - 4], "little")
            try:
                meta = json.loads(str(whole[begin : begin + length], "utf-8"))
            except (ValueError, RecursionError):
                meta = None
            if isinstance(meta, dict) and "schema_version" in meta:
                return meta
        return known_meta(path)


def known_meta(path: Path) -> dict[str, Any]:
    """Return a partial's provenance, nothing where it cannot be read: it decides nothing."""
    try:
        return read_meta(path)
    except (OSError, RuntimeError, QuintetError):
        return {}


def triples_of(reading: Reading, path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Return `/stats` of a partial by the offset on its card, float64 `[node, metric, 3, cell]`.

    Raises:
        ValueError: the card's offset and length lie outside the file, or are no whole nodes.
    """
    card, node_bytes = reading.card, 8 * shape[0] * shape[1] * shape[2]
    if card.off < CARD_BYTES or card.n < 0 or card.n % node_bytes:
        raise ValueError(f"/stats of {card.n} bytes at {card.off}; a node has {node_bytes}")
    if reading.whole is not None:
        content: bytes | memoryview = reading.whole[card.off : card.off + card.n]
    else:
        descriptor = open_regular(path)
        try:
            if card.off + card.n > os.fstat(descriptor).st_size:
                raise ValueError(f"/stats of {card.n} bytes at {card.off} lie outside the file")
            content = os.pread(descriptor, card.n, card.off)
        finally:
            os.close(descriptor)
    if len(content) != card.n:
        raise ValueError(f"/stats of {card.n} bytes at {card.off} lie outside the file")
    return np.frombuffer(content, dtype="<f8").reshape(-1, *shape)


def belongs(card: Card, plan: Plan, inputs: str, number: int, blocks: tuple[int, int]) -> bool:
    """Whether a card is exactly the one that the plan calls for."""
    return (
        card.shard == number
        and (card.lo, card.hi) == blocks
        and card.units == units_between(plan, blocks)
        and card.inp == inputs
        and card.cfg == plan.config_sha256[:16]
        and (card.study, card.phase) == (plan.study, plan.phase)
        and card.complete
    )


def tiled(plan: Plan) -> Iterator[Tile]:
    """Yield (shard, blocks) in the order of the blocks; a shard without blocks is left out.

    Raises:
        QuintetError: exit 65 where the shards count a block twice, or none counts it.
    """
    ordered = sorted((blocks, shard) for shard, blocks in enumerate(plan.shards) if blocks[0] < blocks[1])
    end = 0
    for (lo, hi), shard in [*ordered, ((plan.blocks, plan.blocks), -1)]:
        if lo != end:
            what = "counted twice" if lo < end else "in no shard"
            raise QuintetError(
                Exit.INPUT, f"plan/{plan.phase}.json: block {min(lo, end)} is {what}; plan the run again"
            )
        end = hi
        if shard >= 0:
            yield shard, (lo, hi)


def look(context: Context, inputs: str) -> Standing:
    """Return what stands by cards alone: enough to see that nothing changed since the last merge."""
    run, plan = context.run, context.plan
    standing = Standing(blocks=plan.blocks)
    scan = scan_trials if plan.kind == "pull" else scan_map
    for found in scan(run, plan, inputs, "card"):
        if found.reason is None and found.card is not None:
            card = found.card
            standing.pieces.append(Piece(found.number, card.lo, card.hi, card.units, card.pd))
    return standing


def take_in(context: Context, inputs: str, depth: Depth, moments: Moments | None) -> Standing:
    """Verify every shard of a map phase in the order of its blocks, and feed its statistics to `moments`.

    Args:
        context: the phase.
        inputs: digest of its inputs.
        depth: `fast` checks digests, `full` opens each partial too.
        moments: takes the nodes of each partial, and the identity where one is missing.

    Raises:
        QuintetError: exit 65 where shards overlap or a partial's statistics cannot be right.
    """
    run, plan = context.run, context.plan
    conflicts = conflicting(run, plan.phase)
    standing, reader = Standing(blocks=plan.blocks), Reader()
    for number, shards in runs_of(plan):
        if depth == "full" or not take_reduced(standing, context, inputs, number, shards, conflicts, moments):
            take_shards(standing, context, inputs, depth, moments, shards, conflicts, reader)
    return standing


def runs_of(plan: Plan) -> Iterator[tuple[int, list[Tile]]]:
    """Yield the runs of neighbouring shards that `merge --level` reduces, with their numbers."""
    shards = list(tiled(plan))
    for number, begin in enumerate(range(0, len(shards), SHARDS_PER_RUN)):
        yield number, shards[begin : begin + SHARDS_PER_RUN]


def reduced_file(run: Run, phase: str, number: int) -> Path:
    """Return where a reduced run lies."""
    return run.path / "merged" / f"{phase}.level" / f"r{number:06d}.h5"


def take_reduced(
    standing: Standing,
    context: Context,
    inputs: str,
    number: int,
    shards: Sequence[Tile],
    conflicts: Collection[str],
    moments: Moments | None,
) -> bool:
    """Take a run of shards in from the file that `merge --level` made of them; return whether it counts.

    It counts while it is whole and the cards of its shards are those that it was made from.
    """
    run, plan = context.run, context.plan
    path = reduced_file(run, plan.phase, number)
    blocks = (shards[0][1][0], shards[-1][1][1])
    if not path.exists() or any(f"s{shard:06d}" in conflicts for shard, _ in shards):
        return False
    pieces = []
    try:
        reading = Reader().read(path)
        for shard, own in shards:
            card = read_card(run.shard_file(plan.phase, shard))
            if not belongs(card, plan, inputs, shard, own):
                return False
            pieces.append(Piece(shard, *own, card.units, card.pd))
        meta = read_meta(path)
        whole = reading.digest == reading.card.b2 and belongs(reading.card, plan, inputs, number, blocks)
        if not whole or meta.get("list_digest") != list_digest(pieces):
            return False
        if moments is not None:
            moments.take(*blocks, triples_of(reading, path, moments.shape))
    except (OSError, ValueError, QuintetError):
        return False
    standing.reduced[len(standing.pieces)] = Reduced(path, len(pieces), reading.card.units)
    standing.pieces += pieces
    standing.trace_again(meta["traces"])
    return True


def take_shards(
    standing: Standing,
    context: Context,
    inputs: str,
    depth: Depth,
    moments: Moments | None,
    shards: Sequence[Tile],
    conflicts: Collection[str],
    reader: Reader,
) -> None:
    """Verify some neighbouring shards one by one and take them in."""
    run, plan, phase = context.run, context.plan, context.phase
    for shard, blocks in shards:
        path = run.shard_file(plan.phase, shard)
        reading = _reading(reader, path, plan, inputs, shard, blocks)
        found = reading if isinstance(reading, Found) else unrivalled(Found(shard, path, reading.card), conflicts)
        problem = found if found.reason is not None else None
        if problem is None and depth == "full" and isinstance(reading, Reading):
            wrong = full_check(Found(shard, path, reading.card), phase, reading.card.units)
            problem = Found(shard, path, reading.card, "unreadable", wrong) if wrong else None
        if problem is not None or not isinstance(reading, Reading):
            if problem is not None:
                standing.lacking.append(problem)
            standing.blocks_lacking += blocks[1] - blocks[0]
            if moments is not None:
                moments.skip(*blocks)
            continue
        if moments is not None:
            try:
                moments.take(*blocks, triples_of(reading, path, moments.shape))
            except ValueError as error:
                raise QuintetError(
                    Exit.INPUT, f"{path}: {error}; bin/verify {run.path} --quarantine sets it aside"
                ) from None
        standing.pieces.append(Piece(shard, *blocks, reading.card.units, reading.card.pd))
        standing.trace(reader.provenance(reading, path))


def _reading(
    reader: Reader, path: Path, plan: Plan, inputs: str, shard: int, blocks: tuple[int, int]
) -> Reading | Found:
    """Read one partial; where it does not count, return what `scan` finds wrong with it.

    A partial may be published between the two: then it is read once more.
    """
    found = None
    for _ in range(2):
        try:
            reading = reader.read(path)
        except (OSError, ValueError):
            reading = None
        if (
            reading is not None
            and reading.digest == reading.card.b2
            and belongs(reading.card, plan, inputs, shard, blocks)
        ):
            return reading
        found = examine(path, shard, plan, inputs, "fast", blocks)
        if found.reason is not None:
            return found
    return Found(shard, path, None, "unreadable", "the file changes while it is read")


def take_in_trials(context: Context, inputs: str, depth: Depth) -> Standing:
    """Verify the trials of a pull phase, up to the n-th COMPLETE one by number.

    The number after the n-th COMPLETE trial was given out only because more trials were asked for once.

    Raises:
        QuintetError: exit 65 where a file holds another trial than its name says, or no finite value.
    """
    run, plan, phase = context.run, context.plan, context.phase
    wanted = plan.units or 0
    standing, complete = Standing(blocks=wanted), 0
    for found in scan_trials(run, plan, inputs, "fast"):
        if complete == wanted:
            break
        if found.reason is None and found.card is not None:
            wrong = full_check(found, phase, 1) if depth == "full" else None
            if wrong is None:
                complete += is_complete(found)
                standing.pieces.append(Piece(found.number, found.number, found.number + 1, 1, found.card.pd))
                standing.trace(known_meta(found.path))
                continue
            found = Found(found.number, found.path, found.card, "unreadable", wrong)
        standing.lacking.append(found)
    failed_trials, spoilt = len(standing.pieces) - complete, len(standing.lacking)
    standing.blocks_lacking = trials_lacking(wanted, complete, failed_trials, spoilt, plan.points)
    if not standing.blocks_lacking:
        standing.blocks = complete
    return standing


def is_complete(found: Found) -> bool:
    """Return whether a trial's file holds a COMPLETE trial, not a failed one.

    Raises:
        QuintetError: exit 65 where it holds another trial than its name says (one would count twice), or a COMPLETE
            one without a finite value.
    """
    with Source(found.path) as source:
        number = int(source.read("rows/number", "i8", (1,))[0])
        failed = bool(source.read("rows/failed", "u1", (1,))[0])
        value = float(source.read("rows/value", "f8", (1,))[0])
    if number != found.number or not (failed or math.isfinite(value)):
        raise QuintetError(
            Exit.INPUT,
            f"{found.path}: holds trial {number} with value {value}; allowed is trial {found.number} with a finite "
            "one; remove the file and run again",
        )
    return not failed
