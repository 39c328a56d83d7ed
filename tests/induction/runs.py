"""Runs of the study in this process: planned, computed and merged without a process for each step."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from quintet.merge.phase import Request, count_late_units, late_plans, make_result
from quintet.shard.array_element import attempt_shard
from quintet.shard.commands.plan import command
from quintet.shard.context import Context, inputs_digest
from quintet.shard.errors import Exit
from quintet.shard.run import Run

from ..house import PROJECT

CONFIGS = PROJECT / "configs" / "induction"


def planned(run: Path, config: Path | str, *settings: str) -> Run:
    """Plan a shipped config (by name) or another, with some values changed."""
    path = config if isinstance(config, Path) else CONFIGS / f"{config}.yaml"
    sets = [part for setting in settings for part in ("--set", setting)]
    command.main([str(path), "--run", str(run), "--no-probe", *sets], standalone_mode=False)
    return Run(run)


def compute(run: Run, phase: str, order: Iterable[int] | None = None) -> None:
    """Run the shards of a phase here."""
    for shard in range(len(run.plan(phase).shards)) if order is None else order:
        assert attempt_shard(run, phase, shard) in (Exit.OK, 0)


def merge(run: Run, phase: str) -> str:
    """Merge a phase without its report; return the payload's digest."""
    context = Context.of(run, phase)
    card = make_result(context, inputs_digest(run, context.plan), Request(), lambda line: None)
    count_late_units(context, [late.phase for late in late_plans(context)])
    return card.pd


def complete(run: Run, dice: random.Random | None = None) -> dict[str, str]:
    """Compute and merge every phase, shards in some order; return the payloads."""
    digests = {}
    for phase in run.phases():
        shards = list(range(len(run.plan(phase).shards)))
        if dice is not None:
            dice.shuffle(shards)
        compute(run, phase, shards)
        digests[phase] = merge(run, phase)
    return digests
