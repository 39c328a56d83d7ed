"""Runs in mode neural that cost next to nothing."""

from __future__ import annotations

from pathlib import Path

import yaml
from quintet.merge.induction.neural_results import FittedProblem, fitted_problems
from quintet.shard.context import Context
from quintet.shard.run import Run

from .runs import planned

WORLD = "asymmetric_freeing_11x6"
SECTION = {
    "rows": 64,
    "beam": 64,
    "steps": 6,
    "batch": 16,
    "rollouts": 10,
    "hidden": [8, 8],
    "check_rows": 12,
    "check_rollouts": 8,
    "check_goals": 1,
    "spot_steps": [2],
    "spot_rows": [3],
}
"""The trainings of `neural_problems.TINY`, and few checks."""


def neural_run(path: Path, *settings: str, section: str = "validate: true, seeds: 2", world: str = WORLD) -> Run:
    """Plan such a run with four steps; what `section` names overrules `SECTION`."""
    config = path.with_suffix(".yaml")
    neural = SECTION | yaml.safe_load(f"{{{section}}}")
    content = {"study": "induction", "mode": "neural", "inputs": {"world": world}, "max_steps": 4, "rollouts": 0}
    config.write_text(yaml.safe_dump({**content, "neural": neural}))
    return planned(path, config, *settings)


def problem_of(run: Run) -> FittedProblem:
    """The one problem of a merged run."""
    (problem,) = fitted_problems(Context.of(run, "check"))
    return problem
