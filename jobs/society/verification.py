"""Verification of steering from logged coefficients (level 1): present, varied, different between residents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .steering import Steering
from .traits import TRAITS, TraitMap, full_map

if TYPE_CHECKING:
    from .backend import Backend

NEARLY_ZERO = 0.01
HOOK_TOLERANCE = 0.01
DIVERSE_TICKS = 5


@dataclass(frozen=True)
class TraitStatistics:
    """Values of one trait over the messages: population standard deviation, number of values above 0.01."""

    mean: float
    std: float
    min: float
    max: float
    nonzero: int


@dataclass(frozen=True)
class Verdict:
    """What verification found; `lines` is what a person reads, `exit_code` 0 or 1."""

    messages: int = 0
    residents: int = 0
    sampled_residents: int = 0
    traits: dict[str, TraitStatistics] = field(default_factory=dict)
    diversity: dict[str, float] = field(default_factory=dict)
    exit_code: int = 1
    lines: list[str] = field(default_factory=list)


def verify_steering(rows: Iterable[tuple[int, str, TraitMap]], num_ticks: int = 20, strict: bool = False) -> Verdict:
    """Return the verdict over the messages of the first `num_ticks` ticks that occur.

    Args:
        rows: (tick, resident id, coefficients) of each message.
        num_ticks: how many ticks are looked at.
        strict: low variance between residents fails.

    Raises:
        ValueError: `num_ticks` is below 1.
    """
    if num_ticks < 1:
        raise ValueError(f"num_ticks: found {num_ticks}; allowed is an integer of at least 1")
    everything = list(rows)
    ticks = sorted({tick for tick, _, _ in everything})[:num_ticks]
    kept = set(ticks)
    chosen = [row for row in everything if row[0] in kept]
    residents = len({resident for _, resident, _ in chosen})
    lines = [f"Analyzing {len(chosen)} messages of {residents} residents over {len(ticks)} ticks"]
    if not any(values for _, _, values in chosen):
        lines.append("❌ FAIL: No steering values in the logs")
        return Verdict(len(chosen), residents, exit_code=1, lines=lines)
    lines.append("✓ PASS: Steering values are present in logs")
    table = np.array([list(full_map(values).values()) for _, _, values in chosen])
    statistics = {
        trait: TraitStatistics(
            float(column.mean()),
            float(column.std()),
            float(column.min()),
            float(column.max()),
            int((np.abs(column) > NEARLY_ZERO).sum()),
        )
        for trait, column in zip(TRAITS, table.T, strict=True)
    }
    first: dict[str, TraitMap] = {}
    early = set(ticks[:DIVERSE_TICKS])
    for tick, resident, values in sorted(chosen, key=lambda row: row[0]):
        if tick in early:
            first.setdefault(resident, values)
    snapshots = np.array([list(full_map(values).values()) for values in first.values()])
    diversity = {trait: float(column.var()) for trait, column in zip(TRAITS, snapshots.T, strict=True)}
    measured = (len(chosen), residents, len(first), statistics, diversity)
    if bool((np.abs(table) < NEARLY_ZERO).all()):
        lines.append("❌ FAIL: All steering values are near zero")
        return Verdict(*measured, 1, lines)
    lines.append("✓ PASS: Steering values show variation")
    for trait, found in statistics.items():
        share = 100.0 * found.nonzero / len(chosen)
        lines.append(
            f"  {trait}: n={len(chosen)} mean={found.mean:+.3f} std={found.std:.3f} "
            f"range=[{found.min:+.3f}, {found.max:+.3f}] non-zero={share:.1f}%"
        )
    low = [trait for trait in TRAITS if diversity[trait] <= NEARLY_ZERO]
    if low:
        lines.append(f"⚠ WARNING: Low variance between residents: {', '.join(low)}")
    else:
        lines.append("✓ PASS: Agents show diverse steering profiles")
    lines += [
        "Steering appears to be active and functioning",
        f"  - {residents} agents with steering applied",
        f"  - {len(chosen)} messages analyzed",
        "  - Trait values show expected variation",
    ]
    return Verdict(*measured, 1 if low and strict else 0, lines)


def verify_hooks(backend: Backend, steering: Steering, coefficients: TraitMap) -> tuple[bool, dict[int, float]]:
    """Return whether doses reach the residual stream (level 2), and by how much each site's change is off.

    At every injection block alone, the change of the block's output in a real forward pass is compared with the dose:
    the difference of their norms must be within 1 % of the dose's.
    """
    prompt = backend.prompt("Somebody asks you the way to the library. What do you do?")
    errors = {}
    for block, dose in steering.dose([coefficients]).items():
        before = backend.engine.last_output(prompt, block)
        after = backend.engine.last_output(prompt, block, {block: backend.engine.torch.from_numpy(dose)})
        size = float(np.linalg.norm(dose.astype(np.float64)))
        errors[block] = abs(float(np.linalg.norm(after - before)) - size) / size if size else 0.0
    return all(error <= HOOK_TOLERANCE for error in errors.values()), errors
