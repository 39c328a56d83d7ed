"""The data set of a run, put together from the latents that the elements of `encode` published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ...jobs.synergy.generation import labels_of, rows_of
from ...jobs.synergy.visual import gate_message
from ...shard.errors import Exit, QuintetError
from ...shard.partial import opened, write_dataset
from ...shard.synergy.data_phases import pieces_of
from ...shard.synergy.dataset_file import attributes_of, sha256_of_array, split_arrays
from .sweep import NOTHING

if TYPE_CHECKING:
    from ...shard.context import Context


def check_gate(context: Context, file: Mapping[str, Any]) -> None:
    """Refuse a visual domain that decodes the validation images too badly (exit 1), or is not there (exit 3)."""
    if not len(file["rows/val_mse"]):
        raise QuintetError(Exit.INCOMPLETE, NOTHING)
    message = gate_message(context.config.visual, float(file["rows/val_mse"][0]))
    if message is not None:
        raise QuintetError(Exit.CHECK, message)


def stored_rows(context: Context, file: Mapping[str, Any], name: str) -> Iterator[np.ndarray]:
    """Yield the rows of each unit of a dataset that stays in the partials, in order.

    Args:
        context: the phase.
        file: its open result, or its datasets by name.
        name: the dataset, e.g. `rows/latents`.
    """
    partial: h5py.File | None = None
    number = -1
    try:
        for where, begin, count in file[f"meta/index/{name}"][()].tolist():
            if where != number:
                if partial is not None:
                    partial.close()
                path = context.run.shard_file(context.phase.name, where)
                with opened(path):
                    partial, number = h5py.File(path, "r", locking=False), where
            assert partial is not None
            yield partial[name][begin : begin + count]
    finally:
        if partial is not None:
            partial.close()


def write_splits(context: Context, file: h5py.File) -> None:
    """Write every split of the data set into the result of `encode`, with the attributes of the file.

    Raises:
        QuintetError: exit 3 where rows are missing: a data set is whole, or it is none.
    """
    config = context.config
    pieces = pieces_of(config)
    if len(file["meta/index/rows/latents"]) != len(pieces):
        raise QuintetError(Exit.INCOMPLETE, f"{NOTHING}: rows of the data set are missing (phase encode)")
    labels = labels_of(config.data)
    for name in labels:
        arrays = split_arrays(rows_of(config.data, labels[name], split_rows(context, file, "rows/latents", name)))
        if config.data.keep_images:
            arrays["images"] = split_rows(context, file, "rows/images", name)
        for key, array in arrays.items():
            write_dataset(file, f"{name}/{key}", array)
            file[f"{name}/{key}"].attrs["sha256"] = sha256_of_array(array)
    for key, value in attributes_of(config).items():
        file.attrs[key] = value


def split_rows(context: Context, file: Mapping[str, Any], dataset: str, split: str) -> np.ndarray:
    """Return the rows of one split, in order."""
    stored = zip(pieces_of(context.config), stored_rows(context, file, dataset), strict=True)
    return np.concatenate([rows for (name, _, _), rows in stored if name == split])
