"""`plan CONFIG`: freeze a config as a run, with what it will cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..configs import bad, find_config, loaded, shortened, study_name, validated
from ..context import Context, result_stands, study_module
from ..errors import Exit, QuintetError
from ..plan import (
    Choices,
    check_standing,
    counted,
    has_files,
    plan_digest,
    plan_of,
    standing_config,
    standing_plans,
    write_phase_plan,
    write_plan,
)
from ..run import Plan, Run, valid_name
from ..scan import PARTIAL
from ..site import read_site
from ..snapshot import package_folders
from .base import run_command

if TYPE_CHECKING:
    from ..phases import Phase

PROBE_SECONDS = 60


def project_folder() -> Path:
    """Return the folder that holds `configs/`: the checkout, or the working directory of an installed suite."""
    beside = package_folders()["shard"].parent
    return beside if (beside / "configs").is_dir() else Path.cwd()


def site_text(project: Path) -> tuple[str, str]:
    """Return the site file's text and its lock kind.

    Raises:
        QuintetError: 2 where there is no such file, or a key or value is not allowed.
    """
    path = Path(os.environ.get("QUINTET_SITE") or project / "configs" / "site.yaml")
    if not path.is_file():
        if "QUINTET_SITE" in os.environ:
            raise QuintetError(Exit.USAGE, f"QUINTET_SITE: {path}: no such file")
        return "{}\n", "flock"
    return path.read_text(), read_site(path).lock_kind


def probe(run: Run, phase: Phase) -> dict[str, Any] | None:
    """Measure one block (or trial) of a phase in a process of its own; None where that tells nothing."""
    command = [sys.executable, "-m", "quintet.shard.commands.probe", str(run.path), phase.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise QuintetError(Exit.BUG, f"the probe of phase {phase.name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return dict(json.loads(done.stdout))


def can_be_probed(phase: Phase, standing: Plan | None) -> bool:
    """Whether a phase can be measured now: it needs no result, and its estimate is not measured yet."""
    return not phase.after and bool(phase.units) and not (standing and standing.estimates.get("measured"))


def shown_hours(seconds: float) -> str:
    """Return CPU time in the unit that a person reads."""
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.0f} s"


def show(run: Run, plans: Sequence[Plan], phases: Sequence[Phase], changed: bool) -> None:
    """Print units, blocks, shards, estimates, warnings and the next commands."""
    state = "planned" if changed else "was planned already, nothing changed"
    click.echo(f"{run.path}: {plans[0].study}, {state}; plan {plan_digest(plans)[:16]}")
    click.echo(f"{'phase':<18}{'units':>9}{'blocks':>9}{'shards':>8}{'CPU':>10}{'memory':>10}{'disk':>10}")
    for plan, phase in zip(plans, phases, strict=True):
        units = phase.expected_units if plan.units is None else plan.units
        about = "~" if plan.units is None else ""
        cpu = units * plan.estimates["seconds_per_unit"]
        disk = units * plan.estimates["bytes_per_unit"] / 1e6
        click.echo(
            f"{plan.phase:<18}{about + str(units):>9}{about + str(phase.blocks(units)):>9}{len(plan.shards):>8}"
            f"{shown_hours(cpu):>10}{plan.resources['mem_mb']:>7} MB{disk:>7.1f} MB"
        )
        seconds = cpu / len(plan.shards) + plan.estimates["startup_s"]
        if plan.kind == "map" and seconds < 60 and len(plan.shards) > 1:
            click.echo(f"  warning: a shard takes about {seconds:.0f} s; fewer shards cost less (--shards)", err=True)
        if seconds > 0.8 * plan.resources["time_s"]:
            click.echo(f"  warning: a shard takes about {seconds:.0f} s of time_s={plan.resources['time_s']}", err=True)
    first = plans[0]
    script = f"slurm/{first.study}.sbatch {run.path} {first.phase}"
    click.echo(f"on a cluster:  bin/submit {run.path}    (by hand: sbatch --array=0-{len(first.shards) - 1} {script})")
    click.echo(f"on a laptop:   bin/local {run.path}")


@click.command(name="plan")
@click.argument("config")
@click.option("--run", "run_path", type=click.Path(path_type=Path), help="Run directory (default runs/STUDY-NAME).")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a config value.")
@click.option("--target-minutes", type=click.FloatRange(min=0.001), help="Wanted length of a shard (20).")
@click.option("--shards", type=click.IntRange(min=1), help="Number of shards of every phase.")
@click.option("--max-array", type=click.IntRange(min=1), help="Most elements of one array.")
@click.option("--no-probe", is_flag=True, help="Estimate without measuring a block.")
def command(
    config: str,
    run_path: Path | None,
    settings: tuple[str, ...],
    target_minutes: float | None,
    shards: int | None,
    max_array: int | None,
    no_probe: bool,
) -> None:
    """Validate CONFIG whole and freeze it as the plan of a run."""
    project = project_folder()
    path = find_config(config, project)
    raw, study = loaded(path, settings)
    raw = with_existing_inputs(raw, path.resolve().parent, packaged_inputs(study, project))
    resolved, phases = validated(raw, study, str(path))
    run = Run(run_path or Path("runs") / valid_name(f"{study}-{path.stem}", "run"))
    if run_path is not None:
        valid_name_of(run_path)
    plan_run(run, resolved, phases, Choices(target_minutes, shards, max_array), path.resolve().parent, not no_probe)


def valid_name_of(path: Path) -> None:
    """Refuse a run directory that is a file."""
    if path.exists() and not path.is_dir():
        raise QuintetError(Exit.USAGE, f"--run: {path} is a file; allowed is a new folder or a planned run")


def plan_run(
    run: Run, config: dict[str, Any], phases: Sequence[Phase], choices: Choices, base: Path, probing: bool
) -> None:
    """Write the plan, measure what can be measured, write the shards that follow, and print it all."""
    site, lock_kind = site_text(project_folder())
    earlier = standing_config(run, study_name(config)) or config
    standing, damaged = standing_plans(run, [phase.name for phase in phases])
    if damaged:
        click.echo(f"  warning: damaged, and written anew: {', '.join(damaged)}", err=True)

    def made(measured: dict[str, dict[str, Any]]) -> list[Plan]:
        return [
            plan_of(phase, phases, config, choices, base, lock_kind, measured.get(phase.name), kept(phase))
            for phase in phases
        ]

    def kept(phase: Phase) -> Plan | None:
        plan = standing.get(phase.name)
        published = plan is not None and has_files(run.path / "partials" / phase.name)
        asked = choices.shards is not None or choices.target_minutes is not None or choices.max_array is not None
        if plan is None or plan.block_size != phase.block_size or (asked and not published):
            return None
        if not (plan.late and grows_now(phase)):
            return plan
        # Where an earlier phase grows, too, everything here is made anew: the added units need no shards of their own.
        return None if any(map(grows_now, lineage(phase, phases))) else replace(plan, units=None)

    def grows_now(phase: Phase) -> bool:
        return phase.grows is not None and value_at(earlier, phase.grows) != value_at(config, phase.grows)

    measured = {name: dict(plan.estimates) for name, plan in standing.items() if plan.estimates.get("measured")}
    plans = made(measured)
    check_standing(run, plans, standing)
    tell_other_code(run, standing, plans[0].code)
    for plan, old in ((plan, standing.get(plan.phase)) for plan in plans):
        if old is not None and old.config_sha256 != plan.config_sha256:
            measured.pop(plan.phase, None)
            standing.pop(plan.phase)
    plans = made(measured)
    changed = write_plan(run, plans, config, site)
    if probing:
        for phase in phases:
            if can_be_probed(phase, standing.get(phase.name)):
                found = probe(run, phase)
                if found is not None:
                    measured[phase.name] = {**found, "measured": True}
        plans = made(measured)
        changed = write_plan(run, plans, config, site) or changed
    plans = [counted_if_known(run, plan) for plan in plans]
    show(run, plans, phases, changed)


def tell_other_code(run: Run, standing: Mapping[str, Plan], code: Mapping[str, Any]) -> None:
    """Say in one line where partials or attempts of other code stand; figures may have been mended, so they count."""
    other = next((plan.code for plan in standing.values() if plan.code["sha256"] != code["sha256"]), None)
    if other is None:
        return
    partials = sum(1 for path in (run.path / "partials").rglob("*.h5") if PARTIAL.fullmatch(path.name))
    if partials or has_files(run.path / "attempts") or (run.path / "submissions.jsonl").exists():
        click.echo(
            f"  warning: partials of other code stand and count: {partials} of {code_name(other)}; elements that start "
            f"from now on run {code_name(code)}",
            err=True,
        )


def code_name(code: Mapping[str, Any]) -> str:
    """Return a code's digest and commit, short."""
    return f"{code['sha256'][:12]} (commit {code['git_commit'][:12]}{', edited' if code['git_dirty'] else ''})"


