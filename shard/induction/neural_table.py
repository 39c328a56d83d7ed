"""The table of phases of mode neural, and the arrays of their partials.

    root (unit: a problem) or build, solve (with validate)      what is known exactly
    train (unit: a problem and a seed)                          one training
    check (unit: a problem and a seed, or the ensemble)         how wrong it is

Units are numbered seed slowest; the ensembles, where there are two seeds or more, come last.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from ...jobs.induction.config import THEORY, Config
from ...jobs.induction.neural.run_settings import ERROR_COLUMNS, NeuralRun
from ...jobs.induction.neural.settings import NeuralConfig
from ..phases import Dataset, Phase, Resources
from .table import Shape, build_phase, indexed, ragged, root_datasets, shape_of, solve_phase
from .worlds import Case, cases

PROBLEM_READS = ("problems", "grid", "world_of", "worlds", "max_steps", *THEORY)
TRAIN_READS = (*PROBLEM_READS, *(f"neural.{name}" for name in NeuralConfig.model_fields))
CHECKED = ("validate", "check_rows", "spot_steps", "spot_rows", "check_rollouts", "check_goals")
CHECK_READS = ("max_states", *(f"neural.{name}" for name in CHECKED))
QUANTITIES = ("Vm", "Ve", "log_Vr")
"""What residuals, their accumulation and spreads are told of."""

BINS = 50
"""Bins of each axis of the calibration histograms."""

SPREAD_COLUMNS = tuple(
    f"{kind}_{name}" for kind in ("spread", "spread_all", "within", "correlation") for name in QUANTITIES
)
"""Of an ensemble by level: spread at fresh states and at all, share of states whose error is within two spreads, and
correlation of spread and error over states; the last three with truth only."""

LEVEL_COLUMNS = (
    *ERROR_COLUMNS,
    *(f"residual_{name}" for name in QUANTITIES),
    *(f"accumulated_{name}" for name in QUANTITIES),
    *SPREAD_COLUMNS,
)
SPOT_COLUMNS = tuple(name for name in ERROR_COLUMNS if not name.endswith("_visited"))
ENSEMBLE = -1
"""Seed of the check of an ensemble."""

MAX_SPOT_STATES = 2_000_000
ROWS_PER_S = 18_000.0
STEP_S_PER_BYTE = 3e-9
"""CPU seconds of an optimiser step of 512 rows per byte of a level's network; measured on two worlds."""


class Checked(NamedTuple):
    """What a unit of check is of: a problem, and the seed or `ENSEMBLE`; and the units of its trainings."""

    problem: int
    seed: int
    trainings: tuple[int, ...]


def settings_of(config: Config) -> NeuralRun:
    """Return the section neural of a run in that mode."""
    assert config.neural is not None
    return config.neural


def checked_units(config: Config) -> list[Checked]:
    """Return what the units of check are of, in order."""
    problems, seeds = len(cases(config)), settings_of(config).seed_list
    units = [
        Checked(problem, seed, (place * problems + problem,))
        for place, seed in enumerate(seeds)
        for problem in range(problems)
    ]
    if len(seeds) > 1:
        units += [
            Checked(problem, ENSEMBLE, tuple(place * problems + problem for place in range(len(seeds))))
            for problem in range(problems)
        ]
    return units


def root_steps(config: Config, case: Case) -> int:
    """Return the largest horizon whose states, by the count of the plan, are at most `root_limit`; at least 1."""
    limit, total, fits = settings_of(config).root_limit, 1, 1
    for t, size in enumerate(config.level_sizes[case.number][1:], start=1):
        total += size
        if total <= limit:
            fits = t
    return min(fits, case.max_steps)


def tensor_names(config: NeuralConfig) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the numbers of a level's network by name, with the shape of a row."""
    hidden = config.hidden
    layers = ((f"weight{k + 1}", (hidden[k],), f"bias{k + 1}") for k in range(len(hidden)))
    named: list[tuple[str, tuple[int, ...]]] = [("embedding", (hidden[0],))]
    for weight, shape, bias in layers:
        named += [(weight, shape), (bias, ())]
    return (*named, ("standard", ()))


def network_datasets(config: Config) -> tuple[Dataset, ...]:
    """Return the numbers of all levels; a problem has those up to its horizon."""
    longest = max(case.max_steps for case in cases(config))
    return tuple(
        indexed(f"rows/networks/level/{t:04d}/{name}", "f4", *shape)
        for t in range(1, longest)
        for name, shape in tensor_names(settings_of(config).training)
    )


def neural_phases(config: Config) -> tuple[Phase, ...]:
    """Return the table of phases."""
    train, check = train_phase(config), check_phase(config)
    if not settings_of(config).validates:
        return (root_phase(config), train, check)
    if config.inputs.exact_run is not None:
        return (train, check)
    return (build_phase(config), solve_phase(config), train, check)


def root_phase(config: Config) -> Phase:
    """Return the phase that solves each problem exactly from the root, for as many steps as its limit allows."""
    return Phase(
        name="root",
        kind="map",
        units=len(cases(config)),
        reads=(*PROBLEM_READS, "neural.root_limit", "level_sizes"),
        datasets=(
            Dataset("rows/status", "i1"),
            ragged("rows/error", "u1"),
            Dataset("rows/n_states", "i8"),
            *root_datasets(shape_of(config), "rows/root_by_horizon"),
            Dataset("meta/user_s", "f8"),
            Dataset("meta/rss_mb", "f8"),
        ),
        resources=Resources(mem_mb=3000, seconds_per_unit=15.0, bytes_per_unit=1e6),
    )


