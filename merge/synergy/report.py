"""The study's report in plain words for a representation-learning researcher, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...jobs.synergy.comparisons import reference_scale
from ...jobs.synergy.conditions import scale_text
from ...jobs.synergy.prior import CONTRADICTS, SUPPORTS
from ...jobs.synergy.statistics import summarise
from ..drawing import shown
from ..page import Report, Section, markdown_table
from ..style import SavedFigure
from .figures import title_of
from .rendering import REPORT_FIGURE, file_name
from .sweep import Sweep

TITLE = "Does a small global workspace keep synergistic information?"
LISTED = 20
SCALED = ("best_val_loss", "final_val_loss")
BANDS = "bands are 95 % t intervals, cut at the range of the runs"


def study_report(
    sweep: Sweep,
    figures: Mapping[str, SavedFigure],
    facts: Mapping[str, Any],
    val_mse: float | None,
    stamp: str | None = None,
) -> Report:
    """Put the study's numbers and figures into words.

    Args:
        sweep: the results.
        figures: saved figures by name; one that is absent is left out.
        facts: what the last section lists (run, digests), in its order.
        val_mse: error of the visual domain per pixel; None where the data set is from outside.
        stamp: warning on top, or None.
    """
    sections = [_question(sweep), _answer(sweep, figures), _learned(sweep, figures)]
    sections += [_metrics(sweep, figures), _comparisons(sweep), _checks(sweep, figures), _limits(sweep, val_mse)]
    return Report(TITLE, (*sections, _run(sweep, facts)), stamp)


def interval(summary: Mapping[str, Any] | None, digits: int = 2) -> str:
    """Return a mean with its 95 % interval, or what there is of it."""
    if summary is None:
        return "–"
    mean = f"{summary['mean']:.{digits}f}"
    if not summary["ci_defined"]:
        return f"{mean} (one run)"
    return f"{mean} ({summary['ci_lower']:.{digits}f} to {summary['ci_upper']:.{digits}f})"


def scales_in(scales: Sequence[float]) -> str:
    """Return scales as a list in words."""
    return ", ".join(scale_text(scale) for scale in scales)


def at_scales(scales: Sequence[float]) -> str:
    """Return "at scale 1.0", "at scales 0.1, 1.0" or "at no scale"."""
    return f"at scale{'s' if len(scales) > 1 else ''} {scales_in(scales)}" if scales else "at no scale"


def _question(sweep: Sweep) -> Section:
    config, grid = sweep.config, sweep.config.sweep
    data, model, counts = config.data, config.model, sweep.counts
    return Section(
        "The question",
        f"""
A global-workspace model fuses two modalities, vision and attributes, into one vector of `workspace_dim` numbers and
decodes both from it. Beside what each modality holds there is a target that neither of them shows alone: the sum,
modulo {data.n_bins}, of the shape's size (seen in `v`) and of a random attribute u (told in `attr`). The *synergy prior
hypothesis* says that a smaller workspace keeps such synergistic information longer than unique or redundant one.

{sweep.planned:,} trainings were planned: {len(sweep.dims)} workspace dimensions ({", ".join(map(str, sweep.dims))}),
{len(sweep.scales)} scales of the synergy loss ({scales_in(sweep.scales)}) and {grid.runs_per_condition} runs of each
condition with the seeds {grid.base_seed} to {grid.base_seed + grid.runs_per_condition - 1}; the same seeds everywhere,
so that conditions are paired. **{counts["completed"]:,} are done**, {counts["failed"]:,} failed,
{counts["pending"]:,} are pending. Networks have {model.n_layers + 2} linear maps of width {model.hidden_dim}
(decoders {model.decoder_hidden_dim}), experiment type `{grid.experiment_type}`,
{config.epochs(grid.experiment_type)} epochs of {config.train_rows:,} samples; everything below is measured on
{config.val_rows:,} validation samples after the last epoch.
""",
    )


def empty_scales(sweep: Sweep) -> list[float]:
    """Return the scales at which no run has synergy to retain even at the largest dimension that there is."""
    largest = max((row["workspace_dim"] for row in sweep.prior["retention"]), default=0)
    return [
        row["synergy_scale"]
        for row in sweep.prior["retention"]
        if row["measure"] == "synergy" and row["workspace_dim"] == largest and not row["n"]
    ]


def _answer(sweep: Sweep, figures: Mapping[str, SavedFigure]) -> Section:
    rows = [
        (
            scale_text(row["synergy_scale"]),
            row["n"],
            "–" if row["mean_diff"] is None else f"{row['mean_diff']:+.3f}",
            "–" if row["ci_lower"] is None else f"{row['ci_lower']:+.3f} to {row['ci_upper']:+.3f}",
            row["verdict"],
        )
        for row in sweep.prior["verdicts"]
    ]
    by_verdict = {
        verdict: [row["synergy_scale"] for row in sweep.prior["verdicts"] if row["verdict"] == verdict]
        for verdict in (SUPPORTS, CONTRADICTS)
    }
    undecided = [
        row["synergy_scale"] for row in sweep.prior["verdicts"] if row["verdict"] not in (SUPPORTS, CONTRADICTS)
    ]
    empty = empty_scales(sweep)
    floor = (
        f"\n**No synergy was learned {at_scales(empty)} even at the largest dimension there is: what was never there "
        "cannot be lost, and the verdict there says nothing.**\n"
        if empty
        else ""
    )
    redundant = sweep.config.synergy.redundant_indices
    if redundant is not None and not any(redundant.values()):
        floor += (
            "\n**There is no R² of redundant columns, as `synergy.redundant_indices` names none: no slopes can be "
            "compared, and every verdict is undecided. `null` takes the usual columns.**\n"
        )
    text = markdown_table(("scale", "runs", "slope of synergy − slope of redundancy", "95 % interval", "verdict"), rows)
    return Section(
        "The answer in brief",
        f"""
