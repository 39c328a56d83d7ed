"""Cost of `missing` and `status` on runs with very many shards.

    python bench/missing.py [--shards 10000 100000] [--folder FOLDER]

Every shard has its partial (12 kB of statistics) and an attempt record, but for every thousandth, which is missing.
`missing` reads every byte of every partial and checks its digest; `status` reads cards, sizes and attempt records.
CPU seconds and peak memory are those of whole processes.  There is no peer: nothing else checks so.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from common.grid import make_run
from common.process import cost_of
from common.table import Row, arguments, show

LACKING = 1000
HARD, STRETCH = 20.0, 3.0
LARGE = 100_000


def add_attempts(run: Path, shards: int) -> None:
    """Write the attempt record of every shard that is there, and remove the partials of the others."""
    end = {"rc": 0, "reason": "", "wall_s": 1.0, "cpu_s": 1.0, "peak_rss_mb": 90.0, "blocks": 1, "units": 1}
    for shard in range(shards):
        bucket, name = f"{shard // 1000:04d}", f"s{shard:06d}"
        if shard % LACKING == LACKING - 1:
            (run / "partials" / "simulate" / bucket / f"{name}.h5").unlink()
            continue
        folder = run / "attempts" / "simulate" / bucket
        folder.mkdir(parents=True, exist_ok=True)
        first = {"attempt": name, "event": "start", "time": "2026-01-01T00:00:00.000Z", "host": "n1", "slurm": {}}
        last = {"attempt": name, "event": "end", "time": "2026-01-01T00:00:01.000Z", **end, "block_s": [1.0] * 3}
        lines = [json.dumps(line, separators=(",", ":")) + "\n" for line in (first, last)]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Measure and print the table."""
    parser = arguments("Cost of missing and status.")
    parser.add_argument("--shards", type=int, nargs="+", default=[10_000, LARGE])
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder unless given")
    given = parser.parse_args()
    os.umask(0o027)
    rows = []
    for shards in given.shards:
        with tempfile.TemporaryDirectory(prefix="quintet-bench-", dir=given.folder) as scratch:
            run = Path(scratch) / "run"
            make_run(run, shards)
            add_attempts(run, shards)
            limits = (HARD, STRETCH) if shards >= LARGE else (None, None)
            for verb, allowed in (("missing", (1,)), ("status", (0,))):
                command = [sys.executable, "-m", f"quintet.shard.commands.{verb}", str(run)]
                cost = cost_of(command, allowed=allowed)
                rows.append(Row(f"{verb}, {shards} shards", cost.cpu_s, "CPU s", None, *limits))
                rows.append(Row(f"{verb}, {shards} shards: memory", cost.peak_mb, "MB"))
    show("Looking at many shards", rows)


if __name__ == "__main__":
    main()
