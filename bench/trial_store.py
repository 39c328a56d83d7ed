"""Cost of the trial store's bookkeeping against Optuna's own storages, measured in one run.

A trial does nothing: five parameters are drawn and one value is told. Optuna works without lock, lease,
fencing or user attributes (the journal has its own lock); the trial store has all of them. Run as
`python bench/trial_store.py`; it takes about two minutes.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from common.table import Row, arguments, show
from quintet.shard.samplers import propose_random
from quintet.shard.trials import Claim, FinishedTrial, Owner, SearchSpec, TrialStore, uniform

PARAMETERS = tuple(f"x{index}" for index in range(5))
SPACE = tuple((name, uniform(0.0, 1.0)) for name in PARAMETERS)
fork = multiprocessing.get_context("fork")

Loop = Callable[[Path, int], int]


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def a_store(folder: Path, trials: int) -> TrialStore:
    """Return the trial store of this benchmark."""
    spec = SearchSpec("bench", trials, "maximize", SPACE, max_failures=0)
    database = folder / "store" / "bench.sqlite3"
    return TrialStore(database, spec, published=lambda: (), propose=propose_random(SPACE, 1))


def store_loop(folder: Path, trials: int) -> int:
    """Claim and tell until `trials` are complete; return how many this process told."""
    store = a_store(folder, trials)
    owner = Owner.of(os.environ)
    told = 0
    while (claim := store.claim(owner)) != "done":
        if not isinstance(claim, Claim):
            time.sleep(0.05)
            continue
        value = sum(claim.parameters.values())
        attributes = {"partial": f"t{claim.number:06d}.json", "digest": "0" * 64}
        store.tell(claim, FinishedTrial(claim.number, "COMPLETE", value, claim.parameters, attributes))
        told += 1
    return told


def optuna_storage(folder: Path, kind: str) -> Any:
    """Return Optuna's own storage, as its documentation makes it."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if kind == "sqlite":
        return optuna.storages.RDBStorage(
            f"sqlite:///{folder / 'bench.sqlite3'}", engine_kwargs={"connect_args": {"timeout": 120}}
        )
    return optuna.storages.JournalStorage(JournalFileBackend(str(folder / "bench.journal")))


def optuna_loop(kind: str) -> Loop:
    """Return a loop of ask, suggest and tell on Optuna's storage."""

    def loop(folder: Path, trials: int) -> int:
        import optuna

        sampler = optuna.samplers.RandomSampler(seed=os.getpid())
        study = optuna.create_study(
            storage=optuna_storage(folder, kind),
            study_name="bench",
            direction="maximize",
            load_if_exists=True,
            sampler=sampler,
        )
        for _ in range(trials):
            trial = study.ask()
            value = sum(trial.suggest_float(name, 0.0, 1.0) for name in PARAMETERS)
            study.tell(trial, value)
        return trials

    return loop


def prepare(loop: Loop, folder: Path) -> None:
    """Make the storage and import what the loop needs, outside the measurement."""
    if loop is store_loop:
        a_store(folder, 1).rebuild()
    else:
        loop(folder, 1)


def cpu_per_trial(loop: Loop, trials: int) -> float:
    """Return CPU milliseconds per trial of one process."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        prepare(loop, Path(name))
        started = cpu_seconds()
        told = loop(Path(name), trials)
        return (cpu_seconds() - started) / told * 1e3


def throughput(loop: Loop, trials: int, workers: int) -> float:
    """Return trials per second of `workers` processes that share one storage."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        prepare(loop, folder)
        # The store's workers share out the trials themselves; each of Optuna's gets its part.
        share = trials if loop is store_loop else trials // workers
        processes = [fork.Process(target=loop, args=(folder, share)) for _ in range(workers)]
        started = time.monotonic()
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        seconds = time.monotonic() - started
        if any(process.exitcode for process in processes):
            raise SystemExit("a worker failed")
        return trials / seconds


def main() -> None:
    """Measure every storage, in turns, and print the table."""
    parser = arguments("Cost of the trial store beside Optuna's own storages.")
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    loops: dict[str, Loop] = {
        "trial store (lock, lease, fencing)": store_loop,
        "Optuna SQLite": optuna_loop("sqlite"),
        "Optuna journal": optuna_loop("journal"),
    }
    costs: dict[str, list[float]] = {name: [] for name in loops}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.rounds):
        for name, loop in loops.items():
            costs[name].append(cpu_per_trial(loop, options.trials))
            rates[name].append(throughput(loop, options.trials, options.workers))
    cost = {name: median(values) for name, values in costs.items()}
    rate = {name: median(values) for name, values in rates.items()}
    ours, sqlite, journal = loops
    workers = f"trials/s, {options.workers} workers"
    show(
        "Search: claim and tell with lock, lease and fencing",
        [
            Row("a trial; peer: Optuna SQLite", cost[ours], "CPU ms", cost[sqlite], 1.5, 0.5, of_peer=True),
            Row("a trial; peer: Optuna journal", cost[ours], "CPU ms", cost[journal]),
            Row(f"{workers}; peer: Optuna SQLite", rate[ours], "", rate[sqlite], 2, None, True, True),
            Row(f"{workers}; peer: Optuna journal", rate[ours], "", rate[journal], None, 1, True, True),
        ],
    )


if __name__ == "__main__":
    main()
