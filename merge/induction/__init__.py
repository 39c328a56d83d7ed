"""What is reduced and rendered of the study `induction`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...shard.errors import Exit, QuintetError
from ..origin import result_facts

if TYPE_CHECKING:
    import h5py

    from ...shard.context import Context


def reduce(context: Context, file: h5py.File) -> dict[str, Any]:
    """Return what the merge of a slab phase finds out: which successors are new, or facts of all configurations."""
    from ...shard.induction.index import UnitRows
    from ...shard.induction.slab import graph_facts, new_keys
    from ...shard.induction.slab_keys import as_words

    name = context.phase.name
    if name.startswith("expand-"):
        places = file["meta/index/rows/successor_key"][()]
        runs = (UnitRows(context, name, "rows/successor_key", place) for place in places if place[2])
        return {"derived/new_key": new_keys(context, (as_words(run[:]) for run in runs))}
    if name == "resolve":
        return {f"derived/{key}": array for key, array in graph_facts(context).items()}
    return {}


def sources(context: Context) -> dict[str, Any]:
    """Return what tables and figures were made from; no host, user or absolute path."""
    facts = result_facts(context.run.merged(context.phase.name))
    packages = facts.get("packages") or {}
    return {
        "run": context.run.path.resolve().name,
        "study": context.plan.study,
        "mode": context.config.mode,
        "config_sha256": context.plan.config_sha256,
        "code_sha256": facts.get("code_sha256"),
        "git_commit": facts.get("git_commit"),
        "data_digest": facts.get("list_digest"),
        **{name: packages[name] for name in ("numpy", "numba") if name in packages},
    }


def render(context: Context, figures: Path, tables: Path, report: Path, stamp: str) -> None:
    """Write tables, figures and the report of a run.

    Raises:
        QuintetError: exit 4, naming the figures that failed; everything else stands.
    """
    facts = sources(context)
    if context.config.mode == "sweep":
        from .sweep_rendering import render_sweep

        drawn = render_sweep(context, figures, tables, report, stamp, facts)
    else:
        from .rendering import render_solve

        drawn = render_solve(context, figures, tables, report, stamp, facts)
    if drawn.failures:
        listed = "; ".join(f"{name}: {error}" for name, error in drawn.failures.items())
        raise QuintetError(Exit.RENDER, f"figures failed: {listed}")
