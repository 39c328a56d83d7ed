"""Two workflow tools on the same trivial tasks: how each is told of them and hands them in.

They live in an environment of their own (`make .peers`), since each pins packages of the suite to other versions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SNAKEFILE = """\
rule all:
    input: expand("files/{{number}}.h5", number=range({tasks}))

rule bare:
    output: "files/{{number}}.h5"
    shell: "{python} {bare} {{output}}"
"""
PROJECT = """\
import flow


class Private(flow.environment.DefaultSlurmEnvironment):
    template = "slurm.sh"

    @classmethod
    def is_present(cls):
        return True


class Tasks(flow.FlowProject):
    pass


@Tasks.post.isfile("file.h5")
@Tasks.operation(cmd=True, directives={{"walltime": 0.1}})
def bare(job):
    return "{python} {bare} " + job.fn("file.h5")


if __name__ == "__main__":
    Tasks().main()
"""
JOBS = """\
import signac
project = signac.init_project()
for number in range({tasks}):
    project.open_job({{"number": number}}).init()
"""


def with_snakemake(tools: Path, bare: Path, folder: Path, tasks: int, slots: int) -> Callable[[], str]:
    """Return the function that runs a workflow of `tasks` jobs by its Slurm executor, to its end."""
    folder.mkdir()
    text = SNAKEFILE.format(tasks=tasks, python=sys.executable, bare=bare)
    (folder / "Snakefile").write_text(text, encoding="utf-8")
    # its jobs drop SLURM_CONF, which a cluster with its configuration in the usual place does not need
    step = folder / "bin" / "srun"
    step.parent.mkdir()
    step.write_text(
        f'#!/bin/sh\nSLURM_CONF={os.environ["SLURM_CONF"]} exec {shutil.which("srun")} "$@"\n', encoding="utf-8"
    )
    step.chmod(0o755)
    often = ["--seconds-between-status-checks", "1", "--slurm-init-seconds-before-status-checks", "1"]
    kind = ["--executor", "slurm", "--jobs", str(slots), "--slurm-status-command", "squeue", "--slurm-no-account"]
    wanted = ["--default-resources", "mem_mb=200", "runtime=5", "slurm_partition=main"]
    return lambda: ran([tools / "snakemake", *kind, *often, *wanted], folder, step.parent, tools)


def with_signac(tools: Path, bare: Path, folder: Path, tasks: int) -> Callable[[], str]:
    """Return the function that submits an operation on `tasks` jobs, each as a job of its own: it knows no arrays."""
    folder.mkdir()
    project = folder / "project.py"
    project.write_text(PROJECT.format(python=sys.executable, bare=bare), encoding="utf-8")
    ran([tools / "python", "-c", JOBS.format(tasks=tasks)], folder, tools)
    return lambda: ran([tools / "python", project, "submit"], folder, tools)


def ran(command: list[object], folder: Path, *programs: Path) -> str:
    """Run a tool's command in a folder, some folders of programs first; return the job to wait for: all there are."""
    environment = {**os.environ, "PATH": ":".join([*map(str, programs), os.environ["PATH"]])}
    done = subprocess.run([str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return ""
