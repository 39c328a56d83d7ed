"""A run with very many small partials: 8 metrics x 64 cells of (n, mean, M2), one block a shard, all of them there."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

METRICS, CELLS = 8, 64
NAMES = tuple(f"metric{k}" for k in range(METRICS))
PARTS = ("n", "mean", "m2")


def triples_of(number: int) -> np.ndarray:
    """Return the triples of one block, float64 `[metric, 3, cell]`."""
    rng = np.random.default_rng(number)
    triples = rng.random((METRICS, 3, CELLS))
    triples[:, 0] = 5.0
    return triples


def make_run(folder: Path, partials: int) -> None:
    """Write a planned run with all its partials: one is built, the others are its bytes with other numbers."""
    import h5py
    from quintet.shard.context import inputs_digest
    from quintet.shard.partial import CARD_BYTES, Card, build, payload_digest
    from quintet.shard.plan import balanced
    from quintet.shard.provenance import provenance
    from quintet.shard.run import Plan, Run
    from quintet.shard.seal import sealed

    run = Run(folder)
    (folder / "plan").mkdir(parents=True)
    code = {"git_commit": "unknown", "git_dirty": False}
    shards = balanced(partials, partials)
    plan = Plan("bench", "simulate", "map", "c" * 64, code, 7, partials, 1, partials, shards, (), (), {}, {})
    (folder / "plan" / "simulate.json").write_bytes(sealed(plan.to_json()))
    overview = {"study": "bench", "phases": ["simulate"], "config": {"partials": partials}}
    (folder / "plan" / "run.json").write_bytes(sealed(overview))
    inputs = inputs_digest(run, plan)
    first = Card("bench", "simulate", 0, 0, 1, plan.config_sha256[:16], inputs, units=1)
    nodes = np.array([[0, 12345]])
    content, first = build(first, {"stats": triples_of(0)[None], "nodes": nodes}, provenance(code_sha256="c" * 64))
    with h5py.File(io.BytesIO(content[CARD_BYTES:])) as file:
        place = file["nodes"].id.get_offset()
    image = bytearray(content[CARD_BYTES:])
    for number in range(partials):
        stats, nodes = triples_of(number)[None], np.array([[0, number]])
        image[first.off - CARD_BYTES : first.off - CARD_BYTES + first.n] = stats.tobytes()
        image[place : place + nodes.nbytes] = nodes.tobytes()
        digest = hashlib.blake2b(image, digest_size=16).hexdigest()
        payload = payload_digest({"stats": stats, "nodes": nodes})
        card = replace(first, shard=number, lo=number, hi=number + 1, b2=digest, pd=payload)
        path = run.shard_file("simulate", number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(card.pack() + image)
