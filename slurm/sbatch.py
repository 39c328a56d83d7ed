"""The batch scripts: templates filled with checked and quoted values, nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..shard.container import GPU_OPTIONS, Container, bind
from ..shard.errors import Exit, QuintetError
from ..shard.run import NAME
from ..shard.site import WORDS, Site

FOLDER = Path(__file__).resolve().parent
PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
MAX_RESTARTS = 50
USUAL_SIGNAL_SECONDS = 180
MERGE_SECONDS = 4 * 3600
MERGE_MEM_MB = 2000


@dataclass(frozen=True)
class Job:
    """What a batch script is written for: one phase of one run, by one Python.

    `run` and `map_file` are absolute; `python` is the interpreter unless QUINTET_PYTHON is set in the job.  In a
    `container` its own Python and code run instead; `drift` lets that code be other than the planned.
    """

    run: Path
    study: str
    phase: str
    python: str
    resources: Mapping[str, Any]
    block_seconds: float = 0.0
    container: Container | None = None
    drift: bool = False


def template(name: str) -> str:
    """Return the text of a template, the shell parts that it stands on filled in."""
    parts = {"ENVIRONMENT": "environment.sh", "ELEMENT": "element.sh"}
    texts = {key: (FOLDER / file).read_text(encoding="utf-8").strip() for key, file in parts.items()}
    text = (FOLDER / name).read_text(encoding="utf-8")
    return PLACEHOLDER.sub(lambda match: texts.get(match[1], match[0]), text)


def filled(name: str, directives: list[str], values: Mapping[str, str]) -> str:
    """Return a template with its directives and values; one pass, so that no value is read as a placeholder."""
    texts = {"DIRECTIVES": "\n".join(f"#SBATCH {directive}" for directive in directives), **values}
    return PLACEHOLDER.sub(lambda match: texts[match[1]], template(name))


def quoted(value: str, what: str) -> str:
    """Return a value as one word of shell on one line; exit 2 where it holds a character that cannot be printed."""
    if not value.isprintable():
        raise QuintetError(Exit.USAGE, f"{what}: {value!r} holds a character that cannot be printed")
    return shlex.quote(value)


def checked(value: str, pattern: str, what: str) -> str:
    """Return a value that matches a pattern as a whole; exit 2 otherwise."""
    if not re.fullmatch(pattern, value):
        raise QuintetError(Exit.USAGE, f"{what}: found {value!r}; allowed is ^{pattern}$")
    return value


def number(value: Any, least: int, what: str) -> int:
    """Return a whole number that is large enough; exit 2 otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value or value < least:
        raise QuintetError(Exit.USAGE, f"{what}: found {value!r}; allowed is a whole number from {least} on")
    return int(value)


