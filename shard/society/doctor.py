"""`doctor CONFIG|RUN`: why a run of society is slow, a line a check, each with its mend."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ...jobs.society.conditions import conditions
from ..commands.base import run_command
from ..commands.config import resolved_config
from ..errors import Exit
from ..partial import opened
from ..run import Run
from .rows import TIMING
from .run_command import config_path
from .table import unit_seconds

if TYPE_CHECKING:
    from ...jobs.society.config import RunConfig

MOST_NEW_TOKENS = 64
MOST_PROMPT_TOKENS = 300
LEAST_FILL = 0.5
LEAST_HITS, LEAST_LOOKUPS = 0.2, 100
CACHE_MENDS = {"embedding": "memory: {scoring: keyword}, which embeds nothing", "memory": "memory: {capacity: 200}"}
"""What saves the work of a cache that is on and hardly hits."""
MOST_HOURS = 8.0
LEAST_FREE_GB = 3.0
SWAP_SECONDS = 0.5
FAST_LINES = (
    "max_events_per_tick: 12",
    "inference: {max_new_tokens: 48}",
    "optimization: {reflect_every_n_ticks: 5, use_quantization: auto}",
    "layers: [16]",
)
"""What run.fast.yaml says, to be added to a config."""


@dataclass(frozen=True)
class Finding:
    """One check: `ok`, `warn` or `bad`, what was found, and what to do."""

    level: str
    text: str
    fix: str = ""

    @property
    def line(self) -> str:
        """What a person reads."""
        mark = {"ok": "✓", "warn": "⚠", "bad": "✗"}[self.level]
        return f"{mark} {self.text}" + (f" -> {self.fix}" if self.fix else "")


@dataclass(frozen=True)
class Evidence:
    """What the checks look at.

    Attributes:
        config: of the run.
        run: the run, where one was named.
        timing: costs of its units by name, f8[units] each; empty where there are none.
        prompt_tokens: mean tokens of a prompt; NaN where unknown.
    """

    config: RunConfig
    run: Run | None
    timing: dict[str, np.ndarray]
    prompt_tokens: float

    @property
    def has_model(self) -> bool:
        """Whether a language model is behind it."""
        return self.config.model_name != "mock"

    def total(self, name: str) -> float:
        """Return the sum of a cost."""
        return float(self.timing[name].sum()) if name in self.timing else 0.0


def accelerator(evidence: Evidence) -> Finding:
    """Look for a GPU that is not used."""
    from .freezing import gpu_is_present

    on_gpu = any(str(place).startswith("cuda") for place in evidence.config.optimization.devices)
    if evidence.has_model and not on_gpu and gpu_is_present():
        return Finding("bad", "a GPU is here, and the model runs on the CPU", "optimization: {devices: [cuda:0]}")
    return Finding("ok", "device: " + ", ".join(evidence.config.optimization.devices))


def threads(evidence: Evidence) -> Finding:
    """Hold threads against the CPUs of this process, and its load."""
    from ...jobs.society.backend.runtime import allocated_cpus

    asked, allowed, load = evidence.config.engine.threads, allocated_cpus(), os.getloadavg()[0]
    if asked > allowed:
        return Finding("bad", f"{asked} threads on {allowed} CPUs", f"engine: {{threads: {allowed}}}")
    if load > 1.5 * (os.cpu_count() or 1):
        return Finding(
            "warn", f"the machine is busy: load {load:.1f} on {os.cpu_count()} CPUs", "fewer shards at a time"
        )
    return Finding("ok", f"{asked} thread(s) on {allowed} CPUs, load {load:.1f}")


def memory(_: Evidence) -> Finding:
    """Look at free memory and at swapping."""
    import time

    import psutil

    before = psutil.swap_memory()
    time.sleep(SWAP_SECONDS)
    after = psutil.swap_memory()
    moved = (after.sin + after.sout - before.sin - before.sout) / SWAP_SECONDS / 1e6
    free = psutil.virtual_memory().available / 1e9
    if moved > 1:
        return Finding("bad", f"swapping {moved:.0f} MB/s", "fewer processes, or use_quantization")
    if free < LEAST_FREE_GB:
        return Finding("warn", f"{free:.1f} GB free", "fewer processes at a time (--n-workers 1)")
    return Finding("ok", f"{free:.1f} GB free, no swapping")


def model_loads(evidence: Evidence) -> Finding | None:
    """Count how often shards were started again: each loads the model anew."""
    if evidence.run is None or not evidence.has_model:
        return None
    folder = evidence.run.path / "attempts" / "simulate"
    starts = [path.read_text().count('"start') for path in folder.glob("*/*.jsonl")] if folder.is_dir() else []
    most = max(starts, default=0)
    if most > 1:
        return Finding(
            "warn", f"a shard was started {most} times, and loaded the model each time", "longer time limits"
        )
    return Finding("ok", f"the model was loaded once in each of {len(starts)} shards")


def reflection(evidence: Evidence) -> Finding:
    """Look at how often residents plan."""
    interval = evidence.config.optimization.reflect_every_n_ticks
    if interval == 1:
        return Finding("warn", "residents plan at every tick", "optimization: {reflect_every_n_ticks: 5}")
    return Finding("ok", f"residents plan every {interval} ticks")


def new_tokens(evidence: Evidence) -> Finding:
    """Look at the length of messages."""
    limit = evidence.config.inference.max_new_tokens
    if limit > MOST_NEW_TOKENS:
        return Finding("warn", f"messages of up to {limit} tokens", "inference: {max_new_tokens: 48}")
    return Finding("ok", f"messages of up to {limit} tokens")


def layers(evidence: Evidence) -> Finding:
    """Look at the number of injection blocks."""
    count = len(evidence.config.steering.layers)
    if count > 1:
        return Finding("warn", f"vectors are added at {count} blocks", "layers: [16]")
    return Finding("ok", "vectors are added at one block")


def quantization(evidence: Evidence) -> Finding | None:
    """Look at weights and memory cap on a GPU."""
    section = evidence.config.optimization
    if not any(str(place).startswith("cuda") for place in section.devices):
        return None
    if section.use_quantization == "none":
        return Finding("warn", "full weights on a GPU", "optimization: {use_quantization: nf4}")
    return Finding("ok", f"weights are {section.use_quantization}")


def gpu_cap(evidence: Evidence) -> Finding | None:
    """Look for a memory cap on a GPU, which others may use, too."""
    section = evidence.config.optimization
    if not any(str(place).startswith("cuda") for place in section.devices):
        return None
    if section.max_gpu_memory_gb is None:
        return Finding("warn", "no memory cap on the GPU", "optimization: {max_gpu_memory_gb: 16}")
    return Finding("ok", f"at most {section.max_gpu_memory_gb:g} GB of GPU memory")


def prompts(evidence: Evidence) -> Finding | None:
    """Look at the length of prompts."""
    mean = evidence.prompt_tokens
    if not np.isfinite(mean):
        return None
    if mean > MOST_PROMPT_TOKENS:
        return Finding("warn", f"prompts of {mean:.0f} tokens in the mean", shorter_prompts(evidence.config))
    return Finding("ok", f"prompts of {mean:.0f} tokens in the mean")


def shorter_prompts(config: RunConfig) -> str:
    """Return the keys of a config that shorten its prompts."""
    told = config.meta_orchestrator
    mends = {
        "memory: {top_k: 1}": config.memory.top_k > 1,
        "inference: {persona_prompt: labels}": config.inference.persona_prompt == "description",
        "shorter meta_orchestrator.global_goals": bool(told.global_goals),
        "shorter meta_orchestrator.recurring_reminders": bool(told.recurring_reminders),
    }
    return ", ".join(mend for mend, helps in mends.items() if helps) or "a model with a larger vocabulary"


def batch_fill(evidence: Evidence) -> Finding | None:
    """Look at how full batches are."""
    forwards = evidence.total("forwards")
    if not forwards:
        return None
    fill = evidence.total("rows") / forwards / evidence.config.inference.batch_size
    if fill < LEAST_FILL:
        return Finding(
            "warn", f"batches are {100 * fill:.0f} % full", "more lanes (study: {lanes: 8}) or events per tick"
        )
    return Finding("ok", f"batches are {100 * fill:.0f} % full")


def caches(evidence: Evidence) -> Finding | None:
    """Look at the hit rates of the caches.

    A retrieval is found again only where a resident remembered nothing in between. Residents remember every action of
    theirs and look back once an action, so that no hit at all is no fault.
    """
    config = evidence.config
    if evidence.has_model and config.memory.scoring == "embedding" and not config.optimization.embedding_cache:
        return Finding("warn", "texts are embedded anew every time", "optimization: {embedding_cache: true}")
    rates = {
        name: evidence.total(f"{name}_hits") / evidence.total(f"{name}_lookups")
        for name in CACHE_MENDS
        if evidence.total(f"{name}_lookups") > LEAST_LOOKUPS
    }
    if not rates:
        return None
    text = "cache hits: " + ", ".join(f"{name} {100 * rate:.0f} %" for name, rate in rates.items())
    if rates.get("memory") == 0:
        text += " (inevitable: every action adds a memory)"
    low = [name for name, rate in rates.items() if rate < LEAST_HITS and (name, rate) != ("memory", 0)]
    return Finding("warn", text, ", ".join(CACHE_MENDS[name] for name in low)) if low else Finding("ok", text)


def projection(evidence: Evidence) -> Finding:
    """Project the whole study from what was measured, else from the size of the config."""
    config = evidence.config
    units = len(conditions(config)) * config.study.replicates
    seconds, source = unit_seconds(config), "estimated"
    if len(evidence.timing.get("cpu_s", ())):
        seconds, source = float(evidence.timing["cpu_s"].mean()), "measured"
    hours = units * seconds / 3600
    text = f"{seconds / config.steps:.2f} s/tick ({source}), {hours:.1f} CPU hours for {units} units"
    if hours > MOST_HOURS:
        return Finding("warn", text, "the fast config; add: " + "; ".join(FAST_LINES))
    return Finding("ok", text)


CHECKS: tuple[Callable[[Evidence], Finding | None], ...] = (
    accelerator,
    threads,
    memory,
    model_loads,
    reflection,
    new_tokens,
    layers,
    quantization,
    gpu_cap,
    prompts,
    batch_fill,
    caches,
    projection,
)


def evidence_of_run(path: Path) -> Evidence:
    """Return what a run shows so far."""
    from .logs import simulated, unit_logs

    run = Run.opened(path)
    context = simulated(run)
    tables = []
    for shard in range(len(context.plan.shards)):
        partial = run.shard_file("simulate", shard)
        if partial.is_file():
            with opened(partial) as file:
                tables.append(np.asarray(file["meta/timing"][()]))
    timing = np.concatenate(tables) if tables else np.zeros((0, len(TIMING)))
    tokens = [log.columns["actions/tokens_in"] for log in unit_logs(run)]
    mean = float(np.concatenate(tokens).mean()) if sum(map(len, tokens)) else float("nan")
    return Evidence(context.config, run, {name: timing[:, index] for index, name in enumerate(TIMING)}, mean)


def evidence_of_config(name: str) -> Evidence:
    """Return what a config tells."""
    from . import Config

    path = config_path(name)
    named: dict[str, Any] = resolved_config(str(path))
    fields = {key: value for key, value in named.items() if key in Config.model_fields}
    return Evidence(Config(**fields), None, {}, float("nan"))


def findings(evidence: Evidence) -> list[Finding]:
    """Return what all checks found."""
    return [found for check in CHECKS if (found := check(evidence)) is not None]


@click.command("doctor")
@click.argument("target")
def command(target: str) -> int:
    """Say why a run of TARGET (a config or a run directory) is slow, and what helps."""
    path = Path(target)
    evidence = evidence_of_run(path) if path.is_dir() else evidence_of_config(target)
    found = findings(evidence)
    for one in found:
        click.echo(one.line)
    return int(Exit.CHECK) if any(one.level == "bad" for one in found) else 0


if __name__ == "__main__":
    run_command(command, name="bin/society doctor")
