"""Cost of publishing one partial of 12 kB: built in memory, digested, written, linked, read back.

    python bench/publish.py [--partials 500] [--rounds 5]

8 metrics x 64 cells of (n, mean, M2), with full provenance.  The peer writes the same numbers with h5py as a dataset
per metric and part, 24 in all, straight under the final name, without digest, provenance or protection.  CPU
milliseconds, the best of the rounds; fsync is left out on both sides (it costs no CPU worth naming, but waits for the
disk), and once put back for information.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common.grid import NAMES, PARTS, triples_of
from common.process import own_cpu_s
from common.table import Row, arguments, show

HARD_MS, STRETCH_MS = 1.5, 0.8


def publisher(folder: Path) -> Callable[[int], None]:
    """Return the function that publishes partial `number` as an element does."""
    from quintet.shard.partial import Card, build
    from quintet.shard.provenance import provenance
    from quintet.shard.publish import publish
    from quintet.shard.run import Run

    run, stats, config = Run(folder), triples_of(0)[None], "c" * 64

    def one(number: int) -> None:
        nodes = np.array([[0, number]])
        card = Card("bench", "simulate", number, number, number + 1, config[:16], "0" * 16, units=1)
        content, card = build(card, {"stats": stats, "nodes": nodes}, provenance(config_sha256=config))
        publish(run.shard_file("simulate", number), content, card, folder / "quarantine")

    return one


def peer(folder: Path) -> Callable[[int], None]:
    """Return the function that writes file `number` with h5py, a dataset per metric and part."""
    import h5py

    folder.mkdir()
    triples = triples_of(0)

    def one(number: int) -> None:
        with h5py.File(folder / f"p{number}.h5", "w") as file:
            for metric, name in enumerate(NAMES):
                for part, kind in enumerate(PARTS):
                    file[f"{name}/{kind}"] = triples[metric, part]

    return one


def milliseconds(one: Callable[[int], None], numbers: range) -> float:
    """Return CPU milliseconds per call."""
    begun = own_cpu_s()
    for number in numbers:
        one(number)
    return (own_cpu_s() - begun) / len(numbers) * 1e3


def main() -> None:
    """Measure in turns and print the table."""
    parser = arguments("Cost of publishing one partial.")
    parser.add_argument("--partials", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    fsync = os.fsync
    with tempfile.TemporaryDirectory(prefix="quintet-bench-") as scratch:
        ours, theirs = publisher(Path(scratch) / "ours"), peer(Path(scratch) / "peer")
        os.fsync = lambda descriptor: None
        ours(0), theirs(0)
        costs = [
            (milliseconds(ours, numbers), milliseconds(theirs, numbers))
            for start in range(given.rounds)
            for numbers in [range(1 + start * given.partials, 1 + (start + 1) * given.partials)]
        ]
        os.fsync = fsync
        numbers, begun = range(10**6, 10**6 + 50), time.monotonic()
        synced = milliseconds(ours, numbers)
        waited = (time.monotonic() - begun) / len(numbers) * 1e3
    best = [min(column) for column in zip(*costs, strict=True)]
    show(
        "Publishing one partial (12 kB)",
        [
            Row("publish, without fsync", best[0], "CPU ms", best[1], HARD_MS, STRETCH_MS),
            Row("publish, with two fsyncs", synced, "CPU ms"),
            Row("publish, with two fsyncs, wall time", waited, "ms"),
        ],
    )


if __name__ == "__main__":
    main()
