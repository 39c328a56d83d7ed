"""The study's report in plain words for a psychotherapy researcher, section by section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...jobs.complementarity.aggregate import Aggregate
from ...jobs.complementarity.layout import AxisName
from ...jobs.complementarity.statistics import N_RESAMPLES, summary
from ..drawing import shown
from ..page import Report, Section, markdown_table
from ..style import SavedFigure
from .findings import SearchFindings
from .search_section import search_section
from .words import p_value, percent, points, signed

TITLE = "Complementarity over therapy: when does a strategic therapist help?"
CATEGORY_WORDS = {
    "v2_advantage": "only the strategic therapist succeeded (V2 Advantage)",
    "baseline_advantage": "only the complementary therapist succeeded (Baseline Advantage)",
    "both_success": "both succeeded (Both Success)",
    "both_fail": "neither succeeded (Both Fail)",
}


def study_report(
    aggregate: Aggregate,
    axis: AxisName,
    figures: Mapping[str, SavedFigure],
    facts: Mapping[str, Any],
    search: SearchFindings | None = None,
    stamp: str | None = None,
    resamples: int = N_RESAMPLES,
    seed_offset: int = 0,
) -> Report:
    """Put the study's numbers and figures into words.

    Args:
        aggregate: the study's result.
        axis: axis of the main figure.
        figures: saved figures by name; one that is absent is left out.
        facts: what the last section lists (run, digests, resources), in its order.
        search: the search behind the configs, if the run had one.
        stamp: warning on top, or None.
        resamples: number of bootstrap resamples.
        seed_offset: first client simulated; the search has seen the clients from 0 on.
    """
    numbers = summary(aggregate, axis, resamples)
    sections = [
        _question(numbers),
        _answer(aggregate, numbers),
        _main(aggregate.layout.window_size, axis, figures),
        _groups(figures, resamples),
        _configs(aggregate, numbers, figures),
        _fork(figures),
    ]
    if search is not None:
        sections.append(search_section(search, figures))
    searched = None if search is None else search.n_seeds
    sections += [_limits(searched is None or seed_offset < searched), _run(facts)]
    return Report(TITLE, tuple(sections), stamp)


def _question(numbers: Mapping[str, Any]) -> Section:
    return Section(
        "The question",
        f"""
In each session of a simulated therapy the client takes one of eight positions (octants) on the interpersonal
circumplex and the therapist answers with one. An answer is *complementary* when it meets warmth with warmth
and dominance with submission; its *octant distance* says how far it is from that, from 0 (perfectly
complementary) to 4 (the opposite).

Two therapists met the same clients. The **baseline** always answers complementarily. The **strategic
therapist** (V2) can see the client's expectations and may answer non-complementarily for a while to change
them. A parameter search has produced settings of the model ("configs") with all kinds of outcomes. Here
**{numbers["n_configs"]:,} configs** from across that range were simulated with up to
**{numbers["n_seeds_per_config"]:,} clients** each, once with either therapist:
{numbers["total_pairs"]:,} pairs of therapies.

How does the strategic therapist's complementarity evolve for clients whom only this therapist helps, for
those whom only the baseline helps, and for all the others?
""",
    )


def _answer(aggregate: Aggregate, numbers: Mapping[str, Any]) -> Section:
    if not numbers["total_pairs"]:
        return Section("The answer in brief", "No simulation is finished, so there is nothing to report yet.")
    paired, shares = numbers["paired_advantage"], numbers["shares"]
    configs = numbers["advantage_over_configs"]
    rows = [
        (
            words,
            f"{numbers['breakdown'][name]:,}",
            percent(shares[name]["share"]),
            f"{percent(shares[name]['low'])} to {percent(shares[name]['high'])}",
        )
        for name, words in CATEGORY_WORDS.items()
    ]
    direction = "more" if paired["advantage"] > 0 else "less"
    difference = (
        f"The strategic therapist succeeded {direction} often than the baseline"
        if paired["advantage"]
        else "Both therapists succeeded equally often"
    )
    bands = {
        "only the strategic therapist helps": aggregate.band(numbers["axis"], "v2_adv"),
        "only the baseline helps": aggregate.band(numbers["axis"], "baseline_adv"),
        "all others": aggregate.band(numbers["axis"], "remaining"),
    }
    final = [
        f"* {words}: {band.mean[-1]:.2f}, the mean of {band.count[-1]:,} therapies "
        f"({percent(band.count[-1] / band.count.max())} of the group)"
        for words, band in bands.items()
        if len(band.mean)
    ]
    positive = int((aggregate.measured_advantage[aggregate.used] > 0).sum())
    return Section(
        "The answer in brief",
        markdown_table(("What became of the client", "pairs", "share", "95 % interval"), rows)
        + f"""

