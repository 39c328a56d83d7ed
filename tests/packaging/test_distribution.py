"""What is declared is what is there: packages, requirements, the wheel, and the names in the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..house import PROJECT
from .source_files import PACKAGES, files, imports, modules

LONGEST = 450
LONGER = {
    "tests/machinery/test_merge.py": "one promise after the other about one verb, on one synthetic study",
    "tests/machinery/test_trial_store.py": "one promise after the other about one store, on one set of workers",
}
NO_VERBS = {"python", "sh", "bash", "activate", "pip"}  # of other bin/ folders


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """Return requirements by their canonical names."""
    stripped = [line.partition("#")[0].strip() for line in lines]
    found = [Requirement(line) for line in stripped if line and not line.startswith("-")]
    return {canonicalize_name(item.name): item for item in found}


def declared() -> dict[str, Requirement]:
    """Return what the suite needs and what its extras add."""
    lines = list(project()["project"]["dependencies"])
    for extra in project()["project"].get("optional-dependencies", {}).values():
        lines += extra
    return requirements(lines)


def locked() -> dict[str, Requirement]:
    return requirements((PROJECT / "requirements.lock").read_text().splitlines())


def test_the_list_of_packages_is_complete() -> None:
    folders = {path.parent for path in modules(tracked=True) if path.name == "__init__.py"}
    there = {".".join(["quintet", *folder.parts]) for folder in folders}
    listed = project()["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    assert there <= set(listed), f"not in pyproject.toml: {sorted(there - set(listed))}"
    for name in listed:
        assert (PROJECT / Path(*name.split(".")[1:]) / "__init__.py").is_file(), f"{name} is listed and not there"


def test_every_module_lies_in_a_package() -> None:
    lost = [path for path in modules() if not (PROJECT / path.parent / "__init__.py").is_file()]
    assert not lost
    assert not (PROJECT / "quintet").exists() and not list(PROJECT.glob("__init__.py"))


def test_every_other_file_of_a_package_is_declared_as_its_data() -> None:
    patterns = project()["tool"]["setuptools"].get("package-data", {})
    lost = []
    for path in files(tracked=True):
        if path.parts[0] not in PACKAGES or path.suffix == ".py":
            continue
        package = ".".join(["quintet", *path.parent.parts])
        if not any(fnmatch(path.name, pattern) for pattern in [*patterns.get(package, []), *patterns.get("*", [])]):
            lost.append(str(path))
    assert not lost


def test_ranges_are_the_same_in_both_places() -> None:
    ranges = requirements((PROJECT / "requirements.txt").read_text().splitlines())
    needed = requirements(project()["project"]["dependencies"])
    for extra in ("torch", "gpu"):
        needed |= requirements(project()["project"]["optional-dependencies"][extra])
    assert {name: str(item.specifier) for name, item in ranges.items()} == {
        name: str(item.specifier) for name, item in needed.items()
    }


def test_the_lock_names_one_version_of_each_that_fits_its_range() -> None:
    lock = locked()
    for name, item in lock.items():
        assert re.fullmatch(r"==[\w.+!]+", str(item.specifier)), f"{name} is not locked to one version"
    needed = declared()
    for extra in ("tensorboard", "wandb"):  # trackers that nothing of the suite is run with unless asked for
        for name in requirements(project()["project"]["optional-dependencies"][extra]):
            del needed[name]
    assert not needed.keys() - lock.keys()
    for name in needed:
        version = str(lock[name].specifier).removeprefix("==")
        assert needed[name].specifier.contains(version, prereleases=True), f"{name} {version}"


def test_the_lock_holds_what_its_packages_need_in_turn() -> None:
    lock, lacking = locked(), []
    for name in lock:
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for line in wanted:
            item = Requirement(line)
            if (item.marker is None or item.marker.evaluate({"extra": ""})) and canonicalize_name(
                item.name
            ) not in lock:
                lacking.append(f"{name} needs {item.name}")
    assert not [line for line in lacking if not line.endswith((" setuptools", " pip"))]


def test_every_package_that_is_imported_is_declared() -> None:
    suppliers = metadata.packages_distributions()
    known = set(declared())
    wrong = []
    for path in modules(tracked=True):
        for name, line in imports(path):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top in {"quintet", ""}:
                continue
            names = {canonicalize_name(item) for item in suppliers.get(top, [top])}
            if not names & known and not any(comes_with(item, known) for item in names):
                wrong.append(f"{path}:{line}: {top}")
    assert not wrong


def comes_with(name: str, known: set[str]) -> bool:
    """Whether a declared package itself requires this one."""
    for parent in known:
        try:
            lines = metadata.requires(parent) or []
        except metadata.PackageNotFoundError:
            continue
        if any(canonicalize_name(Requirement(line).name) == name for line in lines):
            return True
    return False


def test_no_file_is_longer_than_a_room() -> None:
    long = {}
    for path in files(tracked=True):
        if path.suffix in {".py", ".sh"}:
            length = len((PROJECT / path).read_text(encoding="utf-8").splitlines())
            if length > LONGEST:
                long[path.as_posix()] = length
    assert not long.keys() - LONGER.keys(), long
    assert all(LONGER.values())


def documents() -> list[Path]:
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def executables() -> set[str]:
    return {path.name for path in (PROJECT / "bin").iterdir() if not path.name.startswith(".")}


def spoken(text: str) -> list[tuple[str, str]]:
    """Return (executable, rest of the command) of every command in a text."""
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^\$ (.+)$", text, re.M)
    pieces = [piece for span in spans for piece in re.split(r"\s(?:&&|#)\s|;", span)]
    return [found for piece in pieces for found in re.findall(r"(?<![\w./])bin/([\w-]+)([^|]*)", piece)]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_documents_name_only_what_is_there(document: Path) -> None:
    text = document.read_text()
    made_here = set(re.findall(r"> bin/([\w-]+)", text))
    names = set(re.findall(r"(?<![\w./])bin/([a-z][\w-]*)", text)) - NO_VERBS - made_here
    assert names <= executables(), f"{document.name} names {sorted(names - executables())}"
    rules = re.findall(r"^([a-z -]+):", (PROJECT / "Makefile").read_text(), re.M)
    targets = {name for rule in rules for name in rule.split()}
    made = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^\$ make ([a-z-]+)", text, re.M))
    assert made <= targets, f"{document.name} names make {sorted(made - targets)}"
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert not [link for link in links if not (document.parent / link).exists()]


@cache
def help_of(name: str, subcommand: str = "") -> str:
    command = [PROJECT / "bin" / name, *([subcommand] if subcommand else []), "--help"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def test_documents_name_only_options_that_exist() -> None:
    wrong = []
    for document in documents():
        for name, rest in spoken(document.read_text()):
            if name not in executables():
                continue
            words = rest.split()
            subcommand = words[0] if words and re.fullmatch(r"[a-z]+", words[0]) and words[0] in help_of(name) else ""
            shown = help_of(name) + (help_of(name, subcommand) if subcommand else "")
            for option in re.findall(r"(?<!\w)--[a-z][a-z-]*", rest):
                if option not in shown and option not in {"--help", "--debug"}:
                    wrong.append(f"{document.name}: bin/{name} {option}")
    assert not wrong


def test_each_verb_stands_in_the_readme_and_in_the_console_script() -> None:
    from quintet.shard.commands import VERBS

    text = (PROJECT / "README.md").read_text()
    studies = {path.name for path in (PROJECT / "configs").iterdir() if path.is_dir()}
    verbs = executables() - studies
    assert verbs - {"container-install"} == set(VERBS)
    assert not [verb for verb in VERBS if f"bin/{verb}" not in text]


IMPORT_ALL = """
import importlib, sys
absent = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.startswith("quintet"):
            raise
        absent.append(f"{name}: {error.name}")
