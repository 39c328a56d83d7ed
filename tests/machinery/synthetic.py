"""A synthetic study: a measurement with every kind of dataset, a search beside it, and a phase of late units."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from pydantic import BaseModel
from quintet.shard import tree
from quintet.shard.context import Context, inputs_digest
from quintet.shard.partial import Card, build
from quintet.shard.payload import Payload
from quintet.shard.phases import Dataset, Phase, Stats
from quintet.shard.plan import balanced
from quintet.shard.provenance import provenance
from quintet.shard.publish import publish
from quintet.shard.run import Plan, Run
from quintet.shard.seal import sealed
from quintet.shard.trials import SearchSpec

STATS = Stats(metrics=("distance", "rate"), cells=5)
DATASETS = (
    Dataset("rows/score", "f8"),
    Dataset("rows/label", "S3", (2,)),
    Dataset("rows/path", "i4", (2,), ragged=True),
    Dataset("rows/frames", "f4", (3,), ragged=True, merge="index"),
    Dataset("counts/kinds", "i8", (4,)),
    Dataset("extrema/score", "f8", (2, 3)),
)


class Config(BaseModel):
    units: int = 40
    block_size: int = 2
    trials: int = 4


def search(trials: int) -> SearchSpec:
    return SearchSpec("walk", trials, "maximize", (), max_failures=9)


def phases(config: Config) -> tuple[Phase, ...]:
    return (
        Phase("measure", "map", config.units, config.block_size, datasets=DATASETS, stats=STATS),
        Phase("walk", "pull", config.trials, search=search(config.trials), datasets=(Dataset("rows/steps", "i8"),)),
        Phase("follow", "map", None, after=("measure",), datasets=(Dataset("rows/square", "i8"),), expected_units=8),
    )


def late_units(context: Context) -> int:
    with context.result("measure") as result:
        return int(result["counts/kinds"][0]) % 7 + 3


def block_of(phase: str, units: range, empty_blocks: bool = False) -> dict[str, Any]:
    """Return one block's result: a function of its units alone."""
    if phase == "follow":
        return {"rows/square": np.arange(units.start, units.stop) ** 2}
    rng = np.random.default_rng(units.start)
    lengths, frames = rng.integers(0, 4, len(units)), rng.integers(0, 6, len(units))
    samples = rng.normal(3.0, 2.0, (rng.integers(0, 4) if empty_blocks else 3, 5))
    stats = np.stack([tree.welford(samples), tree.welford(samples[:1] * 7)])
    if empty_blocks:
        stats[1, :, rng.integers(0, 5)] = 0.0
    return {
        "rows/score": rng.normal(size=len(units)),
        "rows/label": np.array([[b"a%d" % (unit % 9), b"b"] for unit in units], dtype="S3").reshape(-1, 2),
        "rows/path": rng.integers(-9, 9, (int(lengths.sum()), 2)).astype("i4"),
        "rows/path_length": lengths,
        "rows/frames": rng.normal(size=(int(frames.sum()), 3)).astype("f4"),
        "rows/frames_length": frames,
        "counts/kinds": rng.integers(0, 1000, 4),
        "extrema/score": tree.extrema(samples[:, :3]),
        "stats": stats,
    }


def planned(folder: Path, shards: int, config: Config | None = None, late_shards: int = 3) -> Run:
    """Plan a run of the synthetic study, and make the study known under its name."""
    register()
    config = config or Config()
    run = Run(folder)
    table = phases(config)
    (run.path / "plan").mkdir(parents=True)
    for phase in table:
        blocks = 0 if phase.units is None else phase.blocks(phase.units)
        ranges = balanced(blocks, late_shards if phase.units is None else shards)
        plan = Plan(
            "synthetic", phase.name, phase.kind, f"{phase.name:0<64}", {"git_commit": "unknown", "git_dirty": False},
            7, phase.units, phase.block_size, blocks, ((0, blocks),) * 2 if phase.kind == "pull" else ranges,
            phase.after, (), {}, {}, late=phase.units is None,
        )  # fmt: skip
        (run.path / "plan" / f"{phase.name}.json").write_bytes(sealed(plan.to_json()))
    overview = {"study": "synthetic", "phases": [phase.name for phase in table], "config": config.model_dump()}
    (run.path / "plan" / "run.json").write_bytes(sealed(overview))
    return run


def register() -> ModuleType:
    """Stand in for `shard/synthetic.py`, and return a fresh module that stands in for `merge/synthetic.py`."""
    sys.modules["quintet.shard.synthetic"] = sys.modules[__name__]
    module = ModuleType("quintet.merge.synthetic")
    sys.modules["quintet.merge.synthetic"] = module
    return module


def partial(run: Run, phase: str, shard: int, **meta: Any) -> tuple[bytes, Card]:
    """Return the partial of one shard."""
    context = Context.of(run, phase)
    plan, (lo, hi) = context.plan, context.plan.shards[shard]
    payload = Payload(context.phase, lo)
    for block in range(lo, hi):
        payload.add(block_of(phase, plan.units_of(block)), len(plan.units_of(block)))
    inputs = inputs_digest(run, plan)
    card = Card("synthetic", phase, shard, lo, hi, plan.config_sha256[:16], inputs, units=payload.units)
    return build(card, payload.arrays(), provenance(code_sha256="c" * 64, **meta))


def publish_shards(run: Run, phase: str, shards: Iterable[int] | None = None, **meta: Any) -> None:
    """Publish the partials of some shards, of all where none are named."""
    plan = run.plan(phase)
    for shard in range(len(plan.shards)) if shards is None else shards:
        if plan.shards[shard][0] < plan.shards[shard][1]:
            content, card = partial(run, phase, shard, **meta)
            publish(run.shard_file(phase, shard), content, card, run.path / "quarantine")


def whole(folder: Path, shards: int, config: Config | None = None) -> Run:
    """Return a run with every phase merged."""
    from quintet.merge.phase import Request, merge_run

    config = config or Config()
    run = planned(folder, shards, config)
    publish_shards(run, "measure")
    for trial in range(config.trials):
        publish_trial(run, trial)
    merge_run(run, "measure", Request(), lambda line: None)
    publish_shards(run, "follow")
    merge_run(run, None, Request(), lambda line: None)
    return run


def publish_trial(run: Run, number: int, failed: bool = False) -> None:
    """Publish one trial of the search."""
    context = Context.of(run, "walk")
    payload = Payload(context.phase, number)
    text = b'{"speed":%d}' % number
    result = {
        "rows/number": [number],
        "rows/failed": np.array([failed], "u1"),
        "rows/value": [number / 8],
        "rows/parameters": np.frombuffer(text, "u1"),
        "rows/parameters_length": [len(text)],
        "rows/attributes": np.frombuffer(b"{}", "u1"),
        "rows/attributes_length": [2],
        "rows/steps": [number * number],
    }
    payload.add(result, 1)
    plan = context.plan
    card = Card(
        "synthetic", "walk", number, number, number + 1, plan.config_sha256[:16], inputs_digest(run, plan), units=1
    )
    content, card = build(card, payload.arrays(), provenance(code_sha256="c" * 64))
    publish(run.trial_file("walk", number), content, card, run.path / "quarantine")
