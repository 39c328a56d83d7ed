"""Rendering a study's report from its results, once its last phase is merged."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from ..shard.context import result_stands
from ..shard.errors import Exit, QuintetError, exit_of
from ..shard.publish import make_folder
from ..shard.run import Run, valid_name
from .origin import result_facts

if TYPE_CHECKING:
    from ..shard.context import Context


def study_merge(study: str) -> ModuleType | None:
    """Return the study's module in this package; None where it has none."""
    name = f"{__package__}.{valid_name(study, 'study')}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def incomplete_stamp(run: Run) -> str:
    """Return what every figure and table says where results are incomplete or stale; empty where all are whole."""
    lacking = []
    for plan in map(run.plan, run.phases()):
        facts = result_facts(run.merged(plan.phase))
        present = facts.get("blocks_present")
        if present is None:
            continue
        blocks = facts.get("blocks") if facts.get("hi") == plan.blocks else plan.blocks
        if present != blocks:
            lacking.append(f"{present} of {blocks} blocks ({plan.phase})")
        elif not result_stands(run, plan):
            lacking.append(f"made from earlier results ({plan.phase})")
    return f"INCOMPLETE {', '.join(lacking)}" if lacking else ""


def render(context: Context) -> bool:
    """Render figures, tables and report of the run; False where the study has no report.

    Raises:
        QuintetError: exit 4 where rendering fails, 1 where the study finds the results not good enough; they stand.
    """
    run, module = context.run, study_merge(context.plan.study)
    if module is None or not hasattr(module, "render"):
        return False
    folders = [run.path / name for name in ("figures", "tables", "report")]
    for folder in folders:
        make_folder(folder)
    try:
        module.render(context, *folders, incomplete_stamp(run))
    except Exception as error:
        if exit_of(error) in {Exit.CANNOT_WRITE, Exit.IO, Exit.CHECK}:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        raise QuintetError(
            Exit.RENDER,
            f"{run.path}: the results stand, but rendering the report failed: {type(error).__name__}: {text}",
        ) from error
    return True
