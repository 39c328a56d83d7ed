"""The study's report: what steering does to answers, behaviour and the town, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ...jobs.society.comparison import Interval
from ...jobs.society.evaluation import GATES
from ...jobs.society.traits import TRAIT_NAMES, TRAITS
from ...shard.society.rows import TIMING
from ..drawing import shown
from ..page import Report, Section, markdown_table
from ..style import SavedFigure
from .evidence import Direction, VectorEvidence
from .levels import Level
from .results import Result
from .words import chance, interval_text, listed, number

TITLE = "Society: what steered personalities change in a town of language-model residents"
SECONDS_SHOWN = 600
FAILURES_SHOWN = 10
BEHAVIOURS = {
    "E": ("share_talk", 1, "talk"),
    "A": ("share_argue", -1, "argue"),
    "C": ("share_submit_report", 1, "submit reports"),
    "O": ("share_research", 1, "research"),
    "N": ("share_argue", 1, "argue"),
}
"""The action that a trait should move first, in which direction, in words (Costa and McCrae 1992, facets)."""

GATE_WORDS = {
    "stable": "split-half cosine ≥ 1/3",
    "monotone": "gap rises with every dose",
    "shift": "gap(+1) − gap(−1) ≥ 0.4",
    "beyond_random": "more than random directions",
    "wrong_way": "≤ 25 % of items the wrong way",
    "bleed": "own trait moves most",
    "column": "no other vector moves its trait more",
    "fluency": "answers lose ≤ 0.25 nats",
    "judge": "open texts: z ≥ 3",
}


def study_report(
    result: Result,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, SavedFigure],
    evidence: VectorEvidence | None,
    levels: list[Level],
    facts: Mapping[str, Any],
    stamp: str | None,
) -> Report:
    """Put the study's numbers and figures into words.

    Args:
        result: of simulate.
        tables: `contrasts` and `doses`.
        figures: saved figures by name.
        evidence: what eval-vectors found; None for the mock model.
        levels: verification of steering.
        facts: what the last section lists.
        stamp: warning on top, or None.
    """
    sections = [question(result)]
    if result.blank:
        sections.append(Section("The answer in brief", "No unit is finished, so there is nothing to report yet."))
        return Report(TITLE, (*sections, run_section(facts)), stamp)
    sections.append(answer(result, tables))
    if result.dosed_traits:
        sections += [
            probes(tables["doses"], figures),
            behaviour(tables["doses"], figures),
            bleed(tables["doses"], figures),
        ]
        sections.append(fluency(tables["contrasts"], figures))
    sections += [arms(result, tables["contrasts"], figures), activity(figures)]
    if evidence is not None:
        sections.append(directions(evidence))
    sections += [verification(levels), limits(result), costs(result, figures), run_section(facts)]
    return Report(TITLE, tuple(sections), stamp)


def question(result: Result) -> Section:
    """Say what was done."""
    config = result.config
    residents, ticks = config.population, config.steps
    model = {
        "mock": "a stand-in for a language model whose answer to doses is a published matrix",
        "tiny-random": "a tiny random model (a test of the machinery, not of persons)",
    }.get(config.model_name, f"the language model `{config.model_name.rpartition('/')[2]}`")
    arms = ", ".join(f"`{arm}`" for arm in dict.fromkeys(one.arm for one in result.known))
    return Section(
        "The question",
        f"""
Residents of a small town are played by {model}. Their personality is set by *activation steering*: vectors for
the five great traits, found from pairs of answers, are added to the model's inner state with a given dose. A dose of 1
is the natural difference between the answers of a high and a low scorer. What does that change in what residents say
and do, at what cost in fluency, and what does it do to the town?

