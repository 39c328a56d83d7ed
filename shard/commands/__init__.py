"""The verbs: one command per file, and the console script that knows them all."""

from __future__ import annotations

import os
import sys

VERBS = {
    "plan": "quintet.shard.commands.plan",
    "submit": "quintet.slurm",
    "cancel": "quintet.slurm.cancel",
    "shard": "quintet.shard.commands.shard",
    "local": "quintet.shard.commands.local",
    "status": "quintet.shard.commands.status",
    "missing": "quintet.shard.commands.missing",
    "merge": "quintet.merge",
    "index": "quintet.merge.index",
    "compare": "quintet.merge.compare",
    "pack": "quintet.merge.pack",
    "verify": "quintet.shard.commands.verify",
    "doctor": "quintet.shard.commands.doctor",
    "clean": "quintet.shard.commands.clean",
    "config": "quintet.shard.commands.config",
}


def main() -> None:
    """Run one verb, or a study's drop-in command, as `python -m` would."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in {"-h", "--help"}:
        print("usage: quintet VERB|STUDY [ARGUMENT ...]\nverbs: " + " ".join(VERBS) + "\n--version prints the version")
        raise SystemExit(0 if arguments else 2)
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        from ..provenance import version_line

        print(version_line())
        return
    command = [VERBS[name], *rest] if name in VERBS else ["quintet.shard.commands.study", name, *rest]
    os.execv(sys.executable, [sys.executable, "-m", *command])
