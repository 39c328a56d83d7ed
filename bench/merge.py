"""Cost of merging many small partials, against a dataset per statistic that is loaded whole.

Both ways read the same triples: 8 metrics x 64 cells of (n, mean, M2), one block a partial.  The peer keeps each
of the 24 arrays in its own dataset, opens every file with h5py, holds everything, and combines in order of arrival.
CPU seconds and peak memory are those of a fresh process, start-up included.

    python bench/merge.py [--partials 10000] [--peer-partials 10000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from common.grid import CELLS, METRICS, NAMES, PARTS, make_run, triples_of
from common.process import Cost, cost_of
from common.table import Row, arguments, show

LARGE = 100_000
LIMITS = {"CPU s": {False: (2.4, 0.6), True: (25, 5)}, "MB": {False: (80, None), True: (300, None)}}


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


def measured(way: str, folder: Path) -> Cost:
    """Return what one way costs in a fresh process."""
    return cost_of([sys.executable, __file__, "--way", way, "--folder", str(folder)])


def main() -> None:
    """Measure both ways and print the table."""
    parser = arguments("Compare merging with a dataset per statistic.")
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
        first, again = measured("quintet", run), measured("quintet", run)
        make_peer(peer, given.peer_partials)
        theirs = measured("peer", peer)
    large = given.partials >= LARGE
    scale = given.partials / given.peer_partials
    what, scaled = f"merge of {given.partials} partials", "" if scale == 1 else f"; peer: {given.peer_partials}, scaled"
    show(
        "Merging",
        [
            Row(f"{what}{scaled}", first.cpu_s, "CPU s", theirs.cpu_s * scale, *LIMITS["CPU s"][large]),
            Row(f"{what}: memory", first.peak_mb, "MB", theirs.peak_mb if scale == 1 else None, *LIMITS["MB"][large]),
            Row(f"{what} again, nothing changed", again.cpu_s, "CPU s", theirs.cpu_s * scale),
        ],
    )


if __name__ == "__main__":
    main()
