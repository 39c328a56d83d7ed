"""`bin/STUDY`: a study's old scripts; makes the config, then runs plan, local array and merge in one go."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..configs import find_config, load, merged_over
from ..context import study_module
from ..dropin import DropIn, keys_of, options_of, settings_of, submit_option
from ..errors import Exit, QuintetError
from ..plan import has_files
from ..run import Run
from .base import run_command
from .plan import project_folder


def python(module: str, *arguments: str) -> int:
    """Run a verb as a process of its own; return its exit code."""
    return subprocess.run([sys.executable, "-m", module, *arguments]).returncode


def output_folder(given: Path | None) -> Path:
    """Return the run directory: the given one, else one named by the time."""
    return given or Path("results") / time.strftime("%Y%m%d_%H%M%S")


def link_outputs(run: Run, outputs: dict[str, str]) -> None:
    """Let the files that a study's users expect stand in the run directory, as relative links."""
    for name, target in outputs.items():
        link = run.path / name
        if not (run.path / target).exists():
            continue
        if link.is_symlink():
            link.unlink()
        if not link.exists():
            link.symlink_to(target)


def write_config(study: str, config: dict[str, Any], folder: Path) -> Path:
    """Write the config that the flags made beside the run's plan-to-be."""
    import yaml

    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**config, "study": study}, sort_keys=False))
    return path


def flag_of(spelling: str) -> str:
    """Return the long form of a flag's spellings."""
    return max(spelling.split("/"), key=len)


def in_flags(text: str, label: str, source: Path, flags: Mapping[str, str]) -> str:
    """Return what `plan` said with this command's name for its own, and flags for config keys."""
    text = text.replace("bin/plan: ", f"{label}: ").replace(f"{source}: ", "")
    for spelling, key in sorted(flags.items(), key=lambda item: -len(item[1])):
        text = re.sub(rf"(?<![\w.]){re.escape(key)}(?=[:.]|$)", flag_of(spelling), text)
    return text


def plan(study: str, dropin: DropIn, settings: dict[str, Any], run: Run, label: str) -> int:
    """Plan the run from the config that the flags made; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="quintet-") as folder:
        path = write_config(study, settings, Path(folder))
        command = [sys.executable, "-m", "quintet.shard.commands.plan", str(path), "--run", str(run.path), "--no-probe"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    sys.stderr.write(in_flags(done.stderr, label, path, keys_of(study_module(study).Config, dropin)))
    return done.returncode


def settings_from(study: str, dropin: DropIn, values: Mapping[str, Any], base: str | None) -> dict[str, Any]:
    """Return the config that the flags make, on top of a config file where one is named."""
    settings = settings_of(values, dropin)
    prepared = getattr(study_module(study), "from_flags", None)
    if prepared is not None:
        settings = prepared(settings)
    return settings if base is None else merged_over(load(find_config(base, project_folder())), settings)


def local(run: Run, workers: int | None, phase: str | None, timeout: float | None) -> int:
    """Run what is missing here, for at most `timeout` seconds; return the exit code.

    A run that is out of time stops as on a signal: what is finished is kept, and the code is 75.
    """
    command = [sys.executable, "-m", "quintet.shard.commands.local", str(run.path)]
    command += ["--jobs", str(workers)] if workers else []
    command += ["--phase", phase] if phase else []
    process = subprocess.Popen(command)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.terminate()
        code = process.wait()
        return Exit.STOPPED if code == -signal.SIGTERM else code  # it had hardly begun
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
    return process.wait()


def execute(study: str, dropin: DropIn, values: dict[str, Any], label: str) -> int:
    """Plan, run and merge by the verbs, and say what came of it."""
    base, timeout = values.pop("config"), values.pop("timeout", None)
    workers, output, submit = values.pop("n_workers"), values.pop("output_dir"), values.pop("submit")
    settings = settings_from(study, dropin, values, base)
    run = Run(output_folder(output))
    code = plan(study, dropin, settings, run, label)
    if code:
        return code
    if submit:
        return python("quintet.slurm", str(run.path))
    code = local(run, workers, dropin.only, timeout)
    out_of_time = timeout is not None and code == Exit.STOPPED
    some = out_of_time and has_files(run.path / "partials" / str(dropin.only))
    if dropin.only and (not code or some):
        missing_allowed = ("--allow-missing",) if out_of_time else ()
        code = python("quintet.merge", str(run.path), dropin.only, *missing_allowed)
        if not code and dropin.then:
            code = python(dropin.then, str(run.path))
    link_outputs(run, dict(getattr(study_module(study), "OUTPUTS", {})))
    outcome = getattr(study_module(study), "outcome", None)
    if not code and outcome is not None:
        lines, code = outcome(run)
        for line in lines:
            click.echo(f"{label}: {line}", err=True)
    if not code:
        click.echo(f"{run.path.resolve()}")
    return code


def command_of(study: str, name: str, dropin: DropIn) -> click.Command:
    """Return the click command of one drop-in."""

    def callback(**values: Any) -> int:
        return execute(study, dropin, values, f"bin/{study} {name}".strip())

    timeout = click.Option(
        ["--timeout"],
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Stop after that long with what is finished; the same command goes on from there.",
    )
    options: list[click.Parameter] = [
        *options_of(study_module(study).Config, dropin),
        *([timeout] if dropin.only else []),
        click.Option(["--config"], help="Config file that the flags change."),
        click.Option(["--n-workers"], type=click.IntRange(min=1), help="Processes at a time  [default: CPUs]"),
        click.Option(["--output-dir"], type=click.Path(path_type=Path), help="Run directory  [default: results/TIME]"),
        submit_option(),
    ]
    return click.Command(name, params=options, callback=callback, help=f"Run {study} {name}".strip() + ".")


def main(arguments: list[str]) -> None:
    """Find the study and its command, and run it."""
    if not arguments:
        run_command(click.Command("study", callback=missing_name), [], "quintet")
    study, rest = arguments[0], arguments[1:]
    module = study_module(study)
    commands: dict[str, DropIn] = dict(getattr(module, "COMMANDS", {}))
    tools: dict[str, str] = dict(getattr(module, "TOOLS", {}))
    if rest and rest[0] in tools:
        os.execv(sys.executable, [sys.executable, "-m", tools[rest[0]], *rest[1:]])
    if "" in tools and not (rest and rest[0] in commands):
        os.execv(sys.executable, [sys.executable, "-m", tools[""], *rest])
    name = rest[0] if rest and rest[0] in commands else ""
    if name not in commands:
        run_command(click.Command(study, callback=no_command), [], f"bin/{study}")
    chosen = command_of(study, name, commands[name])
    if not name and (others := [other for other in (*commands, *tools) if other]):
        chosen.epilog = f"Subcommands: {', '.join(others)}."
    given = [with_dashes(argument) for argument in (rest[1:] if name else rest)]
    run_command(chosen, given, f"bin/{study}{' ' if name else ''}{name}")


def with_dashes(argument: str) -> str:
    """Return a flag written with `_`, as many scripts have them, with `-`; anything else as it is."""
    flag, equals, value = argument.partition("=")
    return flag.replace("_", "-") + equals + value if argument.startswith("--") else argument


def missing_name() -> None:
    """Refuse a call without a study."""
    raise QuintetError(Exit.USAGE, "name a study")


def no_command() -> None:
    """Refuse a study without a drop-in command."""
    raise QuintetError(Exit.USAGE, "this study has no drop-in command; use bin/plan with a config")


if __name__ == "__main__":
    main(sys.argv[1:])
