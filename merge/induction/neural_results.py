"""A merged run in mode neural as its figures and tables see it: problems with their trainings, checks and truth."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...shard.induction.index import text_of, unit_of
from ...shard.induction.neural_planning import exact_context, matching
from ...shard.induction.neural_table import ENSEMBLE, LEVEL_COLUMNS, SPOT_COLUMNS, checked_units, settings_of
from ...shard.induction.worlds import Case, cases
from .solved import ROOT, Solved, cut, exact_problems

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...jobs.induction.neural.run_settings import NeuralRun
    from ...jobs.induction.neural.value_function import ValueFunction
    from ...shard.context import Context


@dataclass(frozen=True)
class Trained:
    """One training: its unit, seed, why it failed (or ""), curve, size and cost."""

    unit: int
    seed: int
    error: str
    curve: dict[str, NDArray[Any]]
    cpu_s: float
    peak_mb: float
    machine: str


@dataclass(frozen=True)
class Checked:
    """One check.

    Attributes:
        seed: of the training; `ENSEMBLE` for the ensemble.
        members: trainings in it.
        error: why there is nothing; empty where there is.
        levels: `LEVEL_COLUMNS` f8 [T], nan where nothing is known.
        spot: `SPOT_COLUMNS`, `k` and `n_states`, one row per checked state.
        rollout: V_r, return_mean, return_se, p_first.
        goals: human, goal, fitted, mean, se.
        root: tables whose item k - 1 is the root with k steps to go.
        calibration: counts [exact bin, fitted bin] of V^e and log(-V_r), and the ends of the latter.
        cpu_s, peak_mb, machine: of the process that checked.
    """

    seed: int
    members: int
    error: str
    levels: dict[str, NDArray[np.float64]]
    spot: dict[str, NDArray[Any]]
    rollout: dict[str, NDArray[np.float64]]
    goals: dict[str, NDArray[Any]]
    root: dict[str, NDArray[np.float64]]
    calibration: dict[str, NDArray[Any]]
    cpu_s: float
    peak_mb: float
    machine: str

    @property
    def is_ensemble(self) -> bool:
        """Whether it is of the ensemble."""
        return self.seed == ENSEMBLE

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        return "ensemble" if self.is_ensemble else f"seed {self.seed}"


@dataclass(frozen=True)
class ExactRoot:
    """What is known exactly of the root: tables by horizon, and what they took.

    Attributes:
        steps: horizons 1..steps are known.
        root: tables as `Checked.root`; `first` empty where it is not known.
        n_states: states of the largest horizon.
        user_s, peak_mb: user CPU seconds and peak memory; None where not measured.
    """

    steps: int
    root: dict[str, NDArray[np.float64]]
    n_states: int
    user_s: float | None
    peak_mb: float | None


@dataclass(frozen=True)
class FittedProblem:
    """One problem of a merged run."""

    context: Context
    case: Case
    counted: tuple[int, ...]
    trainings: list[Trained]
    checks: list[Checked] = field(default_factory=list)
    exact: ExactRoot | None = None

    @property
    def settings(self) -> NeuralRun:
        """The section neural of the config."""
        return settings_of(self.context.config)

    @property
    def is_validated(self) -> bool:
        """Whether every level was compared with the exact one."""
        return self.settings.validates

    @property
    def seeds(self) -> list[Checked]:
        """The checks of single trainings that have values, in order of seeds."""
        return [check for check in self.checks if not check.is_ensemble and not check.error]

    @property
    def ensemble(self) -> Checked | None:
        """The check of the ensemble; None where there is none."""
        return next((check for check in self.checks if check.is_ensemble and not check.error), None)

    @property
    def all(self) -> list[Checked]:
        """Every check that has values."""
        return [check for check in self.checks if not check.error]

    @property
    def best(self) -> Checked | None:
        """The ensemble, else the first training that has values."""
        return self.ensemble or next(iter(self.seeds), None)

    @property
    def failures(self) -> list[str]:
        """Why trainings failed, a line each."""
        return [f"seed {training.seed}: {training.error}" for training in self.trainings if training.error]

    @property
    def name(self) -> str:
        """What tells this problem's files from others'; empty where it is the only one."""
        return f"_{self.case.number:02d}" if len(cases(self.context.config)) > 1 else ""

    @cached_property
    def n_states(self) -> int:
        """States before the horizon, as far as they were counted: all of them where the problem is validated."""
        return sum(self.counted[: self.case.max_steps])

    @cached_property
    def values(self) -> ValueFunction:
        """The values behind `best`: the ensemble of all trainings that have a result, or the only one."""
        from ...jobs.induction.neural import Ensemble
        from ...shard.induction.train_phase import trained

        members = [trained(self.context, training.unit) for training in self.trainings if not training.error]
        return members[0] if len(members) == 1 else Ensemble(members)


def fitted_problems(context: Context) -> list[FittedProblem]:
    """Return the problems of a merged run."""
    config = context.config
    exact = exact_answers(context)
    trainings, checks = read_trainings(context), read_checks(context)
    return [
        FittedProblem(
            context,
            case,
            config.level_sizes[case.number],
            trainings.get(case.number, []),
            checks.get(case.number, []),
            exact.get(case.number),
        )
        for case in cases(config)
    ]


def present(file: Any, count: int) -> list[tuple[int, int]]:
    """Return (row, unit) of what a result holds: all units, or those that were not missing."""
    units = file["units"][()].tolist() if "units" in file else range(count)
    return list(enumerate(units))


def read_trainings(context: Context) -> dict[int, list[Trained]]:
    """Return the trainings by problem."""
    found: dict[int, list[Trained]] = {}
    with context.result("train") as file:
        for row, unit in present(file, len(file["rows/status"])):
            training = Trained(
                unit=unit,
                seed=int(file["rows/seed"][row]),
                error=text_of(file, "rows/error", row),
                curve={name: unit_of(file, f"rows/curve/{name}", row) for name in ("level", "n_rows", "loss")},
                cpu_s=float(unit_of(file, "meta/curve/cpu_s", row).sum()),
                peak_mb=float(file["meta/rss_mb"][row]),
                machine=text_of(file, "meta/machine", row),
            )
            found.setdefault(int(file["rows/problem"][row]), []).append(training)
    return found


def read_checks(context: Context) -> dict[int, list[Checked]]:
    """Return the checks by problem, the ensemble's last."""
    found: dict[int, list[Checked]] = {}
    problems, units = cases(context.config), checked_units(context.config)
    with context.result("check") as file:
        for row, unit in present(file, len(units)):
            case = problems[units[unit].problem]
            check = Checked(
                seed=int(file["rows/seed"][row]),
                members=int(file["rows/members"][row]),
                error=text_of(file, "rows/error", row),
                levels={name: unit_of(file, f"rows/levels/{name}", row) for name in (*LEVEL_COLUMNS, "n_states")},
                spot={name: unit_of(file, f"rows/spot/{name}", row) for name in (*SPOT_COLUMNS, "k", "n_states")},
                rollout={
                    **{name: file[f"rows/rollout/{name}"][row] for name in ("V_r", "return_mean", "return_se")},
                    "p_first": file["rows/rollout/p_first"][row][: len(case.world.humans) + 2],
                },
                goals={
                    name: unit_of(file, f"rows/goals/{name}", row) for name in ("human", "goal", "fitted", "mean", "se")
                },
                root={name: cut(unit_of(file, f"rows/root_by_horizon/{name}", row), case, name) for name in ROOT},
                calibration={name: file[f"rows/calibration/{name}"][row] for name in ("Ve", "log_Vr", "log_Vr_range")},
                cpu_s=float(file["meta/cpu_s"][row]),
                peak_mb=float(file["meta/rss_mb"][row]),
                machine=text_of(file, "meta/machine", row),
            )
            found.setdefault(units[unit].problem, []).append(check)
    return found


