"""What is fed hostile bytes, and what must hold afterwards."""

from __future__ import annotations

import os
import random
import resource
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import click
from quintet.merge.__main__ import merge as merge_command
from quintet.shard.commands.base import run_command
from quintet.shard.commands.config import command as config_command
from quintet.shard.commands.missing import command as missing_command
from quintet.shard.commands.plan import command as plan_command
from quintet.shard.commands.shard import command as shard_command
from quintet.shard.commands.status import command as status_command
from quintet.shard.commands.verify import command as verify_command
from quintet.shard.run import Run

from ..machinery.elements import SHARDS, finish, forked, kill, merged_payload, planned, quiet_payload, staged, waited
from .mutation import TOKENS, damaged, mutated, resealed

PROJECT = Path(__file__).resolve().parents[2]
BUG = 70
MOST_CPU_S, MOST_BYTES, MOST_WORDS = 30, 6 << 30, 20_000
VARIABLES = (
    "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURMD_NODENAME", "TMPDIR",
    "SLURM_JOB_PARTITION", "SLURM_CPUS_PER_TASK", "SLURM_TMPDIR", "SLURM_JOB_END_TIME", "QUINTET_DEADLINE",
    "QUINTET_SHARD", "QUINTET_UMASK", "QUINTET_IMAGE_ID", "QUINTET_KEEP_LOGS", "QUINTET_NODE_CACHE", "TZ", "LC_ALL",
)  # fmt: skip


class Broken(Exception):  # noqa: N818
    """What must hold did not."""


class Ground:
    """Whole runs to damage copies of, and their payloads."""

    def __init__(self, folder: Path) -> None:
        """Run the study of small steps once, with a checkpoint left in its walk."""
        self.folder = folder
        self.whole = planned(folder / "whole", "measure", "search")
        for phase in ("measure", "search"):
            finish(self.whole, phase)
        self.walking = planned(folder / "walking", "walk", checkpoint_s=0.0)
        checkpoints = self.walking.path / "checkpoints"
        with staged(pause=0.05):
            process = forked(lambda: run_command(shard_command, [str(self.walking.path), "walk", "--index", "0"]))
            while len(list(checkpoints.rglob("*.h5"))) < 2:
                pass
            kill(process)
        self.quiet = {name: quiet_payload(folder / f"quiet-{name}", name) for name in ("measure", "search", "walk")}

    def copied(self, run: Run, place: Path) -> Run:
        """Return a copy of a run."""
        shutil.copytree(run.path, place / "run")
        return Run(place / "run")


def obeyed(place: Path, command: click.Command, *arguments: object, allowed: set[int] | None = None) -> int:
    """Run a verb in a bounded process below `place`; raise where it shows a bug, dies of a signal or writes outside."""
    log = place / "log"
    log.unlink(missing_ok=True)

    def act() -> None:
        os.chdir(place)
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + MOST_CPU_S,) * 2)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        run_command(command, [str(argument) for argument in arguments])

    code = waited(forked(act, log))
    said = log.read_text(errors="replace") if log.exists() else ""
    if code < 0 or code == BUG or "Traceback" in said or (allowed is not None and code not in allowed):
        raise Broken(f"{command.name} ended with {code}: {said[-3000:]}")
    if len(said) > MOST_WORDS:
        raise Broken(f"{command.name} said {len(said)} characters: {said[:300]}")
    if list(place.rglob("owned")):
        raise Broken(f"{command.name} ran what a file held")
    return code


def healed(run: Run, phase: str, place: Path) -> str:
    """Set aside what `verify` finds, do what is missing, merge, and return the payload."""
    obeyed(place, verify_command, run.path, phase, "--quarantine")
    for shard in range(SHARDS):
        obeyed(place, shard_command, run.path, phase, "--index", shard, allowed={0})
    return merged_payload(run, phase)


def equal(found: str, expected: str) -> None:
    """Hold a payload to the quiet run's."""
    if found != expected:
        raise Broken("the merged payload is another")


def configs(ground: Ground, place: Path, dice: random.Random) -> None:
    """A config of any study is valid or refused; nothing is written where it is refused."""
    source = dice.choice(sorted((PROJECT / "configs").glob("*/*.yaml")))
    path = place / "config.yaml"
    path.write_bytes(mutated(source.read_bytes(), dice))
    if dice.random() < 0.9:
        obeyed(place, config_command, "validate", path, allowed={0, 2})
        return
    code = obeyed(place, plan_command, path, "--run", place / "run", "--no-probe", allowed={0, 2, 65})
    if code != 0 and (place / "run").exists():
        raise Broken("a refused config left a run")


def partials(ground: Ground, place: Path, dice: random.Random) -> None:
    """A damaged partial is found or harmless, and the run heals to the same payload."""
    phase = dice.choice(("measure", "search"))
    run = ground.copied(ground.whole, place)
    damaged(dice.choice(sorted((run.path / "partials" / phase).rglob("*.h5"))), dice)
    obeyed(place, missing_command, run.path, phase, allowed={0, 1})
    obeyed(place, merge_command, run.path, phase, allowed={0, 3, 65})
    equal(healed(run, phase, place), ground.quiet[phase])


