"""Loading torch: threads are set before it, and nothing ever asks the network."""

from __future__ import annotations

import os
import sys
from types import ModuleType


def allocated_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def torch_with(threads: int | None = None) -> ModuleType:
    """Import torch with a number of threads, waiting without spinning, and return it.

    Without a number an imported torch keeps its threads, and another gets one.
    """
    if threads is None:
        threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    if "torch" not in sys.modules:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("KMP_BLOCKTIME", "0")
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if threads > allocated_cpus():
        print(f"WARNING: engine.threads is {threads}, allocated are {allocated_cpus()} CPUs", file=sys.stderr)
    return torch
