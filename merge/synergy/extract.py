"""`bin/synergy extract [RUN]`: the curves of a run, raw, per condition, and drawn; also from a raw file of old."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ...jobs.synergy.curves import STATES, processed_curves, raw_curves, raw_run
from ...shard.commands.base import run_command
from ...shard.context import Context
from ...shard.errors import Exit, QuintetError
from ...shard.publish import replace_file
from ...shard.run import Run
from ..drawing import Rendered
from ..exports import json_bytes
from ..origin import made_from
from ..report import incomplete_stamp
from .rendering import curve_drawings, dimension_drawings, draw
from .sweep import NOTHING, Sweep
from .unfinished import unfinished_runs

RAW, PROCESSED = "raw_wandb_data.json", "processed_wandb_data.json"
STATUS = {"finished": "done", "failed": "failed"}


def context_of(path: Path) -> Context:
    """Return the phase train of a run of this study: exit 2 where it is none."""
    run = Run.opened(path)
    if run.overview().get("study") != "synergy":
        raise QuintetError(Exit.USAGE, f"{path}: not a run of synergy")
    return Context.of(run, "train")


def runs_of(context: Context, state: str) -> list[dict[str, Any]]:
    """Return the entries of the raw file: units in the given state."""
    if state not in STATUS:
        return list(unfinished_runs(context, state))
    return [raw_run(result, state) for result in Sweep.of(context).results if result.status == STATUS[state]]


def read_raw(path: Path) -> dict[str, Any]:
    """Read a raw file: exit 2 where it is missing, exit 65 where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise QuintetError(Exit.USAGE, f"{path}: no such file; without --process-only a RUN makes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise QuintetError(Exit.INPUT, f"{path}: not JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(found, dict) or not isinstance(found.get("runs"), list):
        raise QuintetError(Exit.INPUT, f"{path}: no list `runs`")
    return found


def write_curves(
    raw: Mapping[str, Any], folder: Path, origins: Mapping[str, Any], stamp: str | None, n_bins: int, form: str
) -> Rendered:
    """Write the processed curves and their figures."""
    try:
        processed = processed_curves(raw)
    except ValueError as error:
        raise QuintetError(Exit.INPUT, f"{folder / RAW}: {error}") from None
    replace_file(folder / PROCESSED, json_bytes(processed))
    left_out = len(raw["runs"]) - sum(entry["n_runs"] for entry in processed["conditions"].values())
    if left_out:
        click.echo(f"runs without a workspace_dim, left out: {left_out}", err=True)
    curves = draw(curve_drawings(processed, n_bins), folder / "training_curves", origins, stamp, form)
    return curves | draw(dimension_drawings(processed, n_bins), folder, origins, stamp, form)


class Extract(click.Command):
    """`--tags a b` is `--tags a --tags b`, as in the earlier script."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the flag before every word that follows it, up to the next flag."""
        spread: list[str] = []
        tags = False
        for word in args:
            if word.startswith("-"):
                tags = word == "--tags"
            spread += ["--tags", word] if tags and word != "--tags" else [] if tags else [word]
        return super().parse_args(ctx, spread)


@click.command("extract", cls=Extract)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--project", help="Copied into the raw file.")
@click.option("--group", help="Copied into the raw file.")
@click.option("--tags", multiple=True, help="Copied into the raw file; one or more.")
@click.option("--entity", help="Copied into the raw file.")
@click.option("--state", type=click.Choice(STATES), default="finished", show_default=True, help="Which units.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="Where to  [default: the run's folder wandb_data]")
@click.option("--process-only", is_flag=True, help=f"Take {RAW} in the output folder as it stands.")
def command(
    run: Path | None,
    project: str | None,
    group: str | None,
    tags: tuple[str, ...],
    entity: str | None,
    state: str,
    output_dir: Path | None,
    process_only: bool,
) -> None:
    """Write the learning curves of RUN: raw, per condition, and as figures."""
    if run is None and len(tags) > 1 and Path(tags[-1]).is_dir():
        tags, run = tags[:-1], Path(tags[-1])
    if run is None and not process_only:
        raise QuintetError(Exit.USAGE, "RUN: not given; only --process-only does without one")
    if run is None and output_dir is None:
        raise QuintetError(Exit.USAGE, f"--output-dir: not given; allowed is the folder of {RAW}")
    folder = output_dir or Path(str(run)) / "wandb_data"
    origins: dict[str, Any] = {"raw": RAW}
    stamp, n_bins, form = None, 8, "png"
    if run is not None:
        context = context_of(run)
        origins, stamp = made_from(context, "train"), incomplete_stamp(context.run) or None
        n_bins, form = context.config.data.n_bins, context.config.report.format
        if not process_only:
            labels = [tag.strip() for text in tags for tag in text.split(",") if tag.strip()]
            found = raw_curves(runs_of(context, state), project=project, group=group, tags=labels, entity=entity)
            replace_file(folder / RAW, json_bytes(found))
    raw = read_raw(folder / RAW)
    if not raw["runs"]:
        raise QuintetError(Exit.INCOMPLETE, f"{NOTHING}: no unit is {state}")
    rendered = write_curves(raw, folder, origins, stamp, n_bins, form)
    click.echo(f"{len(raw['runs'])} runs, {len(rendered.saved)} figures: {folder}")
    rendered.need_all()


if __name__ == "__main__":
    run_command(command, name="bin/synergy extract")
