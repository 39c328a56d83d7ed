"""`bin/synergy`: the sweep of old by its flags; makes the config, then runs plan, local array and merge in one go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Any

import click

from ...jobs.synergy.presets import merged
from ..commands.base import run_command
from ..commands.study import in_flags, link_outputs, write_config
from ..dropin import keys_of, submit_option
from ..errors import Exit, QuintetError
from ..publish import replace_file
from ..run import Run
from . import OUTPUTS, TOOLS, Config
from .flags import DROP_IN, from_values, setting_options, template

LABEL = "bin/synergy"
LOG = "multi_run_sweep.log"
NOTHING = "No results to analyze"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FAILURES_NAMED = 10
SHARDS_PER_WORKER = 4


@dataclass
class Console:
    """Where the output of verbs goes: the terminal, as far as the level lets it, and the log file once there is one."""

    level: str
    log: IO[str] | None = None

    def say(self, text: str, level: str = "INFO") -> None:
        """Pass a line on."""
        if self.log is not None and LEVELS.index(level) >= min(1, LEVELS.index(self.level)):
            self.log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {level} {text.rstrip()}\n")
            self.log.flush()
        if LEVELS.index(level) >= LEVELS.index(self.level):
            click.echo(text.rstrip("\n"), err=level != "INFO")

    def run(self, module: str, *arguments: str) -> int:
        """Run a verb as a process of its own and pass on what it says; return its exit code."""
        environment = {**os.environ, **({"QUINTET_DEBUG": "1"} if self.level == "DEBUG" else {})}
        command = [sys.executable, "-m", module, *arguments]
        self.say(f"starts {module} {' '.join(arguments)}", "DEBUG")
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, errors="replace"
        )
        threads = [
            Thread(target=self._pass_on, args=(stream, level))
            for stream, level in ((process.stdout, "INFO"), (process.stderr, "ERROR"))
        ]
        for thread in threads:
            thread.start()
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:  # the terminal has told the verb, too; it keeps what is finished
                continue
        for thread in threads:
            thread.join()
        return code

    def _pass_on(self, stream: IO[str], level: str) -> None:
        for line in stream:
            self.say(line, level)


def planned(console: Console, settings: dict[str, Any], run: Run, *options: str) -> str:
    """Plan the run and return what `plan` printed.

    Raises:
        QuintetError: with the exit code of `plan`, its message in terms of this command's flags.
    """
    with tempfile.TemporaryDirectory(prefix="quintet-") as folder:
        path = write_config("synergy", settings, Path(folder))
        command = [sys.executable, "-m", "quintet.shard.commands.plan", str(path), "--run", str(run.path)]
        done = subprocess.run([*command, "--no-probe", *options], capture_output=True, text=True)
    lines = in_flags(done.stderr, LABEL, path, keys_of(Config, DROP_IN)).splitlines()
    if done.returncode:
        message = lines.pop().removeprefix(f"{LABEL}: ") if lines else "plan failed"
        for line in lines:
            console.say(line, "WARNING")
        raise QuintetError(Exit(done.returncode), message)
    for line in lines:
        console.say(line, "WARNING")
    return done.stdout


def set_aside(folder: Path) -> Path | None:
    """Rename an earlier run to `<folder>.bak`, `.bak2`, ...; return its new name, None where there was none."""
    if not folder.exists():
        return None
    number = 1
    while (backup := folder.with_name(f"{folder.name}.bak{'' if number == 1 else number}")).exists():
        number += 1
    folder.rename(backup)
    return backup


def analyse(console: Console, run: Run) -> int:
    """Merge what there is and render it; exit 3 where there is nothing."""
    if not (run.path / "plan").is_dir():
        raise QuintetError(Exit.INCOMPLETE, f"{run.path}: {NOTHING}")
    code = console.run("quintet.merge", str(run.path), "--allow-missing")
    link_outputs(run, OUTPUTS)
    return code


def outcome(console: Console, run: Run) -> int:
    """Say which units failed; return 1 where none is done, else 0."""
    facts = json.loads((run.path / "tables" / "summary.json").read_text())
    state = facts["failed"]
    for name, reason in list(state.items())[:FAILURES_NAMED]:
        console.say(f"failed: {name}: {reason}", "WARNING")
    if len(state) > FAILURES_NAMED:
        console.say(f"failed: {len(state) - FAILURES_NAMED} more, see report/report.md", "WARNING")
    return int(Exit.CHECK if state and not facts["units"]["completed"] else Exit.OK)


def workers_of(asked: int) -> int:
    """Return the number of local processes: what was asked for, at most the CPUs of this process."""
    return min(asked, len(os.sched_getaffinity(0)))


def spread_over(settings: dict[str, Any], workers: int) -> dict[str, Any]:
    """Return the config with enough shards to keep local processes busy to the end, unless it says how many."""
    return merged({"phases": {"train": {"shards": SHARDS_PER_WORKER * workers}}}, settings) if workers > 1 else settings


def write_template(path: Path) -> None:
    """Write a config with all defaults."""
    replace_file(path, (json.dumps(template(), indent=2) + "\n").encode())


def sweep(values: dict[str, Any]) -> int:
    """Do what the command line says; return the exit code."""
    own = {name: values.pop(name) for name in OWN}
    console = Console(own["log_level"])
    if own["generate_config"] is not None:
        write_template(own["generate_config"])
        console.say(f"config: {own['generate_config']}")
        return 0
    if own["output_dir"] is None:
        raise QuintetError(Exit.USAGE, "--output-dir: not given; allowed is a folder for the run")
    run = Run(own["output_dir"])
    if own["analyze_only"]:
        return analyse(console, run)
    if values["config"] is None:
        raise QuintetError(Exit.USAGE, "--config: not given; allowed is a config file (--generate-config writes one)")
    settings = from_values(values)
    if own["dry_run"]:
        with tempfile.TemporaryDirectory(prefix="quintet-") as folder:
            text = planned(console, settings, Run(Path(folder) / "run"))
            console.say(text.replace(str(Path(folder) / "run"), str(run.path)))
        return 0
    if own["no_resume"] and (backup := set_aside(run.path)) is not None:
        console.say(f"the earlier run is {backup} now")
    if not own["submit"]:
        settings = spread_over(settings, workers_of(own["parallel_jobs"]))
    text = planned(console, settings, run)
    with ExitStack() as stack:
        console.log = stack.enter_context((run.path / LOG).open("a", encoding="utf-8"))
        console.say(text)
        if own["submit"]:
            return console.run("quintet.slurm", str(run.path))
        jobs = str(workers_of(own["parallel_jobs"]))
        code = console.run("quintet.shard.commands.local", str(run.path), "--jobs", jobs)
        link_outputs(run, OUTPUTS)
        if code:
            return code
        console.say(f"{run.path.resolve()}")
        return outcome(console, run)


OWN_OPTIONS: Mapping[str, click.Option] = {
    "output_dir": click.Option(["--output-dir"], type=click.Path(path_type=Path), help="Run directory (required)."),
    "parallel_jobs": click.Option(
        ["--parallel-jobs"],
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Local worker processes, at most the CPUs.",
    ),
    "analyze_only": click.Option(["--analyze-only"], is_flag=True, help="Merge and draw what is finished."),
    "no_resume": click.Option(["--no-resume"], is_flag=True, help="Rename an earlier run in that folder to .bak."),
    "dry_run": click.Option(["--dry-run"], is_flag=True, help="Only say what would be planned; nothing is written."),
    "generate_config": click.Option(
        ["--generate-config"], type=click.Path(dir_okay=False, path_type=Path), help="Write a config with all defaults."
    ),
    "log_level": click.Option(
        ["--log-level"],
        type=click.Choice(LEVELS, case_sensitive=False),
        default="INFO",
        show_default=True,
        help="What is shown; DEBUG adds tracebacks.",
    ),
    "no_wandb": click.Option(["--no-wandb"], is_flag=True, help="No effect: nothing leaves this machine."),
    "submit": submit_option(),
}
OWN = tuple(OWN_OPTIONS)


def command() -> click.Command:
    """Return the click command."""
    others = ", ".join(name for name in TOOLS if name)
    return click.Command(
        "synergy",
        params=[*setting_options(), *OWN_OPTIONS.values()],
        callback=lambda **values: sweep(values),
        help="Train every model of a sweep, and say what the workspaces keep.",
        epilog=f"Subcommands: {others}.",
    )


if __name__ == "__main__":
    run_command(command(), name=LABEL)
