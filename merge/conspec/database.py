"""The trial store beside the partials: held against them for a pull, made from them for a static search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...shard.conspec import start
from ...shard.context import inputs_digest
from ...shard.errors import Exit, QuintetError
from ...shard.trials import FinishedTrial, TrialStore
from ...shard.worker import open_store
from .stored import texts

if TYPE_CHECKING:
    from ...shard.context import Context

UNPUBLISHED = "COMPLETE, and not published"


def check_store(context: Context) -> None:
    """Hold the database against the published trials; one that is gone says nothing, and missing trials are told apart.

    Raises:
        QuintetError: exit 65, naming the trials that differ.
    """
    if not context.run.store(context.phase.name).exists():
        return
    store = open_store(context, inputs_digest(context.run, context.plan), start(context))
    findings = [line for line in store.check() if not line.endswith(UNPUBLISHED)]
    if findings:
        raise QuintetError(Exit.INPUT, f"{context.phase.name}: " + "; ".join(findings[:5]))


def make_static_store(context: Context, file: Any) -> None:
    """Make the database of a search that ran as a map, so that Optuna's tools open it as any other."""
    phase = context.phase
    if phase.search is None:
        return
    path = context.run.store(phase.name)
    path.unlink(missing_ok=True)
    columns = zip(
        file["rows/number"][()],
        file["rows/failed"][()],
        file["rows/value"][()],
        texts(file, "rows/parameters"),
        texts(file, "rows/attributes"),
        strict=True,
    )
    trials = [
        FinishedTrial(
            int(number), "FAIL" if failed else "COMPLETE", None if failed else float(value), parameters, attributes
        )
        for number, failed, value, parameters, attributes in columns
    ]
    TrialStore(path, phase.search, published=lambda: trials, propose=start(context).propose).rebuild()