for name in ("jobs", "shard", "merge", "slurm"):
    if importlib.util.find_spec(name) is not None:
        sys.exit(f"a top-level {name} is importable")
where = {module.__file__ for name, module in sys.modules.items() if name.startswith("quintet.") and module.__file__}
if not all(path.startswith(sys.prefix) for path in where):
    sys.exit("imported from elsewhere than the wheel")
print("\\n".join(absent))
"""


def copied(folder: Path) -> Path:
    """Copy what a wheel is built from."""
    for path in files():
        if path.parts[0] in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes((PROJECT / path).read_bytes())
    return folder


@pytest.mark.slow
def test_every_module_is_imported_from_the_wheel_in_a_clean_environment(tmp_path: Path) -> None:
    source = copied(tmp_path / "source")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*build, "-w", tmp_path / "wheels", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "wheels").glob("quintet-*.whl")
    held = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert all(name.startswith("quintet/") for name in held)
    assert "quintet/__init__.py" not in held
    listed = {name.replace(".", "/") for name in project()["tool"]["setuptools"]["packages"]}
    for path in files(tracked=True):
        if path.parts[0] in PACKAGES:
            assert f"quintet/{path.as_posix()}" in held or f"quintet/{path.parent.as_posix()}" not in listed, path

    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run([*install, wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    site = next(environment.glob("lib/python*/site-packages"))
    packages = next(path for path in map(Path, sys.path) if (path / "numpy").is_dir())
    (site / "installed.pth").write_text(f"{packages}\n")  # the dependencies; a path added so starts no other .pth
    names = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in held if name.endswith(".py")
    ]
    names = [name for name in names if not name.endswith("__main__")]
    done = subprocess.run([python, "-c", IMPORT_ALL, *names], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    extras = {canonicalize_name(item) for item in declared()} - set(requirements(project()["project"]["dependencies"]))
    for line in done.stdout.split("\n"):
        if line:
            assert canonicalize_name(line.split(": ")[1].split(".")[0]) in extras | {"torch", "transformers"}, line
    for arguments in (["--version"], ["--help"], ["shard", "--help"], ["submit", "--help"]):
        done = subprocess.run(
            [environment / "bin" / "quintet", *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
