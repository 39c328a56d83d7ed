"""The report of a run in mode neural: for each problem one sentence that states the error, then figures and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.neural.run_settings import LARGEST_COLUMNS, MEAN_COLUMNS
from ..drawing import shown
from ..page import Report, Section, markdown_table
from .freed_figures import outcome_labels, possible
from .neural_cost import FittedCost, crossing
from .neural_errors import (
    SPOT_COLUMN,
    exceeded,
    freed_error,
    largest_root_error,
    mean_of,
    overall,
    root_error,
    spot_means,
    worst,
)
from .neural_results import FittedProblem
from .solve_report import number
from .solved import human_name

if TYPE_CHECKING:
    from ..style import SavedFigure

TITLE = "Fitted human-power planning: the answer, and how wrong it is"
MOST_PROBLEMS = 12
PLAYED_TOLERANCE = 0.01
"""A goal that is attained once in hundreds of episodes has no standard error to speak of."""


def percent(value: float) -> str:
    """Return a relative error as percent."""
    return f"{100 * value:.2g} %"


def sentence(problem: FittedProblem) -> str:
    """Return the sentence that states the error of a problem's answer."""
    case = problem.case
    if not problem.seeds:
        return f"{case.label}: no training has a result ({'; '.join(problem.failures)})."
    n = len(problem.seeds)
    trainings = f"worst of {n} trainings" if n > 1 else "one training"
    return _validated(problem, trainings) if problem.is_validated else _estimated(problem, trainings)


def _validated(problem: FittedProblem, trainings: str) -> str:
    found = {
        name: worst(problem, name)[0] for name in ("Vm_mean", "Ve_mean", "log_Vr_mean", "tv_pi_r", "Vm_max", "Ve_max")
    }
    root, freed = worst(problem, "root_log_Vr")[0], worst(problem, "freed")[0]
    policies = "" if math.isnan(freed) else f"; who is freed first is right to {number(freed)}"
    return (
        f"{problem.case.label}: V_r at the root is within {percent(root)} of exact (validated on {problem.n_states:,} "
        f"states, {trainings}); means over all of them: |dV^m| {number(found['Vm_mean'])}, |dV^e| "
        f"{number(found['Ve_mean'])}, |d log(-V_r)| {number(found['log_Vr_mean'])}, total variation of pi_r "
        f"{number(found['tv_pi_r'])}{policies}; the largest error of a single state and goal is "
        f"{number(found['Vm_max'])} in V^m and {number(found['Ve_max'])} in V^e."
    )


def _estimated(problem: FittedProblem, trainings: str) -> str:
    case = problem.case
    parts = [f"{case.label}: no exact truth at this horizon"]
    steps = [k for k, _ in problem.settings.spots(case.max_steps)]
    if steps:
        spot = [
            max((spot_means(check, "Ve_mean").get(k, math.nan) for check in problem.seeds), key=_or_zero) for k in steps
        ]
        log = [
            max((spot_means(check, "log_Vr_mean").get(k, math.nan) for check in problem.seeds), key=_or_zero)
            for k in steps
        ]
        parts.append(
            f"spot truth with k = {', '.join(map(str, steps))} steps to go: mean |dV^e| {', '.join(map(number, spot))}"
            f", mean |d log(-V_r)| {', '.join(map(number, log))} ({trainings})"
        )
    if problem.exact is not None:
        errors = [largest_root_error(problem, check) for check in problem.seeds]
        value, k = max(errors)
        parts.append(
            f"against the exact root for k up to {problem.exact.steps}: |d log(-V_r)| at most {number(value)} (k = {k})"
        )
    if case.max_steps > 1:
        estimate = {
            name: max(float(check.levels[f"accumulated_{name}"][1]) for check in problem.seeds)
            for name in ("Ve", "log_Vr")
        }
        parts.append(
            f"accumulated residual, an estimate and no bound, one step after the root: {number(estimate['Ve'])} in V^e"
            f", {number(estimate['log_Vr'])} in log(-V_r)"
        )
    return "; ".join(parts) + "."


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def neural_report(
    problems: Sequence[FittedProblem],
    figures: Mapping[str, SavedFigure],
    films: Mapping[int, Path],
    costs: Sequence[FittedCost],
    sentences: Mapping[int, str],
    facts: Mapping[str, Any],
    stamp: str | None,
) -> Report:
    """Put the numbers and figures of a run into words."""
    sections = [_question(), _answer(problems, sentences)]
    sections += [
        _problem(problem, figures, films.get(problem.case.number))
        for problem in problems[:MOST_PROBLEMS]
        if problem.all
    ]
    sections += [_cost(figures, costs), _limits(problems), _run(facts)]
    return Report(TITLE, tuple(sections), stamp)


