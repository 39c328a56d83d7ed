"""What is reduced and rendered of the study `induction`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...shard.errors import Exit, QuintetError
from ..origin import made_from, result_facts

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
    packages = result_facts(context.run.merged(context.phase.name)).get("packages") or {}
    return {
        **made_from(context, context.phase.name),
        "mode": context.config.mode,
        **{
            name: packages[name]
            for name in ("numpy", "numba", *(("torch",) if context.config.mode == "neural" else ()))
            if name in packages
        },
    }


def render(context: Context, figures: Path, tables: Path, report: Path, stamp: str) -> None:
    """Write tables, figures and the report of a run.

    Raises:
        QuintetError: exit 4, naming the figures that failed; exit 1, naming the errors above `neural.max_error`.
            Everything else stands.
    """
    facts = sources(context)
    above: list[str] = []
    if context.config.mode == "sweep":
        from .sweep_rendering import render_sweep

        drawn = render_sweep(context, figures, tables, report, stamp, facts)
    elif context.config.mode == "neural":
        from .neural_rendering import render_neural

        drawn, above = render_neural(context, figures, tables, report, stamp, facts)
    else:
        from .rendering import render_solve

        drawn = render_solve(context, figures, tables, report, stamp, facts)
    drawn.need_all()
    if above:
        raise QuintetError(Exit.CHECK, f"errors above neural.max_error: {'; '.join(above)}")