{len(result.known)} conditions (arms: {arms}) with {config.study.replicates} replicates each: towns of {residents}
residents over {ticks} ticks. Replicate *r* has the same residents and random numbers in every condition, so that
differences are taken within replicates. **Placebo** adds vectors of other traits at the same dose; **disabled**
adds nothing. {result.present} of {result.units} units are in this report.
""",
    )


def row_of(doses: pd.DataFrame, trait: str, arm: str, outcome: str) -> Any:
    """Return a row of the dose-response table; None where there is none with a slope."""
    rows = doses[
        (doses["trait"] == trait) & (doses["arm"] == arm) & (doses["outcome"] == outcome) & (doses["override"] == "")
    ]
    return None if rows.empty or not rows["n"].iloc[0] else rows.iloc[0]


def slope_of(row: Any) -> Interval:
    """Return the slope of a row of the dose-response table with its interval."""
    return Interval(int(row["n"]), row["slope"], row["ci_low"], row["ci_high"], float("nan"))


def answer(result: Result, tables: Mapping[str, pd.DataFrame]) -> Section:
    """Say what came out."""
    if not result.dosed_traits:
        return Section("The answer in brief", profile_answer(tables["contrasts"]))
    doses = tables["doses"]
    rows, moved, acted = [], [], []
    for trait in result.dosed_traits:
        probe = row_of(doses, trait, "targeted", f"probe_{trait}")
        outcome, sign, words = BEHAVIOURS[trait]
        act = row_of(doses, trait, "targeted", outcome)
        if probe is not None and slope_of(probe).low > 0:
            moved.append(TRAIT_NAMES[trait])
        if act is not None and slope_of(act).excludes_zero and np.sign(act["slope"]) == sign:
            acted.append(TRAIT_NAMES[trait])
        rows.append(
            (
                TRAIT_NAMES[trait],
                "–" if probe is None else interval_text(slope_of(probe)),
                "–" if probe is None else probe["monotone"],
                words,
                "–" if act is None else interval_text(slope_of(act), 100, " pp"),
                "–" if act is None else chance(act["page_p"]),
            )
        )
    table = markdown_table(
        ("Steered trait", "probe score per dose", "means", "action", "its share per dose", "trend (Page)"), rows
    )
    count = len(result.dosed_traits)
    few = "" if doses["n"].max() > 1 else ", which takes at least two replicates"
    return Section(
        "The answer in brief",
        f"""
Steering moved the answers of residents in its own direction for **{len(moved)} of {count} traits**
({listed(moved)}), and the action that the trait should move first in the expected direction for
**{len(acted)} of {count}** ({listed(acted)}). A slope counts where its 95 % interval excludes zero{few}.

{table}

