"""`bin/synergy prepare`: the data phases of a run alone, so that its data set stands before anything is trained."""

from __future__ import annotations

from typing import Any

import click

from ..commands.base import run_command
from ..commands.study import link_outputs
from ..errors import Exit, QuintetError
from ..run import Run
from . import OUTPUTS
from .flags import from_values, setting_options
from .sweep import OWN_OPTIONS, Console, planned, workers_of

TAKEN = ("output_dir", "parallel_jobs", "log_level")


def prepare(values: dict[str, Any]) -> int:
    """Plan the run and make its data set; return the exit code."""
    own = {name: values.pop(name) for name in TAKEN}
    for name, value in (("--config", values["config"]), ("--output-dir", own["output_dir"])):
        if value is None:
            raise QuintetError(Exit.USAGE, f"{name}: not given")
    console, run = Console(own["log_level"]), Run(own["output_dir"])
    console.say(planned(console, from_values(values), run))
    phases = [name for name in run.phases() if name != "train"]
    if not phases:
        console.say("the data set is from outside: there is nothing to prepare")
    for name in phases:
        jobs = ("--jobs", str(workers_of(own["parallel_jobs"])))
        code = console.run("quintet.shard.commands.local", str(run.path), "--phase", name, *jobs)
        code = code or console.run("quintet.merge", str(run.path), name)
        if code:
            return code
    link_outputs(run, OUTPUTS)
    return 0


def command() -> click.Command:
    """Return the click command."""
    return click.Command(
        "prepare",
        params=[*setting_options(), *(OWN_OPTIONS[name] for name in TAKEN)],
        callback=lambda **values: prepare(values),
        help="Make the data set of a run: its visual domain, and the latents of every image.",
    )


if __name__ == "__main__":
    run_command(command(), name="bin/synergy prepare")
