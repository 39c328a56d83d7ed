"""Recomputing what was published: random pieces of a phase, compared bit by bit with their partials.

A piece is the smallest run of blocks whose published numbers can be seen alone.  Rows show every block; statistics
show the nodes of the canonical tree that a partial holds; counts and extrema show whole partials only.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .context import Context, inputs_digest, study_module
from .partial import array_of, read_arrays, read_meta
from .payload import Payload
from .provenance import capability, cpu_facts, packages_sha256
from .scan import scan_map, units_between

if TYPE_CHECKING:
    import numpy as np

    from .phases import Phase
    from .run import Plan, Run
    from .scan import Found


@dataclass(frozen=True)
class Piece:
    """Blocks [lo, hi) of one partial, to be computed again."""

    found: Found
    lo: int
    hi: int


@dataclass(frozen=True)
class Comparison:
    """One piece's outcome: the datasets that were compared, and those that differ with the largest difference."""

    phase: str
    shard: int
    lo: int
    hi: int
    compared: tuple[str, ...]
    differences: dict[str, str]
    elsewhere: str = ""

    @property
    def equal(self) -> bool:
        """Whether all bits agree."""
        return not self.differences


def spot_check(run: Run, context: Context, count: int, rng: random.Random) -> list[Comparison]:
    """Recompute `count` random pieces of a map phase; fewer where it has not so many."""
    plan = context.plan
    standing = [found for found in scan_map(run, plan, inputs_digest(run, plan)) if found.reason is None]
    pieces = chosen(standing, context.phase, count, rng)
    if not pieces:
        return []
    work = study_module(plan.study).start(context)
    results = []
    for piece in pieces:
        payload = Payload(context.phase, piece.lo)
        for block in range(piece.lo, piece.hi):
            task = work.block(plan.units_of(block))
            while task.advance():
                pass
            payload.add(task.result(), len(plan.units_of(block)))
        results.append(compare(piece, payload.arrays(), context.phase, plan))
    return results


def chosen(standing: Sequence[Found], phase: Phase, count: int, rng: random.Random) -> list[Piece]:
    """Return random pieces, each of another place, the partials weighted by how many pieces they hold."""
    from . import tree

    weights = []
    for found in standing:
        assert found.card is not None
        lo, hi = found.card.lo, found.card.hi
        if any(not dataset.folded for dataset in phase.stored):
            weights.append([(block, block + 1) for block in range(lo, hi)])
        elif phase.stats is not None:
            weights.append([(index << level, (index + 1) << level) for level, index in tree.cover(lo, hi)])
        else:
            weights.append([(lo, hi)])
    every = [(found, span) for found, spans in zip(standing, weights, strict=True) for span in spans]
    return [Piece(found, *span) for found, span in rng.sample(every, min(count, len(every)))]


def compare(piece: Piece, arrays: Mapping[str, Any], phase: Phase, plan: Plan) -> Comparison:
    """Compare a piece's arrays with what its partial holds of them."""
    card = piece.found.card
    assert card is not None
    published = read_arrays(piece.found.path)
    first = units_between(plan, (card.lo, piece.lo))
    units = units_between(plan, (piece.lo, piece.hi))
    whole = (card.lo, card.hi) == (piece.lo, piece.hi)
    pairs: dict[str, tuple[Any, Any]] = {}
    for dataset in filter(lambda stored: stored.counted, phase.stored):
        if dataset.folded:
            if whole:
                pairs[dataset.name] = (arrays[dataset.name], published[dataset.name])
        elif dataset.ragged:
            offsets = published[f"{dataset.name}_offsets"]
            lo, hi = int(offsets[first]), int(offsets[first + units])
            pairs[dataset.name] = (arrays[dataset.name], published[dataset.name][lo:hi])
            pairs[f"{dataset.name}_offsets"] = (
                arrays[f"{dataset.name}_offsets"],
                offsets[first : first + units + 1] - lo,
            )
        else:
            pairs[dataset.name] = (arrays[dataset.name], published[dataset.name][first : first + units])
    if phase.stats is not None:
        standing = {
            tuple(node): triples for node, triples in zip(published["nodes"].tolist(), published["stats"], strict=True)
        }
        for node, triples in zip(arrays["nodes"].tolist(), arrays["stats"], strict=True):
            if tuple(node) in standing:
                pairs[f"stats node {node[0]}:{node[1]}"] = (triples, standing[tuple(node)])
    differences = {name: text for name, (ours, theirs) in pairs.items() if (text := difference(ours, theirs))}
    elsewhere = origin(piece.found) if differences else ""
    return Comparison(plan.phase, piece.found.number, piece.lo, piece.hi, tuple(pairs), differences, elsewhere)


def difference(ours: Any, theirs: np.ndarray) -> str:
    """Return how two arrays differ, in words; empty where every bit agrees."""
    import numpy as np

    ours, theirs = array_of(ours), array_of(theirs)
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return f"{theirs.dtype}{list(theirs.shape)} published, {ours.dtype}{list(ours.shape)} computed"
    if ours.tobytes() == theirs.tobytes():
        return ""
    if ours.dtype.kind not in "iufb":
        return f"{int((ours != theirs).sum())} of {ours.size} values differ"
    unequal = (ours != theirs) & ~((ours != ours) & (theirs != theirs))
    largest = np.nanmax(np.abs(ours.astype("f8") - theirs.astype("f8"))) if ours.size else 0.0
    return f"{int(unequal.sum())} of {ours.size} values differ, by {largest:.3g} at most"


def origin(found: Found) -> str:
    """Return what differs between the machine that made a partial and this one."""
    meta = read_meta(found.path)
    ours = {**cpu_facts(), "packages_sha256": packages_sha256()}
    different = [name for name, value in ours.items() if name in meta and meta[name] != value]
    if not different:
        return f"made on an equal machine (capability {capability()}): the work is not deterministic"
    made_on = f" on {meta['cpu_model']}" if "cpu_model" in different else ""
    return f"made{made_on} with other {', '.join(different)}: equal bits are not promised across these"
