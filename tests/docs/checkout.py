"""A throw-away copy of the project in which the commands of the documentation are run, and what they show compared."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..house import PROJECT
from ..packaging.source_files import PACKAGES, files
from .blocks import QUICK, Block, Command, blocks

VARIABLE = (
    (re.compile(r"^(\d{4}-\d\d-\d\dT)?\d\d:\d\d:\d\dZ? "), ""),  # time of day
    (re.compile(r" \((scan|render|reduce|write|unchanged)[^()]* s\)$"), ""),  # how long it took
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "DIGEST"),
    (re.compile(r"(array|merge job|Job|job) \d+(_\d+)?"), r"\1 ID"),
    (re.compile(r"[\d.]+(/[\d.]+)* (s|MB|GB|min|h)\b"), "AMOUNT"),
    (re.compile(r"--(mem|time)=\S+"), r"--\1=AMOUNT"),
    (re.compile(r"\b\d+ ms\b|\b\d+ %"), "AMOUNT"),
    (re.compile(r"\s+"), " "),
)
"""What differs between two runs of a command or between machines: times, sizes, digests, job numbers."""
NOT_AGAIN = re.compile(r"\bmake (?!-)(?=setup|test|model|lint)")
"""These made the environment that the tests run in, or are the tests: make only says what it would do."""
SECONDS = 3600


def digest(path: Path) -> str:
    """Return the digest of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stable(line: str) -> str:
    """Return a line of output without what differs between two runs."""
    for pattern, instead in VARIABLE:
        line = pattern.sub(instead, line)
    return line.strip()


def lacking(shown: Iterable[str], said: str) -> list[str]:
    """Return the shown lines that were not said, in their order; `…` stands for any text."""
    lines = [stable(line) for line in said.splitlines()]
    absent, place = [], 0
    for wanted in shown:
        pattern = re.compile(re.escape(stable(wanted)).replace("…", ".*"))
        for number in range(place, len(lines)):
            if pattern.fullmatch(lines[number]):
                place = number + 1
                break
        else:
            absent.append(wanted)
    return absent


@dataclass
class Checkout:
    """A copy of the project's files with this environment's packages, and the commands that have been run in it."""

    folder: Path
    extra: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[str], object] = lambda command: None
    """Called with every command before it is run."""
    copied: Mapping[Path, str] = field(default_factory=dict)
    """Digest of every file that was copied."""

    @classmethod
    def of_project(cls, folder: Path, **values: object) -> Checkout:
        """Copy what git does not ignore; the copy's own packages are those that its commands import."""
        copied = {}
        for path in (path for path in files() if (PROJECT / path).is_file()):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / path, folder / path)
            copied[path] = digest(folder / path)
        (folder / ".venv").symlink_to(Path(sys.prefix))
        code = folder / ".code" / "quintet"
        code.mkdir(parents=True)
        for name in PACKAGES:
            (code / name).symlink_to(folder / name)
        return cls(folder, copied=copied, **values)  # type: ignore[arg-type]

    def changed(self) -> list[Path]:
        """Return the project's files that are no longer as they were copied."""
        return [path for path, content in self.copied.items() if digest(self.folder / path) != content]

    def environment(self) -> dict[str, str]:
        """Return the environment of a reader who has run `make setup` here."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "QUINTET", "SBATCH"))}
        kept |= {"PYTHONPATH": str(self.folder / ".code"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        return {**kept, **self.extra}

    def run(self, command: Command) -> str:
        """Type a command, hold it to its exit code and to what is shown below it, and return what it said."""
        self.before(command.text)
        typed = NOT_AGAIN.sub("make --dry-run ", command.text)
        typed = re.sub(r"\bmake (?!-)", "make -o .venv/.stamp -o .venv/.model ", typed)
        done = subprocess.run(
            ["bash", "-c", typed],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == command.code, f"$ {command.text}\n{done.stdout}\nexit code {done.returncode}"
        absent = lacking(command.shown, done.stdout)
        assert not absent, f"$ {command.text}\nsaid:\n{done.stdout}\nnot said: {absent}"
        return done.stdout

    def write(self, block: Block) -> None:
        """Write the file that a block shows."""
        assert block.file is not None
        path = self.folder / block.file
        assert path.resolve().is_relative_to(self.folder.resolve()), block
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def run_examples(self, document: Path) -> list[Block]:
        """Run the Python examples of a page one after another in one process; return them."""
        examples = [block for block in blocks(document) if block.is_example]
        script = self.folder / "example.py"
        script.write_text("\n".join(block.text for block in examples))
        self.run(Command(f"{self.folder / '.venv' / 'bin' / 'python'} {script.name}", 0, ()))
        return examples

    def follow(self, document: Path, needs: Collection[str] = (QUICK,)) -> list[str]:
        """Do what a page says from top to bottom, as far as its needs are met; return the commands that were run."""
        typed = []
        for block in blocks(document):
            if block.file is not None:
                self.write(block)
            elif block.is_shell and block.needs in needs:
                for command in block.commands:
                    try:
                        self.run(command)
                    except AssertionError as error:
                        raise AssertionError(f"{block}: {error}") from None
                    typed.append(command.text)
        return typed