def training_seconds(config: Config) -> float:
    """Return about how long a training of the longest problem takes on one core: steps, and rows that are expanded."""
    training = settings_of(config).training
    longest = max(case.max_steps for case in cases(config))
    levels = longest - 1
    steps = training.steps * levels * (1.0 + (training.passes - 1) * training.later_share) + 4.33 * training.steps
    step = STEP_S_PER_BYTE * network_bytes(config) / longest * 0.5 * (1.0 + training.batch / 512)
    return steps * step + levels * (training.passes * (training.rows + training.rollouts) + training.beam) / ROWS_PER_S


def network_bytes(config: Config) -> float:
    """Return about how many bytes the networks of the largest problem have."""
    training, largest = settings_of(config).training, 0.0
    for case in cases(config):
        world, hidden = case.world, training.hidden
        cells, mobiles = len(world.packing.positions()), len(world.mobiles)
        agents = world.n_agents
        rows = agents * 4 * cells + mobiles * cells
        if "window" in training.features:
            rows += 24 * agents * (8 + 4 * agents)
        if "pairs" in training.features:
            rows += cells**2 * (agents * (agents - 1) // 2 + agents + 1)
        outputs = 2 * len(world.humans) * len(world.goals) + 1
        widths = [*hidden, outputs]
        weights = rows * hidden[0] + sum(a * b for a, b in pairwise(widths))
        largest = max(largest, 4.0 * weights * case.max_steps)
    return largest


def train_phase(config: Config) -> Phase:
    """Return the phase of the trainings."""
    neural = settings_of(config)
    by_number = isinstance(neural.seeds, int)
    size = network_bytes(config)
    seconds = training_seconds(config)
    return Phase(
        name="train",
        kind="map",
        units=len(cases(config)) * len(neural.seed_list),
        reads=(*TRAIN_READS, "neural.seeds"),
        grows="neural.seeds" if by_number else None,
        datasets=(
            Dataset("rows/status", "i1"),
            ragged("rows/error", "u1"),
            Dataset("rows/problem", "i4"),
            Dataset("rows/seed", "i8"),
            Dataset("rows/max_steps", "i4"),
            ragged("rows/curve/level", "i8"),
            ragged("rows/curve/n_rows", "i8"),
            ragged("rows/curve/loss", "f8"),
            ragged("rows/pool_size", "i8"),
            *network_datasets(config),
            ragged("meta/curve/cpu_s", "f8"),
            Dataset("meta/rss_mb", "f8"),
            ragged("meta/machine", "u1"),
        ),
        resources=Resources(
            mem_mb=int(1000 + 6 * size / 1e6),
            time_s=max(3600, int(4 * seconds)),
            seconds_per_unit=round(seconds, 1),
            bytes_per_unit=size,
            checkpoint_s=120.0,
        ),
    )


def level_datasets() -> tuple[Dataset, ...]:
    """Return the table of levels of a check; item t of a unit is level t, nan where nothing can be known."""
    return (
        ragged("rows/levels/n_states", "i8"),
        *(ragged(f"rows/levels/{name}", "f8") for name in LEVEL_COLUMNS),
    )


def check_datasets(shape: Shape) -> tuple[Dataset, ...]:
    """Return what a check holds."""
    return (
        Dataset("rows/status", "i1"),
        ragged("rows/error", "u1"),
        Dataset("rows/problem", "i4"),
        Dataset("rows/seed", "i8"),
        Dataset("rows/max_steps", "i4"),
        Dataset("rows/members", "i4"),
        *level_datasets(),
        ragged("rows/spot/k", "i4"),
        ragged("rows/spot/n_states", "i8"),
        *(ragged(f"rows/spot/{name}", "f8") for name in SPOT_COLUMNS),
        *(Dataset(f"rows/rollout/{name}", "f8") for name in ("V_r", "return_mean", "return_se")),
        Dataset("rows/rollout/p_first", "f8", (shape.humans + 2,)),
        *(ragged(f"rows/goals/{name}", "i4") for name in ("human", "goal")),
        *(ragged(f"rows/goals/{name}", "f8") for name in ("fitted", "mean", "se")),
        *root_datasets(shape, "rows/root_by_horizon"),
        Dataset("rows/calibration/Ve", "i8", (BINS, BINS)),
        Dataset("rows/calibration/log_Vr", "i8", (BINS, BINS)),
        Dataset("rows/calibration/log_Vr_range", "f8", (2,)),
        Dataset("meta/cpu_s", "f8"),
        Dataset("meta/rss_mb", "f8"),
        ragged("meta/machine", "u1"),
    )


def check_phase(config: Config) -> Phase:
    """Return the phase that measures how wrong the trainings are."""
    neural = settings_of(config)
    after: tuple[str, ...] = ("train",)
    inputs: tuple[str, ...] = ()
    if not neural.validates:
        after = ("root", "train")
    elif config.inputs.exact_run is None:
        after = ("build", "solve", "train")
    else:
        inputs = ("exact_run",)
    levels = max(case.max_steps for case in cases(config))
    states = max(map(sum, config.level_sizes)) if neural.validates else 0
    expanded = levels * (2 * neural.check_rows + neural.check_rollouts * (1 + 2 * neural.check_goals))
    size = network_bytes(config)
    return Phase(
        name="check",
        kind="map",
        units=len(checked_units(config)),
        after=after,
        inputs=inputs,
        reads=CHECK_READS,
        datasets=check_datasets(shape_of(config)),
        resources=Resources(
            mem_mb=int(1500 + 3 * size / 1e6 * len(neural.seed_list) + 1.7e-3 * states),
            seconds_per_unit=round((expanded + 2 * states) / ROWS_PER_S + 2.0, 1),
            bytes_per_unit=2e5,
        ),
    )