def lineage(phase: Phase, phases: Sequence[Phase]) -> list[Phase]:
    """Return every phase that a phase comes after, directly or not."""
    earlier = [other for other in phases if other.name in phase.after]
    return earlier + [other for one in earlier for other in lineage(one, phases)]


def counted_if_known(run: Run, plan: Plan) -> Plan:
    """Return a plan whose late units are counted, and write it, where the result that decides them stands already."""
    if not plan.late or plan.units is not None or not all(stands(run, name) for name in plan.after):
        return plan
    units = int(study_module(plan.study).late_units(Context.of(run, plan.phase)))  # type: ignore[attr-defined]
    plan = counted(plan, units)
    write_phase_plan(run, plan)
    return plan


def stands(run: Run, name: str) -> bool:
    """Whether a phase is merged whole, and so is all that it comes after."""
    plan = run.plan(name)
    return all(stands(run, earlier) for earlier in plan.after) and result_stands(run, plan)


def value_at(config: dict[str, Any], dotted: str) -> Any:
    """Return a value of a resolved config by its dotted key."""
    value: Any = config
    for key in dotted.split("."):
        value = value[key]
    return value


def packaged_inputs(study: str, project: Path) -> dict[str, Path]:
    """Return where files that the suite brings along may be named without a path, by their key under `inputs:`."""
    folders: dict[str, str] = getattr(study_module(study), "PACKAGED_INPUTS", {})
    return {key: project / "configs" / study / folder for key, folder in folders.items()}


