"""A study of three small phases, and runs of it made by hand: what the read-only verbs are tested on."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from quintet.shard.context import Context, inputs_digest
from quintet.shard.partial import Card, build
from quintet.shard.payload import Payload
from quintet.shard.phases import Dataset, Once, Phase, Resources, Stats, Task
from quintet.shard.plan import Choices, plan_of
from quintet.shard.publish import publish
from quintet.shard.run import Plan, Run
from quintet.shard.scan import units_between
from quintet.shard.seal import sealed
from quintet.shard.tree import welford
from quintet.shard.trials import FinishedTrial, Owner, SearchSpec, TrialStore, uniform
from quintet.shard.worker import open_store, trial_columns, trial_of

UNITS, BLOCK, SHARDS, TRIALS = 22, 2, 4, 5
SPACE = (("x", uniform(0.0, 1.0)),)


class Config(BaseModel):
    seed: int = 7


SEARCH = SearchSpec("grid", TRIALS, "maximize", SPACE, max_failures=3)


def phases(config: Config) -> tuple[Phase, ...]:
    return (
        Phase(
            name="simulate",
            kind="map",
            units=UNITS,
            block_size=BLOCK,
            datasets=(
                Dataset("rows/x", "f8", (2,)),
                Dataset("rows/walk", "f4", ragged=True),
                Dataset("counts/sign", "i8", (2,)),
            ),
            stats=Stats(("x",), 2),
            resources=Resources(mem_mb=4000, time_s=3600, seconds_per_unit=1.0),
        ),
        Phase(name="moments", kind="map", units=UNITS, block_size=BLOCK, stats=Stats(("x",), 2)),
        Phase(name="sums", kind="map", units=4, datasets=(Dataset("counts/sign", "i8", (2,)),)),
        Phase(name="search", kind="pull", units=TRIALS, search=SEARCH, datasets=(Dataset("rows/y", "f8"),)),
        Phase(name="later", kind="map", units=4, after=("simulate",), datasets=(Dataset("rows/x", "f8"),)),
    )


def drawn(unit: int) -> np.ndarray:
    return np.random.default_rng([7, unit]).standard_normal(2)


class GridWork:
    def __init__(self, context: Any) -> None:
        self._name = context.phase.name

    def propose(self, number: int, earlier: Sequence[FinishedTrial]) -> dict[str, Any]:
        return {"x": number / 10}

    def block(self, units: range) -> Task:
        return Once(block_result, self._name, units)


def start(context: Any) -> GridWork:
    return GridWork(context)


def block_result(name: str, units: range) -> dict[str, Any]:
    x = np.array([drawn(unit) for unit in units])
    rows = {"rows/x": x[:, 0] if name == "later" else x}
    walk = {"rows/walk": np.concatenate([np.arange(unit % 3, dtype="f4") for unit in units])}
    walk["rows/walk_length"] = np.array([unit % 3 for unit in units])
    counts = {"counts/sign": np.array([(x < 0).sum(), (x >= 0).sum()])}
    stats = {"stats": welford(x)[None]}
    return {
        "simulate": rows | walk | counts | stats,
        "moments": stats,
        "sums": counts,
        "later": rows,
    }[name]


def registered() -> None:
    """Make this module the study `grid`."""
    sys.modules["quintet.shard.grid"] = sys.modules[__name__]


def planned(folder: Path, names: Sequence[str] = ("simulate",)) -> Run:
    """Write the plan of a run with some of the phases."""
    registered()
    table = [phase for phase in phases(Config()) if phase.name in names]
    config = {"study": "grid", "seed": 7, "phases": {name: {"shards": SHARDS} for name in names}}
    run = Run(folder)
    run.plan_folder.mkdir(parents=True)
    overview = {"study": "grid", "phases": [phase.name for phase in table], "config": config}
    (run.plan_folder / "run.json").write_bytes(sealed(overview))
    for phase in table:
        plan = plan_of(phase, table, config, Choices(), folder, "flock")
        (run.plan_folder / f"{phase.name}.json").write_bytes(sealed(plan.to_json()))
    return run


def phase_of(name: str) -> Phase:
    return next(phase for phase in phases(Config()) if phase.name == name)


def content_of(run: Run, plan: Plan, shard: int, **changes: Any) -> tuple[bytes, Card]:
    """Return the bytes of one shard's partial; `changes` go to its card, or (`arrays`) over its arrays."""
    lo, hi = plan.shards[shard]
    payload = Payload(phase_of(plan.phase), lo)
    for block in range(lo, hi):
        payload.add(block_result(plan.phase, plan.units_of(block)), len(plan.units_of(block)))
    arrays = {**payload.arrays(), **changes.pop("arrays", {})}
    values = {
        "study": plan.study,
        "phase": plan.phase,
        "shard": shard,
        "lo": lo,
        "hi": hi,
        "cfg": plan.config_sha256[:16],
        "inp": inputs_digest(run, plan),
        "units": units_between(plan, (lo, hi)),
    }
    return build(Card(**{**values, **changes}), arrays, {"hostname": "here"})


