"""The report, section by section; what only a run knows is left out where result files alone are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.conspec.settings import NINE, Settings
from ...shard.conspec import has_conspec
from ...shard.conspec.advice import slow_advice
from ..page import PageFigure, Report, Section, markdown_table
from ..style import SavedFigure
from .intervals import interval_of
from .search_figures import by_world, column
from .words import farmed, findings, is_slow, number, shown, verdict

if TYPE_CHECKING:
    from .stored import Study

TITLE = "ConSpec Hyperparameter Search Report"
CAPTIONS = {
    "reward_distributions": "Mean reward of the last 100 training episodes over trials, per world.",
    "hyperparameter_impact": "Mean reward against each parameter; a bar is the median of a value's trials.",
    "best_configs_comparison": "Mean reward (left axis) and success rate (right axis) of the best trial of each world.",
    "learning_curves": (
        "Mean return over episodes: mean over all trials with 1.96 standard errors, and the best trial. Where trials "
        "were trained again without ConSpec, these twins are dashed; what ConSpec brings is the gap between them and "
        "the same trials with it (dash-dotted, or the mean where every trial has a twin)."
    ),
    "parallel_coordinates": "One line per trial through its parameters to its mean reward; the best one is red.",
    "prototype_events": (
        "Rewarded peaks of the best trial's prototypes by the event within one step of them: counts, and as colour the "
        "share of a prototype's peaks."
    ),
    "ablation": "Each trial with ConSpec and, with the same parameters and seeds, without.",
    "environments": (
        "The worlds at reset. In family delayed the phases in order; a key lies in one of the marked cells, apples in "
        "any six."
    ),
}
SUCCESS_BAR = 0.95


@dataclass(frozen=True)
class Material:
    """What a report is written from.

    Attributes:
        records: the COMPLETE trials.
        analysis: `analyse` of them.
        metric: what the search optimised.
        direction: which way.
        importances: PED-ANOVA per world, empty where there are too few trials.
        study: the run's results; None where only result files are at hand.
        rules: family and ruleset.
        failures: trials that failed, a line each.
        advice: further sentences for the summary.
    """

    records: Sequence[Mapping[str, Any]]
    analysis: Mapping[str, Mapping[str, Any]]
    metric: str
    direction: str
    importances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    study: Study | None = None
    rules: tuple[str, str] = ("", "")
    failures: Sequence[str] = ()
    advice: Sequence[str] = ()


def search_report(
    material: Material,
    figures: Mapping[str, SavedFigure],
    cost: Mapping[str, Any],
    provenance: Mapping[str, Any],
    stamp: str | None = None,
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """Put a search's numbers and figures into words.

    Args:
        material: the numbers.
        figures: saved figures by name; one that is absent is left out.
        cost: what the section Cost lists.
        provenance: what the last section lists.
        stamp: warning on top, or None.
        left_out: figures without data, and why.
    """
    sections = [summary(material), best_section(material), statistics_section(material), correlations(material)]
    if material.study is not None:
        sections.append(ablation_section(material.study))
    if cost:
        sections.append(Section("Cost", facts_table(cost)))
    shown_figures = tuple(PageFigure(figures[name], text) for name, text in CAPTIONS.items() if name in figures)
    sections.append(Section("Visualizations", left_out_line(left_out), shown_figures))
    sections.append(Section("Provenance", facts_table(provenance)))
    return Report(TITLE, tuple(sections), stamp)


def left_out_line(reasons: Mapping[str, str]) -> str:
    """Name the figures that were left out, by reason; empty where there are none."""
    told = [
        f"{' and '.join(f'`{name}`' for name in CAPTIONS if reasons.get(name) == reason)} ({reason})"
        for reason in dict.fromkeys(reasons.values())
    ]
    return f"Left out: {'; '.join(told)}." if told else ""


def facts_table(facts: Mapping[str, Any]) -> str:
    """Return names and values as a table."""
    return markdown_table(("what", "value"), [(name.replace("_", " "), value) for name, value in facts.items()])


def summary(material: Material) -> Section:
    """Say how many trials there are and what they tell."""
    worlds = by_world(material.records)
    counts = ", ".join(f"{world} {len(trials)}" for world, trials in worlds.items()) or "none"
    parts = [f"Total trials: **{len(material.records)}** ({counts}). Metric: {material.metric}, {material.direction}."]
    if material.study is not None:
        parts += findings(material.study)
    parts += farmed(material.analysis, *material.rules)
    if is_slow(material.analysis):
        parts.append(slow_advice(material.study is None or has_conspec(material.study.config)))
    parts += material.advice
    return Section("Summary", "\n\n".join(parts))


def best_section(material: Material) -> Section:
    """List the best trial of each world."""
    parts = []
    for world, found in material.analysis.items():
        given = found["best_hyperparameters"]
        defaults = {name: Settings.model_fields[name].default for name in NINE if name not in given}
        rows = [(name, shown(value)) for name, value in given.items()]
        rows += [(name, f"{shown(value)} (default)") for name, value in defaults.items()]
        parts.append(
            f"### {world.capitalize()}: trial {found['best_trial']}\n\n"
            f"* Mean Reward: {found['best_reward']:.3f}\n"
            f"* Success Rate: {found['best_success_rate']:.2%}\n"
            f"* Max Reward: {found['best_max_reward']:.3f}\n\n" + markdown_table(("hyperparameter", "value"), rows)
        )
    return Section("Best Configurations", "\n\n".join(parts) or "No trial is COMPLETE.")


def statistics_section(material: Material) -> Section:
    """Tabulate each world's trials."""
    rows = []
    for world, trials in by_world(material.records).items():
        found = material.analysis[world]
        success, speed = column(trials, "success_rate"), column(trials, "episodes_to_90")
        rows.append(
            (
                world,
                found["trials"],
                f"{number(found['mean_reward_mean'])} (sd {number(found['mean_reward_std'])})",
                f"{number(found['success_mean'])} (sd {number(found['success_std'])})",
                interval_of("success_rate", success).text(),
                f"{int((success >= SUCCESS_BAR).sum())} of {len(success)}",
                number(float(np.mean(speed)) if np.isfinite(speed).any() else None, 0),
            )
        )
    header = (
        "world",
        "trials",
        "mean reward",
        "success rate",
        "success rate, 95 % t interval",
        f"trials with success >= {SUCCESS_BAR}",
        "mean episodes to 90 %",
    )
    text = markdown_table(header, rows) if rows else "No trial is COMPLETE."
    text += (
        "\n\nMean reward and success rate are those of the last 100 training episodes of a trial. A trial that never "
    )
    text += "reaches 90 % counts with one episode more than it has."
    if material.failures:
        text += "\n\nFailed trials:\n\n" + "\n".join(f"* {line}" for line in material.failures)
    return Section("Statistics", text)