{difference}: a difference of {signed(paired["advantage"])} (95 % interval {points(paired["low"])} to
{points(paired["high"])}; McNemar's test on the pairs in which it mattered: {p_value(paired["mcnemar_p"])}).
These intervals take every pair of therapies for independent and the configs as given. Taking the configs
for a sample of what a search would find, the mean advantage of a config lies between
{points(configs["low"])} and {points(configs["high"])} percentage points (95 % bootstrap interval over
configs). The strategic therapist was ahead in {positive:,} of {numbers["n_configs"]:,} configs.

Mean octant distance at the end of the curves:

"""
        + "\n".join(final)
        + f"""

These ends are no outcome. V2 plans for the longest therapy allowed (`max_sessions`) and departs less the fewer
sessions are left, so that its answers return to complementarity there, whatever became of the client.

The strategic therapist never left complementarity in {numbers["never_forked"]:,} pairs
({percent(numbers["never_forked"] / numbers["total_pairs"])}). Dropouts at session 10:
{numbers["dropouts"]["v2"]:,} with the strategic therapist, {numbers["dropouts"]["baseline"]:,} with the
baseline.
""",
    )


def _main(window_size: int, axis: AxisName, figures: Mapping[str, SavedFigure]) -> Section:
    time = "session number" if axis == "session" else "share of the possible therapy"
    other = "aggregated_complementarity_" + ("normalized" if axis == "session" else "session")
    reading = (
        f"Mean octant distance of the strategic therapist's answers by {time}. **Green**: only the strategic "
        "therapist helped. **Red**: only the baseline helped. **Black**: all other clients. "
        "Shaded: plus and minus one standard deviation between therapies."
    )
    return Section(
        "The main figure",
        f"""
Each line is the mean over all clients of a group, of each client's last {window_size} sessions. A line at
0 means that the therapist is perfectly complementary; a rise means deliberate departures from it. The shaded
bands show how much single therapies differ. They are **not** confidence bands: the means themselves are known
far better than that.
""",
        shown(figures, {"aggregated_complementarity": reading, other: "The same on the other time axis."}),
    )


def _groups(figures: Mapping[str, SavedFigure], resamples: int) -> Section:
    return Section(
        "Groups apart, and who is left",
        """
Successful clients leave therapy, so the right end of each line describes only those who are still in it.
Where a category shrinks fast, a change of its mean can come from who leaves rather than from what the
therapist does.
""",
        shown(
            figures,
            {
                "categories": "The four categories one by one, mean and one standard deviation.",
                "further_metrics": "What else was averaged: the tracker's other metrics, satisfaction and bond.",
                "survivorship": "How many simulations each point of the lines stands on (left, logarithmic), "
                "and which share of the category is still in therapy (right).",
                "bootstrap": "How much the lines owe to the configs that happen to be in the sample: 95 % of "
                f"{resamples:,} resamples of whole configs. More clients per config would not narrow these bands.",
            },
        ),
    )


def _limit(sessions: Iterable[int]) -> str:
    low, high = min(found := set(sessions)), max(found)
    return f"{low:,} sessions" if low == high else f"{low:,} to {high:,} sessions"


def _session_limits(aggregate: Aggregate) -> str:
    """Say whether stored and measured advantages are of equally long therapies."""
    stored = [config["params"].get("max_sessions") for config in aggregate.configs]
    measured = aggregate.max_sessions.tolist()
    if not stored or None in stored:
        return "How long the search's therapies could last is not known. "
    if stored == measured:
        return f"Both are of therapies of the same limits ({_limit(measured)}). "
    return (
        f"The search let therapies last as long as each trial said ({_limit(stored)}), here the limit is "
        f"{_limit(measured)}: what is lost may be owed to that as well as to chance, and this run cannot tell the two "
        "apart (`simulate.max_sessions_mode: trial` measures at the search's limits). "
    )


def _configs(aggregate: Aggregate, numbers: Mapping[str, Any], figures: Mapping[str, SavedFigure]) -> Section:
    found = numbers["stored_against_measured"]
    text = "The search stored an advantage for every config, measured on its own clients. "
    if found["mean_stored"] is not None:
        text += (
            f"Measured again here, the tenth of the configs with the largest stored advantage goes from "
            f"{points(found['top_stored'])} to {signed(found['top_measured'])}; over all configs the mean is "
            f"{points(found['mean_stored'])} stored and {signed(found['mean_measured'])} measured. "
        )
    if found["spearman"] is not None:
        text += f"Ranks agree with Spearman's \N{GREEK SMALL LETTER RHO} = {found['spearman']:.2f} "
        text += f"({p_value(found['spearman_p'])}). "
    text += _session_limits(aggregate)
    text += (
        "That the best ones lose something is expected: a search that picks the largest of many noisy values "
        "also picks lucky ones (the winner's curse). `tables/per_config.csv` of the run lists every config with its "
        "interval."
    )
    return Section(
        "Config by config",
        text,
        shown(
            figures,
            {
                "advantage_agreement": "Left: stored against measured advantage, one point a config, with "
                "95 % intervals. Right: both, averaged over equally large groups of configs.",
                "distance_map": "One row per config, one column per session, one panel per group. Gray: no "
                "client of this group is in therapy.",
            },
        ),
    )


def _fork(figures: Mapping[str, SavedFigure]) -> Section:
    return Section(
        "Around the first strategic answer",
        """
Departures start at different times for different clients, which blurs the lines above. Here session 0 is the
first non-complementary answer of each therapy; before it both therapists behave identically. Clients with
whom the strategic therapist stayed complementary throughout are not part of this figure.
""",
        shown(
            figures,
            {
                "fork_aligned": "Mean distance by sessions from the first non-complementary answer, by "
                "category. The rise over the first sessions is partly the moving window filling up."
            },
        ),
    )


def _limits(is_overlap_possible: bool) -> Section:
    seen = """* Clients that the search has seen may be among those simulated here. A confirmatory run uses other seeds
  (`seed_offset`, for example 1,000,000).
"""
    return Section(
        "What to keep in mind",
        f"""
* This is a model. "Client" and "therapist" are programs; nothing here was measured on people.
* The same clients (seeds) meet every config, so pairs of different configs are not independent of each other.
* A client's random numbers, its utility matrix and its remembered past start from the same seed. This follows
  the reference implementation and is kept for exact comparability.
* Configs were chosen *because* of their place in the spectrum of advantages. Means over configs describe that
  sample.
* A client who misperceives an answer takes it for the most frequent of the last 15, whatever the therapist's
  `perception_window` is.
{seen if is_overlap_possible else ""}""",
    )


def _run(facts: Mapping[str, Any]) -> Section:
    return Section("About this run", markdown_table(("what", "value"), [(k, v) for k, v in facts.items()]))
