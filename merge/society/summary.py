"""`summary.json`: the study's main numbers for other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..exports import write_json

if TYPE_CHECKING:
    from .evidence import VectorEvidence
    from .levels import Level
    from .results import Result


def write_summary(
    path: Path,
    result: Result,
    frames: Mapping[str, pd.DataFrame],
    evidence: VectorEvidence | None,
    levels: Sequence[Level],
    made_from: Mapping[str, Any],
    stamp: str | None,
) -> None:
    """Write the summary: units, probe and behaviour slopes, bleed, gates, verification."""
    doses = frames["doses"]
    slopes = []
    if len(doses):
        mine = doses["outcome"].str.startswith(("probe_", "share_")) | (doses["outcome"] == "fluency")
        columns = ["trait", "arm", "override", "outcome", "n", "slope", "ci_low", "ci_high", "page_p", "monotone"]
        slopes = doses.loc[mine & (doses["n"] > 0), columns].to_dict("records")
    content = {
        "provenance": dict(made_from),
        "stamp": stamp,
        "units": {
            "planned": result.units,
            "present": result.present,
            "failed": {str(unit): reason for unit, reason in result.reasons.items()},
        },
        "conditions": [one.id for one in result.known],
        "slopes": slopes,
        "directions": [] if evidence is None else [asdict(one) for one in evidence.directions],
        "verification": [asdict(level) for level in levels],
    }
    write_json(path, content)
