"""The packages import in one direction, studies know nothing of each other, and a shard starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from ..house import House
from .source_files import PACKAGES, files, imports, modules, nodes, studies

ALLOWED = {
    "jobs": {"jobs"},
    "shard": {"shard", "jobs"},
    "merge": {"merge", "shard", "jobs"},
    "slurm": {"slurm", "shard", "jobs"},
}
NOT_IN_JOBS = {"h5py", "click", "filelock", "submitit", "rich"}
NEVER = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
EXPORTED = Path("merge/synergy/exports.py")
"""Writes `sweep_state.pkl` for the programs of the study's users; may call `pickle.dumps` and nothing that reads."""
LIGHT = {"click", "numpy", "h5py"}
STARTS_PYTHON = ("__editable__", "__editable___", "_distutils_hack", "sitecustomize", "usercustomize")
JYTHON = "org"  # tried by the standard library's copy, and never there


def study_of(path: Path) -> str | None:
    """Return the study that a file belongs to; None for the machinery."""
    name = path.parts[1].removesuffix(".py")
    return name if name in studies() else None


def test_each_package_imports_only_what_stands_below_it() -> None:
    wrong = [
        f"{path}:{line}: {name}"
        for path in modules()
        for name, line in imports(path)
        if name.startswith("quintet.") and name.split(".")[1] not in ALLOWED[path.parts[0]]
    ]
    assert not wrong


def test_inside_the_packages_all_imports_of_the_suite_are_relative() -> None:
    wrong = []
    for path in modules():
        for node in nodes(path):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            tops = {name.split(".")[0] for name in names}
            wrong += [f"{path}:{node.lineno}" for _ in tops & {"quintet", *PACKAGES}]  # type: ignore[attr-defined]
    assert not wrong


def test_science_knows_nothing_of_files_flags_and_locks() -> None:
    wrong = [
        f"{path}:{line}: {name}"
        for path in modules()
        if path.parts[0] == "jobs"
        for name, line in imports(path)
        if name.split(".")[0] in NOT_IN_JOBS
    ]
    assert not wrong


def test_no_study_imports_another_and_the_machinery_imports_none() -> None:
    wrong = []
    for path in modules():
        own = study_of(path)
        for name, line in imports(path):
            parts = name.split(".")
            if parts[0] == "quintet" and len(parts) > 2 and parts[2] in studies() - {own}:
                wrong.append(f"{path}:{line}: {name}")
    assert not wrong


def dangerous(call: ast.Call) -> str | None:
    """Return what is dangerous about a call: code or objects made out of data, or a shell."""
    name = ast.unparse(call.func)
    values = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in {"eval", "exec", "compile", "__import__", "os.system", "os.popen"} | {"torch.load", "yaml.load"}:
        return name
    for keyword, refused in (("shell", True), ("allow_pickle", True), ("weights_only", False)):
        value = values.get(keyword)
        if isinstance(value, ast.Constant) and value.value is refused:
            return f"{keyword}={refused}"
    return None


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    wrong = []
    for path in [*modules(), *(file for file in files() if file.parts[0] == "bench" and file.suffix == ".py")]:
        allowed = {"pickle"} if path == EXPORTED else set()
        never = NEVER - allowed
        wrong += [f"{path}:{line}: {name}" for name, line in imports(path) if name.split(".")[0] in never]
        for node in nodes(path):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle" and node.attr != "dumps":
                wrong.append(f"{path}:{node.lineno}: pickle.{node.attr}")
            if isinstance(node, ast.Call) and (what := dangerous(node)):
                wrong.append(f"{path}:{node.lineno}: {what}")
    assert not wrong


@pytest.fixture(scope="module")
def finished_run(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a finished shard."""
    run = house.planned(tmp_path_factory.mktemp("finished") / "run", "levels=1")
    house("shard", run, "walk", "--index", 0)
    return run


@pytest.mark.parametrize("what", ["--help", "a finished shard", "no task number"])
def test_a_shard_starts_with_three_packages_at_most(house: House, finished_run: Path, what: str) -> None:
    arguments = {"--help": ["--help"], "a finished shard": [str(finished_run), "walk", "--index", "0"]}
    command = house.command("shard", *arguments.get(what, [str(finished_run), "walk"]))
    command.insert(1, "-Ximporttime")
    done = subprocess.run(command, capture_output=True, text=True, env=house.environment())
    assert done.returncode == (64 if what == "no task number" else 0), done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    tops = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in lines}
    foreign = {top for top in tops - sys.stdlib_module_names if not top.startswith(STARTS_PYTHON)}
    assert foreign - {"quintet", "imported package", "__main__", JYTHON} <= LIGHT
