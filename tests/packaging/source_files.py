"""The project's own files, and what its modules import."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..house import PROJECT

PACKAGES = ("jobs", "shard", "merge", "slurm")


@cache
def files(tracked: bool = False) -> tuple[Path, ...]:
    """Return the project's files below PROJECT: all that git does not ignore, or only those that are in it."""
    command = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached"]
    listed = subprocess.run(
        command if tracked else [*command, "--others", "--exclude-standard"], capture_output=True, text=True
    )
    if listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.split("\0") if name]
    else:  # an unpacked archive
        names = [path.relative_to(PROJECT) for top in PACKAGES for path in (PROJECT / top).rglob("*")]
    return tuple(sorted({name for name in names if (PROJECT / name).is_file() and "__pycache__" not in name.parts}))


def modules(tracked: bool = False) -> list[Path]:
    """Return the Python files of the packages."""
    return [path for path in files(tracked) if path.parts[0] in PACKAGES and path.suffix == ".py"]


def package_of(path: Path) -> tuple[str, ...]:
    """Return the package that a file's relative imports start from."""
    return ("quintet", *path.parent.parts)


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return every node of a file's syntax tree."""
    return tuple(ast.walk(ast.parse((PROJECT / path).read_text(encoding="utf-8"))))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (absolute name, line) of every import in a file, wherever it stands."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package_of(path)[: len(package_of(path)) - node.level + 1] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield name, node.lineno
            yield from ((f"{name}.{alias.name}", node.lineno) for alias in node.names)


def studies() -> set[str]:
    """Return the names of the studies: the packages below `jobs/`."""
    return {path.parts[1] for path in modules() if path.parts[0] == "jobs" and len(path.parts) > 2}
