"""`verify-steering`: was steering logged, applied, and did it do anything?"""

from __future__ import annotations

from pathlib import Path

import click

from ...jobs.society.verification import verify_steering
from ...shard.commands.base import run_command
from ...shard.context import Context
from ...shard.errors import Exit, QuintetError
from ...shard.run import Run
from .dumps import dumped, logs_of, steering_rows, table_of
from .evidence import vector_evidence
from .levels import Level, behaviour_level, held_out_level, hook_level


def further_levels(path: Path) -> list[Level]:
    """Return the levels above the log of a run, as far as its phases are merged."""
    from .results import result_from
    from .tables import contrast_table

    context = Context.of(Run.opened(path), "simulate")
    name = context.config.model_name
    evidence = vector_evidence(context)
    levels = [hook_level(name, evidence), held_out_level(name, evidence)]
    if context.run.merged("simulate").is_file():
        with context.result("simulate") as file:
            result = result_from(file, context.config)
        levels.append(behaviour_level(contrast_table(result)))
    return levels


def check_number(context: click.Context, parameter: click.Parameter, value: int) -> int:
    """Refuse fewer than one tick."""
    if value < 1:
        raise QuintetError(Exit.USAGE, f"--num-files: found {value}; allowed is an integer of at least 1")
    return value


@click.command("verify-steering")
@click.option("--messages-dir", type=click.Path(path_type=Path), help="Folder with exported messages.")
@click.option("--run", type=click.Path(path_type=Path), help="Run directory, also of a running or unfinished run.")
@click.option(
    "--num-files", type=int, default=20, show_default=True, callback=check_number, help="Ticks that are looked at."
)
@click.option("--strict", is_flag=True, help="Fail where residents hardly differ.")
def command(messages_dir: Path | None, run: Path | None, num_files: int, strict: bool) -> int:
    """Verify steering in logged messages, and in a run also the levels above."""
    if (messages_dir is None) == (run is None):
        raise QuintetError(Exit.USAGE, "give one of --messages-dir and --run")
    if messages_dir is not None:
        messages = dumped(messages_dir, "messages", "--messages-dir")
    else:
        assert run is not None
        messages = table_of(logs_of(run), "messages")
    verdict = verify_steering(steering_rows(messages), num_files, strict)
    code = verdict.exit_code
    for line in verdict.lines:
        click.echo(line)
    if run is not None:
        levels = further_levels(run)
        for level in levels:
            click.echo(level.line)
        if any(level.verdict == "FAIL" for level in levels):
            code = int(Exit.CHECK)
    return code


if __name__ == "__main__":
    run_command(command, name="bin/society verify-steering")
