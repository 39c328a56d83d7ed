"""Code blocks of the README and of the pages in docs/, and what a console block says to type and to see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

from ..house import PROJECT

SHELLS = {"console", "bash", "sh", "shell"}
QUICK, SLOW, SLURM, CONTAINERS, PARSED = "quick", "slow", "slurm", "containers", "parsed"
NEEDS = {SLOW: "minutes", SLURM: "a Slurm", CONTAINERS: "a container runtime", PARSED: "hours, a GPU or your own files"}
"""Word behind ```console -> what the block needs. A block without a word is run by the quick tests."""
ELSEWHERE = {"containers.md": CONTAINERS, "conspec.md": PARSED, "benchmarks.md": PARSED}
"""What the blocks of these pages need that do not say it themselves."""

FRAGMENTS = {"writing-a-study.md"}
"""Pages whose Python is lines out of files, unless the block is a file."""
NAMED_BY_TIME = "search_summary_20260101_000000.json"
"""A file whose name holds the time of somebody's run; an example that reads it cannot be run elsewhere."""

FENCE = re.compile(r"^( *)```(\w*)[ \t]*(.*?)[ \t]*$\n(.*?)^ *```$", re.M | re.S)
FILE = re.compile(r"^`([\w./-]+\.\w+)`:?$")


@dataclass(frozen=True)
class Command:
    """A line to type, the exit code that its comment names (`exits 3`), and what is shown below it."""

    text: str
    code: int
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, the word behind it, and the file that the line before it names."""

    document: Path
    line: int
    language: str
    word: str
    text: str
    file: str | None

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"

    @property
    def is_shell(self) -> bool:
        return self.language in SHELLS

    @property
    def is_example(self) -> bool:
        """Whether it is a piece of Python that runs as it stands."""
        is_whole = self.language == "python" and self.file is None and self.document.name not in FRAGMENTS
        return is_whole and NAMED_BY_TIME not in self.text

    @property
    def needs(self) -> str:
        return self.word or ELSEWHERE.get(self.document.name, QUICK)

    @property
    def commands(self) -> tuple[Command, ...]:
        """What is to be typed; in a console block the lines behind `$`, else all lines."""
        lines = self.text.replace("\\\n", " ").splitlines()
        has_prompt = any(line.startswith("$ ") for line in lines)
        found: list[tuple[str, list[str]]] = []
        for line in lines:
            if line.startswith("$ ") or (not has_prompt and line.strip() and not line.startswith("#")):
                found.append((line.removeprefix("$ "), []))
            elif found and line.strip():
                found[-1][1].append(line)
        return tuple(Command(text, exit_code(text), tuple(shown)) for text, shown in found)


def exit_code(command: str) -> int:
    """Return the exit code that a command's comment names; 0 where it names none."""
    named = re.search(r"#.*\bexits (\d+)", command)
    return int(named[1]) if named else 0


def documents() -> list[Path]:
    """Return the README and the pages of docs/, in reading order."""
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


@cache
def blocks(document: Path) -> tuple[Block, ...]:
    """Return the fenced blocks of a page."""
    text = document.read_text()
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()].rstrip("\n").rpartition("\n")[2]
        named = FILE.match(before)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(document, line, match[2], match[3], dedent(match[4]), named[1] if named else None))
    return tuple(found)


def page(name: str) -> Path:
    """Return a page by its file name."""
    return next(path for path in documents() if path.name == name)
