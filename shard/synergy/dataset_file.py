"""The study's data set as a file: `merged/encode.h5`, or one from outside of the same form.

Per split (train, val, test), one row per sample:

    labels f4[n,12], u f4[n], attr f4[n,11], latents f4[n,2,latent_dim], v f4[n,n_v], sample_idx i8[n],
    size_normalized f8[n], size_bin, u_bin, xor_bin u1[n], xor_target_normalized f4[n], images u1[n,s,s,3] (optional)

Attributes of the file: `schema_version`, every parameter of the generator, and the visual domain's kind and number of
latents; of each dataset: its `sha256`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...jobs.synergy.data import Dataset, Split
from ..errors import Exit, QuintetError

if TYPE_CHECKING:
    import h5py

    from ...jobs.synergy.config import Config
    from ...jobs.synergy.generation import Rows

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
IMAGE_KEYS = (
    "n_train",
    "n_val",
    "n_test",
    "data_seed",
    "u_seed",
    "min_scale",
    "max_scale",
    "min_lightness",
    "max_lightness",
    "img_size",
)
"""What labels and images depend on."""

GENERATOR_KEYS = (*IMAGE_KEYS, "n_bins", "size_range", "append_size")


def attributes_of(config: Config) -> dict[str, Any]:
    """Return the attributes of a config's data set."""
    generator = {key: getattr(config.data, key) for key in GENERATOR_KEYS}
    return {
        "schema_version": SCHEMA_VERSION,
        **generator,
        "visual_kind": config.visual.kind,
        "latent_dim": config.visual.latent_dim,
    }


def shapes_of(config: Config, n: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of every dataset of a split of n rows, images aside."""
    latents = config.visual.latent_dim
    return {
        "labels": ("f4", (n, 12)),
        "u": ("f4", (n,)),
        "attr": ("f4", (n, 11)),
        "latents": ("f4", (n, 2, latents)),
        "v": ("f4", (n, config.n_v)),
        "size_bin": ("u1", (n,)),
        "u_bin": ("u1", (n,)),
        "xor_bin": ("u1", (n,)),
        "xor_target_normalized": ("f4", (n,)),
    }


def split_arrays(rows: Rows) -> dict[str, np.ndarray]:
    """Return the datasets of one split."""
    target = rows.target
    return {
        "labels": rows.labels,
        "u": rows.u,
        "attr": rows.attr,
        "latents": rows.latents,
        "v": rows.v,
        "sample_idx": np.arange(len(rows.labels)),
        "size_normalized": target.size_normalized,
        "size_bin": target.size_bin,
        "u_bin": target.u_bin,
        "xor_bin": target.xor_bin,
        "xor_target_normalized": target.xor_target_normalized,
    }


def sha256_of_array(array: np.ndarray) -> str:
    """Return the sha256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def read_dataset(file: Mapping[str, Any], n_bins: int) -> Dataset:
    """Return the training, validation and test rows of an open data set."""
    splits = {
        name: Split(file[f"{name}/attr"][()], file[f"{name}/v"][()], file[f"{name}/xor_bin"][()]) for name in SPLITS
    }
    return Dataset(splits["train"], splits["val"], splits["test"], n_bins)


def check_dataset(path: Path, config: Config) -> None:
    """Hold a data set from outside against the config.

    Raises:
        QuintetError: exit 2 where it is no data set of this form, was made with other parameters, or has a value that
            cannot be.
    """
    import h5py

    def refused(what: str) -> QuintetError:
        return QuintetError(Exit.USAGE, f"inputs.dataset: {path.name}: {what}")

    if not path.is_file():
        raise QuintetError(Exit.USAGE, f"inputs.dataset: found {str(path)!r}; no such file")
    try:
        with h5py.File(path, "r", locking=False) as file:
            if (wrong := wrong_attribute(file, config)) is not None:
                raise refused(wrong)
            for split, n in config.data.counts.items():
                if (wrong := wrong_dataset(file, config, split, n)) is not None:
                    raise refused(wrong)
    except (OSError, RuntimeError) as error:
        raise refused(f"not an HDF5 file that can be read ({' '.join(str(error).split())[:80]})") from None


def wrong_attribute(file: h5py.File, config: Config) -> str | None:
    """Return the first attribute of a data set that is not the config's, in words; None where all are."""
    for name, wanted in attributes_of(config).items():
        if name == "visual_kind":
            continue
        found = file.attrs.get(name)
        found = found.item() if isinstance(found, np.generic) else found
        if found is None:
            return f"no attribute {name}; allowed is a data set of schema {SCHEMA_VERSION}"
        if found != wanted:
            key = name if name == "schema_version" else f"visual.{name}" if name == "latent_dim" else f"data.{name}"
            return f"{key} {found!r}; allowed is {wanted!r}, as the config says"
    return None


def wrong_dataset(file: h5py.File, config: Config, split: str, n: int) -> str | None:
    """Return what is wrong with one split of a data set, in words; None where nothing is."""
    import h5py

    for name, (dtype, shape) in shapes_of(config, n).items():
        dataset = file.get(f"{split}/{name}")
        if not isinstance(dataset, h5py.Dataset):
            return f"/{split}/{name} is missing"
        if dataset.dtype != np.dtype(dtype) or dataset.shape != shape:
            return f"/{split}/{name} is {dataset.dtype}{list(dataset.shape)}; allowed is {np.dtype(dtype)}{list(shape)}"
        values = dataset[()]
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return f"/{split}/{name} has values that are not finite"
        if name == "u" and not ((values >= 0.0) & (values <= 1.0)).all():
            return f"/{split}/u has values outside [0, 1]"
        if name.endswith("_bin") and int(values.max()) >= config.data.n_bins:
            return f"/{split}/{name} has class {int(values.max())}; allowed is below data.n_bins {config.data.n_bins}"
        if (found := dataset.attrs.get("sha256")) != (own := sha256_of_array(values)):
            return f"/{split}/{name} has sha256 {own}; allowed is {found}, its attribute"
    return None