def forged_partials(ground: Ground, place: Path, dice: random.Random) -> None:
    """A partial whose card fits hostile bytes is refused or merged, in bounds."""
    phase = dice.choice(("measure", "search"))
    run = ground.copied(ground.whole, place)
    resealed(dice.choice(sorted((run.path / "partials" / phase).rglob("*.h5"))), dice)
    obeyed(place, missing_command, run.path, phase)
    obeyed(place, merge_command, run.path, phase)
    obeyed(place, verify_command, run.path, phase, "--quarantine")
    obeyed(place, status_command, run.path)


def checkpoints(ground: Ground, place: Path, dice: random.Random) -> None:
    """A damaged checkpoint costs time and no bit of the result."""
    run = ground.copied(ground.walking, place)
    for path in sorted((run.path / "checkpoints").rglob("*.h5")):
        if dice.random() < 0.7:
            damaged(path, dice)
    equal(healed(run, "walk", place), ground.quiet["walk"])


def forged_checkpoints(ground: Ground, place: Path, dice: random.Random) -> None:
    """A checkpoint whose card fits hostile bytes is taken or set aside, in bounds."""
    run = ground.copied(ground.walking, place)
    for path in sorted((run.path / "checkpoints").rglob("*.h5")):
        resealed(path, dice)
    obeyed(place, shard_command, run.path, "walk", "--index", 0)


def databases(ground: Ground, place: Path, dice: random.Random) -> None:
    """A damaged database is found or harmless, and the trials come back from what was published."""
    run = ground.copied(ground.whole, place)
    damaged(run.store("search"), dice)
    for path in dice.sample(sorted((run.path / "partials" / "search").rglob("*.h5")), 2):
        path.unlink()
    obeyed(place, status_command, run.path)
    obeyed(place, shard_command, run.path, "search", "--index", 0, allowed={0, 65, 78})
    equal(healed(run, "search", place), ground.quiet["search"])


def environments(ground: Ground, place: Path, dice: random.Random) -> None:
    """An element in a hostile environment ends with a code of the table."""
    run = planned(place / "run", "measure")
    values = {
        name: mutated(dice.choice((b"0", b"12", b"node-1", b"/tmp", b"1893456000", b"")), dice).replace(b"\0", b"")
        for name in dice.sample(VARIABLES, dice.randrange(1, 5))
    }
    kept = dict(os.environ)
    try:
        for name in VARIABLES:
            os.environ.pop(name, None)
        os.environb.update({name.encode(): value for name, value in values.items()})
        obeyed(place, shard_command, run.path, "measure", *dice.choice(((), ("--index", 0))))
    finally:
        os.environ.clear()
        os.environ.update(kept)


def records(ground: Ground, place: Path, dice: random.Random) -> None:
    """Plans, attempt records and journals may hold anything: verbs refuse or bear it."""
    run = ground.copied(ground.whole, place)
    (run.path / "submissions.jsonl").write_text('{"job": "7", "kind": "array", "phase": "measure", "map": "x"}\n')
    known = [*run.plan_folder.glob("*.json"), *(run.path / "attempts").rglob("*.jsonl"), run.path / "submissions.jsonl"]
    damaged(dice.choice(sorted(known)), dice)
    obeyed(place, status_command, run.path)
    obeyed(place, missing_command, run.path)
    obeyed(place, shard_command, run.path, "measure", "--index", 0)
    obeyed(place, merge_command, run.path)


def arguments(ground: Ground, place: Path, dice: random.Random) -> None:
    """A hostile command line is refused or does what it says."""
    run = ground.copied(ground.whole, place)
    words = [str(run.path), "measure", "--index", "0", "--blocks", "0:12", "--map", str(place / "map"), "--json"]
    (place / "map").write_bytes(mutated(b"0\n1\n", dice))
    given = dice.sample(words, dice.randrange(1, 6))
    given[dice.randrange(len(given))] = dice.choice(TOKENS).replace(b"\0", b"").decode(errors="replace")
    obeyed(place, dice.choice((shard_command, status_command, missing_command, verify_command)), *given)


Target = Callable[[Ground, Path, random.Random], None]
TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        configs, partials, forged_partials, checkpoints, forged_checkpoints, databases, environments, records, arguments
    )
}  # fmt: skip


def tried(name: str, ground: Ground, place: Path, seed: str) -> str | None:
    """Run one case in an empty folder; return what went wrong, None where all held."""
    place.mkdir()
    try:
        TARGETS[name](ground, place, random.Random(seed))
    except Broken as broken:
        return str(broken)
    except Exception:
        return traceback.format_exc()
    finally:
        for path in place.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(place)
    return None
