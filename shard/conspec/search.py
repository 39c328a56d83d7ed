"""`bin/conspec`: the search by its flags; makes the config, then runs plan, local array and merge in one go."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ...jobs.conspec.worlds import GRID_WORLDS, WORLDS
from ..commands.base import run_command
from ..commands.plan import project_folder
from ..commands.study import link_outputs, local, plan, python
from ..configs import canonical, find_config, load, merged_over, split, validated
from ..dropin import DropIn, options_of, settings_of, submit_option
from ..errors import Exit, QuintetError
from ..run import Run
from . import ABLATION, OUTPUTS, PREFIX, TOOLS, Config, failed_units, has_conspec
from .advice import MEMORY_ADVICE, SLOW_SUCCESS, killed_silently, slow_advice

LABEL = "bin/conspec"
SHIPPED = "conspec/seed"
FOLDER = Path("hyperparam_search_results")
ENVIRONMENTS = (*GRID_WORLDS, "all")
SHOWN = 12

DROP_IN = DropIn(
    sections=(),
    flags={
        "--n-trials": "search.n_trials",
        "--episodes": "training.episodes",
        "--seed": "seed",
        "--ablation": "ablation.trials",
        "--family": "environment.family",
        "--ruleset": "environment.ruleset",
        "--reward-mode": "environment.reward_mode",
        "--tracker": "logging.tracker",
    },
    switches={"--no-conspec": ("agent.conspec", "false"), "--static": ("search.static", "true")},
)
FLAGS = ("environment.family", "environment.ruleset", "environment.reward_mode", "logging.tracker")


def environments_of(chosen: str | None) -> dict[str, Any]:
    """Return the section that `--env` stands for; nothing where the config decides.

    Raises:
        QuintetError: exit 2 for a world that there is not.
    """
    if chosen is None:
        return {}
    if chosen not in (*WORLDS, "all"):
        raise QuintetError(Exit.USAGE, f"env: {chosen!r} is not one of {', '.join(ENVIRONMENTS)}")
    return {"environments": list(GRID_WORLDS) if chosen == "all" else [chosen]}


def config_of(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the config of a command line, flags over the file, and what errors call it.

    Args:
        values: what click made of the options that make a config.
    """
    name, world = values.pop("config"), values.pop("env")
    path = find_config(name or SHIPPED, project_folder())
    settings = settings_of(values, DROP_IN)
    for section, key in (("agent", "conspec"), ("search", "static")):
        if key in settings.get(section, {}):
            settings[section][key] = settings[section][key] == "true"
    base = load(path)
    base.pop("study", None)
    return {**merged_over(base, settings), **environments_of(world)}, str(name or path.name)


def checked(settings: dict[str, Any], source: str) -> Config:
    """Return the validated config.

    Raises:
        QuintetError: exit 2, naming key, what was found and what is allowed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # plan says it again
        validated(settings, "conspec", source)
        return Config(**split(settings, "conspec")[0])


def folder_of(config: Config) -> Path:
    """Return the run of a config where no other is named: the same config resumes, another stands beside it."""
    return FOLDER / hashlib.sha256(canonical(config.model_dump(mode="json"))).hexdigest()[:8]


def trial_table(config: Config) -> list[str]:
    """Return the parameters of every trial that is known before the search, a line each."""
    lines = []
    for world in config.environments:
        known = config.trials_per_world
        if config.search.method == "bayesian":
            known = min(known, config.search.n_startup_trials)
        for number in range(known):
            chosen = config.parameters(world, number)
            lines.append(f"{world} {number}: " + " ".join(f"{name}={value}" for name, value in chosen.items()))
        if known < config.trials_per_world:
            lines.append(f"{world} {known} to {config.trials_per_world - 1}: chosen by TPE from finished trials")
    return lines


def link_results(run: Run) -> None:
    """Let the files that a search's users expect stand in the run directory, as relative links."""
    for link in run.path.glob("search_*.json"):
        if link.is_symlink() and not link.exists():
            link.unlink()
    names = [path.name for path in (run.path / "tables").glob("search_*.json")]
    link_outputs(run, {**OUTPUTS, **{name: f"tables/{name}" for name in names}})


