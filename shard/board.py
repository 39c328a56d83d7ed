"""The picture of a run's progress: a table on a wide terminal, stacked rows on a narrow one, lines in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .attempts import utc_now

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .progress import PhaseProgress, Use

WIDE = 140
BAR = 16
UNITS = ((10, "s", 1, ".1f"), (90, "s", 1, ".0f"), (5400, "min", 60, ".0f"), (172800, "h", 3600, ".1f"))


def unit_of(seconds: float) -> tuple[str, int, str]:
    """Return the unit in which a person says a time, its seconds, and the number's format."""
    for limit, unit, size, form in UNITS:
        if seconds < limit:
            return unit, size, form
    return "d", 86400, ".1f"


def eta(progress: PhaseProgress) -> str:
    """Return the time left with its 10-90 % range: 13 min (11–16)."""
    found = progress.estimate
    if progress.complete or found.seconds_left is None:
        return "–"
    unit, size, form = unit_of(found.seconds_left)
    mark = "~" if found.planned else ""
    text = f"{mark}{found.seconds_left / size:{form}} {unit}"
    if found.seconds_low is None or found.seconds_high is None:
        return text
    return f"{text} ({found.seconds_low / size:{form}}–{found.seconds_high / size:{form}})"


def rate(progress: PhaseProgress) -> str:
    """Return units a second over the last ten minutes."""
    value = progress.estimate.units_per_s
    if value is None or progress.complete:
        return "–"
    return f"{'~' if progress.estimate.planned else ''}{value:.3g}/s"


def count(progress: PhaseProgress) -> str:
    """Return what is done of what."""
    if progress.trials is not None:
        trials = progress.trials
        return f"{trials.complete}/{trials.wanted} trials" + (f", {trials.failed} failed" if trials.failed else "")
    if progress.units is None:
        return "units follow"
    return f"{progress.blocks_done}/{progress.blocks} blocks"


def shards(progress: PhaseProgress) -> str:
    """Return the states of the shards (or workers) that occur."""
    return ", ".join(f"{number} {state}" for state, number in progress.shards.items() if number) or "none"


def word(progress: PhaseProgress) -> str:
    """Return the phase's state in a word or two."""
    if progress.waits_for:
        return f"waits for {progress.waits_for}"
    if progress.trouble:
        return "trouble"
    if progress.merged:
        return "merged"
    if progress.complete:
        return "complete"
    return "under way" if progress.active else "idle"


def colour(progress: PhaseProgress) -> str:
    """Return the colour of a phase's state."""
    if progress.trouble or progress.failed_shards:
        return "red"
    if progress.merged or progress.complete:
        return "green"
    return "cyan" if progress.active else "yellow"


def use(found: Use | None, unit: str) -> str:
    """Return p50/p95/max of what was used, and what was requested."""
    if found is None:
        return "–"
    values = "/".join(f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in (found.p50, found.p95, found.max))
    return f"{values} of {found.requested:.0f} {unit}"


def cpu(progress: PhaseProgress) -> str:
    """Return CPU hours used, with what of it was wasted."""
    wasted = f", {progress.wasted_cpu_h:.2g} h wasted" if progress.wasted_cpu_h else ""
    lost = f", {progress.attempts_lost} unrecorded" if progress.attempts_lost else ""
    used = f"{progress.cpu_h:.3g} h" if progress.cpu_h >= 0.01 else f"{3600 * progress.cpu_h:.1f} s"
    return f"{used}{wasted}{lost}"


def attempts(progress: PhaseProgress) -> str:
    """Return how many attempts were made, and the most at one shard."""
    return f"{progress.attempts} (max {progress.attempts_max})"


def facts(progress: PhaseProgress) -> Iterator[tuple[str, str]]:
    """Yield what is known of a phase beside its bar, as label and text."""
    yield ("workers" if progress.kind == "pull" else "shards"), shards(progress)
    if progress.attempts:
        yield "attempts", attempts(progress)
        yield "rate", rate(progress)
        yield "left", eta(progress)
        yield "CPU", cpu(progress)
        yield "memory", use(progress.memory_mb, "MB")
        yield "time", use(progress.seconds, "s")


