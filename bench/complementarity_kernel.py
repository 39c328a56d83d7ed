"""Pairs per core-second of the compiled simulator, on sixteen configs drawn uniformly from the search space.

    python bench/complementarity_kernel.py [SEEDS]

One thread, warm, CPU time, by default 400 seeds per config, max_sessions 300; the best of three passes over all
configs. The reference implementation needs 1.163 CPU seconds per pair on the same configs (user CPU on an AMD EPYC
at 2.45 GHz; NoahBio/ciit-tracey-model, commit 0fab927).
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from common.table import Row, arguments, show
from quintet.jobs.complementarity import Params, simulate_pairs

CONFIGS = Path(__file__).parent.parent / "tests" / "golden" / "complementarity" / "bench_configs.json"
PASSES = 3
HARD, STRETCH = 3500, 10000

VARIANTS: dict[str, dict[str, str]] = {
    "frequency_amplifier": {},
    "bond_only": {"mechanism": "bond_only"},
    "conditional_amplifier": {"mechanism": "conditional_amplifier"},
    "bond_weighted_conditional_amplifier": {"mechanism": "bond_weighted_conditional_amplifier"},
    "bond_weighted_frequency_amplifier": {"mechanism": "bond_weighted_frequency_amplifier"},
    "frequency_amplifier, V1": {"therapist_version": "v1"},
}


def cpu_seconds(configs: list[Params], n_seeds: int, trajectories: bool, variant: dict[str, str]) -> float:
    """CPU seconds of the fastest pass over all configs."""
    seeds = np.arange(n_seeds)
    passes = []
    for _ in range(PASSES):
        start = time.process_time()
        for config in configs:
            simulate_pairs(config, seeds, trajectories=trajectories, **variant)  # type: ignore[arg-type]
        passes.append(time.process_time() - start)
    return min(passes)


def main() -> None:
    """Measure and print a table."""
    parser = arguments("Pairs per core-second of the compiled simulator.")
    parser.add_argument("seeds", type=int, nargs="?", default=400)
    n_seeds = parser.parse_args().seeds
    stored = json.loads(CONFIGS.read_text(encoding="utf-8"))
    configs = [Params(**config["params"]) for config in stored["configs"]]
    n_pairs = len(configs) * n_seeds
    reference = stored["reference_cpu_seconds_per_simulation"]["pair"]
    simulate_pairs(configs[0], range(2), trajectories=True)
    rows = []
    for name, variant in VARIANTS.items():
        for trajectories in (False, True):
            rate = n_pairs / cpu_seconds(configs, n_seeds, trajectories, variant)
            kept = ", with trajectories" if trajectories else ""
            peer, limits = (None, (None, None)) if variant else (1 / reference, (HARD, STRETCH))
            rows.append(Row(f"{name}{kept}", rate, "pairs/s", peer, *limits, more_is_better=True))
    show(
        f"Simulator: {len(configs)} configs x {n_seeds} seeds, max_sessions {stored['max_sessions']}, one thread", rows
    )


if __name__ == "__main__":
    main()
