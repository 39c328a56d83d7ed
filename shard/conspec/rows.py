"""Which datasets a trial's partial holds, and how a finished trial becomes them.

Arrays with as many rows as there are prototypes are stored flat, [U, P] and [P, hid] row by row, since P and hid differ
from trial to trial; `rows/trial/num_prototypes` and `rows/trial/hidden_dim` give the shapes back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...jobs.conspec.metrics import COST, METRICS, N_BLOCKS
from ...jobs.conspec.worlds import DELAYED_EVENTS, GRID_EVENTS
from ..payload import empty_unit
from ..phases import Dataset

if TYPE_CHECKING:
    from ...jobs.conspec.trial import TrialResult

EPISODES = {"reward": "f4", "intrinsic": "f4", "length": "u2", "success": "u1", "epsilon": "f4", "events": "u2"}
LOSSES = (
    "policy_loss",
    "value_loss",
    "entropy",
    "approx_kl",
    "clip_fraction",
    "grad_norm",
    "conspec_loss",
    "diversity",
)
UPDATES = {
    "episode": "i4",
    **dict.fromkeys(LOSSES, "f4"),
    "success_score": "f4",
    "failure_score": "f4",
    "active": "u1",
    "n_success": "i4",
    "n_failure": "i4",
}
EVALUATIONS = {
    "episode": "i4",
    **dict.fromkeys(("greedy_return", "greedy_success", "greedy_length", "mean_return", "success_rate"), "f8"),
    "mean_length": "f8",
}
WELFORD_COLUMNS = ("reward", "success", "length")
WELFORD_PARTS = ("count", "mean", "m2", "min", "max")
SIZES = ("episodes_done", "num_prototypes", "hidden_dim")
CLOCKS = ("started", "finished")


def event_kinds(family: str) -> tuple[str, ...]:
    """Return the names of a family's kinds of events."""
    return GRID_EVENTS if family == "grid" else DELAYED_EVENTS


def datasets_of(family: str) -> tuple[Dataset, ...]:
    """Return what a trial's partial holds beside what every trial's does; a unit is a trial."""
    kinds = len(event_kinds(family)) + 1
    return (
        *(Dataset(f"rows/trial/{name}", "f8") for name in METRICS),
        *(Dataset(f"rows/trial/{name}", "i8") for name in SIZES),
        Dataset("rows/trial/agent", "u1", ragged=True),
        *(Dataset(f"rows/episodes/{name}", kind, (), True, "index") for name, kind in EPISODES.items()),
        *(Dataset(f"rows/updates/{name}", kind, (), True, "index") for name, kind in UPDATES.items()),
        *(Dataset(f"rows/eval/{name}", kind, ragged=True) for name, kind in EVALUATIONS.items()),
        Dataset("rows/prototypes/vectors", "f4", (), True, "index"),
        Dataset("rows/prototypes/activated_episode", "i4", ragged=True),
        Dataset("rows/prototypes/event_counts", "i8", (kinds,), True),
        *(
            Dataset(f"rows/welford/{column}_{part}", "i8" if part == "count" else "f8", (N_BLOCKS,))
            for column in WELFORD_COLUMNS
            for part in WELFORD_PARTS
        ),
        *(Dataset(f"meta/trial/{name}", "f8") for name in COST),
        *(Dataset(f"meta/trial/{name}", "i8") for name in CLOCKS),
    )


def text_bytes(value: Any) -> NDArray[np.uint8]:
    """Return canonical JSON as an array of bytes."""
    return np.frombuffer(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), dtype="u1")


def arrays_of(
    result: TrialResult, agent: Mapping[str, Any], cost: Mapping[str, float], clocks: Mapping[str, int]
) -> dict[str, Any]:
    """Return the datasets of one trial.

    Args:
        result: the finished trial.
        agent: all its parameters.
        cost: the metrics of `COST`.
        clocks: when it was started and finished, seconds since 1970.
    """
    single: dict[str, Any] = {f"rows/trial/{name}": [float(result.metrics[name])] for name in METRICS}
    single |= {
        "rows/trial/episodes_done": [len(result.episodes["reward"])],
        "rows/trial/num_prototypes": [agent["num_prototypes"]],
        "rows/trial/hidden_dim": [agent["hidden_dim"]],
    }
    single |= {f"rows/welford/{name}": values[None] for name, values in result.welford.items()}
    single |= {f"meta/trial/{name}": [float(cost[name])] for name in COST}
    single |= {f"meta/trial/{name}": [int(clocks[name])] for name in CLOCKS}
    many: dict[str, NDArray[Any]] = {"rows/trial/agent": text_bytes(agent)}
    many |= {f"rows/episodes/{name}": values for name, values in result.episodes.items()}
    many |= {f"rows/updates/{name}": values.reshape(-1) for name, values in result.updates.items()}
    many |= {f"rows/eval/{name}": values for name, values in result.evaluations.items()}
    many |= {
        "rows/prototypes/vectors": result.prototypes["vectors"].reshape(-1),
        "rows/prototypes/activated_episode": result.prototypes["activated_episode"],
        "rows/prototypes/event_counts": result.prototypes["event_counts"],
    }
    lengths = {f"{name}_length": [len(values)] for name, values in many.items()}
    return {**single, **many, **lengths}


def no_arrays(family: str) -> dict[str, Any]:
    """Return the datasets of a unit without a trial: NaN, zeros and nothing."""
    return empty_unit(datasets_of(family))