def _question() -> Section:
    return Section(
        "The question",
        """
What do humans and robot do in a world whose states cannot be enumerated, *and how wrong is the answer*? For every level
one network estimates the cautious and effective values of each human and goal and the robot's value; transitions,
terminal values and all policies come from one exact step on these estimates. Errors are measured where there is truth:
against the exact tables of all states, or of the last few steps at single states, which holds in any world. Where there
is none they are estimated from the distance of each network from one exact step on the next, added up over levels.
""",
    )


def _answer(problems: Sequence[FittedProblem], sentences: Mapping[int, str]) -> Section:
    lines = [f"* **{sentences[problem.case.number]}**" for problem in problems]
    for problem in problems:
        lines += [f"* {problem.case.label}: a training failed and counts nowhere. {line}" for line in problem.failures]
        failed = [check for check in problem.checks if check.error and check.is_ensemble]
        lines += [f"* {problem.case.label}: there is no ensemble. {check.error}." for check in failed]
        ensemble = problem.ensemble
        if ensemble is not None and problem.failures:
            lines.append(
                f"* {problem.case.label}: the ensemble is of the {ensemble.members} trainings that have a result."
            )
    above = exceeded(problems)
    if any(problem.settings.max_error for problem in problems):
        if above:
            lines += [f"* **Above the allowed error:** {line}." for line in above]
        else:
            lines.append("* Every error is within what the config allows (`max_error`).")
    return Section("The answer in brief: how large the error is", "\n".join(lines))


def _problem(problem: FittedProblem, figures: Mapping[str, SavedFigure], film: Path | None) -> Section:
    name = problem.name
    parts = [_words(problem)]
    parts += [_errors_table(problem)] if problem.is_validated else []
    parts += [_root_table(problem), _spot_table(problem), _played(problem), _goals(problem), _estimates(problem)]
    if film is not None:
        parts.append(f"Episodes played with the fitted policies: `figures/rollouts/{film.name}` of the run.")
    heading = problem.case.label if not name else f"Problem {problem.case.number}: {problem.case.label}"
    return Section(heading, "\n\n".join(part for part in parts if part), shown(figures, _captions(problem)))


def _words(problem: FittedProblem) -> str:
    world, sizes = problem.case.world, problem.counted
    params = problem.case.params
    theory = ", ".join(
        f"{name} = {getattr(params, name):g}"
        for name in ("beta_h", "gamma_h", "beta_r", "gamma_r", "zeta", "xi", "eta")
    )
    if problem.is_validated:
        states = f"{sum(sizes):,} states ({problem.n_states:,} before the end) over {sizes[-1]:,} configurations"
    else:
        states = (
            f"more than {sum(sizes):,} states: level {len(sizes) - 1} alone has {sizes[-1]:,}, "
            f"{sizes[-1] / sizes[-2]:.2f} times as many as the one before, and there are {problem.case.max_steps}"
        )
    return (
        f"{world.name}: humans {len(world.humans)}, robots {len(world.robots)}, goals {len(world.goals)}; {states}. "
        f"Parameters: {theory}."
    )


def _errors_table(problem: FittedProblem) -> str:
    header = ("", "V^m", "V^e", "V^m, possible", "V^e, possible", "log(-V_r)", "X_h", "TV pi_r", "TV m_h", "regret")
    rows = []
    for check in problem.all:
        rows.append((f"{check.name}, all states", *(number(overall(check, column).value) for column in MEAN_COLUMNS)))
        rows.append(
            (f"{check.name}, visited", *(number(overall(check, f"{column}_visited").value) for column in MEAN_COLUMNS))
        )
    largest = [
        (
            check.name,
            *(number(overall(check, column).value) for column in LARGEST_COLUMNS),
            f"{root_error(problem, check):+.4f}",
            "{:.4f} (k = {})".format(*largest_root_error(problem, check)),
            number(freed_error(problem, check)),
        )
        for check in problem.all
    ]
    return "\n\n".join(
        [
            "Mean errors over all non-terminal states of all levels, and over levels of the means over "
            "what the exact policies visit. *Possible* counts only goals within reach in time.",
            markdown_table(header, rows),
            "Largest errors of any state, and errors at the root: d log(-V_r) at the full horizon, the largest of any "
            "horizon, and the largest difference of a freed-first probability.",
            markdown_table(
                ("", "V^m", "V^e", "log(-V_r)", "regret", "root", "root, any horizon", "freed first"), largest
            ),
        ]
    )


