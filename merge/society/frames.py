"""Tables of a unit's log as data frames with names instead of codes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ...jobs.society.log import TABLES, decoded
from ...jobs.society.measures import METRICS
from ...jobs.society.probes import hints_of, scenarios
from ...jobs.society.residents import resident_id, sample_residents
from ...jobs.society.traits import TRAITS
from ...jobs.society.vocabulary import DOCUMENTS, KIND_NAMES, OUTCOMES, PLACES
from ...shard.society.logs import UnitLog

EDGE_KINDS = ("talk", "gift", "argue")
PROBE_KINDS = ("logit", "behavior", "likert")
SEVERITIES = ("medium", "high")
TABLE_NAMES = (
    "units",
    "residents",
    "actions",
    "messages",
    "ticks",
    "probes",
    "edges",
    "encounters",
    "safety",
    "facts",
    "citations",
    "grades",
    "objectives",
)
CODES: dict[tuple[str, str], tuple[str, ...]] = {
    ("actions", "action"): KIND_NAMES,
    ("actions", "suggested"): KIND_NAMES,
    ("actions", "outcome"): OUTCOMES,
    ("actions", "dest"): PLACES,
    ("actions", "place"): PLACES,
    ("actions", "place_after"): PLACES,
    ("encounters", "place"): PLACES,
    ("probes", "kind"): PROBE_KINDS,
    ("probes", "trait"): TRAITS,
    ("edges", "kind"): EDGE_KINDS,
    ("safety", "severity"): SEVERITIES,
    ("facts", "document"): DOCUMENTS,
    ("citations", "document"): DOCUMENTS,
}
"""Columns that hold codes, and what these stand for; -1 is empty. `hint_texts` names those of `probes/hint`."""

RESIDENTS = ("resident", "src", "dst")


def named(values: np.ndarray, names: tuple[str, ...]) -> Any:
    """Return codes as texts; what is no code is empty."""
    table = np.array([*names, ""], dtype=object)
    return table[np.where((values >= 0) & (values < len(names)), values, len(names))]


def resident_ids(numbers: np.ndarray) -> Any:
    """Return ids of residents."""
    return [resident_id(number) for number in numbers.tolist()]


def head(log: UnitLog) -> dict[str, Any]:
    """Return the columns that say which unit a row is of."""
    return {"unit": log.unit, "condition_id": log.condition.id, "replicate": log.replicate}


def frame_of(log: UnitLog, table: str) -> pd.DataFrame:
    """Return one table of a unit; empty where it has no row."""
    if table == "units":
        fields = {"arm": log.condition.arm, "trait": log.condition.trait, "dose": log.condition.dose}
        return pd.DataFrame(
            [{**head(log), **fields, "seed": log.config.seed, "ticks": log.ticks, "finished": log.finished}]
        ).astype({"dose": "float64"})
    if table == "residents":
        return resident_frame(log)
    if table == "messages":
        return message_frame(log)
    if table == "ticks":
        metrics = log.columns["ticks/metrics"]
        named_metrics = {name: metrics[:, index] for index, name in enumerate(METRICS)}
        return with_head(log, {"tick": np.arange(len(metrics)), **named_metrics})
    columns: dict[str, Any] = {}
    for name in TABLES[table]:
        values = log.columns.get(f"{table}/{name}")
        if values is None:  # a run older than the column
            continue
        if (table, name) == ("probes", "hint"):
            columns[name] = hint_texts(log.columns["probes/kind"], log.columns["probes/item"], values)
        elif name in RESIDENTS:
            columns[name] = resident_ids(values)
        elif (table, name) in CODES:
            columns[name] = named(values, CODES[table, name])
        else:
            columns[name] = values
    if table == "encounters":
        columns["members"] = member_texts(log)
    return with_head(log, columns)


def member_texts(log: UnitLog) -> list[str]:
    """Return the ids of those who took part in each encounter, in the order in which they decided."""
    ids = resident_ids(log.columns["members/resident"])
    ends = np.cumsum(log.columns["encounters/size"], dtype=np.int64).tolist()
    return [" ".join(ids[start:end]) for start, end in pairwise([0, *ends])]


def hint_texts(kinds: np.ndarray, items: np.ndarray, codes: np.ndarray) -> Any:
    """Return what probe answers were read from, as texts; empty where from nothing."""
    known = [scenario["outcomes"] for scenario in scenarios().values()]
    texts = np.full(len(codes), "", dtype=object)
    for row in np.flatnonzero(codes >= 0).tolist():
        behavior = PROBE_KINDS[kinds[row]] == "behavior"
        texts[row] = hints_of(known[items[row]] if behavior else None)[codes[row]]
    return texts


def with_head(log: UnitLog, columns: dict[str, Any]) -> pd.DataFrame:
    """Return columns as a frame behind those of the unit."""
    frame = pd.DataFrame(columns)
    for position, (name, value) in enumerate(head(log).items()):
        frame.insert(position, name, value)
    return frame


def resident_frame(log: UnitLog) -> pd.DataFrame:
    """Return who lives in the town."""
    people = sample_residents(log.config)
    return with_head(
        log,
        {
            "resident": [person.id for person in people],
            "name": [person.name for person in people],
            "role": [person.role for person in people],
            "place": [person.place for person in people],
            "goals": ["; ".join(person.goals) for person in people],
            **{trait: log.coefficients[:, index] for index, trait in enumerate(TRAITS)},
        },
    )


def message_frame(log: UnitLog) -> pd.DataFrame:
    """Return what was said, with the coefficients and doses in force; only actions with a text.

    Prompts, and the ids of generated tokens as text, are there where the run logged them.
    """
    texts = log.texts()
    columns = log.columns
    frame = with_head(
        log,
        {
            "tick": columns["actions/tick"],
            "resident": resident_ids(columns["actions/resident"]),
            "action": named(columns["actions/action"], KIND_NAMES),
            "place": named(columns["actions/place_after"], PLACES),
            "tokens_in": columns["actions/tokens_in"],
            "tokens_out": columns["actions/tokens_out"],
            "text": texts,
            **logged_texts(log),
            **{trait: columns["messages/coef"][:, index] for index, trait in enumerate(TRAITS)},
            **{f"dose_{trait}": columns["messages/dose"][:, index] for index, trait in enumerate(TRAITS)},
        },
    )
    return frame[frame["text"] != ""]


def logged_texts(log: UnitLog) -> dict[str, list[str]]:
    """Return prompts and token ids of every action, as far as `logging.prompts` and `logging.token_ids` kept them."""
    columns, found = log.columns, {}
    if log.config.logging.prompts:
        found["prompt"] = decoded(columns["prompts/bytes"], columns["prompts/length"])
    if log.config.logging.token_ids:
        ids = columns["tokens/ids"].tolist()
        ends = np.cumsum(columns["tokens/length"], dtype=np.int64).tolist()
        found["token_ids"] = [" ".join(map(str, ids[start:end])) for start, end in pairwise([0, *ends])]
    return found
