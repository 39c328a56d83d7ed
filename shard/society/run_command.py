"""`bin/society [run] CONFIG`: plan, local array and merge in one go, with a live view of a unit where it is wanted."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from ..commands.base import run_command
from ..commands.plan import packaged_inputs, project_folder, with_existing_inputs
from ..commands.study import link_outputs, local, python
from ..configs import find_config, load, loaded, validated
from ..context import Context
from ..dropin import click_type, field_of, submit_option
from ..errors import Exit, QuintetError
from ..run import Run
from . import LIVE, OUTPUTS, Config, outcome
from .live import ViewOptions, wants_color

LABEL = "bin/society run"

FLAGS: dict[str, tuple[str, ...]] = {
    "--env": ("env",),
    "--difficulty": ("difficulty",),
    "--max-events": ("max_events_per_tick",),
    "--seed": ("seed",),
    "--steps": ("steps",),
    "--population": ("population",),
    "--strength": ("steering.strength",),
    "--steering-mode": ("steering.mode",),
}
"""Flags that are config keys; the schema gives their types and meaning."""

STUDY_KEYS = {"--strength": "study.strengths", "--steering-mode": "study.arms"}
"""Keys of the study that would take precedence over a flag, which therefore sets them, too, as lists of one."""


def config_path(name: str) -> Path:
    """Return the config that is named: a path, or a shipped one with or without folder and ending."""
    project = project_folder()
    for candidate in (name, f"society/{name}", f"society/{name}.yaml"):
        try:
            found = find_config(candidate, project)
        except QuintetError:
            continue
        if found.is_file():
            return found
    return find_config(name, project)


def settings_of(values: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Return the `--set` of plan that the flags stand for."""
    settings: dict[str, Any] = {}
    for flag, (key,) in FLAGS.items():
        value = values[flag.removeprefix("--").replace("-", "_")]
        if value is not None:
            settings[key] = value
            if flag in STUDY_KEYS:
                settings[STUDY_KEYS[flag]] = [value]
    if values["seed"] is not None:
        settings["study.seed0"] = None
    if values["mock_model"]:
        settings |= {"model_name": "mock", "optimization.use_quantization": "none"}
    if values["no_steering"]:
        settings |= {"steering.enabled": False, "study.arms": ["disabled"]}
    if values["vector_dir"] is not None:
        settings |= vector_settings(Path(values["vector_dir"]))
    if not isinstance(config.get("study"), str):
        settings["study.name"] = "society"
    else:
        settings = {key: value for key, value in settings.items() if not key.startswith("study.")}
    texts = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}" for key, value in settings.items()
    ]
    return [*texts, *values["settings"]]


def vector_settings(folder: Path) -> dict[str, str]:
    """Return the inputs that a folder of vectors is; exit 2 where it has none."""
    path = folder / "vectors.npz"
    if not path.is_file():
        raise QuintetError(Exit.USAGE, f"--vector-dir: found {str(folder)!r}; it has no vectors.npz")
    about = folder / "vectors.json"
    more = {"inputs.vectors-about": str(about.resolve())} if about.is_file() else {}
    return {"inputs.vectors": str(path.resolve()), **more}


def run_folder(config: dict[str, Any], given: Path | None) -> Path:
    """Return the run directory: the given one, else the config's, else `runs/<run_id>`."""
    if given is not None:
        return given
    section = config.get("logging") or {}
    named = section.get("dir") if isinstance(section, dict) else None
    return Path(named) if isinstance(named, str) else Path("runs") / str(config.get("run_id", "society"))


def set_aside(folder: Path) -> None:
    """Rename an earlier run to `<folder>.bak`, `.bak2`, ..."""
    if not folder.exists():
        return
    number = 1
    while (backup := folder.with_name(f"{folder.name}.bak{'' if number == 1 else number}")).exists():
        number += 1
    folder.rename(backup)
    click.echo(f"INFO: the earlier run is {backup} now", err=True)


def plan(path: Path, run: Run, settings: list[str]) -> int:
    """Plan the run; return the exit code."""
    sets = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "quintet.shard.commands.plan", str(path), "--run", str(run.path), "--no-probe"]
    done = subprocess.run([*command, *sets], capture_output=True, text=True)
    sys.stderr.write(done.stderr.replace("bin/plan: ", f"{LABEL}: "))
    return done.returncode


def units_of(path: Path, settings: list[str]) -> int:
    """Return how many units a config has with its settings; exit 2 where it is not allowed."""
    raw, _ = loaded(path, settings)
    raw = with_existing_inputs(raw, path.resolve().parent, packaged_inputs("society", project_folder()))
    _, phases = validated(raw, "society", str(path))
    return phases[-1].units or 0