def clock(seconds: int) -> str:
    """Return seconds as Slurm's days-hours:minutes:seconds."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-{hour:02d}:{minute:02d}:{second:02d}" if days else f"{hour:02d}:{minute:02d}:{second:02d}"


def signal_seconds(time_s: int, block_seconds: float) -> int:
    """Return how long before the time limit the element is told to stop.

    Slurm looks at limits about every 30 s, so that its signal may come much later than asked for; a short limit must
    still leave time to work.
    """
    return max(1, min(max(USUAL_SIGNAL_SECONDS, 90 + int(block_seconds)), time_s // 3))


def site_directives(site: Site, job: Job, suffix: str) -> list[str]:
    """Return the directives that all jobs of a phase share."""
    partition = job.resources.get("partition") or site.partition
    chosen = {
        "job-name": f"{checked(job.study, NAME.pattern.strip('^$'), 'study')}.{job.phase}{suffix}",
        "partition": None if partition is None else checked(str(partition), WORDS, f"phases.{job.phase}.partition"),
        "account": site.account,
        "qos": site.qos,
    }
    fixed = ["--output=/dev/null", "--open-mode=append", "--requeue"]
    return [*(f"--{key}={value}" for key, value in chosen.items() if value is not None), *fixed, *site.extra]


def surroundings(site: Site, job: Job, threads: int, gpus: int = 0) -> dict[str, str]:
    """Return the values that both templates name."""
    if ":" in str(job.run):
        raise QuintetError(
            Exit.USAGE, f"{job.run}: a run's path may not hold ':' (it would end the entry in PYTHONPATH)"
        )
    return {
        "RUN": quoted(str(job.run), "run"),
        "PHASE": quoted(job.phase, "phase"),
        "THREADS": str(threads),
        "SCRATCH": quoted(site.scratch or "", "scratch"),
        "MODULES": " ".join(quoted(module, "modules") for module in site.modules),
        "PYTHON": quoted(job.python, "QUINTET_PYTHON"),
        "CONTAINER": quoted(str(job.container.image) if job.container else "", "container"),
        "CONTAINER_OPTIONS": " ".join(quoted(word, "container") for word in container_options(site, job, gpus)),
        "DRIFT": "--allow-code-drift" if job.drift else "",
    }


def container_options(site: Site, job: Job, gpus: int) -> list[str]:
    """Return the container runtime's options: what is bound into the image, and whether it sees the element's GPUs."""
    if job.container is None:
        return []
    bind(str(job.run))
    return [*job.container.options(), *([GPU_OPTIONS[site.container_gpu]] if gpus else [])]


def array_script(site: Site, job: Job, map_file: Path, mem_mb: int) -> str:
    """Return the batch script of a phase's array; its argument is the map's line where the array begins.

    Args:
        site: the cluster's wishes.
        job: run, phase and resources.
        map_file: absolute path of the file with one shard number per line.
        mem_mb: memory per element, the phase's or more after an out-of-memory kill.
    """
    checked(job.phase, NAME.pattern.strip("^$"), "phase")
    time_s = number(job.resources["time_s"], 1, f"phases.{job.phase}.time_s")
    gpus = number(job.resources.get("gpus", 0), 0, f"phases.{job.phase}.gpus")
    cpus = number(job.resources.get("cpus", 1), 1, f"phases.{job.phase}.cpus")
    threads = number(job.resources.get("threads", 1), 1, f"phases.{job.phase}.threads")
    directives = [
        *site_directives(site, job, ""),
        f"--signal=B:USR1@{signal_seconds(time_s, job.block_seconds)}",
        f"--time={clock(time_s)}",
        f"--cpus-per-task={cpus}",
        f"--mem={number(mem_mb, 1, f'phases.{job.phase}.mem_mb')}M",
        *([f"--gres=gpu:{gpus}"] if gpus else []),
    ]
    values = surroundings(site, job, threads, gpus) | {
        "MAP": quoted(str(map_file), "map"),
        "TIME_S": str(time_s),
        "MAX_RESTARTS": str(number(job.resources.get("max_restarts", MAX_RESTARTS), 0, "max_restarts")),
    }
    return filled("array.sbatch.in", directives, values)


def merge_script(
    site: Site,
    job: Job,
    rounds: int,
    gate: bool,
    only: bool = False,
    throttle: int | None = None,
    max_cpu_hours: float | None = None,
) -> str:
    """Return the batch script of a phase's merge.

    Args:
        site: the cluster's wishes.
        job: run, phase and resources.
        rounds: how often an incomplete merge may submit what is missing by itself.
        gate: whether later phases wait for this merge; then a failed figure does not stop them.
        only: whether what it submits is of this phase only.
        throttle: most elements of an array at a time, in what the merge submits.
        max_cpu_hours: CPU hours of the run after which the merge submits nothing.
    """
    checked(job.phase, NAME.pattern.strip("^$"), "phase")
    mem_mb = max(MERGE_MEM_MB, number(job.resources.get("mem_mb", 1), 1, f"phases.{job.phase}.mem_mb"))
    directives = [
        *site_directives(site, job, ".merge"),
        f"--time={clock(MERGE_SECONDS)}",
        "--cpus-per-task=1",
        f"--mem={mem_mb}M",
    ]
    values = surroundings(site, job, 1) | {
        "ROUNDS": str(number(rounds, 0, "--auto-resubmit")),
        "ONLY": "yes" if only else "",
        "THROTTLE": "" if throttle is None else str(throttle),
        "MAX_CPU_HOURS": "" if max_cpu_hours is None else str(max_cpu_hours),
        "GATE": "yes" if gate else "no",
    }
    return filled("merge.sbatch.in", directives, values)