Slopes are per unit of dose, means over replicates with 95 % t intervals; shares in percentage points (pp). Page's test
asks for a trend over the ordered doses.
""",
    )


def profile_answer(contrasts: pd.DataFrame) -> str:
    """Say what differs from the reference, for a study without doses."""
    if contrasts.empty:
        return "The study has no conditions to compare; its tables describe the town."
    strong = contrasts[contrasts["p_holm"] < 0.05]
    if strong.empty:
        return "No outcome differs between a condition and the one it is compared with, after adjustment."
    ordered = strong.sort_values("p_holm", kind="stable").head(20)
    rows = [
        (row["condition_id"], row["against"], row["metric"], contrast_text(row), chance(row["p_holm"]))
        for _, row in ordered.iterrows()
    ]
    header = ("Condition", "against", "outcome", "difference", "p (Holm)")
    return f"{len(strong)} differences stand after adjustment; the clearest:\n\n" + markdown_table(header, rows)


def contrast_text(row: Any) -> str:
    """Return the difference of a row of the contrasts with its interval."""
    return interval_text(Interval(int(row["n"]), row["difference"], row["ci_low"], row["ci_high"], float("nan")))


def probes(doses: pd.DataFrame, figures: Mapping[str, SavedFigure]) -> Section:
    """Tell what steering does to answers."""
    rows = []
    for trait in TRAITS:
        found = {arm: row_of(doses, trait, arm, f"probe_{trait}") for arm in dict.fromkeys(doses["arm"])}
        cells = [
            "–" if row is None else f"{interval_text(slope_of(row))}, ρ = {number(row['spearman'])}, {row['monotone']}"
            for row in found.values()
        ]
        if any(cell != "–" for cell in cells):
            rows.append((TRAIT_NAMES[trait], *cells))
    table = markdown_table(("Trait", *dict.fromkeys(doses["arm"])), rows)
    return Section(
        "What residents answer",
        "At some ticks every acting resident is asked held-out questions of each trait; the score is the "
        "log-probability per token of the answer of a high scorer minus that of a low one. Slope per unit of dose, "
        f"rank correlation of dose means, and whether these rise at every step:\n\n{table}",
        shown(
            figures,
            {
                "dose_response": "Probe score of each trait over its own dose; bands are 95 % intervals. A "
                "placebo has the same dose of another trait's vector."
            },
        ),
    )


def behaviour(doses: pd.DataFrame, figures: Mapping[str, SavedFigure]) -> Section:
    """Tell what steering does to actions."""
    rows = []
    chosen = doses[(doses["arm"] == "targeted") & doses["outcome"].str.startswith("share_") & (doses["override"] == "")]
    for trait in TRAITS:
        mine = chosen[
            (chosen["trait"] == trait) & (chosen["n"] > 1) & ((chosen["ci_low"] > 0) | (chosen["ci_high"] < 0))
        ]
        clear = mine.reindex(mine["slope"].abs().sort_values(ascending=False).index).head(4)
        words = "; ".join(
            f"{row['outcome'].removeprefix('share_').replace('_', ' ')} {interval_text(slope_of(row), 100, ' pp')}"
            for _, row in clear.iterrows()
        )
        if trait in set(doses["trait"]):
            rows.append((TRAIT_NAMES[trait], words or "none"))
    table = markdown_table(("Steered trait", "shares whose slope excludes zero (largest four)"), rows)
    return Section(
        "What residents do",
        f"The steered model's own next-word probabilities choose each action. Slopes per unit of dose:\n\n{table}",
        shown(
            figures,
            {
                "behaviour_by_dose": "Shares of the most frequent actions over the dose; bands are 95 % intervals over "
                "replicates, one scale an action."
            },
        ),
    )


def bleed(doses: pd.DataFrame, figures: Mapping[str, SavedFigure]) -> Section:
    """Tell how much steering one trait moves the others."""
    from .dose_figures import bleed_matrix

    table = bleed_matrix(doses, "targeted")
    own = [
        TRAIT_NAMES[trait]
        for index, trait in enumerate(TRAITS)
        if np.isfinite(table[index]).all() and int(np.argmax(np.abs(table[index]))) == index
    ]
    steered = int(np.isfinite(table).all(axis=1).sum())
    off = table[~np.eye(len(TRAITS), dtype=bool)]
    return Section(
        "Side effects on other traits",
        f"Steering a trait moved the answers on that very trait most for {len(own)} of {steered} traits "
        f"({listed(own)}). Mean size of the slopes off the diagonal: {np.nanmean(np.abs(off)):.2f}; "
        f"on it: {np.nanmean(np.abs(np.diag(table))):.2f}.",
        shown(figures, {"bleed_matrix": "Slope of each trait's probe score per unit of the steered trait's dose."}),
    )


def largest_loss(worst: Any) -> str:
    """Say which condition lost most fluency, if one did."""
    if not worst["difference"] < 0:
        return "No condition lost any against dose 0."
    sure = "" if worst["ci_high"] < 0 else ", which may be chance"
    return f"The largest loss is that of `{worst['condition_id']}`: {contrast_text(worst)}{sure}."


def fluency(contrasts: pd.DataFrame, figures: Mapping[str, SavedFigure]) -> Section:
    """Tell what steering costs."""
    rows = contrasts[
        (contrasts["metric"] == "fluency")
        & (contrasts["kind"] == "reference")
        & (contrasts["arm"] == "targeted")
        & (contrasts["n"] > 0)
    ]
    if rows.empty:
        text = "Fluency was not measured: it needs a language model."
    else:
        table = markdown_table(
            ("Condition", "change of fluency against dose 0 (nats per token)", "p (Holm)"),
            [(row["condition_id"], contrast_text(row), chance(row["p_holm"])) for _, row in rows.iterrows()],
        )
        worst = rows.loc[rows["difference"].idxmin()]
        text = (
            "Fluency is the mean log-probability per token of what residents said, under the unsteered model. "
            f"{largest_loss(worst)}\n\n{table}"
        )
    return Section(
        "What it costs in fluency",
        text,
        shown(
            figures,
            {
                "fluency_vs_effect": "A point is a condition against its own dose 0, with both intervals; the targeted "
                "ones have their dose beside them. Hollow: of one replicate only, so without an interval."
            },
        ),
    )


def arms(result: Result, contrasts: pd.DataFrame, figures: Mapping[str, SavedFigure]) -> Section:
    """Compare the arms."""
    placebo = (
        contrasts[(contrasts["kind"] == "placebo") & (contrasts["p_holm"] < 0.05)] if len(contrasts) else contrasts
    )
    text = "The study has one arm." if len({one.arm for one in result.known}) == 1 else "Means over time by arm."
    if len(contrasts) and (contrasts["kind"] == "placebo").any():
        named = ", ".join(f"{name.replace('_', ' ')} ({n})" for name, n in placebo["metric"].value_counts().items())
        text = (
            f"Targeted against placebo at the same dose: {len(placebo)} of "
            f"{int((contrasts['kind'] == 'placebo').sum())} paired differences stand after Holm's adjustment within "
            f"each outcome{': ' + named if named else ''}."
        )
    return Section(
        "The town by arm",
        text,
        shown(
            figures,
            {
                "arms_over_time": "Means over the conditions of an arm; bands are 95 % intervals over replicates.",
                "action_distribution": "Share of each action by arm.",
            },
        ),
    )


def activity(figures: Mapping[str, SavedFigure]) -> Section:
    """Show who is steered how, and how busy the town is."""
    return Section(
        "Residents and activity",
        "Every resident draws its own persona; all arms make the same draws.",
        shown(
            figures,
            {
                "steering_heatmap": "Coefficients of the first residents; doses beyond 1 are in the gain.",
                "activity_over_time": "Actions and messages per tick, means over all units.",
            },
        ),
    )


def gates_text(one: Direction) -> str:
    """Say which gates a direction fails."""
    failed = [GATE_WORDS[name] for name in GATES if not one.gates.get(name, True)]
    passed = "all" if len(one.gates) == len(GATES) else "all that could be judged"
    return f"not: {'; '.join(failed)}" if failed else passed


def directions(evidence: VectorEvidence) -> Section:
    """Tell whether the vectors deserve trust, on answers that they were not made from."""
    rows = [
        (
            f"{TRAIT_NAMES[one.trait]}, block {one.layer}"
            + (f" ({one.orthogonalize})" if one.orthogonalize != "none" else ""),
            number(one.d_prime, 1),
            number(one.split_half),
            number(one.shift),
            f"{number(one.random_largest)}",
            f"{100 * one.wrong_way:.0f} %",
            number(one.loss),
            number(one.judge_z, 1),
            gates_text(one),
        )
        for one in evidence.directions
    ]
    header = (
        "Direction",
        "d′",
        "split-half",
        "gap(+1) − gap(−1)",
        "largest random",
        "wrong way",
        "loss at ±1",
        "open-text z",
        "gates passed",
    )
    failed = [one for one in evidence.directions if not all(one.gates.values())]
    verdict = (
        f"Directions that fail a gate: {len(failed)} of {len(rows)}." if failed else "All directions pass their gates."
    )
    tuned = f"\n\n{evidence.tuned}" if evidence.tuned else ""
    return Section(
        "Are the directions any good?",
        "Extraction: d′ between the two kinds of answers and the cosine between vectors of odd and even items, before "
        "any orthogonalisation. Held-out answers (nats per token) under a dose of one trait, before any town was run. "
        f"{verdict}\n\n{markdown_table(header, rows)}{tuned}",
    )


def verification(levels: list[Level]) -> Section:
    """Tell whether steering was applied."""
    return Section(
        "Was steering applied?",
        markdown_table(("Level", "verdict", "why"), [(level.name, level.verdict, level.reason) for level in levels]),
    )


def limits(result: Result) -> Section:
    """Say what the numbers do not show."""
    lines = [
        "Intervals are over replicates: they say how the result would vary with other residents and random numbers, "
        "not with another model, other prompts or other questions.",
        "Probe answers and the vectors come from items of one author; the held-out ones are disjoint from those used "
        "for extraction, but of the same kind.",
        "Personality is a name for directions in a model here; nothing is claimed about persons.",
    ]
    if result.config.model_name == "mock":
        lines.insert(0, "No language model was used: effects are those that were put in.")
    elif "smollm2" in result.config.model_name:
        lines.insert(0, "The model has 135 million parameters: what it says is fluent, not wise.")
    if result.reasons:
        named = [f"unit {unit}: {reason}" for unit, reason in list(result.reasons.items())[:FAILURES_SHOWN]]
        lines.append(f"{len(result.reasons)} units failed and count as missing: {'; '.join(named)}.")
    absent = int((result.status < 0).sum())
    if absent:
        lines.append(f"{absent} units are not computed yet; all numbers are of the others.")
    return Section("What this does not show", "\n".join(f"* {line}" for line in lines))


def costs(result: Result, figures: Mapping[str, SavedFigure]) -> Section:
    """Tell what the simulations cost."""
    total = {name: float(result.timing[:, TIMING.index(name)].sum()) for name in TIMING} if len(result.timing) else {}
    text = "No costs were recorded."
    if total:
        rate = total["decisions"] / max(total["cpu_s"], 1e-9)
        seconds = total["cpu_s"]
        spent = f"{seconds:.0f} CPU seconds" if seconds < SECONDS_SHOWN else f"{seconds / 3600:.2f} CPU hours"
        text = f"{total['decisions']:,.0f} decisions in {spent}: {rate:,.2f} per CPU second."
        if total["forwards"]:
            text += f" {total['rows'] / total['forwards']:.1f} rows per forward pass."
        shares = []
        for name in ("embedding", "memory"):
            if total[f"{name}_lookups"]:
                shares.append(f"{name} {100 * total[f'{name}_hits'] / total[f'{name}_lookups']:.0f} %")
        text += f" Cache hits: {', '.join(shares)}." if shares else ""
    return Section("What it cost", text, shown(figures, {"throughput": "Decisions per CPU second."}))


def run_section(facts: Mapping[str, Any]) -> Section:
    """List what the report was made from."""
    rows = [(key.replace("_", " "), value) for key, value in facts.items() if value is not None]
    return Section("This run", markdown_table(("", ""), rows))
