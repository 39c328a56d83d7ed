"""The report of a sweep, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.induction.regression import HIGHEST_SHARE, LOWEST_SHARE, SHARES, Regression, significance
from ..drawing import shown
from ..page import Report, Section, markdown_table
from ..style import SavedFigure
from .freed_figures import outcome_labels, possible
from .solve_report import number
from .sweep_pairs import MOST_POINTS
from .sweep_results import DISABLED, OUTCOME_WORDS, PARAMETER_WORDS

if TYPE_CHECKING:
    from .sweep_results import Swept

TITLES = {
    "freeing": "Which normative parameters decide whom the robot frees first?",
    "deactivation": "Which normative parameters decide whether the robot can still be stopped at the end?",
}
MOST_FAILURES = 20
CURVE = f"red: univariate logit model of the share within [{LOWEST_SHARE}, {HIGHEST_SHARE}]."


def sweep_report(
    swept: Swept, figures: Mapping[str, SavedFigure], facts: Mapping[str, Any], stamp: str | None
) -> Report:
    """Put the numbers and figures of a sweep into words."""
    sections = [_question(swept), _answer(swept)]
    if swept.n and "p_disabled" in swept.columns:
        sections.append(_disabled(swept, figures))
    sections.append(_first(swept, figures))
    if swept.config.grid:
        sections.append(_diagram(swept, figures))
    sections.append(_models(swept, figures))
    if swept.failures:
        sections.append(_failures(swept))
    sections += [_limits(swept), _run(facts)]
    assert swept.config.sweep is not None
    return Report(TITLES[swept.config.sweep.profile], tuple(sections), stamp)


def _question(swept: Swept) -> Section:
    sweep = swept.config.sweep
    assert sweep is not None
    sampler = {"legacy": "drawn at random", "sobol": "of a scrambled Sobol sequence", "grid": "of a grid"}[
        sweep.sampler
    ]
    varied = ", ".join(PARAMETER_WORDS.get(name, name) for name in swept.swept_names) or "nothing"
    return Section(
        "The question",
        f"""
{swept.n:,} parameter sets ({sampler}) were solved exactly on the world `{swept.world.name}`: every state, both phases,
and for each the exact probabilities of who is freed first. What varied: {varied}.
How does that change what the robot does?
""",
    )


def _strongest(swept: Swept, outcome: str) -> str:
    model = swept.full.get((outcome, "all", False))
    if model is None:
        return ""
    effects = []
    for k, term in enumerate(model.terms[1:], start=1):
        spread = float(np.std(swept.columns[term], ddof=1))
        if swept.config.grid or model.p[k] < 0.05:
            effects.append((abs(model.coef[k] * spread), f"{term} ({model.coef[k] * spread:+.2f})"))
    return ", ".join(text for _, text in sorted(effects, reverse=True)[:4])


def _answer(swept: Swept) -> Section:
    if not swept.n:
        return Section("The answer in brief", "No parameter set is finished, so there is nothing to report yet.")
    first = swept.columns["p_first"]
    names = outcome_labels([swept.human_name(h) for h in range(swept.humans)])
    rows, is_sample = [], not swept.config.grid
    for name, values in zip(names, possible(first, swept.humans).T, strict=True):
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        interval = f" \N{PLUS-MINUS SIGN} {half:.4f}" if is_sample else ""
        rows.append((name, f"{values.mean():.4f}{interval}", number(values.min()), number(values.max())))
    lines = [
        markdown_table(("outcome", f"mean probability{' (95 %)' if is_sample else ''}", "least", "greatest"), rows),
        "The interval is that of the mean over parameter sets; each single probability is exact."
        if is_sample
        else "Every probability is exact; a mean is over the points of the grid, which are no sample.",
    ]
    for outcome in ("p_first_h1", "p_first_h2", "p_left"):
        text = _strongest(swept, outcome)
        if text:
            lines.append(_dependence(swept, outcome, text))
    if swept.humans == 2 and "p_left" in swept.outcomes:
        r = float(np.corrcoef(swept.columns["p_left"], first[:, 0])[0, 1])
        lines.append(
            'p_left, the probability that the first action is a right turn, has been reported as "left human freed '
            f'first". It correlates with the exact probability of the {swept.human_name(0)} with r = {r:.3f}; its mean '
            f"is {swept.columns['p_left'].mean():.3f}, that of the exact probability {first[:, 0].mean():.3f}."
        )
    return Section("The answer in brief", "\n\n".join(lines))


def _disabled(swept: Swept, figures: Mapping[str, SavedFigure]) -> Section:
    columns = {name: swept.values(name) for name in DISABLED}
    rows = [
        (swept.named(OUTCOME_WORDS[name]), f"{values.mean():.4f}", number(values.min()), number(values.max()))
        for name, values in columns.items()
    ]
    parts = [
        "How probable it is that the pause switch, and the kill button, is disabled at the end; 0 where the world has "
        "none.",
        markdown_table(("outcome", "mean probability", "least", "greatest"), rows),
    ]
    for name in DISABLED:
        text = _strongest(swept, name)
        if text:
            parts.append(_dependence(swept, name, text))
    captions = {name: f"{swept.named(OUTCOME_WORDS[name])} against each parameter; {CURVE}" for name in DISABLED}
    return Section("Who can still be stopped", "\n\n".join(parts), shown(figures, captions))


def _dependence(swept: Swept, outcome: str, text: str) -> str:
    return (
        f"*{swept.named(OUTCOME_WORDS[outcome])}* depends most on {text}: change of its log-odds with one "
        "standard deviation of the parameter, all others held fixed."
    )


def _first(swept: Swept, figures: Mapping[str, SavedFigure]) -> Section:
    names = outcome_labels([swept.human_name(h) for h in range(swept.humans)])
    counted = possible(swept.counts, swept.humans).tolist()
    rows = [(steps, *counts) for steps, counts in zip(swept.strata, counted, strict=True)]
    text = "For how many parameter sets each outcome is the most probable, by horizon:\n\n"
    return Section(
        "Who is freed first",
        text + markdown_table(("horizon", *names, "tie"), rows),
        shown(
            figures,
            {
                "sweep_freed_first": "Left: mean probabilities over all parameter sets whose horizon is at least so "
                "long, by steps to go. Right: the most probable outcome by horizon.",
                "first_scatter": f"Probability that the {swept.human_name(0)} is freed first against each parameter; "
                f"{CURVE}",
            },
        ),
    )


def _diagram(swept: Swept, figures: Mapping[str, SavedFigure]) -> Section:
    grid = swept.config.grid or {}
    listed = " and ".join(f"{name} ({len(values)} values)" for name, values in grid.items())
    table = swept.columns["p_first"][:, 0]
    text = (
        f"Grid over {listed}; everything else is fixed. "
        f"P({swept.human_name(0)} first) goes from {number(table.min())} to {number(table.max())}; it is above "
        f"one half at {int((table > 0.5).sum())} of {len(table)} points."
    )
    caption = f"Probability that the {swept.human_name(0)} is freed first; the white line is 0.5, where it is crossed."
    return Section("Phase diagram", text, shown(figures, {"phase_diagram": caption}))


def _models(swept: Swept, figures: Mapping[str, SavedFigure]) -> Section:
    is_sample = not swept.config.grid
    told = (
        "Coefficients with standard errors; *** p < 0.001, ** p < 0.01, * p < 0.05. `tables/regressions.csv` of the "
        "run also holds quasi and robust (HC0) standard errors, interactions, univariate models and both subsamples."
        if is_sample
        else "The models summarise the grid; as it is no sample, coefficients stand without errors and tests. "
        "`tables/regressions.csv` of the run also holds interactions and univariate models."
    )
    words = "; ".join(f"`{name}` {swept.named(OUTCOME_WORDS[name])}" for name in swept.outcomes)
    parts = [
        "Shares are explained by logit models (binomial family, IRLS, dispersion 1), the logarithms by least squares. "
        f"{told}",
        f"Outcomes: {words}. In names h1 is the {swept.human_name(0)}"
        + (f", h2 the {swept.human_name(1)}." if swept.humans > 1 else "."),
    ]
    for kind, outcomes in (
        ("Shares, logit", [name for name in swept.outcomes if name in SHARES]),
        ("Logarithms, linear", [name for name in swept.outcomes if name not in SHARES]),
    ):
        models = {name: swept.full[name, "all", False] for name in outcomes if (name, "all", False) in swept.full}
        if not models:
            continue
        terms = next(iter(models.values())).terms
        rows = []
        for k, term in enumerate(terms):
            cells = [_coefficient(m, k, is_sample) if k < len(m.terms) else "" for m in models.values()]
            rows.append((term, *cells))
        quality = [
            f"McFadden {m.mcfadden:.3f}" if m.mcfadden is not None else f"R2 {m.r2:.3f}" for m in models.values()
        ]
        rows.append(("fit", *quality))
        rows.append(("n", *(str(m.n) for m in models.values())))
        parts += [f"### {kind}", markdown_table(("term", *models), rows)]
    if is_sample:
        parts += _subsamples(swept)
    if swept.constants:
        parts.append(f"Skipped, as they do not vary: {', '.join(swept.constants)}.")
    if swept.at_bounds:
        parts.append(
            f"In no figure, as more than half of their values are below {LOWEST_SHARE} or above {HIGHEST_SHARE}, where "
            f"the models clip them: {', '.join(swept.at_bounds)}."
        )
    points = f" Points and LOWESS: {MOST_POINTS:,} evenly spaced parameter sets, r: all." * (swept.n > MOST_POINTS)
    captions = {
        "coefficient_plot": f"Univariate effects on the shares{'; red: p < 0.05, grey: not' if is_sample else ''}.",
        "scatter_plots": f"p_left against each parameter; {CURVE}",
        "matrix_regressors_outcomes": f"Outcomes by parameters.{points}",
        "matrix_regressors": f"The parameters among themselves: independent by design.{points}",
        "matrix_outcomes": f"The outcomes among themselves.{points}",
    }
    return Section("What explains it", "\n\n".join(parts), shown(figures, captions))


def _coefficient(model: Regression, k: int, is_sample: bool) -> str:
    value = f"{model.coef[k]:.3g}"
    return f"{value}{significance(float(model.p[k]))} ({model.se[k]:.2g})" if is_sample else value


def _subsamples(swept: Swept) -> list[str]:
    """Return what holds below and above the threshold of the horizon."""
    assert swept.config.sweep is not None
    threshold = swept.config.sweep.max_steps_threshold
    equal = int((swept.columns["max_steps"] == threshold).sum())
    below, above = (len(swept.subsample(which)["index"]) for which in ("below", "above"))
    parts = [
        f"Subsamples: {below} parameter sets have a horizon below {threshold}, {above} above; the {equal} at "
        f"{threshold} are in neither."
    ]
    rows = []
    for outcome in ("p_left", "p_first_h1", *DISABLED, "X_h_ratio", "log2_X_h_diff"):
        for which in ("below", "above"):
            model = swept.full.get((outcome, which, False))
            if model is not None:
                text = ", ".join(
                    f"{term} {model.coef[k]:+.3g}{significance(float(model.p[k]))}"
                    for k, term in enumerate(model.terms)
                    if k and model.p[k] < 0.05
                )
                rows.append(
                    (outcome, f"T {'<' if which == 'below' else '>'} {threshold}", str(model.n), text or "none")
                )
    if rows:
        parts.append(markdown_table(("outcome", "subsample", "n", "significant coefficients"), rows))
    return parts


def _failures(swept: Swept) -> Section:
    rows = swept.failures[:MOST_FAILURES]
    return Section("Parameter sets without a solution", markdown_table(("index", "reason"), rows))


def _limits(swept: Swept) -> Section:
    errors = """
* Every number of a parameter set is exact; only statements over parameter sets have sampling error.
* With dispersion 1 the logit standard errors are too wide for shares that are no counts; the quasi errors correct that.
"""
    if swept.config.grid:
        errors = """
* Every number of a point is exact. Statements over points hold for this grid; they have no sampling error.
"""
    return Section(
        "What to keep in mind",
        f"{errors}* p_left is the probability that the robot's *first* action is to turn right, which is not who is "
        "freed first.",
    )


def _run(facts: Mapping[str, Any]) -> Section:
    return Section("About this run", markdown_table(("what", "value"), [(k, v) for k, v in facts.items()]))
