"""Units that are not published yet: what checkpoints hold of their curves, and which of them broke off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...jobs.synergy.conditions import condition_id
from ...jobs.synergy.curves import raw_entry
from ...shard.attempts import read_attempts
from ...shard.checkpoints import Checkpoints
from ...shard.context import inputs_digest
from ...shard.errors import Exit
from ...shard.scan import scan_map
from ...shard.synergy.rows import units_of

if TYPE_CHECKING:
    from ...jobs.synergy.config import Config
    from ...shard.context import Context

ENDS_WELL = (Exit.OK, Exit.STOPPED)


def broke_off(context: Context, shard: int) -> bool:
    """Whether the last attempt at a shard ended with an error, or without a word."""
    attempts = list(read_attempts(context.run.attempt_file(context.phase.name, shard)))
    if not attempts:
        return False
    end = attempts[-1].get("end")
    return end is None or end["rc"] not in ENDS_WELL


def unfinished_runs(context: Context, state: str) -> Iterator[dict[str, Any]]:
    """Yield entries of the raw file for units without a result.

    A shard at work cannot be told from one that was killed: neither has left a last word. The units of both are
    `crashed` by their attempt, and `running` where they have a checkpoint.

    Args:
        context: the phase train.
        state: "running" (units with a checkpoint) or "crashed" (units of shards whose last attempt broke off).
    """
    run, plan, config = context.run, context.plan, context.config
    inputs = inputs_digest(run, plan)
    for found in scan_map(run, plan, inputs, "card"):
        if found.reason is None or (state == "crashed" and not broke_off(context, found.number)):
            continue
        for block in range(*plan.shards[found.number]):
            units = plan.units_of(block)
            kept = Checkpoints(run, plan, inputs, units.start, len(units)).load()
            if kept is None and state == "running":
                continue
            for place, unit in enumerate(units):
                yield entry_of(config, unit, {} if kept is None else history_of(kept, place), state)


def history_of(kept: Mapping[str, Any], place: int) -> dict[str, list[float]]:
    """Return the curves of one unit of a block from the block's checkpoint."""
    names = kept["members"][place]["names"]
    table, lengths = kept[f"history_of_{place}"], kept[f"lengths_of_{place}"]
    return {name: row[:length].tolist() for name, row, length in zip(names, table, lengths.tolist(), strict=True)}


def entry_of(config: Config, unit: int, history: Mapping[str, list[float]], state: str) -> dict[str, Any]:
    """Return the raw file's entry of a unit of which there are curves alone."""
    chosen = units_of(config)[unit]
    record = {
        "condition_id": condition_id(chosen.workspace_dim, chosen.synergy_scale, chosen.run_id),
        "workspace_dim": chosen.workspace_dim,
        "synergy_scale": float(chosen.synergy_scale),
        "experiment_type": config.sweep.experiment_type,
        "run_id": chosen.run_id,
        "seed": chosen.resolved_seed,
        "epochs_done": max(map(len, history.values()), default=0),
    }
    return raw_entry(record, history, state)