def shown_unit(units: int, unit: int | None) -> int:
    """Return the unit that is shown; exit 2 where it must be named, or there is none of that number."""
    if unit is None and units > 1:
        raise QuintetError(Exit.USAGE, f"--live: the study has {units} units; name one with --unit 0 to {units - 1}")
    if not 0 <= (unit or 0) < units:
        raise QuintetError(Exit.USAGE, f"--unit: found {unit}; allowed are 0 to {units - 1}")
    return unit or 0


def run_live(run: Run, options: ViewOptions, workers: int | None) -> int:
    """Run the phases that simulate needs, then the shard of the shown unit in sight; return the exit code."""
    for name in Context.of(run, "simulate").phase.after:
        code = local(run, workers, name, None) or python("quintet.merge", str(run.path), name)
        if code:
            return code
    planned = run.plan("simulate")
    block = options.unit // planned.block_size
    shard = next(number for number, (low, high) in enumerate(planned.shards) if low <= block < high)
    snapshot = str((run.plan_folder / "code").resolve())
    paths = os.pathsep.join(filter(None, [snapshot, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, LIVE: options.to_text(), "PYTHONPATH": paths}
    command = [sys.executable, "-m", "quintet.shard.commands.shard", str(run.path), "simulate", "--index", str(shard)]
    return subprocess.run(command, env=environment).returncode


def unheard_is_no_error() -> None:
    """Write standard output to nowhere where its reader has closed the pipe, so that what follows the view goes on."""
    poll = select.poll()
    poll.register(1, 0)  # what is asked for is always told: an error
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def options_of_flags() -> list[click.Parameter]:
    """Return the click options that are config keys, from the schema."""
    options: list[click.Parameter] = []
    for flag, (key,) in FLAGS.items():
        found = field_of(Config, key)
        options.append(click.Option([flag], type=click_type(found.annotation), help=f"Config key {key}."))
    return options


def execute(values: dict[str, Any]) -> int:
    """Do what the command line says; return the exit code."""
    path = config_path(values["config"])
    config = load(path)
    run, settings = Run(run_folder(config, values["output_dir"])), settings_of(values, config)
    unit = shown_unit(units_of(path, settings), values["unit"]) if values["live"] else 0
    if not values["resume"]:
        set_aside(run.path)
    code = plan(path, run, settings)
    if code:
        return code
    if values["submit"]:
        return python("quintet.slurm", str(run.path))
    if values["live"]:
        color = wants_color(sys.stdout, values["no_color"])
        code = run_live(run, ViewOptions(unit, color, values["full_messages"]), values["n_workers"])
        if code:
            return code
        unheard_is_no_error()
    code = local(run, values["n_workers"], None, None)
    link_outputs(run, OUTPUTS)
    if code:
        return code
    lines, code = outcome(run)
    for line in lines:
        click.echo(f"WARNING: {line}", err=True)
    if not code:
        click.echo(f"{run.path.resolve()}")
    return code


def callback(**values: Any) -> int:
    """Run the command."""
    return execute(values)


command = click.Command(
    "run",
    params=[
        click.Argument(["config"]),
        *options_of_flags(),
        click.Option(["--live"], is_flag=True, help="Show the ticks of a unit while they are computed."),
        click.Option(["--unit"], type=click.IntRange(min=0), help="Which unit --live shows."),
        click.Option(["--no-color"], is_flag=True, help="Write no colours."),
        click.Option(["--full-messages"], is_flag=True, help="Show messages and moves in full."),
        click.Option(["--mock-model"], is_flag=True, help="Take the mock model."),
        click.Option(["--no-steering"], is_flag=True, help="Take the arm disabled."),
        click.Option(["--vector-dir"], metavar="DIR", help="Folder with vectors.npz instead of the phase vectors."),
        click.Option(["--set", "settings"], multiple=True, metavar="KEY=VALUE", help="Override a config value."),
        click.Option(
            ["--resume/--fresh", "resume"], default=True, help="Go on with an earlier run, or rename it to RUN.bak."
        ),
        click.Option(["--n-workers"], type=click.IntRange(min=1), help="Processes at a time  [default: CPUs]"),
        click.Option(["--output-dir"], type=click.Path(path_type=Path), help="Run directory  [default: runs/RUN_ID]"),
        submit_option(),
    ],
    callback=callback,
    help="Run CONFIG: plan, local array and merge. What is finished is kept; --fresh renames an earlier run.",
    epilog="Subcommands: run, analyze, analyze-run, verify-steering, view, export, doctor, bench-configs.",
    context_settings={"token_normalize_func": lambda token: token.replace("_", "-")},
)


if __name__ == "__main__":
    run_command(command, name=LABEL)
