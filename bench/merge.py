"""Cost of merging many small partials, against a dataset per statistic that is loaded whole.

Both ways read the same triples: 8 metrics x 64 cells of (n, mean, M2), one block a partial.  The peer keeps each
of the 24 arrays in its own dataset, opens every file with h5py, holds everything, and combines in order of arrival.
CPU seconds and peak memory are those of a fresh process, start-up included.

    python bench/merge.py [--partials 10000] [--peer-partials 10000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tempfile
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


def register() -> None:
    """Make this file the study `bench` with one phase."""
    from pydantic import BaseModel
    from quintet.shard.phases import Phase, Stats

    class Config(BaseModel):
        partials: int

    module = sys.modules[__name__]
    module.Config = Config  # type: ignore[attr-defined]
    stats = Stats(NAMES, CELLS)
    module.phases = lambda config: (Phase("simulate", "map", config.partials, stats=stats),)  # type: ignore[attr-defined]
    sys.modules["quintet.shard.bench"] = module


def make_run(folder: Path, partials: int) -> None:
    """Write a planned run with all its partials: one is built, the others are its bytes with other numbers."""
    import h5py
    from quintet.shard.context import inputs_digest
    from quintet.shard.partial import CARD_BYTES, Card, build, payload_digest
    from quintet.shard.plan import balanced, dumped
    from quintet.shard.provenance import provenance
    from quintet.shard.run import Plan, Run

    run = Run(folder)
    (folder / "plan").mkdir(parents=True)
    code = {"git_commit": "unknown", "git_dirty": False}
    shards = balanced(partials, partials)
    plan = Plan("bench", "simulate", "map", "c" * 64, code, 7, partials, 1, partials, shards, (), (), {}, {})
    (folder / "plan" / "simulate.json").write_bytes(dumped(plan.to_json()))
    overview = {"study": "bench", "phases": ["simulate"], "config": {"partials": partials}}
    (folder / "plan" / "run.json").write_bytes(dumped(overview))
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


def make_peer(folder: Path, partials: int) -> None:
    """Write the same triples as one file a block with 24 datasets."""
    import h5py

    folder.mkdir()
    first = folder / "p0.h5"
    with h5py.File(first, "w") as file:
        for metric, name in enumerate(NAMES):
            for part, kind in enumerate(PARTS):
                file[f"{name}/{kind}"] = triples_of(0)[metric, part]
        places = [[file[f"{name}/{kind}"].id.get_offset() for kind in PARTS] for name in NAMES]
    image = bytearray(first.read_bytes())
    for number in range(partials):
        triples = triples_of(number)
        for metric in range(METRICS):
            for part in range(3):
                place = places[metric][part]
                image[place : place + 8 * CELLS] = triples[metric, part].tobytes()
        (folder / f"p{number}.h5").write_bytes(image)


def merge_quintet(folder: Path) -> None:
    """Merge the run as `bin/merge` does."""
    from quintet.merge.__main__ import merge
    from quintet.shard.commands.base import run_command

    register()
    run_command(merge, [str(folder)])


def merge_peer(folder: Path) -> None:
    """Load every dataset of every file, then combine in the order of the names."""
    import h5py

    loaded = []
    for path in sorted(folder.iterdir()):
        with h5py.File(path) as file:
            loaded.append({name: {kind: file[f"{name}/{kind}"][()] for kind in PARTS} for name in NAMES})
    for name in NAMES:
        n, mean, m2 = (np.zeros(CELLS) for _ in PARTS)
        for item in loaded:
            other = item[name]
            total = n + other["n"]
            difference = other["mean"] - mean
            mean = mean + difference * other["n"] / total
            m2 = m2 + other["m2"] + difference**2 * n * other["n"] / total
            n = total


def measured(way: str, folder: Path) -> tuple[float, float]:
    """Return CPU seconds and peak MB of one way in a fresh process."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{way} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare merging with a dataset per statistic.")
    parser.add_argument("--partials", type=int, default=10_000)
    parser.add_argument("--peer-partials", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder unless given")
    parser.add_argument("--way", choices=["quintet", "peer"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        {"quintet": merge_quintet, "peer": merge_peer}[given.way](given.folder)
        return
    os.umask(0o027)
    with tempfile.TemporaryDirectory(prefix="quintet-bench-", dir=given.folder) as scratch:
        run, peer = Path(scratch) / "run", Path(scratch) / "peer"
        make_run(run, given.partials)
        rows = [("merge", given.partials, *measured("quintet", run))]
        rows.append(("merge again (unchanged)", given.partials, *measured("quintet", run)))
        if given.peer_partials:
            make_peer(peer, given.peer_partials)
            rows.append(("dataset per statistic, all loaded", given.peer_partials, *measured("peer", peer)))
    print(f"{'what':<36}{'partials':>10}{'CPU s':>10}{'us/partial':>12}{'peak MB':>10}")
    for what, partials, seconds, peak in rows:
        print(f"{what:<36}{partials:>10}{seconds:>10.2f}{1e6 * seconds / partials:>12.0f}{peak:>10.0f}")
    if given.peer_partials:
        ratio = rows[-1][2] / rows[-1][1] / (rows[0][2] / rows[0][1])
        print(f"merge costs 1/{ratio:.0f} of the peer a partial")


if __name__ == "__main__":
    main()
