"""Tables of a run in mode neural: errors by level, spot checks, the root, goals, learning, cost, and the summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...jobs.induction.neural.run_settings import ERROR_COLUMNS, SPOT_ERRORS
from ...shard.induction.neural_table import BINS, LEVEL_COLUMNS, SPOT_COLUMNS
from ..exports import write_csv, write_json
from .neural_cost import FittedCost, costs_of
from .neural_errors import (
    error_of,
    exceeded,
    freed_error,
    largest_root_error,
    root_error,
    spot_means,
    spread_over_seeds,
)
from .neural_results import Checked, FittedProblem
from .policy_map import ACTION_NAMES, PolicyRow


def each_check(problems: Sequence[FittedProblem]) -> Iterator[tuple[FittedProblem, Checked]]:
    """Yield every check with values, with its problem."""
    for problem in problems:
        for check in problem.all:
            yield problem, check


def label_of(problem: FittedProblem, check: Checked) -> tuple[Any, ...]:
    """Return the columns problem, world, max_steps and seed."""
    case = problem.case
    return case.number, case.world.name, case.max_steps, "ensemble" if check.is_ensemble else check.seed


def write_errors(folder: Path, problems: Sequence[FittedProblem], stamp: str | None) -> None:
    """Write `errors.csv`: one row per problem, training (or ensemble) and level."""
    header = ("problem", "world", "max_steps", "seed", "level", "steps_to_go", "n_states", *LEVEL_COLUMNS)
    rows = (
        (
            *label_of(problem, check),
            t,
            problem.case.max_steps - t,
            int(check.levels["n_states"][t]) or "",
            *(check.levels[name][t] for name in LEVEL_COLUMNS),
        )
        for problem, check in each_check(problems)
        for t in range(problem.case.max_steps)
    )
    write_csv(folder / "errors.csv", header, rows, stamp)


def write_spots(folder: Path, problems: Sequence[FittedProblem], stamp: str | None) -> None:
    """Write `spot.csv`: one row per checked state."""
    rows = (
        (*label_of(problem, check), *(check.spot[name][row] for name in ("k", "n_states", *SPOT_COLUMNS)))
        for problem, check in each_check(problems)
        for row in range(len(check.spot["k"]))
    )
    header = ("problem", "world", "max_steps", "seed", "steps_to_go", "n_states", *SPOT_COLUMNS)
    write_csv(folder / "spot.csv", header, rows, stamp)


def write_roots(folder: Path, problems: Sequence[FittedProblem], stamp: str | None) -> None:
    """Write `root_by_horizon.csv`: the root of every training for every horizon, and the exact one as far as known."""
    humans = max(len(problem.case.world.humans) for problem in problems)
    robots = max(problem.case.world.n_robot_profiles for problem in problems)
    header: tuple[str, ...] = ("problem", "world", "max_steps", "seed", "horizon", "V_r")
    header += tuple(f"X_h{h + 1}" for h in range(humans))
    actions = ACTION_NAMES if robots <= len(ACTION_NAMES) else tuple(map(str, range(robots)))
    header += tuple(f"pi_r_{name}" for name in actions[:robots])
    header += (*(f"p_first_h{h + 1}" for h in range(humans)), "p_first_several", "p_first_neither")

    def lines(label: tuple[Any, ...], root: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        for k in range(len(root["Vr"])):
            first = root["first"][k].tolist() if len(root["first"]) else []
            own = len(first) - 2
            outcomes = [*first[:own], *[""] * (humans - own), *first[own:]] if first else [""] * (humans + 2)
            powers, policy = root["Xh"][k].tolist(), root["pi_r"][k].tolist()
            yield (
                *label,
                k + 1,
                root["Vr"][k],
                *powers,
                *[""] * (humans - len(powers)),
                *policy,
                *[""] * (robots - len(policy)),
                *outcomes,
            )

    def rows() -> Iterator[tuple[Any, ...]]:
        for problem in problems:
            case = problem.case
            if problem.exact is not None:
                yield from lines((case.number, case.world.name, case.max_steps, "exact"), problem.exact.root)
            for check in problem.all:
                yield from lines(label_of(problem, check), check.root)

    write_csv(folder / "root_by_horizon.csv", header, rows(), stamp)


def write_goals(folder: Path, problems: Sequence[FittedProblem], stamp: str | None) -> None:
    """Write `goals.csv`: goals followed from the root, fitted beside played."""
    header = (
        "problem",
        "world",
        "max_steps",
        "seed",
        "human",
        "goal",
        "x1",
        "y1",
        "x2",
        "y2",
        "fitted",
        "played",
        "se",
    )
    rows = (
        (
            *label_of(problem, check),
            human,
            goal,
            *problem.case.world.goals[goal].tolist(),
            *(check.goals[name][row] for name in ("fitted", "mean", "se")),
        )
        for problem, check in each_check(problems)
        for row, (human, goal) in enumerate(
            zip(check.goals["human"].tolist(), check.goals["goal"].tolist(), strict=True)
        )
    )
    write_csv(folder / "goals.csv", header, rows, stamp)


def write_learning(folder: Path, problems: Sequence[FittedProblem], stamp: str | None) -> None:
    """Write `learning.csv`: rows and loss of every pass and level."""
    rows = []
    for problem in problems:
        levels = problem.case.max_steps - 1
        for training in problem.trainings:
            columns = zip(*(training.curve[name].tolist() for name in ("level", "n_rows", "loss")), strict=True)
            rows += [(problem.case.number, training.seed, k // levels + 1, *row) for k, row in enumerate(columns)]
    write_csv(folder / "learning.csv", ("problem", "seed", "pass", "level", "n_rows", "loss"), rows, stamp)


def write_cost(folder: Path, problems: Sequence[FittedProblem], stamp: str | None) -> None:
    """Write `cost.csv`."""
    rows = (tuple(vars(cost).values()) for cost in costs_of(problems))
    write_csv(folder / "cost.csv", tuple(FittedCost.__annotations__), rows, stamp)


def write_calibration(folder: Path, problems: Sequence[FittedProblem], stamp: str | None) -> None:
    """Write `calibration.csv`: counts by middle of the exact and of the fitted bin, empty bins left out."""
    rows = []
    for problem, check in each_check(problems):
        if not problem.is_validated:
            continue
        for name, (low, high) in (("Ve", (0.0, 1.0)), ("log_Vr", check.calibration["log_Vr_range"].tolist())):
            counts = check.calibration[name]
            middle = low + (np.arange(BINS) + 0.5) * (high - low) / BINS
            rows += [
                (*label_of(problem, check), name, middle[i], middle[j], int(counts[i, j]))
                for i, j in np.argwhere(counts)
            ]
    header = ("problem", "world", "max_steps", "seed", "quantity", "exact", "fitted", "count")
    write_csv(folder / "calibration.csv", header, rows, stamp)


def write_maps(folder: Path, problem: FittedProblem, policy: Sequence[PolicyRow], stamp: str | None) -> None:
    """Write the numbers behind value maps and policy map of the best check of a problem."""
    check, world = problem.best, problem.case.world
    if check is None:
        return
    for h in range(len(world.humans)):
        Vm, Ve = check.root["Vm"][-1][h], check.root["Ve"][-1][h]
        rows = [(*goal, m, e, e - m) for goal, m, e in zip(world.goals.tolist(), Vm.tolist(), Ve.tolist(), strict=True)]
        columns = ("x1", "y1", "x2", "y2", "Vm", "Ve", "difference")
        write_csv(folder / f"value_map_{h}{problem.name}.csv", columns, rows, stamp)
    if policy:
        header = ("x", "y", "direction", *ACTION_NAMES[: world.n_actions])
        rows_of_policy = [(x, y, direction, *row.tolist()) for x, y, direction, row in policy]
        write_csv(folder / f"policy_map{problem.name}.csv", header, rows_of_policy, stamp)


def check_summary(problem: FittedProblem, check: Checked) -> dict[str, Any]:
    """Return the errors of one check in a few numbers."""
    found: dict[str, Any] = {"members": check.members, "V_r": float(check.root["Vr"][-1])}
    if problem.is_validated:
        found["errors"] = {name: error_of(problem, check, name).value for name in ERROR_COLUMNS}
        found["freed_first"] = check.root["first"][-1]
        found["freed"] = freed_error(problem, check)
        found["root_log_Vr"] = root_error(problem, check)
    if problem.exact is not None:
        value, k = largest_root_error(problem, check)
        found["root_log_Vr_largest"] = {"value": value, "horizon": k, "horizons": problem.exact.steps}
        found["root_log_Vr_by_horizon"] = [root_error(problem, check, k) for k in range(1, problem.exact.steps + 1)]
        shorter = problem.exact.steps
        distance = np.abs(check.root["Ve"][:shorter] - problem.exact.root["Ve"])
        found["root_Ve_by_horizon"] = {"mean": distance.mean(axis=(1, 2)), "max": distance.max(axis=(1, 2))}
    found["spot"] = {
        str(k): {name: spot_means(check, name)[k] for name in ("Vm_mean", "Ve_mean", "log_Vr_mean", "tv_pi_r")}
        for k in sorted({int(k) for k in check.spot["k"]})
    }
    found["spot_too_large"] = int(np.isnan(check.spot["Ve_mean"]).sum())
    first = 1 if problem.case.max_steps > 1 else 0
    found["accumulated_at_1"] = {name: check.levels[f"accumulated_{name}"][first] for name in ("Vm", "Ve", "log_Vr")}
    found["played"] = {name: check.rollout[name] for name in ("V_r", "return_mean", "return_se", "p_first")}
    found["cpu_s"] = round(check.cpu_s, 2)
    return found


def summary(problems: Sequence[FittedProblem], sentences: dict[int, str], provenance: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `summary.json`."""
    found = []
    for problem in problems:
        case = problem.case
        names = (*ERROR_COLUMNS, "root_log_Vr", "freed") if problem.is_validated else ()
        over = {name: spread_over_seeds(problem, name) for name in (*names, *SPOT_ERRORS)}
        row: dict[str, Any] = {
            "problem": case.number,
            "world": case.world.name,
            "max_steps": case.max_steps,
            "params": case.params.model_dump(mode="json")
            | {name: getattr(case.params, name) for name in ("gamma_h", "gamma_r")},
            "error": sentences[case.number],
            "level_sizes_counted": problem.counted,
            "validated": problem.is_validated,
            "over_seeds": {
                name: dict(zip(("mean", "least", "largest"), value, strict=True)) for name, value in over.items()
            },
            "checks": {check.name: check_summary(problem, check) for check in problem.all},
            "trainings": [
                {"seed": t.seed, "error": t.error, "cpu_s": round(t.cpu_s, 2), "peak_mb": round(t.peak_mb, 1)}
                for t in problem.trainings
            ],
        }
        if problem.exact is not None:
            exact = problem.exact
            row["exact"] = {
                "horizons": exact.steps,
                "n_states": exact.n_states,
                "user_s": exact.user_s,
                "V_r": exact.root["Vr"],
            }
            if problem.is_validated and len(exact.root["first"]):
                row["exact"]["freed_first"] = exact.root["first"][-1]
        found.append(row)
    neural = problems[0].settings.model_dump(mode="json")
    return {"settings": neural, "problems": found, "exceeded": exceeded(problems), "provenance": provenance}


def write_neural_tables(
    folder: Path,
    problems: Sequence[FittedProblem],
    sentences: dict[int, str],
    provenance: dict[str, Any],
    stamp: str | None,
) -> None:
    """Write every table, and the summary."""
    for write in (write_errors, write_spots, write_roots, write_goals, write_learning, write_cost, write_calibration):
        write(folder, problems, stamp)
    write_json(folder / "summary.json", summary(problems, sentences, {**provenance, "stamp": stamp}))
