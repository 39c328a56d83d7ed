"""The site: what a cluster wants to hear from every job; it enters no hash and no result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .errors import Exit, QuintetError

MAX_SITE_BYTES = 1 << 20

# What may stand in a batch script: none of these has a space, a quote, a newline or a shell operator that survives
# quoting.  Every pattern is used with fullmatch: `$` would let a newline pass.
WORD = r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]*"
WORDS = rf"{WORD}(,{WORD})*"
NODES = r"[A-Za-z0-9_][A-Za-z0-9_.,\[\]-]*"
FEATURES = r"[A-Za-z0-9_(\[][A-Za-z0-9_.:&|*,()\[\]-]*"
NUMBER = r"[0-9]+"
EXTRA = {
    "comment": WORD,
    "constraint": FEATURES,
    "core-spec": NUMBER,
    "cores-per-socket": NUMBER,
    "exclude": NODES,
    "gres": WORDS,
    "gres-flags": WORD,
    "hint": WORD,
    "licenses": WORDS,
    "mail-type": WORDS,
    "mail-user": WORD,
    "nice": NUMBER,
    "nodelist": NODES,
    "prefer": FEATURES,
    "priority": NUMBER,
    "reservation": WORDS,
    "sockets-per-node": NUMBER,
    "switches": WORD,
    "threads-per-core": NUMBER,
    "tmp": r"[0-9]+[KMGT]?",
    "wckey": WORD,
}


def matching(pattern: str, what: str) -> AfterValidator:
    """Return a validator that lets only whole matches of a pattern pass."""

    def check(value: str) -> str:
        if len(value) > 500 or not re.fullmatch(pattern, value):
            raise ValueError(f"allowed is {what}, matching ^{pattern}$")
        return value

    return AfterValidator(check)


def check_extra(value: str) -> str:
    """Return a directive `--key=value` if it may stand in a batch script; ValueError otherwise."""
    found = re.fullmatch(r"--([a-z-]+)=(.+)", value, flags=re.DOTALL)
    if found is None:
        raise ValueError("allowed is --key=value")
    key, text = found.groups()
    if key not in EXTRA:
        raise ValueError(f"--{key} is not allowed here; allowed are " + ", ".join(f"--{name}" for name in EXTRA))
    if len(text) > 500 or not re.fullmatch(EXTRA[key], text):
        raise ValueError(f"--{key} takes a value matching ^{EXTRA[key]}$")
    return value


def check_folder(value: str) -> str:
    """Return an absolute path of printable characters; ValueError otherwise."""
    if not value.startswith("/") or not value.isprintable():
        raise ValueError("allowed is an absolute path without control characters")
    return value


Word = Annotated[str, matching(WORD, "one word")]
Words = Annotated[str, matching(WORDS, "words with commas")]
Folder = Annotated[str, AfterValidator(check_folder)]
Module = Annotated[str, matching(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]*", "a module's name")]


class Site(BaseModel):
    """What stands in the site file.

    `max_submit` counts queued and running array elements and jobs of the user, as Slurm's limit does.  `max_mem_mb`
    caps the memory that a retry after an out-of-memory kill asks for.  `max_cpu_hours` is what a run may have
    used before nothing more of it is submitted.  `container` is the image that jobs run in unless
    a submission names another; `container_binds` are seen in it read-only, and GPUs as `container_gpu` says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    partition: Words | None = None
    account: Word | None = None
    qos: Word | None = None
    modules: Annotated[list[Module], Field(max_length=50)] = []
    container: Folder | None = None
    container_binds: Annotated[list[Folder], Field(max_length=50)] = []
    container_gpu: Literal["nvidia", "amd"] = "nvidia"
    max_submit: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    max_mem_mb: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    max_cpu_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    lock_kind: Literal["flock", "strict"] = "flock"
    extra: Annotated[list[Annotated[str, AfterValidator(check_extra)]], Field(max_length=50)] = []
    scratch: Folder | None = None


def read_site(path: Path) -> Site:
    """Read a site file; a file that is not there is a site without wishes.

    Raises:
        QuintetError: exit 2 with file, key, value found and what is allowed.
    """
    try:
        if path.stat().st_size > MAX_SITE_BYTES:
            raise QuintetError(Exit.USAGE, f"{path}: larger than {MAX_SITE_BYTES} bytes")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Site()
    except OSError as error:
        raise QuintetError(Exit.USAGE, f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise QuintetError(Exit.USAGE, f"{path}: not YAML ({shortened(' '.join(str(error).split()))})") from None
    if data is None:
        return Site()
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise QuintetError(Exit.USAGE, f"{path}: found {type(data).__name__}; a site file is a mapping of named keys")
    try:
        return Site(**data)
    except ValidationError as error:
        raise QuintetError(Exit.USAGE, f"{path}: {first_fault(error)}") from None


def first_fault(error: ValidationError) -> str:
    """Return the first thing that a validation refused: key, value found, what is allowed."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{shortened(key)}: unknown key; allowed are {', '.join(Site.model_fields)}"
    return f"{key}: found {shortened(repr(fault['input']))}; {fault['msg'].removeprefix('Value error, ')}"


def shortened(text: str) -> str:
    """Return a text that fits into an error message."""
    return text if len(text) <= 100 else text[:97] + "..."
