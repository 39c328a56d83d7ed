"""Small runs of the study, planned in this process, whose elements are forked so that they need no start-up."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from quintet.jobs.conspec import trial as _loaded  # noqa: F401 - before the fork
from quintet.merge.phase import Request, make_result, merge_run
from quintet.shard.commands.base import run_command
from quintet.shard.commands.plan import command as plan_command
from quintet.shard.context import Context, inputs_digest
from quintet.shard.partial import opened, read_arrays, stored_payload_digest
from quintet.shard.run import Run
from quintet.shard.snapshot import running_code_sha256

from ..machinery.elements import element, forked, waited

running_code_sha256()  # remembered here, so that no fork reads the code again

SMALL = {"num_prototypes": 2, "hidden_dim": 8, "lstm_hidden_size": 8, "batch_size": 8, "memory_size": 500}
SPACE = {
    "learning_rate": {"type": "loguniform", "min": 0.0001, "max": 0.01},
    "gamma": {"type": "choice", "values": [0.95, 0.98, 0.99]},
    **{name: {"type": "fixed", "value": value} for name, value in SMALL.items()},
}
BROKEN = {**SPACE, "learning_rate": {"type": "choice", "values": [0.001, 1e30]}}
"""Half of the trials diverge at once."""


def config(**sections: Any) -> dict[str, Any]:
    """Return a tiny config: one delayed world, trials of 20 episodes in two batches."""
    base: dict[str, Any] = {
        "study": "conspec",
        "environments": ["single"],
        "environment": {"family": "delayed"},
        "hyperparameters": SPACE,
        "training": {"episodes": 20, "eval_frequency": 20},
        "agent": {"num_envs": 10},
        "search": {"n_trials": 6},
        "ablation": {"trials": 2},
        "logging": {"log_frequency": 10},
        "store": {"lease_seconds": 3.0, "heartbeat_seconds": 0.5, "max_attempts": 99, "wait_seconds": 60.0},
    }
    return {key: {**base[key], **value} if isinstance(base.get(key), dict) and key != "hyperparameters" else value
            for key, value in {**base, **sections}.items()}  # fmt: skip


def planned(folder: Path, **sections: Any) -> Run:
    """Plan a run of a config; `workers` of each search are six unless it says otherwise."""
    content = config(**sections)
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    code = waited(forked(lambda: run_command(plan_command, [str(path), "--run", str(folder), "--no-probe"])))
    assert code == 0
    return Run(folder)


def run_phase(run: Run, phase: str, shards: list[int] | None = None, side_by_side: int = 3) -> None:
    """Run elements of a phase, some at a time, to their ends."""
    order = list(range(len(run.plan(phase).shards))) if shards is None else shards
    for first in range(0, len(order), side_by_side):
        going = [element(run, phase, shard) for shard in order[first : first + side_by_side]]
        assert [waited(pid) for pid in going] == [0] * len(going)


def reduced(run: Run, phase: str, allow_missing: bool = False) -> str:
    """Merge a phase without its report; return the payload digest, computed from the datasets."""
    context = Context.of(run, phase)
    make_result(context, inputs_digest(run, context.plan), Request(allow_missing=allow_missing), lambda line: None)
    with opened(run.merged(phase)) as file:
        return stored_payload_digest(file)


def merge(run: Run, allow_missing: bool = False) -> None:
    """Merge everything, with the report."""
    merge_run(run, None, Request(allow_missing=allow_missing), lambda line: None)


def searched(folder: Path, **sections: Any) -> Run:
    """Plan a run, finish its search and merge that."""
    run = planned(folder, **sections)
    run_phase(run, "search-single")
    reduced(run, "search-single")
    return run


def trials_of(run: Run, phase: str = "search-single") -> list[optuna.trial.FrozenTrial]:
    """Return the trials of a search as stock Optuna reads them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{run.store(phase)}"
    return optuna.load_study(study_name=phase.removeprefix("search-"), storage=storage).get_trials(deepcopy=False)


def payloads(run: Run, phase: str = "search-single") -> dict[str, dict[str, np.ndarray]]:
    """Return the payload arrays of every published trial."""
    return {path.name: read_arrays(path) for path in sorted((run.path / "partials" / phase).rglob("t*.h5"))}


def assert_equal_payloads(one: Run, other: Run, phase: str = "search-single") -> None:
    """Hold every dataset of every trial of two runs together, bit by bit."""
    left, right = payloads(one, phase), payloads(other, phase)
    assert left.keys() == right.keys()
    for name, arrays in left.items():
        assert arrays.keys() == right[name].keys()
        for dataset, values in arrays.items():
            assert values.tobytes() == right[name][dataset].tobytes(), f"{name}: {dataset}"


def summary(run: Run) -> dict[str, Any]:
    """Return `summary.json`."""
    return dict(json.loads((run.path / "tables" / "summary.json").read_text()))


def wait_for(path: Path, pattern: str, seconds: float = 30.0) -> None:
    """Wait until a file of that pattern is below a folder."""
    end = time.monotonic() + seconds
    while not any(path.rglob(pattern)):
        assert time.monotonic() < end, f"no {pattern} in {path}"
        time.sleep(0.01)


def ended(pids: list[int]) -> dict[int, int]:
    """Return the exit codes of the processes that have ended, without waiting."""
    codes = {}
    for pid in pids:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            codes[pid] = os.waitstatus_to_exitcode(status)
    return codes
