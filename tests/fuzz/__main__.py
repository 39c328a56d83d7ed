"""Try every target in turn for a while, and say what did not hold, each with the seed that repeats it."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .targets import TARGETS, Ground, tried


def main() -> int:
    """Fuzz; the exit code says whether anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed hostile bytes to the verbs.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1, help="another seed, other cases")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; may be repeated")
    parser.add_argument("--case", type=int, help="this case alone")
    given = parser.parse_args()
    names = given.target or list(TARGETS)
    end = time.monotonic() + 60 * given.minutes
    cases, found = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="quintet-fuzz-") as scratch:
        folder = Path(scratch)
        ground = Ground(folder)
        number = given.case or 0
        while given.case is not None or time.monotonic() < end:
            for name in names:
                wrong = tried(name, ground, folder / "case", f"{given.seed}.{name}.{number}")
                cases[name] += 1
                if wrong is not None:
                    found[name] += 1
                    print(f"--target {name} --seed {given.seed} --case {number}: {wrong}", flush=True)
            number += 1
            if given.case is not None:
                break
    for name in names:
        print(f"{name}: {cases[name]} cases, {found[name]} broken")
    return min(1, sum(found.values()))


if __name__ == "__main__":
    sys.exit(main())
