"""Phases of the study complementarity: search (pull) -> select -> simulate.

With `inputs.database` the search is left out and configs come from that file.  Units of simulate are numbered seed
block by seed block, configs within.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from ..jobs.complementarity.config import INTEGERS, SEARCHED_PATTERNS, SPACES, Config
from ..jobs.complementarity.layout import Layout, row_datasets
from ..jobs.complementarity.params import Params
from ..jobs.complementarity.selection import select, usable
from ..jobs.complementarity.tracker import MAIN_METRIC
from .configs import validation_lines
from .dropin import DropIn
from .errors import Exit, QuintetError
from .memory import log_memory
from .phases import Dataset, Once, Phase, Resources, Task
from .samplers import propose_random, propose_sobol, propose_tpe
from .trials import FinishedTrial, SearchSpec, choice, integer, uniform
from .trials.space import checked, read_space

if TYPE_CHECKING:
    import optuna

    from .context import Context

COMMANDS = {
    "": DropIn(
        sections=("select", "simulate", "model"),
        flags={
            "--db-path": "inputs.database",
            "--study-name": "search.study_name",
            "--axis": "figures.axis",
        },
        defaults={"inputs.database": "optuna_studies/freq_amp_v2_optimization.db"},
        hidden=("simulate.remaining_seeds", "simulate.axis_sessions"),
    ),
    "search": DropIn(
        sections=("search", "model"),
        flags={
            "--n-trials/-n": "search.n_trials",
            "--enqueue-from": "inputs.enqueue_from",
            "--seed": "seed",
        },
        hidden=("search.enqueued", "search.enqueue_study"),
        only="search",
        then="quintet.merge.complementarity.analyse",
    ),
}
TOOLS = {
    name: f"quintet.merge.complementarity.{name}"
    for name in ("analyse", "replay", "export", "overlap", "umatrix", "visualise", "check")
}
OUTPUTS = {
    "aggregated_complementarity.png": "figures/aggregated_complementarity.png",
    "aggregated_trajectories.npz": "tables/aggregated_trajectories.npz",
    "config_info.json": "tables/config_info.json",
    "summary.json": "tables/summary.json",
    "per_config.csv": "tables/per_config.csv",
    "report.md": "report/report.md",
    "top_trials.json": "tables/top_trials.json",
}
OWN_STUDY_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
CONFIGS_PER_MEMORY_LINE = 100
PAIRS_PER_SECOND = 4000.0
SEARCH_PAIRS_PER_SECOND = 1400.0


def space_of(config: Config) -> tuple[tuple[str, str], ...]:
    """Return the search space in Optuna's JSON."""
    ranges = SPACES[config.search.space]
    numeric = tuple(
        (name, integer(int(low), int(high)) if name in INTEGERS else uniform(low, high))
        for name, (low, high) in ranges.items()
    )
    patterns = (("initial_memory_pattern", choice(list(SEARCHED_PATTERNS))),)
    return (patterns if config.search.space == "across" else ()) + numeric


def layout_of(config: Config) -> Layout:
    """Return the layout of the sums that units keep."""
    simulate = config.simulate
    length = simulate.axis_sessions or simulate.max_sessions
    block = simulate.seed_block or 1
    return Layout(simulate.n_bins, simulate.window_size, length, block, simulate.metrics)


def kept_trajectories(config: Config) -> tuple[str, ...]:
    """Return which packed trajectories the partials hold."""
    return {"none": (), "v2": ("v2",), "both": ("v2", "baseline")}[config.simulate.trajectories]


def from_flags(settings: dict[str, Any]) -> dict[str, Any]:
    """Read the spellings of old: `--enqueue-from DB:STUDY`, names separated by commas, one of two ways to choose."""
    inputs = settings.get("inputs", {})
    if "enqueue_from" in inputs:
        path, separator, study = inputs["enqueue_from"].rpartition(":")
        if not separator or not path or not study:
            raise QuintetError(
                Exit.USAGE, f"--enqueue-from: found {inputs['enqueue_from']!r}; allowed is DATABASE:STUDY"
            )
        inputs["enqueue_from"] = path
        settings.setdefault("search", {})["enqueue_study"] = study
    chosen = settings.get("select", {})
    if "top_n" in chosen and "n_configs" in chosen:
        raise QuintetError(Exit.USAGE, "--top-n and --n-configs exclude each other; give one")
    if "top_n" in chosen:
        chosen["n_configs"] = chosen["top_n"]
    elif "n_configs" in chosen:
        chosen["top_n"] = None
    if "metrics" in settings.get("simulate", {}):
        names = [name.strip() for name in settings["simulate"]["metrics"].split(",")]
        settings["simulate"]["metrics"] = list(dict.fromkeys([MAIN_METRIC, *names]))
    return settings