The data **support** the prior {at_scales(by_verdict[SUPPORTS])}, **contradict** it
{at_scales(by_verdict[CONTRADICTS])}, and leave it **undecided** {at_scales(undecided)}.

{text}
{floor}
For every run and scale the skill on the synergistic target (1 − cross entropy / chance) and the R² of the redundant
columns are regressed on log2 of the dimension; a steeper slope means that more is lost when the workspace shrinks. The
interval is a paired t interval over runs. Entirely below 0: synergy is lost more slowly than redundancy. Outcomes are
bimodal (a run learns the target or stays at chance), so read the interval together with the learned shares below. The
verdicts of several scales are not corrected for their number.
""",
        shown(
            figures,
            {
                "synergy_prior": "What is kept of each kind, relative to the largest dimension, with 95 % intervals "
                "over runs, cut at the range of the runs. A kind of which the largest dimension holds less than 0.05 "
                "is left out."
            },
        ),
    )


def _learned(sweep: Sweep, figures: Mapping[str, SavedFigure]) -> Section:
    found = {(row["workspace_dim"], row["synergy_scale"]): row for row in sweep.learned}
    header = ("dim \\ scale", *(scale_text(scale) for scale in sweep.scales))

    def cell(dim: int, scale: float) -> str:
        row = found.get((dim, scale))
        if row is None or not row["n"]:
            return "–"
        return f"{row['learned']}/{row['n']} ({row['lo']:.2f}–{row['hi']:.2f})"

    rows = [(dim, *(cell(dim, scale) for scale in sweep.scales)) for dim in sweep.dims]
    onset = summarise(record.get("onset_epoch") for record in sweep.records)
    words = (
        f"Where it was reached, accuracy first passed half the way from chance to 1 in epoch {onset['median']:.0f} "
        f"(median of {onset['n']} runs, from {onset['min']:.0f} to {onset['max']:.0f})."
        if onset
        else "No run came half the way from chance to 1."
    )
    return Section(
        "Who learned the synergistic target",
        f"""
Runs with a final accuracy of at least 0.5 (chance is 1/{sweep.config.data.n_bins}), of those done, with Wilson 95 %
intervals:

{markdown_table(header, rows)}

{words}
""",
        shown(
            figures,
            {
                REPORT_FIGURE: "Accuracy on the synergistic target over epochs, mean and 95 % interval over runs. "
                "Learning is a plateau at chance followed by a jump, at another epoch in every run."
            },
        ),
    )


def _metrics(sweep: Sweep, figures: Mapping[str, SavedFigure]) -> Section:
    metrics = (
        "predictability/synergy_acc",
        "predictability/synergy_norm_ce",
        "predictability/redundant_r2",
        "predictability/unique_r2",
    )
    reference = reference_scale(sweep.scales)
    rows = [(dim, *(interval(sweep.summary(dim, reference, metric)) for metric in metrics)) for dim in sweep.dims]
    captions: dict[str, str] = {}
    for metric in sweep.metrics:
        name = file_name(metric)
        captions |= {
            f"heatmap_{name}": f"{title_of(metric)}: mean over runs of every condition.",
            f"{name}_vs_dimensions": f"{title_of(metric)} over dimensions; {BANDS}.",
            f"{name}_vs_synergy_scale": f"{title_of(metric)} over scales of the synergy loss; {BANDS}.",
        }
    return Section(
        "Metric by metric",
        f"""
At scale {scale_text(reference)}, mean with 95 % interval over runs (`tables/summary.csv` of the run has
all conditions and metrics):

{markdown_table(("dim", *(title_of(metric) for metric in metrics)), rows)}

