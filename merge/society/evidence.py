"""What the phases before simulate found about the vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...jobs.society.evaluation import HIGH, LOW, Evaluation, gates, judge_z
from ...jobs.society.traits import TRAITS
from ...shard.society.table import Site, eval_sites, steered_sites
from ...shard.society.voices import best_parameters

if TYPE_CHECKING:
    from ...shard.context import Context


@dataclass(frozen=True)
class Direction:
    """A trait's vector at a block: what extraction found (NaN for given vectors), and what it does to held-out answers.

    `orthogonalize` says how it was freed of the others before it was scored, `steered` whether simulate adds it.
    """

    trait: str
    layer: int
    orthogonalize: str
    steered: bool
    d_prime: float
    split_half: float
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
    """All evaluated directions, blocks that simulate steers and that were not evaluated, and what tune chose."""

    directions: list[Direction]
    unseen: list[int]
    tuned: str

    @property
    def steered(self) -> list[Direction]:
        """The directions that simulate adds."""
        return [one for one in self.directions if one.steered]


def vector_evidence(context: Context) -> VectorEvidence | None:
    """Return what eval-vectors found; None where the run has no such phase, or it is not merged."""
    if not is_merged(context, "eval-vectors"):
        return None
    sites = eval_sites(context.config)
    names = ("gaps", "bleed", "random", "loss", "judge", "hook_error")
    with context.result("eval-vectors") as file:
        rows = {name: file[f"rows/{name}"][()] for name in names}
        units = file["units"][()].tolist() if "units" in file else range(len(rows["gaps"]))
    row_of = {(TRAITS[unit // len(sites)], sites[unit % len(sites)]): row for row, unit in enumerate(units)}
    whole = [site for site in sites if all((trait, site) in row_of for trait in TRAITS)]
    steered = simulated_sites(context)
    quality = extraction_quality(context)
    found = []
    for (trait, site), row in row_of.items():
        one = Evaluation(*(rows[name][row] for name in names[:-1]))
        shift = one.gaps[HIGH] - one.gaps[LOW]
        own = TRAITS.index(trait)
        column = np.array([rows["bleed"][row_of[other, site], own] for other in TRAITS]) if site in whole else None
        d_prime, split_half = quality.get((trait, site[1]), (float("nan"), None))
        found.append(
            Direction(
                trait,
                site[1],
                site[0],
                site in steered,
                d_prime,
                float("nan") if split_half is None else split_half,
                one.gaps.mean(axis=1).tolist(),
                float(shift.mean()),
                float(np.abs(one.random).max()),
                float((shift < 0).mean()),
                float(one.loss.mean()),
                judge_z(one.judge),
                float(rows["hook_error"][row]),
                one.bleed.tolist(),
                gates(one, trait, split_half, column),
            )
        )
    unseen = sorted({layer for how, layer in steered if (how, layer) not in whole})
    return VectorEvidence(found, unseen, tuned_words(context))


def is_merged(context: Context, phase: str) -> bool:
    """Whether the run has a phase and its result."""
    return phase in context.run.phases() and context.run.merged(phase).is_file()


def simulated_sites(context: Context) -> list[Site]:
    """Return where simulate adds vectors: at blocks of the config, or at those that tune chose."""
    if not is_merged(context, "tune"):
        return steered_sites(context.config)
    with context.result("tune") as file:
        return steered_sites(context.config, best_parameters(file, "attributes")["layers"])


def extraction_quality(context: Context) -> dict[tuple[str, int], tuple[float, float]]:
    """Return d' and the split-half cosine by trait and block; nothing where vectors were given."""
    if not is_merged(context, "vectors"):
        return {}
    quality: dict[tuple[str, int], tuple[float, float]] = {}
    with context.result("vectors") as file:
        offsets = file["rows/d_prime_offsets"][()].tolist()
        for unit, trait in enumerate(TRAITS):
            mine = slice(offsets[unit], offsets[unit + 1])
            pairs = zip(file["rows/d_prime"][mine].tolist(), file["rows/split_half"][mine].tolist(), strict=True)
            quality |= {(trait, block): pair for block, pair in enumerate(pairs)}
    return quality


def tuned_words(context: Context) -> str:
    """Say what the search chose, and on which items; empty where there was none."""
    if not is_merged(context, "tune"):
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
