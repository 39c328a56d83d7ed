"""What the partials of simulate hold: the tables of a run's log, its residents and ticks, and its outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.society.log import TABLES, WIDE
from ...jobs.society.measures import METRICS
from ...jobs.society.outcomes import OUTCOMES, action_counts, outcomes_of
from ...jobs.society.summaries import BAND_METRICS, BANDS, bands_of, by_band, by_resident
from ...jobs.society.traits import TRAITS
from ...jobs.society.vocabulary import GOALS, KINDS, PLACES, ROLES
from ...jobs.society.vocabulary import OUTCOMES as ACTION_OUTCOMES
from ..phases import Dataset

if TYPE_CHECKING:
    from ...jobs.society.config import RunConfig
    from ...jobs.society.simulation import Simulation

COUNTS = (len(KINDS), len(ACTION_OUTCOMES))

UNIT_COLUMNS = {
    "units/condition": "i4",
    "units/replicate": "i4",
    "units/seed": "i8",
    "units/status": "i1",
    "units/ticks": "i4",
}
"""One number a unit: its condition's index, its replicate and seed, status (0 whole, 1 failed), ticks that were run."""

RESIDENT_COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "coef": ("f4", (len(TRAITS),)),
    "role": ("i1", ()),
    "place0": ("i1", ()),
    "goals": ("i1", (2,)),
    "actions": ("i4", ()),
    "goal_directed": ("i4", ()),
    "efficiency": ("f8", ()),
    "collaboration_ratio": ("f8", ()),
    "first_action_tick": ("i4", ()),
    "submit_tick": ("i4", ()),
    "time_to_submit": ("i4", ()),
    "facts": ("i1", ()),
    "citations": ("i4", ()),
    "reward": ("f8", ()),
    "satisfaction": ("f8", ()),
    "credits": ("i4", ()),
}

LOGGED: dict[str, tuple[str, tuple[int, ...]]] = {
    **{f"{table}/{name}": (dtype, ()) for table, columns in TABLES.items() for name, dtype in columns.items()},
    **{f"{table}/{name}": (dtype, (width,)) for table, wide in WIDE.items() for name, (dtype, width) in wide.items()},
    "messages/bytes": ("u1", ()),
    "messages/length": ("i4", ()),
    "ticks/metrics": ("f8", (len(METRICS),)),
}
"""Columns of the log by `table/column`: dtype and width of a row; row i of messages belongs to row i of actions."""

PROMPTS: dict[str, tuple[str, tuple[int, ...]]] = {"prompts/bytes": ("u1", ()), "prompts/length": ("i4", ())}
TOKENS: dict[str, tuple[str, tuple[int, ...]]] = {"tokens/ids": ("i4", ()), "tokens/length": ("i4", ())}

LARGE = ("actions", "messages", "encounters", "members", "probes", "edges", "prompts", "tokens")
"""Tables that stay in the partials: the result holds where they are."""

TIMING = (
    "cpu_s",
    "wall_s",
    "decisions",
    "rows",
    "forwards",
    "tokens",
    "embedding_lookups",
    "embedding_hits",
    "memory_lookups",
    "memory_hits",
    "peak_rss_mb",
    "checkpoints",
    "checkpoint_cpu_s",
    "bitwise",
)
"""What a unit cost; units of one block share what they cannot tell apart."""


def logged(config: RunConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the columns of the log that a run's partials hold."""
    more = (PROMPTS if config.logging.prompts else {}) | (TOKENS if config.logging.token_ids else {})
    return LOGGED | more


def datasets(config: RunConfig) -> tuple[Dataset, ...]:
    """Return the datasets of simulate."""
    tables = [
        Dataset(f"rows/{name}", dtype, shape, True, "index" if name.split("/")[0] in LARGE else "concat")
        for name, (dtype, shape) in logged(config).items()
    ]
    residents = [Dataset(f"rows/residents/{n}", dtype, shape, True) for n, (dtype, shape) in RESIDENT_COLUMNS.items()]
    return (
        *(Dataset(f"rows/{name}", dtype) for name, dtype in UNIT_COLUMNS.items()),
        Dataset("rows/units/reason", "u1", ragged=True),
        Dataset("rows/scalars", "f8", (len(OUTCOMES),)),
        Dataset("rows/action_counts", "i8", COUNTS),
        Dataset("rows/bands", "f8", (len(BANDS), len(BAND_METRICS)), ragged=True),
        *tables,
        *residents,
        Dataset("counts/actions", "i8", COUNTS),
        Dataset("meta/timing", "f8", (len(TIMING),)),
    )


def resident_rows(simulation: Simulation) -> dict[str, np.ndarray]:
    """Return the table of residents of a run, by column."""
    world, people = simulation.world, simulation.residents
    places = [PLACES.index(person.place) for person in people]
    columns = by_resident(simulation.log.since(), places)
    roles = ROLES[simulation.config.env]
    return {
        **columns,
        "coef": simulation.personas.astype("f4"),
        "role": np.array([roles.index(person.role) for person in people]),
        "place0": np.array(places),
        "goals": np.array([[GOALS.index(goal) for goal in person.goals[1:]] for person in people]),
        "facts": np.array([facts.bit_count() for facts in world.facts]),
        "satisfaction": np.array(world.satisfaction, float),
        "credits": np.array(world.credits),
    }


def unit_rows(simulation: Simulation, condition: int, replicate: int, reason: str) -> dict[str, np.ndarray]:
    """Return the rows of one unit by dataset; a failed unit has the ticks before its failure and no outcomes."""
    columns = simulation.log.since()
    failed = bool(reason)
    bands = by_band(columns, bands_of(simulation.personas.tolist()), simulation.tick)
    residents = resident_rows(simulation)
    return {
        "rows/units/condition": np.array([condition]),
        "rows/units/replicate": np.array([replicate]),
        "rows/units/seed": np.array([simulation.config.seed]),
        "rows/units/status": np.array([int(failed)]),
        "rows/units/ticks": np.array([simulation.tick]),
        "rows/units/reason": np.frombuffer(reason.encode(), "u1"),
        "rows/scalars": np.full((1, len(OUTCOMES)), np.nan) if failed else outcomes_of(simulation)[None],
        "rows/action_counts": action_counts(columns)[None],
        "rows/bands": bands,
        **{f"rows/{name}": columns[name] for name in logged(simulation.config)},
        **{f"rows/residents/{n}": residents[n].astype(dtype) for n, (dtype, _) in RESIDENT_COLUMNS.items()},
    }


def block_payload(units: Sequence[dict[str, np.ndarray]], timing: np.ndarray, config: RunConfig) -> dict[str, Any]:
    """Return the payload of a block from the rows of its units and their costs f8[units, costs]."""
    payload: dict[str, Any] = {}
    for dataset in datasets(config):
        name = dataset.name
        if not name.startswith("rows/"):
            continue
        pieces = [unit[name] for unit in units]
        payload[name] = np.concatenate(pieces).reshape(-1, *dataset.shape).astype(dataset.dtype)
        if dataset.ragged:
            payload[f"{name}_length"] = np.array([len(piece) for piece in pieces])
    payload["counts/actions"] = payload["rows/action_counts"].sum(axis=0)
    payload["meta/timing"] = timing
    return payload