def resolved(config: Config) -> Config:
    """Freeze what rests on a foreign database, and refuse one that cannot serve: exit 2 before anything is written."""
    try:
        layout_of(config)
    except ValueError as error:
        raise QuintetError(Exit.USAGE, f"simulate.{error}") from None
    longest, name = config.simulate.max_sessions, config.search.study_name
    if config.inputs.database is not None:
        trials = usable(read_database(Path(config.inputs.database), name))
        if not trials:
            raise QuintetError(Exit.USAGE, f"inputs.database: study {name!r} has no COMPLETE trial with a finite value")
        if refusals := [said for trial in select(trials, **selection(config)) if (said := refusal(config, trial))]:
            raise QuintetError(Exit.USAGE, f"inputs.database: {refusals[0]}")
        longest = max(config.effective_sessions(trial.params) for trial in trials if not refusal(config, trial))
    elif not re.fullmatch(OWN_STUDY_NAME, name):
        said = f"search.study_name: found {name!r}; allowed is {OWN_STUDY_NAME} for a search of this run's own"
        raise QuintetError(Exit.USAGE, said)
    elif config.simulate.max_sessions_mode == "trial":
        longest = max(longest, int(SPACES[config.search.space]["max_sessions"][1]))
    simulate = config.simulate.model_copy(update={"axis_sessions": longest})
    search = config.search.model_copy(update={"enqueued": enqueued_trials(config)})
    return config.model_copy(update={"simulate": simulate, "search": search})


def selection(config: Config) -> dict[str, Any]:
    """Return which configs are chosen, as keywords of `select`."""
    chosen = config.select
    return {"top_n": chosen.top_n} if chosen.top_n else {"n_configs": chosen.n_configs, "sampling": chosen.sampling}


def refusal(config: Config, trial: optuna.trial.FrozenTrial) -> str:
    """Return why a trial cannot be simulated, in a line, or nothing."""
    is_own = config.simulate.max_sessions_mode == "trial"
    try:
        config.params(trial.params, None if is_own else config.simulate.max_sessions)
    except ValidationError as error:
        return validation_lines(error, f"trial {trial.number}", Params)[0]
    return ""


def read_database(
    path: Path, study_name: str, file_key: str = "inputs.database", name_key: str = "search.study_name"
) -> list[optuna.trial.FrozenTrial]:
    """Return the trials of a study in a foreign database, which is copied and never written.

    Args:
        path: SQLite file of Optuna's.
        study_name: name of the study in there.
        file_key: what an error calls the file.
        name_key: what an error calls the name.

    Raises:
        QuintetError: exit 2 where there is no such file or study, or the file is no database of Optuna's.
    """
    import shutil

    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not path.is_file():
        raise QuintetError(Exit.USAGE, f"{file_key}: found {str(path)!r}; no such file")
    with tempfile.TemporaryDirectory(prefix="quintet-") as folder:
        copy = shutil.copy(path, Path(folder) / "study.db")
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{copy}", skip_compatibility_check=False)
            names = [
                summary.study_name for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)
            ]
            if study_name not in names:
                known = ", ".join(sorted(names)) or "none"
                raise QuintetError(Exit.USAGE, f"{name_key}: found {study_name!r}; {path.name} has: {known}")
            return optuna.load_study(study_name=study_name, storage=storage).get_trials(deepcopy=False)
        except QuintetError:
            raise
        except Exception as error:
            raise QuintetError(
                Exit.USAGE, f"{file_key}: {path.name} is not an Optuna database ({type(error).__name__})"
            ) from None


