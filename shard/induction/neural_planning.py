"""What planning a run in mode neural finds out: how many states there are, and whether fitting is the right answer."""

from __future__ import annotations

from pathlib import Path

from ...jobs.induction.config import Config
from ...jobs.induction.graph import TooManyStatesError, build
from ...jobs.induction.world import World
from ..context import Context
from ..errors import Exit, QuintetError
from ..partial import read_card
from ..run import Run
from .neural_table import settings_of
from .worlds import Case, cases


def counted(config: Config) -> Config:
    """Count the states of every problem, and refuse those that the run's settings do not fit: exit 2."""
    neural = settings_of(config)
    sizes = []
    problems = cases(config)
    exact = exact_cases(Path(config.inputs.exact_run)) if config.inputs.exact_run else None
    for case in problems:
        check_fitted(case, config)
        levels, is_whole = counted_levels(case.world, case.max_steps, neural.validate_limit)
        if is_whole and not neural.validates:
            raise QuintetError(
                Exit.USAGE,
                f"mode: found 'neural'; {case.label} has {sum(levels)} states, within neural.validate_limit "
                f"({neural.validate_limit}): mode solve gives the exact answer; set neural.validate to compare with it",
            )
        if neural.validates and not is_whole:
            raise QuintetError(
                Exit.USAGE,
                f"neural.validate: {case.label} passes neural.validate_limit ({neural.validate_limit} states) at level "
                f"{len(levels)}; level sizes before it: {', '.join(map(str, levels))}",
            )
        if exact is not None and matching(case, exact) is None:
            raise QuintetError(
                Exit.USAGE,
                f"inputs.exact_run: it holds no float64 solution of problem {case.number} ({case.label}) with the same "
                "world and parameters",
            )
        sizes.append(levels)
    return config.model_copy(update={"level_sizes": tuple(sizes)})


def check_fitted(case: Case, config: Config) -> None:
    """Refuse a world whose configurations are too wide, and spot checks that do not lie below the horizon."""
    neural, packing = settings_of(config), case.world.packing
    if packing.n_words > 1:
        raise QuintetError(
            Exit.USAGE,
            f"world {case.world.name!r} needs wide keys: a configuration has {packing.bits} bits; fitted values take "
            "at most 63",
        )
    for steps in neural.spot_steps or ():
        if steps >= case.max_steps:
            raise QuintetError(
                Exit.USAGE, f"neural.spot_steps: found {steps}; allowed are steps below the horizon of {case.label}"
            )


def counted_levels(world: World, max_steps: int, limit: int) -> tuple[tuple[int, ...], bool]:
    """Return the sizes of the levels whose states, with all before, are at most `limit`; and whether these are all."""
    try:
        return tuple(build(world, max_steps, max_states=limit).level_sizes), True
    except TooManyStatesError as error:
        return error.level_sizes[:-1], False


def exact_context(result: Path) -> Context:
    """Return the context of a finished solve run, given its `merged/solve.h5`.

    Raises:
        QuintetError: exit 2 where the file is the result of no finished solve run.
    """
    run = Run(result.resolve().parent.parent)
    try:
        context = Context.of(run, "solve")
        is_whole = read_card(run.merged("solve")).complete and read_card(run.merged("build")).complete
    except (OSError, ValueError, KeyError, QuintetError):
        is_whole = False
    if not is_whole:
        raise QuintetError(Exit.USAGE, f"inputs.exact_run: {run.path} is no finished run of mode solve")
    return context


def exact_cases(result: Path) -> list[Case]:
    """Return the problems of a finished solve run."""
    return cases(exact_context(result).config)


def matching(case: Case, exact: list[Case]) -> int | None:
    """Return the number of the same problem among others, solved in float64; None where there is none."""
    for other in exact:
        same_world = (case.world.source, case.world.humans, case.world.robots) == (
            other.world.source,
            other.world.humans,
            other.world.robots,
        )
        same_theory = (case.params, case.max_steps) == (other.params, other.max_steps)
        if same_world and same_theory and other.settings["storage_dtype"] == "float64":
            return other.number
    return None