def result_of_run(path: Path) -> Path:
    """Return the result of the last phase where a path is a run directory, else the path itself."""
    if not (path / "plan" / "run.json").is_file():
        return path
    run = Run(path)
    return run.merged(run.phases()[-1])


def with_existing_inputs(config: dict[str, Any], base: Path, packaged: Mapping[str, Path]) -> dict[str, Any]:
    """Return the config with every input named by its full path; exit 2 where one is not there.

    A file of `packaged[key]` may be named without folder and ending; a run directory stands for its last result.
    """
    inputs = {}
    given = config.get("inputs") or {}
    if not isinstance(given, dict):
        raise QuintetError(Exit.USAGE, f"inputs: found {given!r}; allowed is a mapping of names to paths")
    for key, name in given.items():
        if name is None:
            continue
        if not isinstance(name, str) or not isinstance(key, str):
            raise bad("inputs", str(key), name, "a path")
        try:
            path = Path(name) if Path(name).is_absolute() or Path(name).is_file() else base / name
            path = result_of_run(path)
            if not path.is_file() and key in packaged and name.isprintable() and Path(name).name == name:
                path = packaged[key] / f"{name}.yaml"
            found = path.is_file()
        except OSError:  # longer than a name may be
            found = False
        if not found:
            raise QuintetError(Exit.USAGE, f"inputs.{key}: found {shortened(name)}; no such file")
        inputs[key] = str(path.resolve())
    return {**config, "inputs": inputs} if inputs or "inputs" in config else config


if __name__ == "__main__":
    run_command(command)