def _root_table(problem: FittedProblem) -> str:
    exact, T = problem.exact, problem.case.max_steps
    if exact is None:
        return ""
    shown_steps = sorted({k for k in (1, 3, 5, 7, 9, 12, 15, 20, 25, exact.steps) if k <= exact.steps})
    rows = []
    for check in problem.all:
        distance = np.abs(check.root["Ve"][: exact.steps] - exact.root["Ve"])
        rows.append((f"{check.name}, d log(-V_r)", *(f"{root_error(problem, check, k):+.4f}" for k in shown_steps)))
        rows.append(
            (
                f"{check.name}, mean (max) dV^e",
                *(f"{distance[k - 1].mean():.4f} ({distance[k - 1].max():.2f})" for k in shown_steps),
            )
        )
    known = "every horizon" if exact.steps == T else f"horizons up to {exact.steps} ({exact.n_states:,} states)"
    text = f"The root against its exact values, which are known for {known}:\n\n"
    return text + markdown_table(("", *(f"k = {k}" for k in shown_steps)), rows)


def _spot_table(problem: FittedProblem) -> str:
    spots = problem.settings.spots(problem.case.max_steps)
    if not spots:
        return "The horizon is too short for spot checks."
    rows = []
    for check in problem.all:
        for k, n in spots:
            mine = check.spot["k"] == k
            made = int(np.isfinite(check.spot["Ve_mean"][mine]).sum())
            states = check.spot["n_states"][mine]
            rows.append(
                (
                    check.name,
                    k,
                    f"{made} of {n}",
                    f"{int(states.max(initial=0)):,}",
                    *(number(mean_of(check.spot[name][mine])) for name in (*SPOT_COLUMN.values(), "tv_pi_r")),
                    number(float(np.nanmax(check.spot["Ve_max"][mine]))) if made else "",
                )
            )
    header = (
        "",
        "steps to go",
        "states solved",
        "largest solve (states)",
        "V^m",
        "V^e",
        "log(-V_r)",
        "TV pi_r",
        "largest V^e",
    )
    return "Spot truth, exact solves rooted at visited states, mean errors:\n\n" + markdown_table(header, rows)


def _played(problem: FittedProblem) -> str:
    world = problem.case.world
    labels = outcome_labels([human_name(world, h) for h in range(len(world.humans))])
    rows = []
    for check in problem.all:
        found = check.rollout
        V_r, mean, error = (float(found[name]) for name in ("V_r", "return_mean", "return_se"))
        rows.append(
            (
                check.name,
                f"{V_r:.5g}",
                f"{mean:.5g} +- {error:.2g}",
                f"{100 * (mean - V_r) / abs(V_r):+.2f} % +- {100 * error / abs(V_r):.2f} %",
                *(f"{share:.3f}" for share in possible(found["p_first"], len(world.humans))),
            )
        )
    text = (
        f"Returns of {problem.settings.check_rollouts} episodes played with the fitted policies, beside V_r at the "
        "root (standard errors of the mean). Agreement is necessary, not sufficient: **compare the "
        "returns of different trainings**; the highest is the best robot that was found.\n\n"
    )
    return text + markdown_table(("", "V_r", "played", "difference", *labels), rows)


def _goals(problem: FittedProblem) -> str:
    rows = []
    for check in problem.all:
        goals = check.goals
        if not len(goals["human"]):
            return ""
        distance = np.abs(goals["fitted"] - goals["mean"])
        is_within = distance <= 2.0 * goals["se"] + PLAYED_TOLERANCE
        place = int(distance.argmax())
        human, goal = int(goals["human"][place]), int(goals["goal"][place])
        cell = tuple(problem.case.world.goals[goal].tolist()[:2])
        rows.append(
            (
                check.name,
                f"{int(is_within.sum())} of {len(distance)}",
                number(float(distance.mean())),
                f"{human_name(problem.case.world, human)}, goal {cell}: {goals['fitted'][place]:.3f} fitted, "
                f"{goals['mean'][place]:.3f} +- {goals['se'][place]:.3f} played",
            )
        )
    text = "V^e at the root of some goals, against humans who follow them in play:\n\n"
    return text + markdown_table(
        ("", f"within 2 standard errors and {PLAYED_TOLERANCE}", "mean distance", "farthest"), rows
    )


