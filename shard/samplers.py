"""What a search tries next: parameters as a pure function of the seed, the number and earlier results.

Every function returns the `propose` of a `TrialStore`. The random numbers of trial k come from a generator
seeded by (seed..., k) alone (NumPy's `SeedSequence`), never from one shared stream: so no number of workers,
order of claims, kill or rebuilding changes which points are tried.

`seed` is one or more words: an integer, or for example (seed, world). `skip` is the number of the first
proposed trial where given parameter sets take the numbers before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from .errors import Exit, QuintetError
from .trials.records import FinishedTrial, Parameters, SpaceExhausted
from .trials.space import read_space

Space = tuple[tuple[str, str], ...]
Seed = int | Sequence[int]
Propose = Callable[[int, Sequence[FinishedTrial]], Parameters]

GRID_ORDER_WORD = 1735550308  # "grid" in ASCII: the shuffled order shares no stream with a trial
LARGEST_GRID = 10**9
MAX_SOBOL_BITS = 30  # SciPy's default: 2^30 points


def propose_random(space: Space, seed: Seed) -> Propose:
    """Draw one uniform number per parameter, in order, from PCG64(SeedSequence([*seed, number]))."""
    distributions = read_space(space)
    words = _words(seed)

    def propose(number: int, earlier: Sequence[FinishedTrial]) -> Parameters:
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*words, number])))
        return {name: distribution.at(generator.random()) for name, distribution in distributions.items()}

    return propose


def propose_sobol(space: Space, seed: Seed, skip: int = 0) -> Propose:
    """Take point `number - skip` of the scrambled Sobol sequence (Owen 1998; scipy.stats.qmc.Sobol)."""
    distributions = read_space(space)
    words = _words(seed)

    def propose(number: int, earlier: Sequence[FinishedTrial]) -> Parameters:
        from scipy.stats import qmc

        index = number - skip
        if index >= 2**MAX_SOBOL_BITS:
            raise SpaceExhausted(f"the sequence has {2**MAX_SOBOL_BITS} points")
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
        sequence = qmc.Sobol(len(distributions), scramble=True, bits=MAX_SOBOL_BITS, rng=generator)
        if index:
            sequence.fast_forward(index)
        point = sequence.random(1)[0]
        return {name: d.at(float(u)) for (name, d), u in zip(distributions.items(), point, strict=True)}

    return propose


def propose_grid(
    space: Space,
    seed: Seed,
    levels: int = 3,
    order: Literal["shuffled", "lexicographic"] = "shuffled",
    skip: int = 0,
) -> Propose:
    """Take grid point `number - skip`, the last parameter varying fastest, in the order asked for.

    `shuffled` is a permutation drawn from PCG64(SeedSequence([*seed, 1735550308])); it holds 8 bytes per grid
    point.

    Raises:
        QuintetError: 2 where the grid has more than 10^9 points.
    """
    axes = [(name, distribution.levels(levels)) for name, distribution in read_space(space).items()]
    count = math.prod(len(values) for _, values in axes)
    if count > LARGEST_GRID:
        raise QuintetError(Exit.USAGE, f"search: grid has {count} points; allowed are {LARGEST_GRID}")
    permutation: list[np.ndarray[Any, np.dtype[np.int64]]] = []  # drawn once, and only by a worker that proposes

    def propose(number: int, earlier: Sequence[FinishedTrial]) -> Parameters:
        point = number - skip
        if point >= count:
            raise SpaceExhausted(f"the grid has {count} points")
        if order == "shuffled":
            if not permutation:
                bits = np.random.PCG64(np.random.SeedSequence([*_words(seed), GRID_ORDER_WORD]))
                permutation.append(np.random.Generator(bits).permutation(count))
            point = int(permutation[0][point])
        chosen: Parameters = {}
        for name, values in reversed(axes):
            point, digit = divmod(point, len(values))
            chosen[name] = values[digit]
        return {name: chosen[name] for name, _ in axes}

    return propose


def propose_tpe(
    space: Space,
    seed: Seed,
    startup: int,
    direction: Literal["maximize", "minimize"],
    multivariate: bool = True,
) -> Propose:
    """Ask Optuna's TPE (Bergstra et al. 2011) in a throw-away study of the earlier COMPLETE trials.

    Trial `number` is the random trial of that number while `number < startup` or fewer than `startup` trials
    are seen. The sampler of each trial is new, seeded by SeedSequence([*seed, number]).

    Optuna is imported here, so that no worker imports it while it holds the lock: call this once there is
    work.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for each throw-away study helps nobody
    distributions = {name: optuna.distributions.json_to_distribution(text) for name, text in space}
    words = _words(seed)
    random_trial = propose_random(space, seed)
    known: dict[int, tuple[FinishedTrial, optuna.trial.FrozenTrial]] = {}

    def frozen(trial: FinishedTrial) -> optuna.trial.FrozenTrial:
        if trial.number not in known or known[trial.number][0] != trial:
            made = optuna.trial.create_trial(params=trial.parameters, distributions=distributions, value=trial.value)
            known[trial.number] = (trial, made)
        return known[trial.number][1]

    def propose(number: int, earlier: Sequence[FinishedTrial]) -> Parameters:
        complete = sorted((t for t in earlier if t.state == "COMPLETE"), key=lambda trial: trial.number)
        if number < startup or len(complete) < startup:
            return random_trial(number, ())
        sampler = optuna.samplers.TPESampler(
            seed=int(np.random.SeedSequence([*words, number]).generate_state(1)[0]),
            multivariate=multivariate,
            n_startup_trials=startup,
        )
        storage = optuna.storages.InMemoryStorage()
        study_id = storage.create_new_study([optuna.study.StudyDirection[direction.upper()]], "earlier")
        for trial in complete:
            storage.create_new_trial(study_id, frozen(trial))
        study = optuna.load_study(study_name="earlier", storage=storage, sampler=sampler)
        return dict(study.ask(fixed_distributions=distributions).params)

    return propose


def _words(seed: Seed) -> tuple[int, ...]:
    return (seed,) if isinstance(seed, int) else tuple(seed)
