"""Python, packages, container runtime, GPU and threads of this machine."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .record import Check, fail, passed, warn
from .slurm import output_of

OLDEST_PYTHON = (3, 11)
PROJECT = Path(__file__).resolve().parents[2]
LOCK_NAMES = ("requirements.lock", "pylock.toml")
SHOWN = 5


def check_python() -> Check:
    """Check the interpreter's version."""
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return fail("Python", text, "use Python 3.11 or newer")
    return passed("Python", text)


def locked_versions(text: str) -> dict[str, str]:
    """Return the exact versions that a lock file of lines `name==version` names."""
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def check_packages(project: Path = PROJECT) -> Check:
    """Compare the installed packages with the lock file."""
    path = next((project / name for name in LOCK_NAMES if (project / name).is_file()), None)
    if path is None:
        return passed("packages", "no lock file beside this code; see the run's plan/environment.json")
    return compared("packages", locked_versions(path.read_text()), path.name)


def check_planned_packages(run: Path) -> Check:
    """Compare the installed packages with those that a run was planned with."""
    path = run / "plan" / "environment.json"
    try:
        listed = json.loads(path.read_text())["packages"]
    except (OSError, ValueError, KeyError):
        return warn("planned packages", "plan/environment.json cannot be read", "plan the run again")
    text = "\n".join(line for line in listed if not line.startswith("python=="))
    return compared("planned packages", locked_versions(text), "plan/environment.json")


def compared(name: str, wanted: dict[str, str], source: str) -> Check:
    """Return how the installed packages differ from the wanted ones; absent ones do not count."""
    different, absent = [], []
    for package, version in sorted(wanted.items()):
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            absent.append(package)
            continue
        if installed.split("+")[0] != version.split("+")[0]:
            different.append(f"{package} {installed} ({source}: {version})")
    if different:
        more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
        return warn(name, "; ".join(different[:SHOWN]) + more, "make setup; other versions may give other bits")
    note = f", {len(absent)} not installed" if absent else ""
    return passed(name, f"{len(wanted) - len(absent)} as in {source}{note}")


def check_container() -> Iterator[Check]:
    """Check the container runtime, user namespaces and FUSE."""
    if os.environ.get("APPTAINER_NAME") or Path("/.singularity.d").exists():
        yield passed("container", f"inside {os.environ.get('APPTAINER_NAME', 'a container')}")
        return
    runtime = shutil.which("apptainer") or shutil.which("singularity")
    if runtime is None:
        yield passed("container", "no Apptainer here; needed only for runs in a container")
        return
    code, text = output_of([runtime, "--version"])
    if code != 0:
        yield warn("container", " ".join(text.split())[:120], "the container runtime does not start; ask the site")
        return
    yield passed("container", text.strip())
    limit = first_line("/proc/sys/user/max_user_namespaces")
    allowed = limit != "0" and first_line("/proc/sys/kernel/unprivileged_userns_clone") != "0"
    advice = "without user namespaces Apptainer needs its setuid helper; ask the site"
    yield (
        passed("user namespaces", f"{limit or 'unknown'} allowed")
        if allowed
        else warn("user namespaces", "off", advice)
    )
    fuse = os.access("/dev/fuse", os.R_OK | os.W_OK)
    advice = "images are then unpacked at each start: use a folder image (apptainer build --sandbox)"
    yield passed("FUSE", "/dev/fuse") if fuse else warn("FUSE", "/dev/fuse cannot be opened", advice)


def first_line(path: str) -> str:
    """Return the first line of a file of /proc, empty where there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def check_gpu(wanted: bool) -> Check:
    """Say which GPUs are visible; warn where a phase of the run asks for one and none is."""
    code, text = output_of(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    if code == 0 and text.strip():
        return passed("GPU", "; ".join(text.strip().splitlines()))
    if wanted:
        return warn(
            "GPU", "none visible here, and a phase asks for one", "well on a login node; elements need a GPU partition"
        )
    return passed("GPU", "none visible")


def check_machine() -> Check:
    """Say how many processors this process may use, and the threads that libraries would start."""
    cpus = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return passed("machine", f"{cpus} CPUs usable, OMP_NUM_THREADS {threads or 'unset (elements set it)'}")
