"""Cost of starting an element: one whose shard is finished already, and ones with one and with eight trivial units.

    python bench/resume.py [--rounds 15]

The peers are a bare process that imports numpy and h5py, and one that also writes one file. Median CPU seconds of
whole processes, started in turns.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

from common.process import BARE, BARE_WRITING, cost_of, in_turns
from common.study import House
from common.table import Row, arguments, show

PACKED = 8


def main() -> None:
    """Measure and print the table."""
    parser = arguments("Cost of starting an element.")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quintet-bench-") as scratch:
        folder = Path(scratch)
        house = House.built(folder)
        run = house.planned(folder / "run", given.rounds + 1, given.rounds + 1)
        environment = house.element_environment(run)
        finished = house.command("shard", run, "simulate", "--index", 0)
        cost_of(finished, environment)
        starts = in_turns(
            {"bare": (sys.executable, "-c", BARE), "resume": finished, "help": house.command("shard", "--help")},
            given.rounds,
            environment,
        )
        packed = house.planned(folder / "packed", PACKED * given.rounds, given.rounds)
        found: dict[str, list[float]] = {"write": [], "one": [], "packed": []}
        for shard in range(given.rounds):
            commands = {
                "write": (sys.executable, "-c", BARE_WRITING, str(folder / f"bare{shard}.h5")),
                "one": house.command("shard", run, "simulate", "--index", shard + 1),
                "packed": house.command("shard", packed, "simulate", "--index", shard),
            }
            for name, cost in in_turns(commands, 1, environment).items():
                found[name].append(cost)
    works = {name: median(values) for name, values in found.items()}
    show(
        "Starting an element",
        [
            Row("no-op resume of a finished shard", starts["resume"], "CPU s", starts["bare"], 2, 1.2, of_peer=True),
            Row("shard --help", starts["help"], "CPU s", starts["bare"]),
            Row("one trivial unit", works["one"], "CPU s", works["write"], 1.5, of_peer=True),
            Row(f"a trivial unit, packed x{PACKED}", works["packed"] / PACKED, "CPU s", works["write"], 0.025),
        ],
    )


if __name__ == "__main__":
    main()
