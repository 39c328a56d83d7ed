"""An image of the suite from outside: the command that runs Python in it, with its surroundings and nothing else.

`slurm/environment.sh` does the same for batch jobs, in shell.  Inside the image, `python -m quintet.shard.container RUN
PHASE` merges a phase with the planned code.
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from .attempts import SLURM_VARIABLES
from .errors import Exit, QuintetError
from .run import Run

ENTRY = "/opt/quintet/bin/.entry"
RUNTIMES = ("apptainer", "singularity")
GPU_OPTIONS = {"nvidia": "--nv", "amd": "--rocm"}
# What of the environment outside a process in the image may see, besides QUINTET_…
PASSED = (
    *SLURM_VARIABLES,
    "SLURM_CPUS_PER_TASK",
    "SLURM_JOB_END_TIME",
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
)
# They name programs and files outside.
KEPT_OUT = ("QUINTET_PYTHON", "QUINTET_CONTAINER", "QUINTET_SITE", "QUINTET_IMAGE_ID", "QUINTET_KERNEL_CACHE")


@dataclass(frozen=True)
class Container:
    """An image file or unpacked folder, absolute, and what is bound into it besides the run.

    `binds` are (folder, whether it may be written); `gpu` is the option that shows the image its GPUs, or empty.
    """

    image: Path
    binds: tuple[tuple[str, bool], ...] = ()
    gpu: str = ""

    def options(self) -> list[str]:
        """Return the runtime's options for what is bound and seen."""
        words = [word for path, writable in self.binds for word in ("--bind", bind(path, writable))]
        return [*words, *([self.gpu] if self.gpu else [])]


def inside() -> bool:
    """Whether this process runs in one of the suite's images."""
    return bool(os.environ.get("QUINTET_IMAGE_ID"))


def bind(path: str, writable: bool = True) -> str:
    """Return a bind of a path to itself; exit 2 where the runtime would read the path as several words."""
    if any(sign in path for sign in ",:") or not path.isprintable():
        raise QuintetError(
            Exit.USAGE, f"{path}: a path that is bound into a container may not hold ',', ':' or control characters"
        )
    return f"{path}:{path}" if writable else f"{path}:{path}:ro"


def container_of(run: Run, image: str | Path, gpu: str = "", more: Iterable[str] = ()) -> Container:
    """Return the container for a run: its inputs from outside and its cache are bound beside the run itself.

    Args:
        run: a planned run.
        image: SIF file or unpacked folder.
        gpu: `nvidia` or `amd` where the work needs GPUs.
        more: further folders, bound read-only.

    Raises:
        QuintetError: exit 2 where the image is not there, or a path cannot be bound.
    """
    path = Path(image).expanduser().absolute()
    if not path.exists():
        raise QuintetError(Exit.USAGE, f"container: found {str(image)!r}; no such image file or folder")
    outside = {str(Path(item["path"]).parent) for name in run.phases() for item in run.plan(name).inputs}
    binds = [(folder, False) for folder in sorted(outside | set(more)) if not Path(folder).is_relative_to(run.path)]
    cache = os.environ.get("QUINTET_CACHE")
    if cache:
        binds.append((str(Path(cache).absolute()), True))
    for folder, writable in (*binds, (str(run.path.resolve()), True)):
        bind(folder, writable)
    return Container(path, tuple(binds), GPU_OPTIONS[gpu] if gpu else "")


def runtime() -> str:
    """Return the program that runs images; exit 69 where there is none."""
    for name in RUNTIMES:
        if found := shutil.which(name):
            return found
    raise QuintetError(Exit.UNAVAILABLE, f"container: neither of {', '.join(RUNTIMES)} is on PATH")


def passed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that a process in the image may see."""
    return {
        name: value
        for name, value in environment.items()
        if name in PASSED or (name.startswith("QUINTET_") and name not in KEPT_OUT)
    }


def python_in(container: Container, run: Path, scratch: Path, environment: Mapping[str, str]) -> list[str]:
    """Return the command that runs Python in an image, to be followed by its arguments.

    Args:
        container: image and binds.
        run: the run directory, bound under its own path.
        scratch: a node-local folder for temporary files and the node's kernels, bound as well.
        environment: what it is picked from that the process may see.
    """
    settings = {**passed(environment), "TMPDIR": str(scratch), "PYTHONFAULTHANDLER": "1"}
    root = str(run.resolve())
    return [
        runtime(),
        "exec",
        "--cleanenv",
        "--containall",
        "--pwd",
        root,
        "--bind",
        bind(root),
        "--bind",
        bind(str(scratch)),
        *container.options(),
        str(container.image),
        "env",
        *(f"{name}={value}" for name, value in settings.items()),
        ENTRY,
        "python",
    ]


def check_code(run: Run, phase: str, allowed: bool) -> None:
    """Hold the code of this process against the plan's: exit 78 where they differ and drift is not allowed."""
    from .snapshot import running_code_sha256

    found, planned = running_code_sha256(), str(run.plan(phase).code["sha256"])
    if found == planned:
        return
    message = f"the image's code {found[:12]} is not the planned {planned[:12]}"
    if not allowed:
        raise QuintetError(Exit.MISMATCH, f"{message}; build the image from that code, or pass --allow-code-drift")
    print(message, file=sys.stderr)


@click.command("merge")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("phase")
@click.option("--allow-code-drift", is_flag=True, help="Merge although the image's code is not the planned.")
def merge(run: Path, phase: str, allow_code_drift: bool) -> None:
    """Merge PHASE of RUN, as `merge` does, if this image holds the planned code."""
    check_code(Run.opened(run), phase, allow_code_drift)
    sys.argv = ["quintet.merge", str(run), phase]
    runpy.run_module("quintet.merge", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    from .commands.base import run_command

    run_command(merge)
