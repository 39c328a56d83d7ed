"""Accuracy and cost of fitted backward induction beside the exact solver, and what each of its parts is worth.

    python bench/induction_neural.py                 cost and errors of the default training, 11 x 6 cells, T = 15
    python bench/induction_neural.py accuracy        every problem of the accuracy table, three seeds each
    python bench/induction_neural.py ablations       one part missing at a time; exit code 1 if one does not lose enough
    python bench/induction_neural.py yard [SEEDS]    a world beyond exact reach, T = 30

CPU time is user and system of this process, one thread, kernels compiled; the exact solve runs in the same process.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from quintet.jobs.induction import Params, World, build, freed_first, solve
from quintet.jobs.induction.neural import (
    Ensemble,
    Fitted,
    NeuralConfig,
    Training,
    accumulate,
    errors,
    fit,
    fresh_states,
    residuals,
    rollout_check,
    spot_truth,
    tabulate,
)
from quintet.jobs.induction.neural.ablations import NoBound, NoWarmStart, RandomRows

WORLDS = Path(__file__).parent.parent / "configs" / "induction" / "worlds"
FREEING = "asymmetric_freeing_11x6"
MEANS = ("Vm_mean", "Ve_mean", "log_Vr_mean", "tv_pi_r")
MEDIUM = NeuralConfig(rows=2048, beam=4096, steps=200)
PROBLEMS: tuple[tuple[str, int, float, NeuralConfig], ...] = (
    (FREEING, 10, 100.0, NeuralConfig(rows=1024, beam=2048, steps=200)),
    (FREEING, 15, 100.0, NeuralConfig()),
    ("asymmetric_freeing_simple", 14, 50.0, MEDIUM),
    ("asymmetric_freeing_simple", 14, 5.0, MEDIUM),
)
CELLS = NeuralConfig(
    rows=1024, beam=4096, steps=200, passes=1, learning_rate=0.002, robot_weight=1.0, features=("cells",)
)
LAST_LEVELS = NeuralConfig(rows=6144, beam=8192, steps=300, passes=1)
YARD = NeuralConfig(rows=6144, beam=16384, steps=150)
SPOTS = ((3, 30), (5, 12), (7, 3))


class Ablation(NamedTuple):
    """A part that is taken away, where it shows, and the factor of the error that must be lost at least."""

    name: str
    base: Callable[[], float]
    without: Callable[[], float]
    factor: float


def world_of(name: str) -> World:
    return World.from_yaml(WORLDS / f"{name}.yaml")


def seconds(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = call()
    return result, time.process_time() - started


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def warm_up() -> None:
    """Compile, or load, all kernels."""
    world = world_of(FREEING)
    fit(world, Params(), 3, NeuralConfig(rows=64, beam=64, steps=2, batch=16, rollouts=5))
    solve(build(world, 3), Params())


def overall(found: dict[str, Any], sizes: list[int], name: str) -> float:
    """Mean over all non-terminal states of all levels."""
    return float((found[name] * sizes).sum() / sum(sizes))


def told(label: str, fitted: Any, graph: Any, exact: Any) -> None:
    table, spent = seconds(lambda: tabulate(fitted, graph))
    found, sizes = errors(table, exact, graph), graph.level_sizes[:-1]
    numbers = "  ".join(f"{name} {overall(found, sizes, name):.5f}" for name in MEANS)
    root = np.log(-fitted.root_by_horizon["Vr"]) - np.log(-exact.root_by_horizon["Vr"])
    first = np.abs(freed_first(graph, table)[-1] - freed_first(graph, exact)[-1]).max()
    visited = float(np.nanmean(found["tv_pi_r_visited"]))
    print(
        f"  {label}: {numbers}  tv visited {visited:.3f}  largest Ve {found['Ve_max'].max():.2f}\n"
        f"      root {root[-1]:+.4f} (any horizon {np.abs(root).max():.4f})  first {first:.5f}  "
        f"expanded {sum(sizes) / spent:.0f} states/CPU-s",
        flush=True,
    )


def compare(name: str, horizon: int, beta_r: float, config: NeuralConfig, seeds: int) -> None:
    world, params = world_of(name), Params(beta_r=beta_r)
    members = []
    for seed in range(seeds):
        fitted, spent = seconds(lambda seed=seed: fit(world, params, horizon, config, seed=seed))  # type: ignore[misc]
        members.append(fitted)
        print(f"{name} T={horizon} beta_r={beta_r:g} seed {seed}: {spent:.1f} CPU-s, peak {peak_mb()} MB", flush=True)
    graph, building = seconds(lambda: build(world, horizon))
    exact, solving = seconds(lambda: solve(graph, params, keep_policies="all"))
    print(f"  exact: {graph.n_states} states, {building + solving:.2f} CPU-s")
    for seed, fitted in enumerate(members):
        told(f"seed {seed}", fitted, graph, exact)
    if seeds > 1:
        told("ensemble", Ensemble(members), graph, exact)


def trained(training: Training, last: int = 0) -> Fitted:
    while training.level > last:
        training.advance()
    return training.fitted


def error_of(kind: type[Training], config: NeuralConfig, column: str) -> float:
    """Mean over all states of the freeing world at T = 10."""
    world, params = world_of(FREEING), Params()
    graph = build(world, 10)
    table = tabulate(trained(kind(world, params, 10, config)), graph)
    found = errors(table, solve(graph, params, keep_policies="all"), graph)
    return overall(found, graph.level_sizes[:-1], column)


def last_levels_error(features: tuple[str, ...]) -> float:
    """Mean |d log(-V_r)| of the expansion at t = 13 of T = 15, level 14 fitted."""
    world, params = world_of(FREEING), Params()
    graph = build(world, 15)
    exact = solve(graph, params)
    fitted = trained(Training(world, params, 15, NeuralConfig(**{**dict(LAST_LEVELS), "features": features})), 13)
    rows = np.linspace(0, graph.level_sizes[13] - 1, 3000).astype(int)
    vectors = world.packing.vectors(graph.keys[rows])
    found = fitted.expand([world.packing.state(13, vector) for vector in vectors])
    return float(np.abs(np.log(-found.Vr) - np.log(-exact.Vr[13][rows])).mean())


def ablations() -> int:
    """Half of the factor by which each variant of the published measurement lost is the least that is accepted."""
    random = CELLS.model_copy(update={"rows": 4096, "steps": 300})
    table = (
        Ablation(
            "no bound (dV^e)",
            lambda: error_of(Training, CELLS, "Ve_mean"),
            lambda: error_of(NoBound, CELLS, "Ve_mean"),
            0.0016 / 0.0007 / 2,
        ),
        Ablation(
            "no warm start (dl)",
            lambda: error_of(Training, CELLS, "log_Vr_mean"),
            lambda: error_of(NoWarmStart, CELLS, "log_Vr_mean"),
            0.0119 / 0.0031 / 2,
        ),
        Ablation(
            "no window (dl, t = 13)",
            lambda: last_levels_error(("cells", "window", "pairs")),
            lambda: last_levels_error(("cells", "pairs")),
            0.0058 / 0.0008 / 2,
        ),
        Ablation(
            "random rollouts (dl)",
            lambda: error_of(Training, CELLS, "log_Vr_mean"),
            lambda: error_of(RandomRows, random, "log_Vr_mean"),
            0.0103 / 0.0031 / 2,
        ),
    )
    n_failed = 0
    for row in table:
        base, without = row.base(), row.without()
        is_lost = without >= row.factor * base
        n_failed += not is_lost
        verdict = "as it must" if is_lost else "NOT ENOUGH"
        print(
            f"{row.name}: {base:.5f} -> {without:.5f}, x {without / base:.2f} (least {row.factor:.2f}) {verdict}",
            flush=True,
        )
    return int(n_failed > 0)


def yard(seeds: int) -> None:
    """Beyond exact reach: several trainings side by side, spot truth, residuals, exact root up to 9 steps."""
    world, params = world_of("yard_11x7"), Params()
    trainings = [
        (
            "cells only",
            NeuralConfig(rows=2048, beam=4096, steps=150, learning_rate=0.002, robot_weight=1.0, features=("cells",)),
            0,
        )
    ]
    trainings += [("all features", YARD, seed) for seed in range(seeds)]
    graph = build(world, 9)
    exact, spent = seconds(lambda: solve(graph, params, keep_policies="none"))
    print(f"exact up to 9 steps: {graph.n_states} states, {spent:.1f} CPU-s", flush=True)
    goals = [(h, g) for h in (0, 1) for g in (8, 19, 25, 37)]
    for label, config, seed in trainings:
        fitted, spent = seconds(lambda config=config, seed=seed: fit(world, params, 30, config, seed=seed))  # type: ignore[misc]
        print(f"{label}, seed {seed}: {spent:.0f} CPU-s, peak {peak_mb()} MB", flush=True)
        root = fitted.root_by_horizon
        for k in (3, 5, 7, 9):
            d_Ve = np.abs(root["Ve"][k - 1] - exact.root_by_horizon["Ve"][k - 1])
            d_log = np.log(root["Vr"][k - 1] / exact.root_by_horizon["Vr"][k - 1])
            print(f"  root, k = {k}: d log(-V_r) {d_log:+.4f}, dV^e {d_Ve.mean():.4f} (max {d_Ve.max():.2f})")
        states = fresh_states(fitted, 400)
        for k, rows in SPOTS:
            spot = spot_truth(fitted, states[30 - k][:rows])
            means = "  ".join(f"{name} {np.nanmean(spot[name]):.4f}" for name in MEANS)
            print(f"  spot truth, k = {k}: {means}  (states {spot['n_states'].max()})", flush=True)
        left = accumulate([residuals(fitted, states[t]) for t in range(1, 30)], params.gamma_h)
        print(f"  accumulated residual at t = 1: Ve {left['Ve'][0]:.3f}, log_Vr {left['log_Vr'][0]:.3f}")
        played = rollout_check(fitted, 500, seed=1, goals=goals)
        print(f"  V_r {played['V_r']:.1f}, played {played['return_mean']:.1f} +- {played['return_se']:.1f}")
        print(f"  freed first: {played['p_first'].round(3)}")
        for row in played["goals"]:
            pair = row["human"], row["goal"]
            print(f"    V^e{pair}: {row['fitted']:.3f}, played {row['mean']:.3f} +- {row['se']:.3f}")
        sys.stdout.flush()


def main() -> int:
    what = sys.argv[1] if len(sys.argv) > 1 else "cost"
    warm_up()
    if what == "cost":
        compare(*PROBLEMS[1], seeds=1)
    elif what == "accuracy":
        for problem in PROBLEMS:
            compare(*problem, seeds=3)
    elif what == "ablations":
        return ablations()
    elif what == "yard":
        yard(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    else:
        print(f"{what!r} is not known; allowed are accuracy, ablations, yard, or nothing", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
