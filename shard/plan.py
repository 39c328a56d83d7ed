"""Planning: a validated config becomes the frozen plan of a run, phase by phase."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .configs import canonical, config_sha256, study_name
from .context import sha256_of
from .errors import Exit, QuintetError
from .provenance import environment
from .publish import make_folder, replace_file
from .run import Plan, Run
from .seal import dumped, sealed
from .snapshot import git_facts, keep_snapshot, running_code_sha256

if TYPE_CHECKING:
    from .phases import Phase

DEFAULT_MAX_ARRAY = 1000
STARTUP_S = 0.3
MAX_PARTIAL_BYTES = 64 << 20
DEFAULT_WORKERS = 8
UNKNOWN_SECONDS_PER_UNIT = 1.0
VOLATILE = ("shards", "resources", "estimates", "lock_kind")


@dataclass(frozen=True)
class Choices:
    """What the command line fixes for all phases."""

    target_minutes: float | None = None
    shards: int | None = None
    max_array: int | None = None


def root_entropy(study: str, seed: int) -> int:
    """Return the run's 128-bit entropy: a function of study and seed."""
    return int.from_bytes(hashlib.blake2b(f"{study}\0{seed}".encode(), digest_size=16).digest(), "little")


def max_array_size() -> int:
    """Return how many elements one array may have: Slurm's MaxArraySize - 1, or its default."""
    if shutil.which("scontrol") is None:
        return DEFAULT_MAX_ARRAY
    try:
        shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return DEFAULT_MAX_ARRAY
    for line in shown.stdout.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize":
            return max(int(value) - 1, 1)
    return DEFAULT_MAX_ARRAY