def publish_shards(run: Run, phase: str, shards: Sequence[int]) -> list[Path]:
    plan = run.plan(phase)
    paths = []
    for shard in shards:
        content, card = content_of(run, plan, shard)
        paths.append(run.shard_file(phase, shard))
        publish(paths[-1], content, card, run.path / "quarantine")
    return paths


def write_merged(run: Run, phase: str) -> None:
    """Write a result that has the right card."""
    plan = run.plan(phase)
    card = Card(
        "grid", phase, 0, 0, plan.blocks, plan.config_sha256[:16], inputs_digest(run, plan), units=plan.units or 0
    )
    run.merged(phase).parent.mkdir(exist_ok=True)
    run.merged(phase).write_bytes(build(card, {"x": np.arange(3.0)}, {})[0])


def store_of(run: Run) -> TrialStore:
    context = Context.of(run, "search")
    return open_store(context, inputs_digest(run, context.plan), start(context))


def tell_trials(run: Run, count: int) -> None:
    """Claim, publish and tell trials; the second one is a failure row."""
    plan, store = run.plan("search"), store_of(run)
    for _ in range(count):
        claim = store.claim(Owner.of({}))
        assert not isinstance(claim, str)
        result = {"rows/y": [1.0], "value": 1.0, **({"failure": "diverged"} if claim.number == 1 else {})}
        payload = Payload(phase_of("search"), claim.number)
        payload.add(trial_columns(claim, result), 1)
        arrays = payload.arrays()
        number = claim.number
        cfg, inp = plan.config_sha256[:16], inputs_digest(run, plan)
        content, card = build(Card("grid", "search", number, number, number + 1, cfg, inp, units=1), arrays, {})
        path = run.trial_file("search", number)
        publish(path, content, card, run.path / "quarantine")
        store.tell(claim, trial_of(arrays, path.name, card.pd))


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".000Z"


def attempt(
    run: Run,
    phase: str,
    shard: int,
    began: float,
    end: Mapping[str, Any] | None,
    host: str = "node1",
    pid: int = 11,
    **facts: Any,
) -> None:
    """Append an attempt's lines; `end` None leaves the last one out."""
    path = run.attempt_file(phase, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    token = f"{host}-{pid}-{int(began * 1e6):x}"
    with path.open("a") as file:
        file.write(
            json.dumps({"attempt": token, "event": "start", "time": stamp(began), "host": host, "slurm": {}, **facts})
            + "\n"
        )
        if end is not None:
            wall = float(end.get("wall_s", 100.0))
            record = {
                "attempt": token,
                "event": "end",
                "time": stamp(began + wall),
                "rc": 0,
                "reason": "",
                "wall_s": wall,
            }
            record |= {"cpu_s": 90.0, "peak_rss_mb": 500.0, "blocks": 3, "units": 6, "block_s": [30.0, 33.0, 36.0]}
            file.write(json.dumps({**record, **end}) + "\n")


def here() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()
