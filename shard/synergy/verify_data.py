"""`bin/synergy verify-data RUN|FILE`: whether a data set is what its attributes say, check by check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np

from ...jobs.synergy.config import Data
from ...jobs.synergy.generation import labels_of, target_of, visual_input
from ...jobs.synergy.labels import SIZE, Labels, attributes
from ..commands.base import run_command
from ..errors import Exit, QuintetError
from .dataset_file import GENERATOR_KEYS, SCHEMA_VERSION, SPLITS, sha256_of_array

File = Mapping[str, Any]


def data_of(file: h5py.File) -> Data:
    """Return the generator's parameters, from the attributes of a data set.

    Raises:
        QuintetError: exit 65 where it has not all of them, or they cannot be.
    """
    from pydantic import ValidationError

    missing = [key for key in ("schema_version", *GENERATOR_KEYS) if key not in file.attrs]
    if missing:
        raise QuintetError(Exit.INPUT, f"{Path(file.filename).name}: no attribute {missing[0]}; not a data set")
    if file.attrs["schema_version"] != SCHEMA_VERSION:
        raise QuintetError(Exit.INPUT, f"schema_version {file.attrs['schema_version']}; allowed is {SCHEMA_VERSION}")
    values = {
        key: file.attrs[key].item() if hasattr(file.attrs[key], "item") else file.attrs[key] for key in GENERATOR_KEYS
    }
    try:
        return Data(batch_size=1, **values)
    except ValidationError as error:
        first = error.errors()[0]
        raise QuintetError(Exit.INPUT, f"attribute {first['loc'][0]}: {first['msg']}") from None


def equal(stored: Any, made: np.ndarray) -> bool:
    """Whether a dataset holds exactly these values."""
    found = stored[()]
    return found.shape == made.shape and bool(np.array_equal(found, made.astype(found.dtype)))


def equal_counts(file: File, data: Data, split: str, labels: Labels) -> bool:
    """Whether every dataset of the split has the rows that the attributes say."""
    return all(len(dataset) == data.counts[split] for dataset in file[split].values())


def xor_formula(file: File, data: Data, split: str, labels: Labels) -> bool:
    """Whether the target is (size_bin + u_bin) mod n_bins of what is stored, and its normalised form fits."""
    stored = Labels(file[f"{split}/labels"][()], file[f"{split}/u"][()])
    target = target_of(data, stored)
    names = ("size_bin", "u_bin", "xor_bin", "xor_target_normalized")
    return all(equal(file[f"{split}/{name}"], getattr(target, name)) for name in names)


def size_range(file: File, data: Data, split: str, labels: Labels) -> bool:
    """Whether sizes lie between min_scale and max_scale, u on [0, 1]."""
    sizes, u = file[f"{split}/labels"][:, SIZE], file[f"{split}/u"][()]
    inside = (sizes >= data.min_scale) & (sizes <= data.max_scale)
    return bool(inside.all() and ((u >= 0.0) & (u <= 1.0)).all())


def finite_latents(file: File, data: Data, split: str, labels: Labels) -> bool:
    """Whether latents are [n, 2, k] and finite."""
    latents = file[f"{split}/latents"]
    return latents.ndim == 3 and latents.shape[1] == 2 and bool(np.isfinite(latents[()]).all())


def same_labels(file: File, data: Data, split: str, labels: Labels) -> bool:
    """Whether labels and u are those of the seeds."""
    return equal(file[f"{split}/labels"], labels.labels) and equal(file[f"{split}/u"], labels.u)


def paired_inputs(file: File, data: Data, split: str, labels: Labels) -> bool:
    """Whether attr and v of a row belong to its label and latents."""
    attr = attributes(labels.labels, labels.u, max_scale=data.max_scale, img_size=data.img_size)
    v = visual_input(data, file[f"{split}/latents"][()], target_of(data, labels).size_normalized)
    return equal(file[f"{split}/attr"], attr) and equal(file[f"{split}/v"], v)


def same_digests(file: File, data: Data, split: str, labels: Labels) -> bool:
    """Whether every array has the sha256 that stands beside it."""
    return all(dataset.attrs.get("sha256") == sha256_of_array(dataset[()]) for dataset in file[split].values())


CHECKS: dict[str, Callable[[File, Data, str, Labels], bool]] = {
    "equal counts": equal_counts,
    "XOR formula": xor_formula,
    "size range": size_range,
    "latents finite": finite_latents,
    "labels of the seeds": same_labels,
    "pairing of attr, v and labels": paired_inputs,
    "sha256": same_digests,
}


def dataset_of(source: Path) -> Path:
    """Return the data set's file, of a run or the named one.

    Raises:
        QuintetError: exit 2 where there is none.
    """
    path = source / "merged" / "encode.h5" if source.is_dir() else source
    if not path.is_file():
        raise QuintetError(
            Exit.USAGE, f"{source}: has no data set; allowed is a run whose phase encode is merged, or a file"
        )
    return path


@click.command("verify-data")
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN|FILE")
def command(source: Path) -> int:
    """Check the data set of RUN, or FILE; exit 1 where a check fails."""
    path, failed = dataset_of(source), 0
    try:
        with h5py.File(path, "r", locking=False) as file:
            data = data_of(file)
            labels = labels_of(data)
            for split in SPLITS:
                for name, check in CHECKS.items():
                    try:
                        passed = check(file, data, split, labels[split])
                    except (KeyError, ValueError, IndexError, TypeError):
                        passed = False
                    failed += not passed
                    click.echo(f"{'PASS' if passed else 'FAIL'} {split}: {name}")
    except (OSError, RuntimeError) as error:
        raise QuintetError(Exit.INPUT, f"{path.name}: not a file that HDF5 can read ({str(error)[:80]})") from None
    if failed:
        raise QuintetError(Exit.CHECK, f"{failed} checks failed")
    return 0


if __name__ == "__main__":
    run_command(command, name="bin/synergy verify-data")