def _estimates(problem: FittedProblem) -> str:
    """How good the estimates are, where truth says so."""
    rows = []
    for check in problem.all:
        for name in ("Vm", "Ve", "log_Vr"):
            if not problem.is_validated:
                break
            true, estimate = check.levels[f"{name}_mean_visited"], check.levels[f"accumulated_{name}"]
            is_there = np.isfinite(estimate) & (true > 1e-3)
            if not is_there.any():
                continue
            ratio = estimate[is_there] / true[is_there]
            rows.append(
                (
                    check.name,
                    name,
                    int(is_there.sum()),
                    *(number(value) for value in (ratio.min(), np.median(ratio), ratio.max())),
                )
            )
    if not rows:
        return ""
    text = (
        "Quality of the estimate: accumulated residual over true error of visited states, by level, where the latter "
        "is above 0.001 (below 1: too small):\n\n"
    )
    return text + markdown_table(("", "quantity", "levels", "least", "median", "largest"), rows)


def _captions(problem: FittedProblem) -> dict[str, str]:
    name, best = problem.name, problem.best
    whose = "" if best is None else best.name
    humans = range(len(problem.case.world.humans))
    truth = (
        "Errors by level: single trainings thin, ensemble thick; solid over all states, dashed over visited ones."
        if problem.is_validated
        else "Estimated errors by level (accumulated residuals), and spot truth where exact solves say it."
    )
    return {
        f"error_by_level{name}": truth,
        f"calibration{name}": "Fitted against exact values, and the estimates of the error against the error itself."
        if problem.is_validated
        else "The accumulated residual against spot truth, with steps to go.",
        f"root_by_horizon{name}": "One training gives the root for every horizon.",
        f"goals{name}": "Goals followed from the root: fitted values against play.",
        f"learning{name}": "Loss by pass and level in the order of the fit, and residuals after it.",
        **{
            f"value_map_{h}{name}": f"Fitted values ({whose}) of each goal to the {human_name(problem.case.world, h)} "
            "at the start: expected cautiously, achieved with this robot, and the difference."
            for h in humans
        },
        f"policy_map{name}": f"Fitted policy ({whose}): the robot's most probable action from every free cell and "
        "direction (the sector's side) half-way to the horizon, all else at its initial place; faint is undecided.",
    }


def _cost(figures: Mapping[str, SavedFigure], costs: Sequence[FittedCost]) -> Section:
    rows = []
    for cost in costs:
        states = f"{cost.states:,}" if cost.is_counted else f"more than {cost.states:,}"
        rows.append(
            (cost.problem, cost.method, cost.seed, cost.steps, states, f"{cost.cpu_s:.2f}", f"{cost.peak_mb:.0f}")
        )
    header = ("problem", "what", "of", "horizon", "states before the end", "CPU s", "peak MB")
    text = markdown_table(header, rows) + "\n\n" + crossing(costs)
    captions = {
        "spot": "Spot truth by steps to go, boxes over the states of all trainings.",
        "cost": "CPU time and memory against states; an arrow says that there are more states than were counted.",
    }
    return Section("What it costs", text, shown(figures, captions))


def _limits(problems: Sequence[FittedProblem]) -> Section:
    worst_single = [worst(problem, "Ve_max")[0] for problem in problems if problem.is_validated]
    known = [value for value in worst_single if not math.isnan(value)]
    told = f" (here up to {number(max(known))} in V^e)" if known else ""
    return Section(
        "What to keep in mind",
        f"""
* Single states stay wrong{told}: a goal that is just reachable, or just blocked. Means hide that.
* Errors of several trainings are alike; their spread is a lower limit of what is unknown rather than an error bar.
* The same network chooses the robot's action and values it: with a large beta_r the root comes out too good.
* The accumulated residual is an estimate. It knows only the states that the fitted policies visit.
* Seeds are told as mean, least and largest; a few trainings are no basis for a confidence interval.
""",
    )


def _run(facts: Mapping[str, Any]) -> Section:
    return Section("About this run", markdown_table(("what", "value"), [(k, v) for k, v in facts.items()]))