def enqueued_trials(config: Config) -> tuple[dict[str, Any], ...]:
    """Return the parameters that a search tries first: given ones, or those of another study's best trials.

    A parameter that a trial of another study lacks takes this run's pattern, or its default. Trials outside the
    search space are left out.

    Raises:
        QuintetError: exit 2 where a given one lies outside the search space, or none of the other study fits.
    """
    space = read_space(space_of(config))
    if config.inputs.enqueue_from is None:
        for position, parameters in enumerate(config.search.enqueued):
            checked(parameters, space, f"search.enqueued.{position}", Exit.USAGE)
        return config.search.enqueued
    name = config.search.enqueue_study or config.search.study_name
    path = Path(config.inputs.enqueue_from)
    trials = read_database(path, name, "inputs.enqueue_from", "inputs.enqueue_from")
    if not usable(trials):
        raise QuintetError(Exit.USAGE, f"inputs.enqueue_from: study {name!r} has no COMPLETE trial with a finite value")
    found = []
    for trial in select(trials, top_n=config.search.enqueue_top_k):
        defaults = {**config.params({}).model_dump(), "initial_memory_pattern": config.model.pattern}
        parameters = {key: trial.params.get(key, defaults[key]) for key in space}
        try:
            checked(parameters, space, f"inputs.enqueue_from: trial {trial.number}", Exit.USAGE)
        except QuintetError as outside:
            refusal = outside
        else:
            found.append(parameters)
    if not found:
        raise refusal
    return tuple(found)


def phases(config: Config) -> tuple[Phase, ...]:
    """Return the table of phases."""
    simulate = config.simulate
    own_search = config.inputs.database is None
    block_pairs = (simulate.seed_block or 1) * simulate.batch_size
    rows = (Dataset("rows/configs", "u1", ragged=True),)
    table = (
        Phase(
            name="select",
            kind="map",
            units=1,
            after=("search",) if own_search else (),
            reads=("select", "model") if own_search else ("select", "model", "search"),
            inputs=() if own_search else ("database",),
            datasets=rows,
            resources=Resources(seconds_per_unit=2.0, time_s=600),
        ),
        Phase(
            name="simulate",
            kind="map",
            units=None,
            expected_units=config.select.n_configs * simulate.seed_blocks,
            block_size=simulate.batch_size,
            after=("select",),
            reads=("simulate",),
            grows=None if simulate.remaining_seeds else "simulate.n_seeds",
            datasets=tuple(
                Dataset(item.name, item.dtype, item.shape, item.ragged, "index" if item.ragged else "concat")
                for item in row_datasets(layout_of(config), kept_trajectories(config))
            ),
            resources=Resources(
                mem_mb=600 + int(block_pairs * 3000 / 1e6),
                seconds_per_unit=(simulate.seed_block or 1) / PAIRS_PER_SECOND,
                bytes_per_unit=72.0 * (simulate.seed_block or 1) + 20_000,
                target_minutes=1.0,
                checkpoint_s=60.0,
            ),
        ),
    )
    return (search_phase(config), *table) if own_search else table


def search_phase(config: Config) -> Phase:
    """Return the phase of the search."""
    search = config.search
    longest = SPACES[search.space]["max_sessions"]
    return Phase(
        name="search",
        kind="pull",
        units=search.n_trials,
        reads=("search", "model"),
        inputs=("enqueue_from",),
        grows="search.n_trials",
        search=SearchSpec(
            study_name=search.study_name,
            n_trials=search.n_trials,
            direction="maximize",
            space=space_of(config),
            max_failures=search.max_failures,
            adaptive=search.sampler == "tpe",
            lease_seconds=search.lease_seconds,
            sync_batch=search.sync_batch,
            enqueued=tuple(dict(parameters) for parameters in search.enqueued),
        ),
        resources=Resources(
            mem_mb=800, seconds_per_unit=search.n_seeds / SEARCH_PAIRS_PER_SECOND * sum(longest) / 2100
        ),
    )


def selected_configs(context: Context) -> list[dict[str, Any]]:
    """Return the configs that the phase select chose, in the order of `config_idx`, each with its `max_sessions`."""
    with context.result("select") as file:
        configs = json.loads(file["rows/configs"][()].tobytes())
    return [{**chosen, "max_sessions": context.config.effective_sessions(chosen["params"])} for chosen in configs]


def late_units(context: Context) -> int:
    """Return the number of units of simulate: configs times seed blocks."""
    return len(selected_configs(context)) * context.config.simulate.seed_blocks


