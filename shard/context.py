"""What a study's work may know: its config, earlier results, inputs, seeds and places to write."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .errors import NO_FILE_ERRNOS, Exit, QuintetError
from .partial import file_digest, opened, read_card
from .publish import retried
from .run import valid_name

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from .partial import Card
    from .phases import Phase, Study
    from .run import Plan, Run

Read = TypeVar("Read")


def study_module(name: str) -> Study:
    """Return the module of a study; exit 2 where there is none of that name."""
    valid_name(name, "study")
    unknown = QuintetError(Exit.USAGE, f"study: {name!r} is not a study of this suite")
    if "." in name:
        raise unknown
    try:
        module = import_module(f"{__package__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{name}":
            raise
        raise unknown from None
    if not (hasattr(module, "Config") and hasattr(module, "phases")):  # a module of the machinery
        raise unknown
    return cast("Study", module)


def table(config: dict[str, Any], study: str) -> tuple[Any, tuple[Phase, ...]]:
    """Return a resolved config's validated model and its table of phases; exit 78 where it fits this code no more."""
    module = study_module(study)
    fields = model_fields(study)
    try:
        model = module.Config(**{key: value for key, value in config.items() if key in fields})
    except ValueError as error:
        reason = "; ".join(str(error).splitlines()[1:3]) or str(error)
        raise QuintetError(
            Exit.MISMATCH, f"the planned config does not fit this code ({reason}); use the code it was planned with"
        ) from None
    return model, module.phases(model)


def model_fields(study: str) -> set[str]:
    """Return the keys that a study's own config model takes."""
    return set(study_module(study).Config.model_fields)


@dataclass(frozen=True)
class Context:
    """One phase of one run, as a study's code sees it."""

    run: Run
    phase: Phase
    plan: Plan
    config: Any

    @classmethod
    def of(cls, run: Run, phase_name: str) -> Context:
        """Open the context of one phase of a planned run."""
        plan = run.plan(phase_name)
        model, phases = table(run.config(), plan.study)
        for phase in phases:
            if phase.name == phase_name:
                return cls(run, phase, plan, model)
        raise QuintetError(Exit.MISMATCH, f"phase {phase_name!r} is planned, but this code's table has no such phase")

    @contextmanager
    def result(self, phase: str) -> Iterator[h5py.File]:
        """Open the result of an earlier phase; exit 65 where it is not there."""
        path = self.run.merged(phase)
        if not path.is_file():
            raise QuintetError(
                Exit.INPUT, f"{path}: phase {phase!r} is not merged yet; run bin/merge {self.run.path} {phase}"
            )
        with opened(path) as file:
            yield file

    @cached_property
    def inputs(self) -> dict[str, Path]:
        """Files from outside, by their key under `inputs:`; exit 65 where one changed since it was planned."""
        paths = {}
        for entry in self.plan.inputs:
            path = Path(entry["path"])
            path = path if path.is_absolute() else self.run.path / path
            if sha256_of(path) != entry["sha256"]:
                raise QuintetError(Exit.INPUT, f"{path}: sha256 is not the planned {entry['sha256'][:12]}…")
            paths[entry["key"]] = path
        return paths

    @property
    def cache(self) -> Path:
        """Folder for files that other programs read, each under its sha256."""
        return Path(os.environ.get("QUINTET_CACHE") or self.run.path / "cache")

    def seed(self, *key: int) -> np.random.SeedSequence:
        """Return the seed sequence of (study, phase, *key), independent of shard, host and time."""
        from .phases import seed_sequence

        names = (name_word(self.plan.study), name_word(self.phase.name))
        return seed_sequence(self.plan.root_entropy, *names, *key)


def name_word(name: str) -> int:
    """Return a name as one 32-bit word of a spawn key."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")


def sha256_of(path: Path) -> str:
    """Return a file's sha256; exit 65 where there is none, 74 where it cannot be read for now."""

    def digested() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return read_input(path, digested)


def read_input(path: Path, read: Callable[[], Read], absent: str = "no such file") -> Read:
    """Return what `read` makes of a file that a phase is made from.

    Raises:
        QuintetError: exit 65 where it is missing (`absent`) or damaged, 74 where it cannot be read for now.
    """
    try:
        return retried(read)
    except OSError as error:
        if error.errno not in NO_FILE_ERRNOS:
            raise
        reason = absent if isinstance(error, FileNotFoundError) else error.strerror
        raise QuintetError(Exit.INPUT, f"{path}: {reason}") from None
    except ValueError as error:
        raise QuintetError(Exit.INPUT, f"{path}: {error}") from None


def inputs_digest(run: Run, plan: Plan) -> str:
    """Return 16 hex digits over the results and files that a phase's partials are made from.

    Raises:
        QuintetError: exit 65 where the result of an earlier phase is missing or damaged, 74 where it cannot be read for
            now.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name in plan.after:
        path = run.merged(name)
        absent = f"phase {name!r} is not merged yet; run bin/merge {run.path} {name}"
        card = read_input(path, partial(read_card, path), absent)
        digest.update(f"{name}={card.pd}\0".encode())
    for entry in plan.inputs:
        digest.update(f"{entry['key']}={entry['sha256']}\0".encode())
    return digest.hexdigest()


def standing_result(run: Run, plan: Plan) -> Card | None:
    """Return the card of a phase's result if that is whole, of all planned blocks, and made from what stands now."""
    try:
        card = read_card(run.merged(plan.phase))
        made_of = (card.lo, card.hi, card.cfg, card.inp)
        planned = (0, plan.blocks, plan.config_sha256[:16], inputs_digest(run, plan))
    except (OSError, ValueError, QuintetError):
        return None
    return card if card.complete and made_of == planned else None


def result_stands(run: Run, plan: Plan) -> bool:
    """Whether a phase's result is whole, of all planned blocks, and made from the inputs that stand now."""
    return standing_result(run, plan) is not None


def verified_result(run: Run, phase: str) -> None:
    """Check the bytes of an earlier result against its card; exit 65 where they differ, 74 where none can be read."""
    path = run.merged(phase)
    card, digest = read_input(path, lambda: file_digest(path))
    if card.b2 != digest:
        raise QuintetError(Exit.INPUT, f"{path}: damaged (digest differs from its card); merge phase {phase!r} again")
