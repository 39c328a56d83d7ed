"""Which figures, tables and films a solve or slab run has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...shard.induction.table import STRUCTURES
from ..drawing import Drawing, Rendered, draw_all
from ..exports import write_csv
from ..page import write_report
from .cost_figures import REFERENCE_WORLD, Cost, draw_memory_time, draw_state_growth
from .film import write_film
from .freed_figures import draw_freed_first
from .policy_map import draw_policy_map
from .solve_report import MOST_PROBLEMS, solve_report
from .solve_tables import write_levels, write_plotted, write_results, write_summary
from .solved import Solved, solved_problems
from .value_maps import draw_value_map

if TYPE_CHECKING:
    from ...shard.context import Context


def problem_drawings(solved: Solved) -> dict[str, Drawing]:
    """Return the figures of one problem by file name."""
    world, name = solved.case.world, solved.name
    drawings: dict[str, Drawing] = {f"freed_first{name}": partial(draw_freed_first, solved)}
    for h in range(len(world.humans)):
        title = f"{solved.human_name(h).capitalize()} at the start, {solved.case.label}"
        drawings[f"value_map_{h}{name}"] = partial(
            draw_value_map, world, world.initial_state, solved.root["Vm"][-1][h], solved.root["Ve"][-1][h], title
        )
    drawings[f"policy_map{name}"] = partial(draw_policy_map, solved)
    return drawings


def cost_of(solved: Solved) -> Cost | None:
    """Return what a problem took; None where that was not measured."""
    if solved.user_s is None or solved.peak_bytes is None or solved.error:
        return None
    settings = solved.case.settings
    method = "spilled" if settings["spill"] == "always" else "in RAM"
    method = settings["storage_dtype"] if settings["storage_dtype"] != "float64" else method
    return Cost(method, solved.case.max_steps, solved.n_states, solved.user_s, solved.peak_bytes / 1e6)


def longest_levels(problems: Sequence[Solved]) -> dict[str, list[int]]:
    """Return the level sizes of every world at its largest horizon."""
    found: dict[str, list[int]] = {}
    for solved in sorted(problems, key=lambda solved: len(solved.level_sizes)):
        found[solved.case.world.name] = solved.level_sizes
    return found


def cost_drawings(problems: Sequence[Solved]) -> dict[str, Drawing]:
    """Return the figures of growth and cost."""
    costs = [cost for cost in map(cost_of, problems) if cost is not None]
    levels = longest_levels(problems)
    bars = {
        f"{solved.case.world.name[:14]}\nT={len(solved.level_sizes) - 1}": {
            name: predicted for name, predicted, _ in solved.memory if name in STRUCTURES
        }
        for solved in problems
        if solved.level_sizes == levels[solved.case.world.name]
    }
    return {
        "state_growth": partial(draw_state_growth, levels),
        "memory_time": partial(draw_memory_time, costs, dict(list(bars.items())[:8]), REFERENCE_WORLD in levels),
    }


def render_solve(
    context: Context, figures: Path, tables: Path, report: Path, stamp: str, facts: dict[str, Any]
) -> Rendered:
    """Write tables, figures, films and the report of a solve or slab run."""
    problems = solved_problems(context)
    marked = stamp or None
    good = [solved for solved in problems if not solved.error]
    write_results(tables, problems, marked)
    write_levels(tables, longest_levels(problems), marked)
    costs = [cost for cost in map(cost_of, problems) if cost is not None]
    write_csv(
        tables / "memory_time.csv", tuple(Cost.__annotations__), (tuple(vars(cost).values()) for cost in costs), marked
    )
    drawings: dict[str, Drawing] = {}
    films = {}
    for solved in good[:MOST_PROBLEMS]:
        write_plotted(tables, solved, marked)
        drawings |= problem_drawings(solved)
        if context.config.mode == "solve":
            film = write_film(solved, figures / "rollouts")
            if film is not None:
                films[solved.case.number] = film
    drawn = draw_all(drawings | cost_drawings(problems), figures, facts, marked)
    write_summary(tables, problems, facts)
    write_report(solve_report(problems, drawn.saved, films, facts, marked), report)
    return drawn
