"""Which figures, tables and films a run in mode neural has; it fails where an error is above what the config allows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..drawing import Drawing, Rendered, draw_all
from ..page import write_report
from .film import save_film
from .neural_cost import costs_of, draw_cost
from .neural_errors import exceeded
from .neural_figures import (
    draw_calibration,
    draw_error_by_level,
    draw_goals,
    draw_learning,
    draw_root_by_horizon,
    draw_spot,
)
from .neural_report import MOST_PROBLEMS, neural_report, sentence
from .neural_results import FittedProblem, fitted_problems, mixed_machines
from .neural_tables import write_maps, write_neural_tables
from .policy_map import PolicyRow, draw_policy
from .solved import human_name
from .value_maps import draw_value_map

if TYPE_CHECKING:
    from ...jobs.induction.packing import State
    from ...shard.context import Context


def fitted_policy(problem: FittedProblem) -> tuple[int, list[PolicyRow]]:
    """Return the level half-way to the horizon, and (x, y, direction, action probabilities of the first robot) there.

    From every cell that is free while all else is at its initial place, whether that is reached or not.
    """
    world, level = problem.case.world, problem.case.max_steps // 2
    if not world.robots:
        return level, []
    _, agents, mobiles, mutables = world.initial_state
    robot = world.robots[0]
    taken = {(x, y) for i, (x, y, *_) in enumerate(agents) if i != robot} | {(x, y) for _, x, y in mobiles}
    places: list[tuple[int, int, int]] = []
    states: list[State] = []
    for x, y in world.packing.positions():
        for direction in range(4 if (x, y) not in taken else 0):
            moved = list(agents)
            moved[robot] = (x, y, direction, *agents[robot][3:])
            places.append((x, y, direction))
            states.append((level, tuple(moved), mobiles, mutables))
    pi_r = problem.values.expand(states).pi_r
    by_action = pi_r.reshape(len(states), world.n_actions, -1).sum(axis=2)
    return level, [(*place, row) for place, row in zip(places, by_action, strict=True)]


def problem_drawings(problem: FittedProblem, level: int, policy: list[PolicyRow]) -> dict[str, Drawing]:
    """Return the figures of one problem by file name."""
    world, name, check = problem.case.world, problem.name, problem.best
    drawings: dict[str, Drawing] = {
        f"error_by_level{name}": partial(draw_error_by_level, problem),
        f"calibration{name}": partial(draw_calibration, problem),
        f"root_by_horizon{name}": partial(draw_root_by_horizon, problem),
        f"learning{name}": partial(draw_learning, problem),
    }
    if any(len(item.goals["human"]) for item in problem.all):
        drawings[f"goals{name}"] = partial(draw_goals, problem)
    for h in range(len(world.humans)):
        if check is not None:
            title = f"Fitted values ({check.name}), {human_name(world, h)} at the start, {problem.case.label}"
            Vm, Ve = check.root["Vm"][-1][h], check.root["Ve"][-1][h]
            drawings[f"value_map_{h}{name}"] = partial(draw_value_map, world, world.initial_state, Vm, Ve, title)
    if policy and check is not None:
        steps = problem.case.max_steps - level
        title = f"Fitted robot policy ({check.name}), all else at its initial place\n{world.name}, {steps} steps to go"
        drawings[f"policy_map{name}"] = partial(draw_policy, world, policy, title)
    return drawings


def write_episodes(problem: FittedProblem, folder: Path) -> Path | None:
    """Play the episodes that the config asks for, and write them as one GIF; None where it asks for none."""
    from ...jobs.induction.neural import fitted_rollouts

    config = problem.context.config
    if not config.rollouts:
        return None
    played = fitted_rollouts(
        problem.values,
        config.rollouts,
        seed=config.rollout_seed,
        others_marginal=config.others_marginal,
        human_always_toggles=config.human_always_toggles,
    )
    return save_film(problem.case, played, config.fps, folder / f"rollouts{problem.name}.gif", "fitted")


def render_neural(
    context: Context, figures: Path, tables: Path, report: Path, stamp: str, facts: dict[str, Any]
) -> tuple[Rendered, list[str]]:
    """Write tables, figures, films and the report of a run.

    Returns:
        What was drawn, and a line for every error above its bound.
    """
    problems = fitted_problems(context)
    marked = ", ".join(part for part in (stamp, mixed_machines(problems)) if part) or None
    sentences = {problem.case.number: sentence(problem) for problem in problems}
    drawings: dict[str, Drawing] = {}
    films: dict[int, Path] = {}
    for problem in [problem for problem in problems if problem.all][:MOST_PROBLEMS]:
        level, policy = fitted_policy(problem)
        write_maps(tables, problem, policy, marked)
        drawings |= problem_drawings(problem, level, policy)
        film = write_episodes(problem, figures / "rollouts")
        if film is not None:
            films[problem.case.number] = film
    costs = costs_of(problems)
    good = [problem for problem in problems if problem.all]
    if good:
        drawings["spot"] = partial(draw_spot, good)
    if costs:
        drawings["cost"] = partial(draw_cost, costs)
    write_neural_tables(tables, problems, sentences, facts, marked)
    drawn = draw_all(drawings, figures, facts, marked)
    write_report(neural_report(problems, drawn.saved, films, costs, sentences, facts, marked), report)
    return drawn, exceeded(problems)