def balanced(blocks: int, shards: int, first: int = 0) -> tuple[tuple[int, int], ...]:
    """Return contiguous block ranges, as equal as they can be."""
    cuts = [first + blocks * shard // shards for shard in range(shards + 1)]
    return tuple(pairwise(cuts))


def shard_count(
    phase: Phase, units: int, section: Mapping[str, Any], choices: Choices, estimates: Mapping[str, Any]
) -> int:
    """Return the number of shards: near the target time, below the partial's size, at most the array's."""
    blocks = max(phase.blocks(units), 1)
    limit = int(choices.max_array or section.get("max_array") or max_array_size())
    fixed = section.get("shards") or choices.shards
    if fixed:
        return min(int(fixed), blocks) if phase.units is not None and phase.kind == "map" else int(fixed)
    if phase.kind == "pull":
        return min(DEFAULT_WORKERS, units)
    seconds = float(estimates["seconds_per_unit"])
    target = 60 * float(choices.target_minutes or section.get("target_minutes") or phase.resources.target_minutes)
    target = max(target, 60 * float(estimates["startup_s"]))
    by_time = min(math.ceil(units * seconds / target), limit)
    by_size = math.ceil(units * float(estimates["bytes_per_unit"]) / MAX_PARTIAL_BYTES)
    return max(1, min(max(by_time, by_size), blocks))


def resources_of(phase: Phase, section: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one element asks for: the study's figures under the config's."""
    own = phase.resources
    base = {
        "cpus": own.cpus,
        "mem_mb": own.mem_mb,
        "gpus": own.gpus,
        "time_s": own.time_s,
        "checkpoint_s": own.checkpoint_s,
        "threads": 1,
    }
    base |= {
        key: section[key]
        for key in ("cpus", "mem_mb", "gpus", "time_s", "checkpoint_s", "threads", "partition")
        if key in section
    }
    base["cpus"] = max(base["cpus"], base["threads"])
    return base


def inputs_of(phase: Phase, config: Mapping[str, Any], base: Path) -> tuple[dict[str, Any], ...]:
    """Return path, size and sha256 of the files from outside that a phase reads."""
    entries = []
    for key in phase.inputs:
        name = config.get("inputs", {}).get(key)
        if name is None:
            continue
        path = Path(name) if Path(name).is_absolute() else (base / name)
        if not path.is_file():
            raise QuintetError(Exit.USAGE, f"inputs.{key}: found {name!r}; no such file")
        entries.append(
            {"key": key, "path": str(path.resolve()), "size": path.stat().st_size, "sha256": sha256_of(path)}
        )
    return tuple(entries)


def plan_of(
    phase: Phase,
    phases: Sequence[Phase],
    config: Mapping[str, Any],
    choices: Choices,
    base: Path,
    lock_kind: str,
    measured: Mapping[str, Any] | None = None,
    standing: Plan | None = None,
) -> Plan:
    """Return one phase's plan; a `standing` plan keeps its shards, and grown units get new ones behind them."""
    section = config["phases"].get(phase.name, {})
    estimates = {
        "seconds_per_unit": phase.resources.seconds_per_unit or UNKNOWN_SECONDS_PER_UNIT,
        "startup_s": STARTUP_S,
        "bytes_per_unit": phase.resources.bytes_per_unit or 1000.0,
        "measured": False,
        **(measured or {}),
    }
    units = phase.units if phase.units is not None or standing is None else standing.units
    expected = phase.expected_units if units is None else units
    known = 0 if standing is None else standing.blocks
    blocks = known if units is None else phase.blocks(units)
    count = shard_count(phase, expected, section, choices, estimates)
    if phase.kind == "pull":
        shards: tuple[tuple[int, int], ...] = ((0, blocks),) * count
    elif standing is not None:
        shards = standing.shards if units == standing.units else grown(standing, blocks)
    else:
        shards = balanced(blocks, count)
    return Plan(
        study=study_name(config),
        phase=phase.name,
        kind=phase.kind,
        config_sha256=config_sha256(config, phases, phase),
        code={**git_facts(), "sha256": running_code_sha256()},
        root_entropy=root_entropy(study_name(config), config["seed"]),
        units=units,
        points=phase.search.points if phase.search is not None else None,
        block_size=phase.block_size,
        blocks=blocks,
        shards=shards,
        after=phase.after,
        inputs=inputs_of(phase, config, base),
        resources=resources_of(phase, section),
        estimates=estimates,
        lock_kind=lock_kind,
        late=phase.units is None,
    )


def grown(standing: Plan, blocks: int) -> tuple[tuple[int, int], ...]:
    """Return a standing plan's shards with new ones behind them for the added blocks."""
    if blocks < standing.blocks:
        raise QuintetError(
            Exit.MISMATCH,
            f"phase {standing.phase}: planned with {standing.blocks} blocks, now {blocks}; a run only grows",
        )
    widest = max((hi - lo for lo, hi in standing.shards), default=1) or 1
    added = blocks - standing.blocks
    return standing.shards + balanced(added, math.ceil(added / widest), standing.blocks) if added else standing.shards


def plan_digest(plans: Sequence[Plan]) -> str:
    """Return the digest of a whole plan: what rests on measurements or on the site is left out."""
    digest = hashlib.sha256()
    for plan in plans:
        data = {key: value for key, value in plan.to_json().items() if key not in VOLATILE}
        data["inputs"] = [{key: item[key] for key in ("key", "sha256", "size")} for item in plan.inputs]
        data["code"] = plan.code["sha256"]
        if plan.late:
            data["units"] = data["blocks"] = None
        digest.update(canonical(data))
    return digest.hexdigest()


def check_standing(run: Run, plans: Sequence[Plan], standing_plans: Mapping[str, Plan]) -> None:
    """Refuse a plan that would orphan partials: exit 78 where a phase that has some gets another hash, or shrinks."""
    for plan in plans:
        standing = standing_plans.get(plan.phase)
        folder = run.path / "partials" / plan.phase
        if standing is None or not has_files(folder):
            continue
        if standing.config_sha256 != plan.config_sha256 or standing.block_size != plan.block_size:
            raise QuintetError(
                Exit.MISMATCH,
                f"{run.path}: phase {plan.phase} has partials of another config "
                f"({standing.config_sha256[:12]}, now {plan.config_sha256[:12]}); a new run needs a folder of its own",
            )
        if plan.units is not None and standing.units is not None and plan.units < standing.units:
            raise QuintetError(
                Exit.MISMATCH,
                f"{run.path}: phase {plan.phase} was planned with {standing.units} units, now {plan.units}; "
                "a run that has partials only grows",
            )


def has_files(folder: Path) -> bool:
    """Whether any file lies below a folder."""
    return any(files for _, _, files in os.walk(folder))


def standing_plans(run: Run, phases: Iterable[str]) -> tuple[dict[str, Plan], list[str]]:
    """Return the plans of phases that a run directory has already, and the files that are damaged and made anew."""
    plans, damaged = {}, []
    for name in phases:
        path = run.plan_folder / f"{name}.json"
        try:
            if path.is_file():
                plans[name] = run.plan(name)
        except QuintetError as error:
            if error.code is not Exit.MISMATCH:
                raise
            damaged.append(path.name)
    return plans, damaged


def standing_config(run: Run, study: str) -> dict[str, Any] | None:
    """Return the config of a run that is planned already; None where there is none, or a damaged one.

    Raises:
        QuintetError: 78 where the run is another study's.
    """
    try:
        overview = run.overview()
    except QuintetError as error:
        if error.code is not Exit.MISMATCH:
            raise
        return None
    if overview["study"] != study:
        raise QuintetError(
            Exit.MISMATCH, f"{run.path}: a run of study {overview['study']}; {study} needs a folder of its own"
        )
    return dict(overview["config"])


def write_plan(run: Run, plans: Sequence[Plan], config: Mapping[str, Any], site: str) -> bool:
    """Write the plan of a run; False where it stood already, byte for byte."""
    import yaml

    overview = {
        "study": study_name(config),
        "phases": [plan.phase for plan in plans],
        "config": config,
        "plan_sha256": plan_digest(plans),
        "code_sha256": running_code_sha256(),
    }
    files = {
        "run.json": sealed(overview),
        "config.resolved.yaml": yaml.safe_dump(dict(config), sort_keys=True, allow_unicode=True).encode(),
        "environment.json": dumped(environment()),
        "site.yaml": site.encode(),
        "estimates.json": dumped({plan.phase: plan.estimates for plan in plans}),
        **{f"{plan.phase}.json": sealed(plan.to_json()) for plan in plans},
    }
    changed = [name for name, content in files.items() if not same_content(run.plan_folder / name, content)]
    make_folder(run.plan_folder)
    keep_snapshot(run.plan_folder)
    for name in sorted(changed, key=lambda item: item == "run.json"):
        replace_file(run.plan_folder / name, files[name])
    return bool(changed)


def same_content(path: Path, content: bytes) -> bool:
    """Whether a file holds exactly these bytes."""
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def write_phase_plan(run: Run, plan: Plan) -> None:
    """Write one phase's plan file again (late units, measured estimates)."""
    replace_file(run.plan_folder / f"{plan.phase}.json", sealed(plan.to_json()))


def counted(plan: Plan, units: int) -> Plan:
    """Return a plan whose late units are known now.

    The planned number of shards shares the blocks out; where blocks were counted before, new shards take the added
    ones, so that what is published keeps its place.
    """
    blocks = math.ceil(units / plan.block_size)
    shards = grown(plan, blocks) if 0 < plan.blocks <= blocks else balanced(blocks, len(plan.shards))
    return replace(plan, units=units, blocks=blocks, shards=shards)
