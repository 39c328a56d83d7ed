"""How every process of the suite ends: errors become one line and an exit code."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from .errors import Exit, QuintetError, exit_of


def end_after(label: str, action: Callable[[], Any], debug: bool = False) -> NoReturn:
    """Run `action` and end the process by the table of exit codes; the exit code is what it returns, None is 0.

    With `debug` (or QUINTET_DEBUG) an error also prints its traceback.
    """
    debug = debug or bool(os.environ.get("QUINTET_DEBUG"))
    umask = os.environ.get("QUINTET_UMASK", "027")
    if not re.fullmatch("[0-7]{1,4}", umask):
        print(f"{label}: QUINTET_UMASK: found {umask!r}; allowed is an octal number like 027", file=sys.stderr)
        raise SystemExit(int(Exit.USAGE))
    os.umask(int(umask, 8) | 0o002)  # never writable by everybody
    plain = warnings.formatwarning

    def formatwarning(message: Any, category: type[Warning], *place: Any) -> str:
        return f"{label}: {message}\n" if category is UserWarning else plain(message, category, *place)

    warnings.formatwarning = formatwarning  # type: ignore[assignment]
    try:
        code = action()
    except KeyboardInterrupt:
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


def end_at_once(label: str, action: Callable[[], Any], debug: bool = False) -> NoReturn:
    """As `end_after`, and end without taking the interpreter apart.

    A trivial element would spend a tenth of its CPU time on that; an element's files are closed by then.
    """
    try:
        end_after(label, action, debug)
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
