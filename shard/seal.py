"""JSON files that say by their first key whether they are as they were written."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from .errors import Exit, QuintetError

MAX_JSON_BYTES = 64 << 20
SEAL = '{\n "file_sha256": "%s",\n'
SEALED = re.compile(SEAL.encode().replace(b"%s", b"([0-9a-f]{64})"))


def dumped(value: Any) -> bytes:
    """Return readable JSON with sorted keys."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def sealed(value: dict[str, Any]) -> bytes:
    """Return JSON as `dumped` whose first key is the sha256 of all that follows it."""
    rest = dumped(value).removeprefix(b"{\n")
    return SEAL.encode() % hashlib.sha256(rest).hexdigest().encode() + rest


def read_sealed(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; one without a seal is taken as it is.

    Raises:
        FileNotFoundError: there is no such file.
        QuintetError: 78 where it is damaged or was edited.
    """
    with path.open("rb") as stream:
        content = stream.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise QuintetError(Exit.MISMATCH, f"{path}: larger than {MAX_JSON_BYTES} bytes")
    seal = SEALED.match(content)
    if seal and hashlib.sha256(content[seal.end() :]).hexdigest().encode() != seal[1]:
        raise QuintetError(Exit.MISMATCH, f"{path}: damaged, or edited since it was planned; plan the run again")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise QuintetError(Exit.MISMATCH, f"{path}: not JSON ({error}); plan the run again") from None
    if not isinstance(value, dict):
        raise QuintetError(Exit.MISMATCH, f"{path}: found {type(value).__name__}; allowed is a JSON object")
    value.pop("file_sha256", None)
    return value
