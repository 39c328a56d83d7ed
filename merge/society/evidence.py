"""What the phases before simulate found about the vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...jobs.society.evaluation import HIGH, LOW, Evaluation, gates, judge_z
from ...jobs.society.traits import TRAITS
from ...shard.society.table import eval_layers
from ...shard.society.voices import best_parameters

if TYPE_CHECKING:
    from ...shard.context import Context


@dataclass(frozen=True)
class Direction:
    """A trait's vector at a block, on held-out answers."""

    trait: str
    layer: int
    means: list[float]
    shift: float
    random_largest: float
    wrong_way: float
    loss: float
    judge_z: float
    hook_error: float
    bleed: list[float]
    gates: dict[str, bool]


@dataclass(frozen=True)
class VectorEvidence:
    """All evaluated directions, and what the search chose, in words."""

    directions: list[Direction]
    tuned: str


def vector_evidence(context: Context) -> VectorEvidence | None:
    """Return what eval-vectors found; None where the run has no such phase, or it is not merged."""
    if "eval-vectors" not in context.run.phases() or not context.run.merged("eval-vectors").is_file():
        return None
    layers = eval_layers(context.config)
    names = ("gaps", "bleed", "random", "loss", "judge", "hook_error")
    with context.result("eval-vectors") as file:
        rows = {name: file[f"rows/{name}"][()] for name in names}
        units = file["units"][()].tolist() if "units" in file else range(len(rows["gaps"]))
    found = []
    for row, unit in enumerate(units):
        trait, layer = TRAITS[unit // len(layers)], layers[unit % len(layers)]
        one = Evaluation(*(rows[name][row] for name in ("gaps", "bleed", "random", "loss", "judge")))
        shift = one.gaps[HIGH] - one.gaps[LOW]
        found.append(
            Direction(
                trait,
                layer,
                one.gaps.mean(axis=1).tolist(),
                float(shift.mean()),
                float(np.abs(one.random).max()),
                float((shift < 0).mean()),
                float(one.loss.mean()),
                judge_z(one.judge),
                float(rows["hook_error"][row]),
                one.bleed.tolist(),
                gates(one, trait),
            )
        )
    return VectorEvidence(found, tuned_words(context))


def tuned_words(context: Context) -> str:
    """Say what the search chose, and on which items; empty where there was none."""
    if "tune" not in context.run.phases() or not context.run.merged("tune").is_file():
        return ""
    with context.result("tune") as file:
        best = best_parameters(file)
        trials = len(file["rows/value"])
    gains = ", ".join(f"{trait} {best[f'gain_{trait}']:.2f}" for trait in TRAITS)
    return (
        f"Blocks and gains were chosen by a search of {trials} trials **on the held-out items themselves**, which "
        f"therefore flatter them: first block {best['first']}, {best['blocks']} blocks at stride {best['stride']}, "
        f"gains {gains}."
    )