def correlations(material: Material) -> Section:
    """Tabulate what each parameter has to do with mean reward."""
    if material.study is not None and not material.study.searched:
        return Section("Hyperparameter Correlations", "Every parameter is fixed, so there is nothing to correlate.")
    parts = [
        "Pearson's r and Spearman's rho of each numeric parameter with mean reward, strongest first; n/a where a side "
        "is constant. PED-ANOVA is a parameter's share in reaching the best tenth of trials (from 20 trials on)."
    ]
    for world, found in material.analysis.items():
        known = material.importances.get(world, {})
        order = [*found["importance_order"], *(name for name in found["pearson"] if found["pearson"][name] is None)]
        order += [name for name in known if name not in order]
        rows = [
            (name, number(found["pearson"].get(name)), number(found["spearman"].get(name)), number(known.get(name)))
            for name in order
        ]
        table = markdown_table(("hyperparameter", "Pearson r", "Spearman rho", "PED-ANOVA"), rows)
        parts.append(f"### {world.capitalize()}\n\n{table}")
    return Section("Hyperparameter Correlations", "\n\n".join(parts))


def ablation_section(study: Study) -> Section:
    """Tabulate the trials that were trained again without ConSpec."""
    rows = []
    for world in study.searches:
        pairs = study.pairs(world)
        if study.ablation is None or not len(pairs.numbers):
            continue
        for metric, digits in (("success_rate", 3), ("auc_success", 3), ("mean_reward", 3), ("episodes_to_90", 0)):
            first = study.searches[world].metrics[metric][pairs.with_conspec]
            second = study.ablation.metrics[metric][pairs.without]
            difference = interval_of(metric, study.differences(world, metric), least=-1.0)
            told = verdict(difference) if metric in ("success_rate", "auc_success") else ""
            rows.append(
                (
                    world,
                    metric,
                    len(first),
                    interval_of(metric, first).text(digits),
                    interval_of(metric, second).text(digits),
                    difference.text(digits, sign=True),
                    told,
                )
            )
    if not rows:
        return Section("Ablation", "No trial was trained again without ConSpec.")
    header = ("world", "metric", "pairs", "with ConSpec", "without", "difference", "says")
    text = markdown_table(header, rows) + (
        "\n\nPairs share parameters and seeds. In brackets 95 % t intervals over trials, from three on, those of "
        "shares cut where no share can be; the difference is paired, with minus without. `auc_success` is the share of "
        "successes among all episodes; in `episodes_to_90` less is better."
    )
    return Section("Ablation", text)
