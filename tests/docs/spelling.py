"""What a command that cannot be run here is held to: its program, verbs, flags, variables and files exist."""

from __future__ import annotations

import re
import shlex
from functools import cache

from ..house import PROJECT
from ..packaging.source_files import files
from ..packaging.test_distribution import executables, help_of

OURS = re.compile(r"^(?:\./)?bin/([\w-]+)$")
RUNTIMES = {"apptainer", "singularity", "docker", "podman"}
BUILDERS = {"buildah"}
SHELL = {"export", "cd", "rm", "ls", "cat", "sed", "chmod", "cp", "squeue", "scancel", "du"}


@cache
def suite_text() -> str:
    """Return the text of everything that reads environment variables or make variables."""
    folders = {"jobs", "shard", "merge", "slurm", "bin", "tests", "Makefile"}
    names = [path for path in files() if path.parts[0] in folders and path.parts[:2] != ("tests", "docs")]
    return "\n".join((PROJECT / path).read_text(errors="replace") for path in names)


def words_of(command: str) -> list[list[str]]:
    """Return the words of each simple command in a line."""
    parts = re.split(r"\s(?:&&|\|\||\|)\s|;\s", re.sub(r"\s#\s.*$", "", command))
    return [shlex.split(part, comments=True) for part in parts if part.strip()]


def faults(command: str) -> list[str]:
    """Return what is wrong with a command, in words."""
    found = []
    for words in words_of(command):
        while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0], re.S):
            found += unknown_variable(words.pop(0).partition("=")[0])
        if words:
            found += simple_faults(words)
    return found


def unknown_variable(name: str) -> list[str]:
    known = not name.startswith("QUINTET_") or name in suite_text()
    return [] if known else [f"no {name} in the suite"]


def simple_faults(words: list[str]) -> list[str]:
    program, rest = words[0], words[1:]
    if named := OURS.match(program):
        return verb_faults(named[1], rest)
    if program == "make":
        return make_faults(rest)
    if program == "sbatch":
        scripts = [word for word in rest if word.endswith(".sbatch")]
        return [] if scripts and (PROJECT / scripts[0]).is_file() else [f"sbatch: no script {scripts}"]
    if program in RUNTIMES:
        return image_faults(rest)
    if program == "export":
        return unknown_variable(rest[0].partition("=")[0])
    known = program in SHELL | BUILDERS or program.startswith((".venv/bin/", "c=$("))
    return [] if known else [f"{program}: unknown program"]


def make_faults(rest: list[str]) -> list[str]:
    """Return which targets and variables the Makefile does not have."""
    text = (PROJECT / "Makefile").read_text()
    targets = {name for rule in re.findall(r"^([a-z -]+):", text, re.M) for name in rule.split()}
    wrong = [f"make {word}" for word in rest if "=" not in word and not word.startswith("-") and word not in targets]
    names = [word.partition("=")[0] for word in rest if "=" in word]
    return wrong + [f"make {name}=" for name in names if not re.search(rf"\b{name}\b", text)]


def image_faults(rest: list[str]) -> list[str]:
    """Return what is wrong with the verb that an image is given, if it is given one."""
    if rest[0] != "run":
        return []
    for place, word in enumerate(rest):
        if word in executables() and not rest[place - 1].startswith("--"):
            return verb_faults(word, rest[place + 1 :])
    return []


def verb_faults(name: str, rest: list[str]) -> list[str]:
    """Return which executable, subcommand, flag or config does not exist."""
    if name not in executables():
        return [f"no bin/{name}"]
    has_subcommand = bool(rest) and re.fullmatch(r"[a-z][a-z-]*", rest[0]) and rest[0] in help_of(name)
    shown = help_of(name) + (help_of(name, rest[0]) if has_subcommand else "")
    wrong = []
    for word in rest:
        flag = word.partition("=")[0]
        if flag.startswith("--") and not re.search(rf"(?<![\w-]){flag}(?![\w-])", shown) and flag != "--debug":
            wrong.append(f"bin/{name}: no {flag}")
        if word.startswith("configs/") and "*" not in word and not (PROJECT / word).is_file():
            wrong.append(f"no {word}")
    return wrong
