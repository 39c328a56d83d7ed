"""A tiny sweep as a run, and runs of it that stop before the report, whose figures cost most of the time."""

from __future__ import annotations

import shutil
from pathlib import Path

from quintet.merge.phase import Request, make_result
from quintet.shard.context import Context, inputs_digest
from quintet.shard.run import Run

from ..house import PROJECT, House

CONFIGS = PROJECT / "configs" / "synergy"
TINY = {
    "data": {"n_train": 320, "n_val": 160, "n_test": 80, "img_size": 16, "n_bins": 4},
    "visual": {"kind": "pca", "max_val_mse": 0.05},
    "model": {"hidden_dim": 16, "n_layers": 1},
    "training": {"epochs": 4},
    "sweep": {"dims": [2, 4], "synergy_scales": [0.5, 1.0], "runs_per_condition": 2},
}


def settings_of(config: dict[str, dict[str, object]]) -> list[str]:
    """A config as `--set` options of plan."""
    return [
        f"{section}.{key}={value}".replace("'", "").replace("None", "null")
        for section, values in config.items()
        for key, value in values.items()
    ]


def planned(house: House, run: Path, *settings: str) -> Path:
    """Plan the tiny sweep with some values changed."""
    given = (*settings_of(TINY), "phases.train.shards=1", *settings)
    sets = [part for setting in given for part in ("--set", setting)]
    house("plan", CONFIGS / "seed.yaml", "--run", run, "--no-probe", *sets)
    return run


def with_data(house: House, run: Path, earlier: Path | None = None) -> Path:
    """Give a planned run its data set: its own, or that of an earlier run of equal data."""
    for phase in ("visual", "encode"):
        if earlier is None:
            house("local", run, "--phase", phase)
        else:
            shutil.copytree(earlier / "partials" / phase, run / "partials" / phase, dirs_exist_ok=True)
        reduced(run, phase)
    return run


def reduced(run: Path, phase: str = "train", allow_missing: bool = False) -> Context:
    """Merge one phase without its report."""
    context = Context.of(Run(run), phase)
    make_result(context, inputs_digest(context.run, context.plan), Request(allow_missing), print)
    return context