`best_val_loss` holds the scale, so it can be compared within one scale only; `val_loss_unscaled` across scales.
""",
        shown(figures, captions),
    )


def _comparisons(sweep: Sweep) -> Section:
    tested = [row for row in sweep.comparisons if row["paired_p_holm"] is not None]
    kept = sorted(
        (row for row in tested if row["paired_p_holm"] < 0.05),
        key=lambda row: (row["paired_p_holm"], -abs(row["paired_mean_diff"])),
    )
    listed = [row for row in kept if row["family"] == "dimension" or row["metric"] not in SCALED]
    planned = reference_scale(sweep.scales)
    done = [entry["synergy_scale"] for entry in sweep.aggregated.values()]
    used = reference_scale(done) if done else planned
    instead = (
        f" No run at scale {scale_text(planned)} is done: the reference scale is {scale_text(used)}."
        if used != planned
        else ""
    )
    rows = [
        (
            title_of(row["metric"]),
            f"dim {row['workspace_dim']}, scale {scale_text(row['synergy_scale'])}",
            f"{'scale' if row['family'] == 'scale' else 'dim'} {row['reference']:g}",
            f"{row['paired_mean_diff']:+.3f} ({row['paired_ci_lower']:+.3f} to {row['paired_ci_upper']:+.3f})",
            f"{row['paired_p_holm']:.2g}",
        )
        for row in listed[:LISTED]
    ]
    table = markdown_table(("metric", "condition", "against", "difference (95 % interval)", "p (Holm)"), rows)
    hidden = len(kept) - len(listed)
    left_out = f" {hidden} of them compare, across scales, losses that hold the scale: not listed." if hidden else ""
    more = "The others:" if hidden else "They are:"
    if len(listed) > LISTED:
        more = f"The {LISTED} {'others ' if hidden else ''}with the smallest p values:"
    return Section(
        "Which differences hold",
        f"""
Every condition is compared with its reference scale and with the largest dimension, by Welch's test over runs and by
paired tests over shared seeds; p values are corrected over each family by Bonferroni's and Holm's method
(`tables/comparisons.csv` of the run, {len(sweep.comparisons):,} rows).{instead} Of {len(tested):,} paired t tests,
{len(kept):,} stay below 0.05 after Holm's correction.{left_out}{f" {more}" if listed else ""}

{table if listed else ""}
""",
    )


def _checks(sweep: Sweep, figures: Mapping[str, SavedFigure]) -> Section:
    chance = 1.0 / sweep.config.data.n_bins
    bound = 4.0 * (chance * (1.0 - chance) / sweep.config.val_rows) ** 0.5
    values = [
        record[name]
        for record in sweep.records
        for name in ("unimodal/attr_acc", "unimodal/v_acc")
        if record.get(name) is not None
    ]
    outside = sum(abs(value - chance) > bound for value in values)
    lines = [
        f"* Accuracy on the target from one modality alone lies between {min(values):.3f} and {max(values):.3f}; "
        f"{outside} of {len(values)} values are further than 4 standard errors ({bound:.3f}) from chance "
        f"({chance:.3f}). The target cannot be read from one modality."
        if values and not outside
        else f"* Accuracy from one modality alone: {outside} of {len(values)} values are further than 4 standard "
        f"errors ({bound:.3f}) from chance ({chance:.3f})."
    ]
    failed = [result for result in sweep.results if result.status == "failed"]
    lines += [f"* `{result.condition_id}` failed: {result.error}" for result in failed[:LISTED]]
    if len(failed) > LISTED:
        lines.append(f"* … and {len(failed) - LISTED} more failed runs")
    return Section(
        "Checks and failures",
        "\n".join(lines),
        shown(figures, {"statistical_summary": "Share of the planned runs that are done, and what became of all."}),
    )


def _limits(sweep: Sweep, val_mse: float | None) -> Section:
    size = "appended to the visual input" if sweep.config.data.append_size else "not given, only seen"
    error = "" if val_mse is None else f" (validation images: mean squared error per pixel {val_mse:.4f})"
    return Section(
        "What to keep in mind",
        f"""
* The true size is {size}. The study is about fusing two inputs, not about seeing.
* The visual domain is `{sweep.config.visual.kind}`, trained here{error}; the target does not depend on it.
* A t interval over runs misleads where some runs learn and others do not; the learned shares have Wilson intervals.
* Runs of one number share their seed in all conditions. Seeds were not chosen by outcome.
* A run that had not learned by its last epoch might have learned later.
""",
    )


def _run(sweep: Sweep, facts: Mapping[str, Any]) -> Section:
    cost = summarise(record.get("cpu_seconds") for record in sweep.records)
    rows = [*facts.items(), ("backend", sweep.config.run.backend), ("device", sweep.config.run.device)]
    if cost is not None:
        hours = cost["mean"] * cost["n"] / 3600
        rows.append(("CPU seconds per training", f"{cost['mean']:.1f} ({cost['min']:.1f} to {cost['max']:.1f})"))
        rows.append(("CPU hours of all trainings", f"{hours:.2f}"))
    return Section("About this run", markdown_table(("what", "value"), rows))
