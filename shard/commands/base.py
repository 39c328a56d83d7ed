"""What all commands share: errors become one line and an exit code."""

from __future__ import annotations

import os
import re
import sys
import warnings
from contextlib import suppress
from typing import Any

import click

from ..errors import Exit, QuintetError, exit_of


def run_command(command: click.Command, arguments: list[str] | None = None, name: str | None = None) -> None:
    """Run a click command and end the process by the table of exit codes.

    With `--debug` (or QUINTET_DEBUG) anywhere on the line, an error also prints its traceback.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given or bool(os.environ.get("QUINTET_DEBUG"))
    given = [argument for argument in given if argument != "--debug"]
    label = name or f"bin/{command.name}"
    umask = os.environ.get("QUINTET_UMASK", "027")
    if not re.fullmatch("[0-7]{1,4}", umask):
        print(f"{label}: QUINTET_UMASK: found {umask!r}; allowed is an octal number like 027", file=sys.stderr)
        raise SystemExit(int(Exit.USAGE))
    os.umask(int(umask, 8) | 0o002)  # never writable by everybody
    if "--trust-world-writable" in given:
        given.remove("--trust-world-writable")
        os.environ["QUINTET_TRUST_WORLD_WRITABLE"] = "1"
    plain = warnings.formatwarning

    def formatwarning(message: Any, category: type[Warning], *place: Any) -> str:
        return f"{label}: {message}\n" if category is UserWarning else plain(message, category, *place)

    warnings.formatwarning = formatwarning  # type: ignore[assignment]
    try:
        if given == ["--version"]:
            from ..provenance import version_line

            print(version_line())
            raise SystemExit(0)
        code: Any = command.main(args=given, prog_name=label, standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        print(f"{label}: {error.format_message()}", file=sys.stderr)
        code = Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        print(f"{label}: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]
        code = Exit.OK
    except Exception as error:
        code = exit_of(error)
        if debug or (code is Exit.BUG and not isinstance(error, QuintetError)):
            import traceback

            traceback.print_exc()
        print(f"{label}: {one_line(error)}", file=sys.stderr)
    raise SystemExit(int(code or 0))


def run_and_leave(command: click.Command) -> None:
    """Run a command as `run_command`, and end without taking the interpreter apart.

    A trivial element would spend a tenth of its CPU time on that; an element's files are closed by then.
    """
    try:
        run_command(command)
    except SystemExit as end:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError):
                stream.flush()
        os._exit(int(end.code or 0))


def one_line(error: BaseException) -> str:
    """Return an exception as one line."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split())
