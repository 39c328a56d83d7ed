"""Loading a back end by the name of its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..mock import MockBackend
from .core import Backend
from .engine import LlamaEngine
from .placement import FIT_MARGIN, device_bytes, shared_out, weight_bytes
from .runtime import torch_with
from .store import model_folder
from .tokenizer import ByteTokenizer, FastTokenizer

if TYPE_CHECKING:
    from ..config import RunConfig

DTYPES = ("auto", "float32", "bfloat16", "float16")


def load_backend(
    model_name: str = "smollm2-135m",
    *,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_size: int = 32,
    quantization: Literal["none", "auto", "nf4", "int8", "int8dyn"] = "none",
    devices: Literal["auto"] | list[str] = "auto",
    max_gpu_memory_gb: float | None = None,
    max_cpu_memory_gb: float | None = None,
    offload_folder: str | None = None,
    threads: int = 1,
    prefix_reuse: bool = True,
    invariance: Literal["auto", "bitwise", "tolerance"] = "auto",
) -> Any:
    """Return the back end of a model; torch is imported unless it is `"mock"`.

    Args:
        model_name: `"mock"`, `"tiny-random"`, `"smollm2-135m"`, a Hugging Face folder, or a `.gguf` file.
        dtype: `"auto"` is float32 on a CPU and bfloat16 on a GPU.
        batch_size: rows in one forward pass.
        quantization: `"nf4"` and `"int8"` by bitsandbytes, `"int8dyn"` by the engine on a CPU; `"auto"` is `"nf4"`
            on a GPU, else `"none"`.
        devices: where it runs; with several, each has a replica and rows are shared out, or one model that is too
            large for one of them lies on all.
        max_gpu_memory_gb, max_cpu_memory_gb, offload_folder: caps; what does not fit lies on disk.
        threads: of torch.
        prefix_reuse: whether common beginnings of prompts are computed once.
        invariance: `"auto"` runs the self-test when it is first needed.

    Raises:
        FileNotFoundError: the model, or the package that holds it, is missing.
        ValueError: a value is not allowed, or the weights are damaged.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: found {dtype!r}; allowed are {', '.join(DTYPES)}")
    if batch_size < 1:
        raise ValueError(f"batch_size: found {batch_size}; allowed is an integer of at least 1")
    if model_name == "mock":
        if quantization not in ("none", "auto"):
            raise ValueError(f"quantization: found {quantization!r} with 'mock'; allowed is none")
        return MockBackend()
    torch = torch_with(threads)
    places = _devices(torch, devices)
    if model_name == "tiny-random" and dtype not in ("auto", "float32"):
        raise ValueError(f"dtype: found {dtype!r} with 'tiny-random'; allowed are auto, float32")
    chosen = torch.float32 if model_name == "tiny-random" else _dtype(torch, dtype, places[0])
    if quantization == "auto":
        on_gpu = places[0].startswith("cuda") and model_name != "tiny-random"
        quantization = "nf4" if on_gpu else "none"
    known = None if invariance == "auto" else invariance

    def backend(engine: Any, tokenizer: Any, sha256: str, folder: Path | None) -> Backend:
        return Backend(
            engine,
            tokenizer,
            name=model_name,
            sha256=sha256,
            dtype=str(chosen).removeprefix("torch."),
            batch_size=batch_size,
            prefix_reuse=prefix_reuse,
            folder=folder,
            invariance=known,
        )

    if model_name == "tiny-random":
        from .tiny import tiny_engine

        if quantization not in ("none", "int8dyn"):
            raise ValueError(f"quantization: found {quantization!r} with 'tiny-random'; allowed are none, int8dyn")

        def tiny(place: str) -> Backend:
            return backend(_quantized(tiny_engine(threads), quantization), ByteTokenizer(), "tiny-random", None)

        return _replicated(tiny(places[0]), places, tiny)
    found = model_folder(model_name)
    tokenizer = FastTokenizer(found.path)
    capped = max_gpu_memory_gb is not None or max_cpu_memory_gb is not None
    caps = (max_gpu_memory_gb, max_cpu_memory_gb, offload_folder) if capped else None

    def made(place: str) -> Backend:
        engine = _engine(found.path, chosen, place, quantization, caps)
        return backend(engine, tokenizer, found.sha256, found.path)

    weights = weight_bytes(found.path, chosen, quantization)
    memory = shared_out(weights, places, device_bytes, max_gpu_memory_gb, max_cpu_memory_gb)
    if memory is not None:
        from .foreign import HookEngine
        from .modules import load_module

        module = load_module(found.path, chosen, places[0], quantization, (None, None, offload_folder), memory)
        return backend(HookEngine(module), tokenizer, found.sha256, found.path)
    return _replicated(made(places[0]), places, made)


def _engine(folder: Path, dtype: Any, place: str, quantization: str, caps: Any) -> Any:
    """Return the fused engine where it can run the model, else transformers with hooks."""
    from .llama import architecture_of, read_weights

    architecture = architecture_of(folder)
    if caps is not None and fits(weight_bytes(folder, dtype, quantization), place, caps):
        caps = None
    if architecture is None or quantization in ("nf4", "int8") or caps is not None:
        from .foreign import HookEngine
        from .modules import load_module

        return HookEngine(load_module(folder, dtype, place, quantization, caps))
    engine = LlamaEngine(read_weights(folder, architecture, dtype, "cpu" if place.startswith("cpu") else place))
    return _quantized(engine, quantization)


def _quantized(engine: LlamaEngine, quantization: str) -> LlamaEngine:
    """Return an engine with its weights as int8 where that is asked for."""
    if quantization == "int8dyn":
        from .quantized import quantize_engine

        quantize_engine(engine)
    return engine


def fits(weights: float, place: str, caps: Any) -> bool:
    """Whether a model's weights stay below the cap of the device it is meant for, so that nothing is offloaded."""
    on_gpu, on_cpu, _ = caps
    cap = on_gpu if place.startswith("cuda") else on_cpu
    return cap is None or 0 < weights * FIT_MARGIN <= cap * 2**30


def _devices(torch: Any, devices: Any) -> list[str]:
    if devices == "auto":
        return ["cuda:0" if torch.cuda.is_available() else "cpu"]
    if not devices:
        raise ValueError("devices: found none; allowed is auto or a list such as [cuda:0, cuda:1]")
    for place in devices:
        if place.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"devices: found {place!r}; no GPU is visible")
        if not place.startswith(("cpu", "cuda")):
            raise ValueError(f"devices: found {place!r}; allowed are cpu, cpu:N, cuda:N")
    return list(devices)


def _dtype(torch: Any, name: str, place: str) -> Any:
    if name == "auto":
        return torch.bfloat16 if place.startswith("cuda") else torch.float32
    return getattr(torch, name)


def _replicated(first: Backend, places: list[str], make: Any) -> Any:
    if len(places) == 1:
        return first
    from .replicas import ReplicatedBackend

    return ReplicatedBackend([first, *(make(place) for place in places[1:])], places)


def backend_for(config: RunConfig) -> Any:
    """Return the back end that a config asks for."""
    inference, optimization, engine = config.inference, config.optimization, config.engine
    return load_backend(
        config.model_name,
        dtype=inference.dtype,
        batch_size=inference.batch_size,
        quantization=optimization.use_quantization,
        devices=optimization.devices,
        max_gpu_memory_gb=optimization.max_gpu_memory_gb,
        max_cpu_memory_gb=optimization.max_cpu_memory_gb,
        offload_folder=optimization.offload_folder,
        threads=engine.threads,
        prefix_reuse=engine.prefix_reuse,
        invariance=engine.invariance,
    )
