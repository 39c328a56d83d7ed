"""Numbers as the report writes them, and the sentences that rest on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.conspec.worlds import maximal_return
from ...shard.conspec.advice import SLOW_SUCCESS
from .intervals import Interval, interval_of

if TYPE_CHECKING:
    from .stored import Study

RARE = 0.01


def shown(value: Any) -> str:
    """Return a parameter's value, floats with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number or n/a."""
    return "n/a" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def is_slow(analysis: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the best trial of some world succeeds too seldom."""
    return any(found["best_success_rate"] < SLOW_SUCCESS for found in analysis.values())


def farmed(analysis: Mapping[str, Mapping[str, Any]], family: str, ruleset: str) -> list[str]:
    """Return a warning for each world whose best trial earns more than solving it once pays."""
    if family != "grid" or ruleset != "reference":
        return []
    lines = []
    for world, found in analysis.items():
        most = maximal_return(world)
        if found["best_reward"] > most:
            lines.append(
                f"**{world}**: the best trial's mean reward {found['best_reward']:.3f} exceeds {most:g}, the most that "
                "solving the world pays: under ruleset `reference` it is earned by dropping and picking up a key, or "
                "closing and opening a door, again and again."
            )
    return lines


def verdict(difference: Interval) -> str:
    """Return what an interval of paired differences says about ConSpec."""
    if not difference.n:
        return "no pair"
    if not difference.known:
        return "too few pairs for an interval"
    if difference.low > 0:
        return "ConSpec helps"
    return "ConSpec costs" if difference.high < 0 else "no difference shown"


def late_activation(study: Study, world: str) -> tuple[int, int]:
    """Return how many trials reached 90 % before any prototype was active, and how many reached 90 % at all."""
    trials = study.searches[world]
    late = solved = 0
    for row in trials.complete:
        reached = float(trials.metrics["episodes_to_90"][row])
        if reached > float(trials.metrics["total_episodes"][row]):
            continue
        solved += 1
        active = [int(episode) for episode in trials.activated[row] if episode >= 0]
        late += not active or min(active) >= reached
    return late, solved


def findings(study: Study) -> list[str]:
    """Return what a run says about ConSpec, a paragraph per world."""
    lines = []
    for world, trials in study.searches.items():
        if not len(trials.complete):
            continue
        success = trials.metrics["success_rate"][trials.complete]
        best = study.best_row(world)
        text = (
            f"**{world}**: {len(trials.complete)} trials, success over the last 100 episodes "
            f"{interval_of('success_rate', success).text()} on average, {success.max():.2f} at best"
        )
        if best is not None:
            text += f"; best trial {trials.number[best]}"
        text += "."
        auc, rate = (
            interval_of(name, study.differences(world, name), least=-1.0) for name in ("auc_success", "success_rate")
        )
        if auc.n and study.ablation is not None:
            pairs = study.pairs(world)
            twins = study.ablation.metrics["success_rate"][pairs.without]
            both = max(float(twins.max()), float(trials.metrics["success_rate"][pairs.with_conspec].max()))
            text += (
                f" Against the same trials without ConSpec (n = {auc.n}): share of successes over all episodes "
                f"{auc.text(sign=True)}, success of the last 100 {rate.text(sign=True)}: {verdict(auc)}."
            )
            if auc.known and both <= RARE:
                text += (
                    " In these pairs neither arm succeeds in more than 1 of 100 episodes: ConSpec contrasts successes "
                    "with failures, and there are too few to contrast, so it brings no benefit here."
                )
        late, solved = late_activation(study, world)
        if solved:
            text += f" {solved} of {len(trials.complete)} trials reached 90 % success"
            text += f", {late} of them before any prototype was active, without ConSpec's help." if late else "."
        lines.append(text)
    return lines
