"""The report's section on the search behind the configs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...jobs.complementarity.params import INERT_IN_V2
from ...jobs.complementarity.search_analysis import MODERATE, TIGHT, convergence, negative_results, significance
from ..drawing import shown
from ..page import Section, markdown_table
from ..style import SavedFigure
from .findings import SearchFindings
from .words import inert_tag, percent, points, signed


def search_section(search: SearchFindings, figures: Mapping[str, SavedFigure]) -> Section:
    """Put a search into words: how often the strategic therapist is ahead, how surely, and where.

    Args:
        search: the finished search.
        figures: saved figures by name; one that is absent is left out.
    """
    frame = search.frame
    if frame.empty:
        return Section("The search behind the configs", "The search holds no complete trial.")
    negative = negative_results(frame)
    tests = significance(frame, search.n_seeds) if search.n_seeds is not None else pd.DataFrame()
    clients = "an unknown number of" if search.n_seeds is None else f"{search.n_seeds:,}"
    parts = [
        f"{negative['n_trials']:,} trials with {clients} clients each. The strategic therapist was "
        f"ahead in {negative['n_positive']:,}, level in {negative['n_zero']:,} and behind in "
        f"{negative['n_negative']:,}; the largest advantage is {points(negative['largest_advantage'])}, "
        f"the smallest {signed(negative['smallest_advantage'])}."
    ]
    if search.skipped:
        parts.append(f"{search.skipped:,} complete trials without a finite value were skipped.")
    if not tests.empty:
        held = int((tests["fisher_bonferroni_p"] < 0.05).sum())
        parts.append(
            f"Of the {len(tests)} best trials {held} differ from the baseline at 5 % after correction for "
            f"all {len(frame):,} trials (Fisher's exact test, Bonferroni). Both therapists met the same "
            "clients, which these tests ignore, so they are conservative."
        )
        rows = [
            (
                int(row.number),
                f"{row.value:+.3f}",
                percent(row.omniscient_success),
                percent(row.complementary_success),
                f"{row.fisher_p:.2g}",
                f"{row.z_p:.2g}",
                f"{row.fisher_bonferroni_p:.2g}",
            )
            for row in tests.itertuples()
        ]
        header = ("trial", "advantage", "strategic", "baseline", "Fisher p", "z-test p", "corrected p")
        parts.append(markdown_table(header, rows))
    if len(agreement := convergence(frame)):
        parts.append(
            "How closely the 15 best trials agree on a parameter: the convergence score is their interquartile range "
            f"over the range of all trials, TIGHT below {TIGHT:.2f}, MODERATE below {MODERATE:.2f}, else WIDE."
        )
        convergence_rows = [
            (f"`{row.parameter}`{inert_tag(row.parameter)}", f"{row.median_top:.4g}", f"{row.score:.2f}", row.label)
            for row in agreement.sort_values("score", kind="stable").itertuples()
        ]
        parts.append(markdown_table(("parameter", "median of the best", "score", "label"), convergence_rows))
    inert = " and ".join(f"`{name}`" for name in INERT_IN_V2)
    parts.append(
        f"{inert} have no influence on V2; importance and agreement that they get come from "
        "chance, and from a search that looks again where it found something."
    )
    captions = {
        "search_history": "Advantage of every trial, and the best so far.",
        "search_importance": "Which parameters distinguish the best trials (PED-ANOVA).",
        "search_parallel": "The best 15 trials, parameter by parameter.",
        "search_success": "Success of both therapists in every trial; advantage by the baseline's success.",
        "search_contrast": "Best against worst tenth of the trials, and agreement of the best.",
        "search_power": "How many clients it takes to confirm the best trial with fresh ones, were its stored "
        "rates the true ones. They are the luckiest of many, so take more.",
        "search_negative": "All advantages, also those that are none.",
    }
    return Section("The search behind the configs", "\n\n".join(parts), shown(figures, captions))
