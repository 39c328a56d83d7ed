"""A run as a minimal RO-Crate (version 1.1): the run is an action, its config, results and figures are files."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..shard.context import sha256_of
from ..shard.provenance import SUITE_VERSION
from ..shard.publish import replace_file
from ..shard.run import Run
from .origin import result_facts

CRATE_FILE = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/crate/1.1"
MADE_FROM = ("plan",)
RESULTS = ("merged", "figures", "tables", "report")


def files_below(run: Run, folders: tuple[str, ...]) -> Iterator[Path]:
    """Yield the regular files of some folders of a run, sorted; the code snapshot and hidden files are left out."""
    for folder in folders:
        for path in sorted((run.path / folder).rglob("*")):
            below = path.relative_to(run.path).parts
            if path.is_file() and not path.is_symlink() and "code" not in below[1:2] and not path.name.startswith("."):
                yield path


def entity(run: Run, path: Path) -> dict[str, Any]:
    """Return the description of one file."""
    kind = "application/x-hdf5" if path.suffix == ".h5" else mimetypes.guess_type(path.name)[0]
    return {
        "@id": path.relative_to(run.path).as_posix(),
        "@type": "File",
        "contentSize": str(path.stat().st_size),
        "encodingFormat": kind or "text/plain",
        "sha256": sha256_of(path),
    }


def write_crate(run: Run) -> Path:
    """Write `ro-crate-metadata.json` beside the run's folders and return its path."""
    overview = run.overview()
    sources = [entity(run, path) for path in files_below(run, MADE_FROM)]
    results = [entity(run, path) for path in files_below(run, RESULTS)]
    facts = [result_facts(run.merged(phase)) for phase in run.phases()]
    starts, ends = ([str(fact[key]) for fact in facts if fact.get(key)] for key in ("started", "ended"))
    name = f"{overview['study']} run {run.path.resolve().name}"
    ids = [{"@id": item["@id"]} for item in sources + results]
    action: dict[str, Any] = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": name,
        "instrument": {"@id": "#quintet"},
        "object": [{"@id": item["@id"]} for item in sources],
        "result": [{"@id": item["@id"]} for item in results],
    }
    action |= {"startTime": min(starts), "endTime": max(ends)} if starts and ends else {}
    graph: list[dict[str, Any]] = [
        {"@id": CRATE_FILE, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": PROFILE}},
        {
            "@id": "./",
            "@type": "Dataset",
            "name": name,
            "description": f"Config, plan, merged results, figures and report of a {overview['study']} run.",
            "datePublished": max(ends)[:10] if ends else "",
            "license": "see the project's LICENSE",
            "hasPart": ids,
            "mentions": {"@id": "#run"},
        },
        {
            "@id": "#quintet",
            "@type": "SoftwareApplication",
            "name": "Quintet",
            "softwareVersion": SUITE_VERSION,
        },
        action,
        *sources,
        *results,
    ]
    content = {"@context": f"{PROFILE}/context", "@graph": graph}
    path = run.path / CRATE_FILE
    replace_file(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    return path