def outcome(run: Run, config: Config) -> int:
    """Say which trials failed and whether learning is slow; return 1 where every trial failed, else 0."""
    failed = failed_units(run.path, [*(PREFIX + world for world in config.environments), ABLATION])
    for line in failed[:SHOWN]:
        click.echo(f"{LABEL}: {line}", err=True)
    if len(failed) > SHOWN:
        click.echo(f"{LABEL}: {len(failed) - SHOWN} more failed, see report/report.md", err=True)
    worlds = json.loads((run.path / "tables" / "summary.json").read_text())["worlds"]
    rates = [found["best_success_rate"] for found in worlds.values() if found["best_success_rate"] is not None]
    if any(rate < SLOW_SUCCESS for rate in rates):
        click.echo(f"{LABEL}: {slow_advice(has_conspec(config))}", err=True)
    return int(Exit.OK if rates else Exit.CHECK)


def search(values: dict[str, Any]) -> int:
    """Do what the command line says; return the exit code."""
    own = {name: values.pop(name) for name in OWN}
    settings, source = config_of(values)
    config = checked(settings, source)
    if own["dry_run"]:
        for line in trial_table(config):
            click.echo(line)
        return 0
    run = Run(own["output_dir"] or folder_of(config))
    workers = own["workers"]
    if workers:
        shards = {f"{PREFIX}{world}": {"shards": workers} for world in config.environments}
        settings = merged_over({"phases": shards}, settings)
    code = plan("conspec", DROP_IN, settings, run, LABEL)
    if code:
        return code
    if own["submit"]:
        return python("quintet.slurm", str(run.path))
    code = local(run, workers, None, own["time_limit"])
    link_results(run)
    if code:
        if killed_silently(run):
            click.echo(f"{LABEL}: {MEMORY_ADVICE}", err=True)
        return code
    code = outcome(run, config)
    click.echo(f"{run.path.resolve()}")
    return code


OWN_OPTIONS: Mapping[str, click.Option] = {
    "output_dir": click.Option(
        ["--output-dir"],
        type=click.Path(path_type=Path),
        help=f"Run directory  [default: {FOLDER}/<digest of the config>]",
    ),
    "workers": click.Option(["--workers"], type=click.IntRange(min=1), help="Local processes  [default: CPUs]"),
    "time_limit": click.Option(
        ["--time-limit"],
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Stop after that long with exit 75; the same command goes on from there.",
    ),
    "dry_run": click.Option(["--dry-run"], is_flag=True, help="Print the table of trials; write nothing."),
    "submit": submit_option(),
}
OWN = tuple(OWN_OPTIONS)


def command() -> click.Command:
    """Return the click command."""
    others = ", ".join(name for name in TOOLS if name)
    options = options_of(Config, DROP_IN)
    for option in options:  # the schema names what is allowed, in the words of all other errors
        if option.name in {key.replace(".", "__") for key in FLAGS}:
            option.help = f"{option.help} one of {', '.join(getattr(option.type, 'choices', ()))}"
            option.type = click.STRING
    return click.Command(
        "conspec",
        params=[
            click.Option(["--config"], help=f"Config file  [default: configs/{SHIPPED}.yaml]"),
            click.Option(["--env"], help=f"World to search: {', '.join(ENVIRONMENTS)}  [default: the config's]"),
            *options,
            *OWN_OPTIONS.values(),
        ],
        callback=lambda **values: search(values),
        help="Search the hyper-parameters of contrastive retrospection.",
        epilog=f"Subcommands: {others}.",
        context_settings={"token_normalize_func": lambda token: token.replace("_", "-")},
    )


if __name__ == "__main__":
    run_command(command(), name=LABEL)
