"""Where weights go: a whole model on each device, or one model over all of them where it is too large for one."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .llama import directory

FIT_MARGIN = 1.2
"""Weights and the tensors that are made on the way."""
QUANTIZED_BYTES = {"nf4": 0.53, "int8": 1.0}
"""Bytes of a number in the linear layers; embeddings and head stay as they are."""


def weight_bytes(folder: Path, dtype: Any, quantization: str = "none") -> float:
    """Return about how many bytes the weights of a model folder take once they are loaded.

    Args:
        folder: in Hugging Face's layout.
        dtype: of torch, that the weights are loaded as.
        quantization: none, nf4, int8 or int8dyn.
    """
    total = 0.0
    for path in folder.glob("*.safetensors"):
        for name, (_, entry, _) in directory(path):
            linear = len(entry["shape"]) == 2 and "embed" not in name and "lm_head" not in name
            size = QUANTIZED_BYTES.get(quantization, dtype.itemsize) if linear else dtype.itemsize
            total += math.prod(entry["shape"]) * size
    # other files hold two bytes a number or four, so that this is never too small
    return total or sum(path.stat().st_size for path in folder.glob("*.bin")) * max(1, dtype.itemsize / 2)


def device_bytes(place: str) -> float:
    """Return the memory of a GPU, or of the machine."""
    if not place.startswith("cuda"):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    import torch

    return float(torch.cuda.get_device_properties(torch.device(place)).total_memory)


def shared_out(
    weights: float,
    places: Sequence[str],
    memory_of: Callable[[str], float] = device_bytes,
    gpu_gb: float | None = None,
    cpu_gb: float | None = None,
) -> dict[int | str, str] | None:
    """Return how much of one model each device takes at most; None where each device holds a whole one.

    Args:
        weights: bytes of the model's weights.
        places: the devices, such as cuda:0.
        memory_of: bytes of a device.
        gpu_gb, cpu_gb: caps in gigabytes; None: no cap on GPUs, and nothing on the CPU.

    Raises:
        ValueError: all of them together are too small.
    """
    cap = math.inf if gpu_gb is None else gpu_gb * 2**30
    rooms = {place: min(memory_of(place), cap if place.startswith("cuda") else math.inf) for place in places}
    if len(places) == 1 or all(weights * FIT_MARGIN <= room for room in rooms.values()):
        return None
    if weights * FIT_MARGIN > sum(rooms.values()) + (cpu_gb or 0.0) * 2**30:
        found = " + ".join(f"{room / 2**30:.1f}" for room in rooms.values())
        raise ValueError(
            f"optimization.devices: weights of {weights / 2**30:.1f} GB do not fit into {found} GB of "
            f"{', '.join(places)}; take use_quantization, or give max_cpu_memory_gb"
        )
    parts: dict[int | str, float] = {}
    for place, room in rooms.items():
        kind, _, number = place.partition(":")
        key = int(number or 0) if kind == "cuda" else kind
        parts[key] = parts.get(key, 0.0) + room / FIT_MARGIN
    if cpu_gb is not None:
        parts["cpu"] = parts.get("cpu", 0.0) + cpu_gb * 2**30
    return {key: f"{int(room / 2**20)}MiB" for key, room in parts.items()}