class ComplementarityWork:
    """The work of one phase in one process."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context
        self._config: Config = context.config

    @cached_property
    def _proposal(self) -> Any:
        search, space = self._config.search, space_of(self._config)
        if search.sampler == "random":
            return propose_random(space, self._config.seed)
        if search.sampler == "sobol":
            return propose_sobol(space, self._config.seed, len(search.enqueued))
        return propose_tpe(space, self._config.seed, search.n_startup_trials, "maximize")

    def propose(self, number: int, earlier: Sequence[FinishedTrial]) -> dict[str, Any]:
        """Return the parameters of trial `number`."""
        return dict(self._proposal(number, earlier))

    def trial(self, number: int, parameters: Mapping[str, Any]) -> Task:
        """Return the task that evaluates one trial."""
        return Once(self._evaluate, dict(parameters))

    def _evaluate(self, parameters: dict[str, Any]) -> dict[str, Any]:
        from ..jobs.complementarity.advantage import objective

        search = self._config.search
        params = self._config.params(parameters)
        found = objective(params, search.n_seeds, search.objective_mode)
        return {"value": found["advantage"], "attributes": {**found, "pattern": params.pattern}}

    def block(self, units: range) -> Task:
        """Return the task of some units of select or simulate."""
        if self._context.phase.name == "select":
            return Once(self._select)
        return Once(self._simulate, units)

    def _select(self) -> dict[str, Any]:
        chosen = select(self._trials(), **selection(self._config))
        configs = []
        for position, trial in enumerate(chosen):
            parameters = dict(trial.parameters if isinstance(trial, FinishedTrial) else trial.params)
            configs.append(
                {
                    "config_idx": position,
                    "trial_number": trial.number,
                    "advantage": trial.value,
                    "params": parameters,
                }
            )
        text = np.frombuffer(json.dumps(configs, sort_keys=True, separators=(",", ":")).encode(), dtype="u1")
        return {"rows/configs": text, "rows/configs_length": [len(text)]}

    def _trials(self) -> list[Any]:
        if self._config.inputs.database is not None:
            return list(read_database(self._context.inputs["database"], self._config.search.study_name))
        with self._context.result("search") as file:
            return finished_trials(file)

    @cached_property
    def _configs(self) -> list[dict[str, Any]]:
        self._check_kernel()
        log_memory("after initialisation")
        return selected_configs(self._context)

    def _check_kernel(self) -> None:
        from ..jobs.complementarity.self_check import EXPECTED, kernel_fingerprint

        expected = self._config.simulate.kernel_fingerprint or EXPECTED
        found = kernel_fingerprint()
        if found != expected:
            raise QuintetError(
                Exit.MISMATCH,
                f"the compiled kernel does not give its known outcomes on this machine: fingerprint {found[:16]}, "
                f"expected {expected[:16]}; simulate.kernel_fingerprint names another one",
            )

    def _simulate(self, units: range) -> dict[str, Any]:
        payloads = [self._unit(unit) for unit in units]
        return {name: np.concatenate([payload[name] for payload in payloads]) for name in payloads[0]}

    def _unit(self, unit: int) -> dict[str, Any]:
        from ..jobs.complementarity.accumulators import unit_payload
        from ..jobs.complementarity.simulation import simulate_pairs

        configs = self._configs
        block, position = divmod(unit, len(configs))
        chosen = configs[position]
        params = self._config.params(chosen["params"], chosen["max_sessions"])
        batch = simulate_pairs(params, self._config.simulate.seeds(block), trajectories=True)
        if position % CONFIGS_PER_MEMORY_LINE == CONFIGS_PER_MEMORY_LINE - 1:
            log_memory(f"after config {position + 1}")
        return unit_payload(
            batch,
            layout_of(self._config),
            config_idx=position,
            trial_number=chosen["trial_number"],
            trajectories=kept_trajectories(self._config),
        )


def finished_trials(file: Any) -> list[FinishedTrial]:
    """Return the trials in the result of a search."""
    offsets = file["rows/parameters_offsets"][()]
    text = file["rows/parameters"][()].tobytes()
    attribute_offsets = file["rows/attributes_offsets"][()]
    attributes = file["rows/attributes"][()].tobytes()
    columns = zip(file["rows/number"][()], file["rows/failed"][()], file["rows/value"][()], strict=True)
    return [
        FinishedTrial(
            number=int(number),
            state="FAIL" if failed else "COMPLETE",
            value=None if math.isnan(value) else float(value),
            parameters=json.loads(text[offsets[row] : offsets[row + 1]]),
            user_attrs=json.loads(attributes[attribute_offsets[row] : attribute_offsets[row + 1]]),
        )
        for row, (number, failed, value) in enumerate(columns)
    ]


def start(context: Context) -> ComplementarityWork:
    """Return the work of `context.phase` in this process."""
    return ComplementarityWork(context)
