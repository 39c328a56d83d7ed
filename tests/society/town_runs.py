"""Small runs of the study through its verbs, reduced without figures."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from quintet.jobs.society import RunConfig
from quintet.merge.phase import Request, make_result
from quintet.shard.commands.base import run_command
from quintet.shard.context import Context, inputs_digest
from quintet.shard.run import Run
from quintet.shard.society.simulate_phase import SimulateBlock

from ..house import PROJECT, House

DEMO = PROJECT / "configs" / "society" / "demo.yaml"
TOWN = ("population=6", "steps=6", "study.single_traits=[E]", "study.doses=[-1, 0, 1]", "study.replicates=2")
"""Seven conditions with two replicates."""

TINY_STUDY: dict[str, Any] = {
    "run_id": "tiny",
    "model_name": "tiny-random",
    "population": 3,
    "steps": 3,
    "max_events_per_tick": 2,
    "steering": {"layers": [2], "coefficients": {}},
    "inference": {"max_new_tokens": 4},
    "probes": {"cadence": 2},
    "study": {"single_traits": ["E"], "doses": [-1.0, 1.0], "replicates": 2},
}


def planned(house: House, run: Path, *settings: str, config: Path = DEMO) -> Path:
    """Plan a run with some values changed."""
    sets = [part for setting in settings for part in ("--set", setting)]
    house("plan", config, "--run", run, "--no-probe", *sets)
    return run


def said_by(command: click.Command, *arguments: object, code: int = 0) -> str:
    """Run a tool in this process, hold it to its exit code, and return what it wrote."""
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text), pytest.raises(SystemExit) as ended:
        run_command(command, [str(argument) for argument in arguments], "bin/society")
    assert ended.value.code == code, text.getvalue()
    return text.getvalue()


def reduced(run: Path, phase: str = "simulate") -> None:
    """Merge a phase without the report."""
    context = Context.of(Run(run), phase)
    make_result(context, inputs_digest(context.run, context.plan), Request(), print)


def complete(house: House, run: Path) -> Path:
    """Run all shards of a planned mock run, and merge them without a report."""
    house("local", run, "--phase", "simulate", "--jobs", 2)
    reduced(run)
    return run


def driven(config: RunConfig, units: range, voice: dict[str, Any], **more: Any) -> SimulateBlock:
    """Return a block that has come to its end."""
    block = SimulateBlock(config, units, voice, **more)
    while block.advance():
        pass
    return block


def same_rows(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Hold two payloads equal bit by bit, costs aside."""
    assert one.keys() == other.keys()
    for name, array in one.items():
        if not name.startswith("meta/"):
            np.testing.assert_array_equal(array, other[name], err_msg=name)
