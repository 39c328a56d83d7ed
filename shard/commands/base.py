"""What all commands share: their command line, on top of how every process ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from ..ending import end_after
from ..errors import Exit


def run_command(
    command: click.Command,
    arguments: list[str] | None = None,
    name: str | None = None,
    end: Callable[[str, Callable[[], Any], bool], NoReturn] = end_after,
) -> NoReturn:
    """Run a click command and end the process by the table of exit codes.

    `--debug`, `--trust-world-writable` and `--version` stand anywhere on the line.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    label = name or f"bin/{command.name}"
    if "--trust-world-writable" in given:
        given.remove("--trust-world-writable")
        os.environ["QUINTET_TRUST_WORLD_WRITABLE"] = "1"

    def act() -> Any:
        if given == ["--version"]:
            from ..provenance import version_line

            print(version_line())
            return Exit.OK
        try:
            return command.main(args=given, prog_name=label, standalone_mode=False)
        except click.exceptions.Exit as error:
            return error.exit_code
        except click.ClickException as error:
            print(f"{label}: {error.format_message()}", file=sys.stderr)
            return Exit.USAGE
        except click.Abort:
            raise KeyboardInterrupt from None

    end(label, act, debug)