def exact_answers(context: Context) -> dict[int, ExactRoot]:
    """Return what is known exactly, by problem: of every horizon with `validate`, else of the shorter ones."""
    config = context.config
    if not settings_of(config).validates:
        return _roots(context)
    solved: dict[int, Solved] = {}
    if config.inputs.exact_run is None:
        solved = {item.case.number: item for item in exact_problems(context)}
    else:
        other = exact_context(context.inputs["exact_run"])
        by_number = {item.case.number: item for item in exact_problems(other)}
        for case in cases(config):
            number = matching(case, cases(other.config))
            if number is not None:
                solved[case.number] = by_number[number]
    return {
        number: ExactRoot(
            item.case.max_steps,
            item.root,
            sum(item.level_sizes[:-1]),
            item.user_s,
            None if item.peak_bytes is None else item.peak_bytes / 1e6,
        )
        for number, item in solved.items()
        if not item.error
    }


def _roots(context: Context) -> dict[int, ExactRoot]:
    problems, found = cases(context.config), {}
    with context.result("root") as file:
        for row, unit in present(file, len(problems)):
            case = problems[unit]
            root = {name: cut(unit_of(file, f"rows/root_by_horizon/{name}", row), case, name) for name in ROOT}
            if not int(file["rows/status"][row]):
                found[unit] = ExactRoot(
                    len(root["Vr"]),
                    root,
                    int(file["rows/n_states"][row]),
                    float(file["meta/user_s"][row]),
                    float(file["meta/rss_mb"][row]),
                )
    return found


def mixed_machines(problems: list[FittedProblem]) -> str:
    """Return a stamp where units of one phase come from machines whose bits may differ; empty where they do not."""
    stamps = []
    kinds: dict[str, set[str]] = {
        "trainings": {training.machine for problem in problems for training in problem.trainings},
        "checks": {check.machine for problem in problems for check in problem.checks},
    }
    for name, machines in kinds.items():
        if len(machines) > 1:
            shown = sorted({" ".join(str(value) for value in json.loads(text).values()) for text in machines})
            stamps.append(f"MIXED {name} from {len(machines)} kinds of machine ({'; '.join(shown)})")
    return ", ".join(stamps)
