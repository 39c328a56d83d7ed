"""Provenance of a result: what it was made from, by which code, where, and what is odd about that."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..shard.attempts import utc_now
from ..shard.partial import opened
from ..shard.provenance import provenance
from ..shard.snapshot import running_code_sha256

if TYPE_CHECKING:
    from ..shard.context import Context
    from .intake import Standing

MIXED = {"code_sha256": "code", "packages_sha256": "package list"}


def warnings_of(standing: Standing) -> list[str]:
    """Return what a reader should know: partials of more than one code or package list."""
    warnings, origins = [], standing.origins()
    for key, what in MIXED.items():
        counts = origins[key]
        if len(counts) > 1:
            most = ", ".join(f"{digest[:12]} x{count}" for digest, count in counts.most_common(4))
            warnings.append(f"partials of {len(counts)} different {what} digests: {most}")
    return warnings


def result_meta(context: Context, standing: Standing, inputs: str, started: str, clock: float) -> dict[str, Any]:
    """Return the provenance of a result.

    Args:
        context: the phase.
        standing: what it was merged from.
        inputs: digest of the phase's inputs.
        started: UTC start of the merge.
        clock: the monotonic clock at that time.
    """
    run, plan = context.run, context.plan
    return provenance(
        study=plan.study,
        phase=plan.phase,
        lo=0,
        hi=plan.blocks,
        units=plan.units,
        units_present=sum(piece.units for piece in standing.pieces),
        blocks=standing.blocks,
        blocks_present=standing.blocks_present,
        root_entropy=str(plan.root_entropy),
        config_sha256=plan.config_sha256,
        config=run.config(),
        plan_sha256=run.overview().get("plan_sha256"),
        inputs_digest=inputs,
        git_commit=plan.code.get("git_commit"),
        git_dirty=plan.code.get("git_dirty"),
        code_sha256=running_code_sha256(),
        planned_code_sha256=plan.code.get("sha256"),
        hdf5=h5_version(),
        partials=len(standing.pieces),
        list_digest=standing.list_digest(),
        origins={key: dict(sorted(counts.items())) for key, counts in standing.origins().items()},
        warnings=warnings_of(standing),
        started=started,
        ended=utc_now(),
        wall_s=round(time.monotonic() - clock, 3),
    )


def h5_version() -> str:
    """Return the version of the HDF5 library."""
    import h5py

    return str(h5py.version.hdf5_version)


def result_facts(path: Path) -> Mapping[str, Any]:
    """Return the provenance of a result; empty where there is none that can be read."""
    try:
        with opened(path) as file:
            return dict(json.loads(file["meta"].attrs["provenance"]))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError):
        return {}


def made_from(context: Context, phase: str) -> dict[str, Any]:
    """Return what a run's tables and figures say they were made from; no host, user or absolute path.

    Args:
        context: any phase of the run.
        phase: the phase whose result they show.
    """
    facts = result_facts(context.run.merged(phase))
    return {
        "run": context.run.path.resolve().name,
        "study": context.plan.study,
        "config_sha256": context.plan.config_sha256,
        "code_sha256": facts.get("code_sha256"),
        "git_commit": facts.get("git_commit"),
        "data_digest": facts.get("list_digest"),
    }


def planned_at(context: Context) -> str:
    """Return when the run was planned, by the plan file's time."""
    seconds = (context.run.plan_folder / "run.json").stat().st_mtime
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
