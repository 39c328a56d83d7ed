"""What a town did, in text: actions, residents, tokens, steering, time, success."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...jobs.society.residents import resident_id
from ...jobs.society.summaries import coefficient_buckets
from ...jobs.society.traits import TRAITS

EXTREMES = 5
BUCKET_NAMES = ("< 0.5", "0.5-1.5", "> 1.5")
TRACKED = ("cooperation_rate", "conflicts", "gini_all", "satisfaction_mean", "talk_edges", "plan_reuse_rate", "fluency")


def heading(text: str) -> list[str]:
    """Return a heading."""
    return ["", text, "-" * len(text)]


def town_report(actions: pd.DataFrame, messages: pd.DataFrame, ticks: pd.DataFrame | None) -> list[str]:
    """Return the lines of the report.

    Args:
        actions: table of actions.
        messages: table of messages.
        ticks: table of tick metrics, or None.
    """
    lines = [
        f"{len(actions)} actions of {actions['resident'].nunique()} residents over {actions['tick'].nunique()} ticks"
    ]
    lines += [*heading("Action types"), *action_lines(actions)]
    lines += [*heading("Resident activity"), *resident_lines(actions)]
    lines += [*heading("Token use"), *token_lines(actions)]
    lines += [*heading("Steering profiles"), *steering_lines(messages)]
    lines += [*heading("Temporal dynamics"), *time_lines(actions)]
    lines += [*heading("Success and failure"), *success_lines(actions)]
    if ticks is not None and len(ticks):
        lines += [*heading("Tracker summary"), *tracker_lines(ticks)]
    return lines


def action_lines(actions: pd.DataFrame) -> list[str]:
    """Return counts and shares of actions, most frequent first."""
    counts = actions["action"].value_counts()
    return [f"  {name:<14}{count:>7}  {100 * count / len(actions):5.1f} %" for name, count in counts.items()]


def resident_lines(actions: pd.DataFrame) -> list[str]:
    """Return the most and the least active residents."""
    counts = actions["resident"].value_counts()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    top, bottom = ordered[:EXTREMES], ordered[EXTREMES:][-EXTREMES:]
    lines = ["  most:  " + ", ".join(f"{name} {count}" for name, count in top)]
    return [*lines, "  least: " + ", ".join(f"{name} {count}" for name, count in bottom)] if bottom else lines


def token_lines(actions: pd.DataFrame) -> list[str]:
    """Return how many tokens went in and came out."""
    lines = []
    for name, word in (("tokens_in", "in"), ("tokens_out", "out")):
        values = actions[name]
        lines.append(f"  {word:<4} total {int(values.sum()):>9}  mean {values.mean():7.1f}  max {int(values.max()):>5}")
    return lines


def steering_lines(messages: pd.DataFrame) -> list[str]:
    """Return mean, deviation and range of each coefficient, and how many lie in each bucket of its size."""
    traits = [trait for trait in TRAITS if trait in messages]
    if not traits or not len(messages):
        return ["  no coefficients are logged"]
    lines = []
    for trait in traits:
        values = messages[trait].to_numpy(float)
        lines.append(
            f"  {trait}: mean {values.mean():+.3f}  sd {values.std():.3f}  "
            f"range [{values.min():+.2f}, {values.max():+.2f}]"
        )
    if len(traits) == len(TRAITS):
        buckets = coefficient_buckets(messages[traits].to_numpy(np.float32)).sum(axis=0)
        lines.append("  |coefficient| " + ", ".join(f"{n}: {c}" for n, c in zip(BUCKET_NAMES, buckets, strict=True)))
    return lines


def time_lines(actions: pd.DataFrame) -> list[str]:
    """Return actions per tick over the run, and in its first and last quarter."""
    counts = actions.groupby("tick").size()
    quarter = max(1, len(counts) // 4)
    return [
        f"  actions per tick: mean {counts.mean():.1f}, least {counts.min()}, most {counts.max()}",
        f"  first quarter {counts.iloc[:quarter].mean():.1f}, last quarter {counts.iloc[-quarter:].mean():.1f}",
    ]


def success_lines(actions: pd.DataFrame) -> list[str]:
    """Return the share of successes, and the failures by action."""
    success = actions["outcome"] == "success"
    lines = [f"  {int(success.sum())} of {len(actions)} succeeded ({100 * success.mean():.1f} %)"]
    failed = actions.loc[~success, "action"].value_counts()
    return [*lines, *(f"  failed: {name} {count}" for name, count in failed.items())]


def tracker_lines(ticks: pd.DataFrame) -> list[str]:
    """Return means of tick metrics over the run, and their last value."""
    lines = []
    for name in TRACKED:
        if name in ticks and ticks[name].notna().any():
            values = ticks[name].dropna()
            lines.append(f"  {name:<20} mean {values.mean():8.3f}  last {values.iloc[-1]:8.3f}")
    return lines


def resident_coefficients(messages: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Return resident ids and their mean coefficients, f4[residents, 5]; 0 where none is logged."""
    traits = [trait for trait in TRAITS if trait in messages]
    means = messages.groupby("resident")[traits].mean() if traits else messages.groupby("resident").size().to_frame()
    table = np.zeros((len(means), len(TRAITS)), np.float32)
    for index, trait in enumerate(TRAITS):
        if trait in traits:
            table[:, index] = means[trait].to_numpy(float)
    return [name if isinstance(name, str) else resident_id(int(name)) for name in means.index], table
