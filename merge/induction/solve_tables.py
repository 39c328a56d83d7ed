"""Tables of a solve or slab run: one row per problem, the root by horizon, levels, memory, time, plotted numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.derived import compare_phases, power_in_bits
from ...jobs.induction.memory import reference_bytes
from ...shard.induction.table import TIMING
from ..exports import write_csv, write_json
from .freed_figures import proxy
from .policy_map import ACTION_NAMES, policy_rows

if TYPE_CHECKING:
    from .solved import Solved


def problem_row(solved: Solved) -> dict[str, Any]:
    """Return what a problem's row of `results.csv` says."""
    case, world = solved.case, solved.case.world
    row: dict[str, Any] = {"problem": case.number, "world": world.name, "max_steps": case.max_steps}
    row |= {
        name: value
        for name, value in solved.settings.items()
        if name not in ("max_steps", "coverage_check", "allow_unknown_keys")
        and not isinstance(value, list | type(None))
    }
    row |= {
        "n_states": solved.n_states,
        "n_states_nonterminal": sum(solved.level_sizes[:-1]),
        "n_configurations": solved.level_sizes[-1],
        "error": solved.error,
    }
    if solved.error:
        return row
    root = {name: array[-1] for name, array in solved.root.items() if len(array)}
    row["V_r"] = root["Vr"]
    bits = power_in_bits(root["Xh"])
    for h in range(len(world.humans)):
        row |= {f"X_h{h + 1}": root["Xh"][h], f"W_h{h + 1}": bits[h]}
    for a, name in enumerate(ACTION_NAMES[: world.n_actions]):
        if len(root["pi_r"]) == world.n_actions:
            row |= {f"pi_r_{name}": root["pi_r"][a], f"Q_r_{name}": root["Qr"][a]}
    if "first" in root:
        row |= {f"p_first_h{h + 1}": root["first"][h] for h in range(len(world.humans))}
        row |= {"p_first_several": root["first"][-2], "p_first_neither": root["first"][-1], "p_left": proxy(solved)[-1]}
    if "disabled" in root:
        row |= {"p_disabled_pause": root["disabled"][0], "p_disabled_kill": root["disabled"][1]}
    return row


def write_results(folder: Path, problems: Sequence[Solved], stamp: str | None) -> None:
    """Write `results.csv`."""
    rows = [problem_row(solved) for solved in problems]
    header = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(folder / "results.csv", header, ([row.get(name, "") for name in header] for row in rows), stamp)


def write_plotted(folder: Path, solved: Solved, stamp: str | None) -> None:
    """Write the numbers behind the figures of one problem."""
    world, name = solved.case.world, solved.name
    last = {key: array[-1] for key, array in solved.root.items() if len(array)}
    goals = world.goals.tolist()
    for h in range(len(world.humans)):
        rows = [
            (*goal, m, e, e - m)
            for goal, m, e in zip(goals, last["Vm"][h].tolist(), last["Ve"][h].tolist(), strict=True)
        ]
        write_csv(folder / f"value_map_{h}{name}.csv", ("x1", "y1", "x2", "y2", "Vm", "Ve", "difference"), rows, stamp)
    level, policies = policy_rows(solved)
    if level >= 0:
        header = ("x", "y", "direction", "level", *ACTION_NAMES[: world.n_actions])
        write_csv(
            folder / f"policy_map{name}.csv",
            header,
            ((x, y, d, level, *policy.tolist()) for x, y, d, policy in policies),
            stamp,
        )
    humans = range(1, len(world.humans) + 1)
    header = ("horizon", "V_r", *(f"X_h{h}" for h in humans), *(f"W_h{h}" for h in humans))
    first, p_left = solved.root["first"], proxy(solved)
    header = (*header, *(f"p_first_h{h}" for h in humans), "p_first_several", "p_first_neither", "p_left")
    rows = []
    for k in range(len(solved.root["Vr"])):
        powers = solved.root["Xh"][k]
        outcome = first[k].tolist() if len(first) else [np.nan] * (len(humans) + 2)
        rows.append(
            (k + 1, solved.root["Vr"][k], *powers.tolist(), *np.log2(powers).tolist(), *outcome, float(p_left[k]))
        )
    write_csv(folder / f"freed_first{name}.csv", header, rows, stamp)
    write_csv(folder / f"timing{name}.csv", TIMING, (row.tolist() for row in solved.timing), stamp)
    write_csv(folder / f"memory{name}.csv", ("structure", "predicted_bytes", "measured_bytes"), solved.memory, stamp)


def write_levels(folder: Path, level_sizes: dict[str, list[int]], stamp: str | None) -> None:
    """Write the states of every level of every world, and how many up to it."""
    rows = [
        (world, t, size, total)
        for world, sizes in level_sizes.items()
        for t, (size, total) in enumerate(zip(sizes, np.cumsum(sizes).tolist(), strict=True))
    ]
    write_csv(folder / "state_growth.csv", ("world", "t", "states_of_level", "states_up_to_it"), rows, stamp)


def summary(problems: Sequence[Solved], provenance: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `summary.json`."""
    found = []
    for solved in problems:
        row = problem_row(solved)
        if not solved.error:
            root = {name: array[-1] for name, array in solved.root.items() if len(array)}
            row["root"] = root
            row["phases_compared"] = [
                compare_phases(root["Vm"][h : h + 1], root["Ve"][h : h + 1]) for h in range(len(root["Vm"]))
            ]
        row["level_sizes"] = solved.level_sizes
        row["memory"] = {name: {"predicted": p, "measured": m} for name, p, m in solved.memory}
        row["reference_bytes"] = reference_bytes(solved.case.world, solved.n_states)
        row["user_s"] = solved.user_s
        found.append(row)
    return {"problems": found, "provenance": provenance}


def write_summary(folder: Path, problems: Sequence[Solved], provenance: dict[str, Any]) -> None:
    """Write `summary.json`."""
    write_json(folder / "summary.json", summary(problems, provenance))
