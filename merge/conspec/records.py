"""Result files: `search_<world>_<time>.json`, one list of records per world, and `search_summary_<time>.json`."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...shard.errors import Exit, QuintetError
from ..exports import write_json

Record = dict[str, Any]
STAMP = "%Y%m%d_%H%M%S"
SUMMARY = "search_summary_"
NAMED = re.compile(r"search_.+_(\d{8}_\d{6})\.json")
FIELDS = ("environment", "trial", "hyperparameters", "results")
RESULTS = ("mean_reward", "success_rate", "max_reward")
MAX_BYTES = 256 << 20


def write_records(
    folder: Path, records: Sequence[Record], stamp: str, config: Mapping[str, Any], best: Mapping[str, Any], time: str
) -> list[str]:
    """Write a file per world and the summary in place of those of an earlier merge; return their names.

    Args:
        folder: where to.
        records: of all worlds.
        stamp: time in the names.
        config: what was run.
        best: the best record of each world.
        time: when the newest trial was finished.
    """
    contents: dict[str, Any] = {}
    for record in records:
        contents.setdefault(f"search_{record['environment']}_{stamp}.json", []).append(record)
    contents[f"{SUMMARY}{stamp}.json"] = {
        "config": dict(config),
        "total_trials": len(records),
        "results": list(records),
        "timestamp": time,
        "best": dict(best),
    }
    for name, content in contents.items():
        write_json(folder / name, content)
    for path in folder.glob("search_*.json"):
        if NAMED.fullmatch(path.name) and path.name not in contents:
            path.unlink()
    return list(contents)


def folders_of(place: Path) -> list[Path]:
    """Return the folders that hold result files: the place itself, a run's tables, or those of the runs below it."""
    tables = [place, place / "tables", *sorted(path / "tables" for path in place.glob("*") if path.is_dir())]
    return [folder for folder in tables if any(folder.glob("search_*.json"))]


def result_files(place: Path) -> list[Path]:
    """Return the result files of a place, oldest first; summaries only where nothing else is there.

    Raises:
        QuintetError: exit 2 where there is none.
    """
    found: dict[Path, Path] = {}
    for folder in folders_of(place) if place.is_dir() else []:
        for path in folder.glob("search_*.json"):
            found.setdefault(path.resolve(), path)
    files = sorted(found.values(), key=lambda path: (stamp_of(path), path.stat().st_mtime, str(path)))
    own = [path for path in files if not path.name.startswith(SUMMARY)]
    if not files:
        raise QuintetError(Exit.USAGE, f"no result files (search_*.json) in {place}")
    return own or files


def stamp_of(path: Path) -> str:
    """Return the time in a file's name, empty where it has none."""
    match = NAMED.fullmatch(path.name)
    return match.group(1) if match else ""


def read_file(path: Path) -> list[Record]:
    """Return the records of one file.

    Raises:
        QuintetError: exit 2 for a file that is no result file, naming record and field.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise QuintetError(Exit.USAGE, f"{path}: larger than {MAX_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise QuintetError(Exit.USAGE, f"{path}: cannot be read as JSON ({type(error).__name__})") from None
    if isinstance(content, dict):
        content = content.get("results", content)
    if isinstance(content, dict):
        content = [record for records in content.values() if isinstance(records, list) for record in records]
    if not isinstance(content, list):
        raise QuintetError(Exit.USAGE, f"{path}: found {type(content).__name__}; allowed is a list of records")
    for position, record in enumerate(content):
        lacking = lacking_field(record)
        if lacking:
            raise QuintetError(Exit.USAGE, f"{path}: record {position}: {lacking}: missing")
    return content


def lacking_field(record: Any) -> str:
    """Return the first field that a record lacks, empty where it is whole."""
    if not isinstance(record, dict):
        return FIELDS[0]
    for field in FIELDS:
        if field not in record:
            return field
    results = record["results"]
    for field in RESULTS:
        if not isinstance(results, dict) or not isinstance(results.get(field), int | float):
            return f"results.{field}"
    return ""


def read_results(place: Path) -> list[Record]:
    """Return the records of a place, each trial once: the newest file wins, and another value is warned of.

    Raises:
        QuintetError: as `result_files` and `read_file`.
    """
    known: dict[tuple[str, int], tuple[Record, Path]] = {}
    for path in result_files(place):
        for record in read_file(path):
            key = (str(record["environment"]), int(record["trial"]))
            if key in known and differs(known[key][0], record):
                warnings.warn(
                    f"{key[0]} trial {key[1]}: {known[key][1].name} and {path.name} differ; the newer one is taken",
                    stacklevel=2,
                )
            known[key] = (record, path)
    return [record for _, (record, _) in sorted(known.items())]


def differs(one: Record, other: Record) -> bool:
    """Whether two records of a trial hold different parameters or rewards."""
    return one["hyperparameters"] != other["hyperparameters"] or any(
        one["results"][field] != other["results"][field] for field in RESULTS
    )
