"""Mode slab on a real Slurm: dependency-chained arrays give the bits of the solve in memory, also after a kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from quintet.jobs.induction import Params, World, build, freed_first, solve
from quintet.merge.induction.solved import solved_problems
from quintet.shard.context import Context
from quintet.shard.run import Run
from quintet.slurm.journal import Journal

from ..house import PROJECT
from .cluster import Cluster

pytestmark = pytest.mark.slurm
CONFIG = PROJECT / "configs" / "induction" / "slab.yaml"
WORLD = PROJECT / "configs" / "induction" / "worlds" / "asymmetric_freeing_11x6.yaml"
HORIZON, HEAD = 5, 3
SHARDS = ("expand-03", "expand-04", "resolve", "back-04")


def verb(slurm: Cluster, name: str, *arguments: object, code: int | None = 0) -> str:
    """Run a command of `bin/` with the private Slurm in reach; return what it printed."""
    environment = {
        **{key: value for key, value in slurm.environment.items() if not key.startswith("QUINTET")},
        "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}",
    }
    done = subprocess.run(
        [PROJECT / "bin" / name, *map(str, arguments)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert code is None or done.returncode == code, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_slabs_on_slurm_have_the_bits_of_the_solve_and_a_killed_one_resumes(slurm: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [f"max_steps={HORIZON}", "slab.rows=100", f"slab.head_levels={HEAD}", "rollouts=0"]
    settings += [f"phases.{phase}.shards=2" for phase in SHARDS]
    sets = [part for setting in settings for part in ("--set", setting)]
    verb(slurm, "plan", CONFIG, "--run", run, "--no-probe", *sets)
    verb(slurm, "submit", run)
    (victim,) = (entry.job for entry in Journal(Run(run)).entries if entry.phase == "back-04" and entry.kind == "array")
    slurm.command("scancel", f"{victim}_1")
    slurm.wait(*(entry.job for entry in Journal(Run(run)).entries), timeout=400)
    assert verb(slurm, "missing", run, "back-04", code=1).split() == ["1"]
    assert not Run(run).merged("back-head").exists()
    kept = Run(run).shard_file("back-04", 0).read_bytes()
    verb(slurm, "submit", run, "--missing-only")
    slurm.wait(*(entry.job for entry in Journal(Run(run)).entries), timeout=400)
    assert Run(run).shard_file("back-04", 0).read_bytes() == kept
    (solved,) = solved_problems(Context.of(Run(run), "back-head"))
    graph = build(World.from_yaml(WORLD), HORIZON)
    expected = solve(graph, Params())
    for name, array in expected.root_by_horizon.items():
        np.testing.assert_array_equal(solved.root[name], array)
    np.testing.assert_array_equal(solved.root["first"], freed_first(graph, expected))
    for name in ("Vm", "Ve", "Vr", "Xh", "Qr", "pi_r"):
        for t in range(HORIZON):
            np.testing.assert_array_equal(getattr(solved.solution, name)[t], getattr(expected, name)[t])
    assert (run / "report" / "report.html").is_file()