def remarks(phases: Sequence[PhaseProgress]) -> Iterator[tuple[str, str, str]]:
    """Yield what a person should know beside the table: colour, phase, and a trouble, failure or suggestion."""
    for progress in phases:
        if progress.trouble:
            yield "red", progress.phase, progress.trouble
        if progress.trials is not None and not progress.trials.told:
            yield "yellow", progress.phase, "trials counted from files; the database is busy, gone or damaged"
        for item in progress.failures if not progress.merged else ():  # what was overcome is history
            times = f" x{item.count}" if item.count > 1 else ""
            log = f" [{item.log}]" if item.log else ""
            yield "red", progress.phase, f"{item.failure}{times}, e.g. shard {item.shard}: {item.example}{log}"
        if progress.suggestion and not progress.merged:
            used = f"{use(progress.memory_mb, 'MB')}, {use(progress.seconds, 's')}"
            yield "yellow", progress.phase, f"{progress.suggestion} (used {used})"


def bar(progress: PhaseProgress, width: int = BAR) -> str:
    """Return a bar of block characters."""
    full = int(progress.fraction * width)
    return "█" * full + "░" * (width - full)


def plain(phases: Sequence[PhaseProgress], note: str, step: str) -> Iterator[str]:
    """Yield the lines of a file: each with its time, one phase a line."""
    stamp = utc_now()[:19] + "Z"
    for progress in phases:
        told = "; ".join(f"{label} {text}" for label, text in facts(progress))
        yield f"{stamp} {progress.phase}: {100 * progress.fraction:.0f} % {count(progress)}, {word(progress)}; {told}"
    for _, phase, text in remarks(phases):
        yield f"{stamp} {phase}: {text}"
    if note:
        yield f"{stamp} {note}"
    yield f"{stamp} next: {step}"


def picture(title: str, phases: Sequence[PhaseProgress], note: str, step: str, width: int) -> RenderableType:
    """Return what a terminal of `width` columns shows."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    body = wide_table(phases) if width >= WIDE else stacked_rows(phases, width)
    below = Table.grid(padding=(0, 1))
    below.add_column(no_wrap=True)
    below.add_column(overflow="fold")  # a second line of a remark stands below its first
    for style, phase, text in remarks(phases):
        below.add_row(Text(f"{phase}:", style=style), Text(text, style=style))
    if note:
        below.add_row(Text("Slurm:", style="yellow"), Text(note, style="yellow"))
    below.add_row(Text("next:", style="bold"), step)
    return Group(Text(title, style="bold"), body, below)


def wide_table(phases: Sequence[PhaseProgress]) -> RenderableType:
    """Return two lines a phase, side by side."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("phase", "done", "shards, workers", "rate\nleft (10–90 %)", "attempts\nCPU", "MB and s\np50/p95/max"):
        table.add_column(name, overflow="fold", no_wrap=name in {"phase", "done"})
    for progress in phases:
        style = colour(progress)
        known = progress.attempts > 0
        bar_line = f"{bar(progress)} {100 * progress.fraction:3.0f} %"
        table.add_row(
            Text.assemble((progress.phase, "bold"), "\n", (word(progress), style)),
            Text.assemble((bar_line, style), f"\n{count(progress)}"),
            shards(progress),
            f"{rate(progress)}\n{eta(progress)}" if known else "–",
            f"{attempts(progress)}\n{cpu(progress)}" if known else "–",
            f"{use(progress.memory_mb, 'MB')}\n{use(progress.seconds, 's')}" if known else "–",
        )
    return table


def stacked_rows(phases: Sequence[PhaseProgress], width: int) -> RenderableType:
    """Return a few short lines a phase; one line for what is merged while other phases are not."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows: list[RenderableType] = []
    going_on = not all(progress.merged for progress in phases)
    for progress in phases:
        style = colour(progress)
        head = Text.assemble((progress.phase, "bold"), "  ", (word(progress), style))
        head.append(f"  {count(progress)}")
        if progress.merged and going_on:
            rows.append(head)
            continue
        line = Text(f"  {bar(progress, max(10, min(width - 12, 60)))} {100 * progress.fraction:3.0f} %", style=style)
        grid = Table.grid(padding=(0, 1))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for label, text in facts(progress):
            if text == "–":
                continue
            grid.add_row(f"  {label}", text)
        rows += [head, line, grid]
    return Group(*rows)
